"""Fitting recurrent classifiers: many runs (protocols, seeds, folds) side by side in one program.

A run is a row of a leading axis: its own parameters, its own clips in its own order, its own early stopping. All
runs read the same clips, which lie on the devices; batches are gathered there by index, so that nothing crosses
from the host inside an epoch. A single run is the case of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from fas_jax import devices
from fas_jax.checkpoints import Checkpoints
from fas_jax.config import Training
from fas_jax.errors import UserError
from fas_jax.progress import progress_bar
from fas_jax.recurrent import Architecture, Params, bona_fide_probability


class Clips(NamedTuple):
    """Feature sequences that all runs draw from."""

    features: Float[Array, "*r n t d"]
    """Padded with zeros; with a leading axis of runs where each run has its own (the meta-learner)."""
    mask: Bool[Array, "n t"]
    """True at real frames."""
    labels: Int[Array, " n"]
    """1 bona fide, 0 attack."""


@dataclass(frozen=True)
class Run:
    """One training: which clips it learns from and which tell it when to stop."""

    name: str
    seed: int
    train: Int[np.ndarray, " n1"]
    validation: Int[np.ndarray, " n2"]


@dataclass(frozen=True)
class Fit:
    """What training found, one entry a run."""

    params: Params
    """The best parameters by validation, each leaf with a leading axis of runs."""
    best_epoch: Int[np.ndarray, " r"]
    history: dict[str, np.ndarray]
    """`epoch` [k], and `train_loss`, `validation_loss`, `validation_accuracy` [k r]; NaN once a run has ended."""


# Takes an epoch and the parameters of all runs after it.
Observer: TypeAlias = Callable[[int, Params], None]


class _State(NamedTuple):
    params: Params
    optimiser: Any


_ADAM = optax.scale_by_adam()


def fit(
    architecture: Architecture,
    runs: Sequence[Run],
    clips: Clips,
    settings: Training,
    checkpoints: Checkpoints | None = None,
    *,
    title: str = "",
    observe: Observer | None = None,
) -> Fit:
    """Trains all runs until each has stopped improving on its validation clips.

    Loss: cross-entropy at every frame, mean over a clip's real frames, then over the batch's clips.

    Args:
        architecture: The same for all runs.
        runs: At least one.
        clips: What the runs' indices point into.
        settings: Optimiser, batch and early stopping.
        checkpoints: Where to save and from where to go on; an interrupted training that goes on ends with the
            same bits as an unbroken one.
        title: For the progress bar.
        observe: Is shown the parameters at every look, after the look has been judged, and says nothing back: what
            it finds out (an oracle's claims) cannot reach what is chosen. Looks before a resumption are not shown.

    Raises:
        UserError: A run's clips lack a class, or its loss is no longer finite.
    """
    _check(runs, np.asarray(clips.labels))
    axes = _axes(clips)
    parallel = partial(devices.data_parallel, mapping=settings.mapping)
    train_epoch = parallel(partial(_train_epoch, architecture, axes), sharded=(4,), arguments=5, donate=(0,))
    validate = parallel(partial(_validate, architecture, axes), sharded=(2,), arguments=3)

    rates = jnp.full(len(runs), settings.learning_rate, jnp.float32)
    keys = jnp.stack([jax.random.key(run.seed) for run in runs])
    params = jax.jit(jax.vmap(architecture.init))(keys)
    state = _State(params, jax.vmap(_ADAM.init)(params))
    best = jax.tree.map(jnp.copy, params)
    progress = _Progress.start(len(runs), settings)
    validation_order = _orders([run.validation for run in runs], settings.batch_size)

    restored = checkpoints.restore((state, best, progress)) if checkpoints else None
    epoch = 0
    if restored:
        epoch, (state, best, progress) = restored
        progress = jax.tree.map(np.array, progress)
    # Where the first epoch would leave them: an array that lies elsewhere would have the second one recompiled.
    state, best, clips = devices.replicate((state, best, clips))

    with progress_bar(total=settings.max_epochs, initial=epoch, desc=title, unit="epoch") as bar:
        while epoch < settings.max_epochs and progress.active.any():
            # A pure function of seed and epoch: nothing of the order has to be saved.
            orders = [_shuffled(run, epoch) for run in runs]
            order = _orders(orders, settings.batch_size)
            state, train_loss = train_epoch(state, clips, rates, progress.active, order)
            epoch += 1
            bar.update()
            if epoch % settings.validate_every and epoch < settings.max_epochs:
                continue
            loss, accuracy = (np.array(x) for x in validate(state.params, clips, validation_order))
            better = progress.update(epoch, np.array(train_loss), loss, accuracy, settings)
            _check_finite(runs, progress, epoch)
            best = _choose(jnp.asarray(better), state.params, best)
            if observe:
                observe(epoch, state.params)
            bar.set_postfix(running=int(progress.active.sum()), validation_loss=f"{loss.mean():.4f}", refresh=False)
            if checkpoints and progress.looks % settings.checkpoint_every == 0:
                checkpoints.save(epoch, (state, best, progress))
    return Fit(best, progress.best_epoch, progress.history())


def predict(
    architecture: Architecture,
    params: Params,
    clips: Clips,
    rows: Sequence[Int[np.ndarray, " m"]],
    batch_size: int = 64,
) -> list[Float[np.ndarray, "m t"]]:
    """P(bona fide) at every frame of the clips `rows[r]`, by the parameters of run r.

    The batch shape is fixed and padded, so that a clip's score does not depend on which clips come with it.
    Values at padded frames mean nothing.
    """
    order = _orders(rows, batch_size, parts=1)[0]
    axes = _axes(clips)
    probabilities = np.asarray(_probabilities(architecture, axes, params, clips, order))
    frames = probabilities.shape[-1]
    return [probabilities[r].reshape(-1, frames)[: len(row)] for r, row in enumerate(rows)]


@partial(jax.jit, static_argnums=(0, 1))
def _probabilities(
    architecture: Architecture, axes: Clips, params: Params, clips: Clips, order: Int[Array, "r s b"]
) -> Float[Array, "r s b t"]:
    def batch(index: Int[Array, "r b"]) -> Float[Array, "r b t"]:
        def run(params: Params, clips: Clips, index: Int[Array, " b"]) -> Float[Array, "b t"]:
            features, mask, _ = _gather(clips, index)
            return bona_fide_probability(architecture.apply(params, features, mask))

        return jax.vmap(run, (0, axes, 0))(params, clips, index)

    return jnp.moveaxis(jax.lax.map(batch, jnp.moveaxis(order, 1, 0)), 0, 1)


def _train_epoch(
    architecture: Architecture,
    axes: Clips,
    state: _State,
    clips: Clips,
    rates: Float[Array, " r"],
    active: Bool[Array, " r"],
    order: Int[Array, "r s b"],
) -> tuple[_State, Float[Array, " r"]]:
    """One device's part of an epoch: `order` holds its rows of each of the s batches, -1 for none."""

    def run_step(
        state: _State, clips: Clips, rate: Array, active: Array, index: Int[Array, " b"]
    ) -> tuple[_State, tuple[Array, Array]]:
        grads, loss, count = _mean_gradient(architecture, state.params, clips, index)
        updates, optimiser = _ADAM.update(grads, state.optimiser)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        # A run that has ended, or that has fewer batches than another, stays as it is.
        step = active & (count > 0)
        return _where(step, _State(params, optimiser), state), (loss, count)

    def step(state: _State, index: Int[Array, "r b"]) -> tuple[_State, tuple[Array, Array]]:
        return jax.vmap(run_step, (0, axes, 0, 0, 0))(state, clips, rates, active, index)

    state, (losses, counts) = jax.lax.scan(step, state, jnp.moveaxis(order, 1, 0))
    return state, jnp.sum(losses, 0) / jnp.sum(counts, 0)


def _mean_gradient(
    architecture: Architecture, params: Params, clips: Clips, index: Int[Array, " b"]
) -> tuple[Params, Array, Array]:
    """Gradient of the mean loss over all devices' clips, with the sum of losses and the number of clips."""
    gradient = jax.value_and_grad(partial(_loss_sum, architecture), has_aux=True)
    (loss, (count, _)), grads = gradient(devices.varying(params), clips, index)
    # Sums, not means: devices hold different numbers of clips, and a mean of means would be wrong.
    loss, count, grads = jax.lax.psum((loss, count, grads), devices.AXIS)
    return jax.tree.map(lambda g: g / jnp.maximum(count, 1), grads), loss, count


def _validate(
    architecture: Architecture, axes: Clips, params: Params, clips: Clips, order: Int[Array, "r s b"]
) -> tuple[Float[Array, " r"], Float[Array, " r"]]:
    """Mean loss and share of rightly classified clips, over all devices' rows."""

    def run(params: Params, clips: Clips, index: Int[Array, " b"]) -> tuple[Array, Array, Array]:
        loss, (count, correct) = _loss_sum(architecture, params, clips, index)
        return loss, count, correct

    def batch(index: Int[Array, "r b"]) -> tuple[Array, Array, Array]:
        return jax.vmap(run, (0, axes, 0))(params, clips, index)

    sums = jax.lax.map(batch, jnp.moveaxis(order, 1, 0))
    loss, count, correct = jax.lax.psum(jax.tree.map(lambda x: jnp.sum(x, 0), sums), devices.AXIS)
    return loss / count, correct / count


def _loss_sum(
    architecture: Architecture, params: Params, clips: Clips, index: Int[Array, " b"]
) -> tuple[Array, tuple[Array, Array]]:
    features, mask, labels = _gather(clips, index)
    logits = architecture.apply(params, features, mask)
    frame_losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[:, None])
    real = (index >= 0).astype(logits.dtype)
    scores = _masked_mean(bona_fide_probability(logits), mask)
    correct = ((scores >= 0.5) == (labels == 1)).astype(logits.dtype)
    return jnp.sum(_masked_mean(frame_losses, mask) * real), (jnp.sum(real), jnp.sum(correct * real))


def _gather(clips: Clips, index: Int[Array, " b"]) -> tuple[Array, Array, Array]:
    rows = jnp.maximum(index, 0)
    return clips.features[rows], clips.mask[rows], clips.labels[rows]


def _masked_mean(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, " b"]:
    return jnp.sum(jnp.where(mask, values, 0), -1) / jnp.sum(mask, -1)


def _axes(clips: Clips) -> Clips:
    """Which of the clips' arrays have an axis of runs, as vmap asks for it."""
    return Clips._make((0 if clips.features.ndim == 4 else None, None, None))


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


@partial(jax.jit, donate_argnums=(2,))
def _choose(better: Bool[Array, " r"], params: Params, best: Params) -> Params:
    return jax.vmap(_where)(better, params, best)


def _shuffled(run: Run, epoch: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng([run.seed, epoch]).permutation(run.train)


def _orders(
    rows: Sequence[Int[np.ndarray, " n"]], batch_size: int, parts: int | None = None
) -> Int[np.ndarray, "devices r s b"]:
    """Each run's indices as s batches, split over the devices and padded with -1 to equal shapes."""
    parts = parts or jax.local_device_count()
    steps = max(-(-len(row) // batch_size) for row in rows)
    share = -(-batch_size // parts)
    padded = np.full((len(rows), steps, parts * share), -1, np.int32)
    for r, row in enumerate(rows):
        batches = np.full(steps * batch_size, -1, np.int32)
        batches[: len(row)] = row
        padded[r, :, :batch_size] = batches.reshape(steps, batch_size)
    return np.ascontiguousarray(np.moveaxis(padded.reshape(len(rows), steps, parts, share), 2, 0))


class _Progress(NamedTuple):
    """Early stopping of every run; arrays only, so that it is part of the checkpoint."""

    active: Bool[np.ndarray, " r"]
    best: Float[np.ndarray, " r"]
    """Monitored score of the best look, higher is better."""
    best_epoch: Int[np.ndarray, " r"]
    counter: Int[np.ndarray, " 1"]
    """Looks at the validation clips so far."""
    log: Float[np.ndarray, "k 4 r"]
    """Epoch, training loss, validation loss and accuracy of every look."""

    @staticmethod
    def start(runs: int, settings: Training) -> "_Progress":
        looks = -(-settings.max_epochs // settings.validate_every)
        return _Progress(
            active=np.ones(runs, bool),
            best=np.full(runs, -np.inf, np.float32),
            best_epoch=np.zeros(runs, np.int32),
            counter=np.zeros(1, np.int32),
            log=np.full((looks, 4, runs), np.nan, np.float32),
        )

    @property
    def looks(self) -> int:
        return int(self.counter[0])

    def update(
        self,
        epoch: int,
        train_loss: Float[np.ndarray, " r"],
        loss: Float[np.ndarray, " r"],
        accuracy: Float[np.ndarray, " r"],
        settings: Training,
    ) -> Bool[np.ndarray, " r"]:
        """Notes a look at the validation clips; returns which runs are better than ever before."""
        score = accuracy if settings.monitor == "accuracy" else -loss
        better = self.active & (score > self.best)
        row = np.stack([np.full_like(loss, epoch), train_loss, loss, accuracy])
        self.log[self.looks] = np.where(self.active, row, np.nan)
        self.best[better] = score[better]
        self.best_epoch[better] = epoch
        self.active[:] &= epoch - self.best_epoch < settings.patience
        self.counter[0] += 1
        return better

    def history(self) -> dict[str, np.ndarray]:
        log = self.log[: self.looks]
        return {
            "epoch": np.nanmax(log[:, 0], axis=1),
            "train_loss": log[:, 1],
            "validation_loss": log[:, 2],
            "validation_accuracy": log[:, 3],
        }


def _check(runs: Sequence[Run], labels: Int[np.ndarray, " n"]) -> None:
    if not runs:
        raise UserError("there is nothing to train: no protocol gave a run")
    for run in runs:
        for part, indices in (("training", run.train), ("validation", run.validation)):
            found = set(np.unique(labels[indices]).tolist())
            missing = [name for name, label in (("bona fide", 1), ("attack", 0)) if label not in found]
            if missing:
                raise UserError(f"run {run.name}: its {part} clips hold no {' and no '.join(missing)} video")


def _check_finite(runs: Sequence[Run], progress: _Progress, epoch: int) -> None:
    _, train_loss, loss, _ = progress.log[progress.looks - 1]
    entered = ~np.isnan(progress.log[progress.looks - 1, 0])
    broken = [run.name for run, bad in zip(runs, entered & ~np.isfinite(train_loss + loss), strict=True) if bad]
    if broken:
        raise UserError(
            f"the loss of {', '.join(broken)} is no longer finite at epoch {epoch}; lower training.learning_rate"
        )
