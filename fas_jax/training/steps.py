"""What one device computes: steps of training, validation and scores, for runs side by side.

All functions are pure, see one device's share of runs and rows, and gather their batches by index from clips that lie
on the device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from fas_jax.models.architecture import Architecture, Frames, Params, bona_fide_probability, padded, tempered
from fas_jax.runtime import devices


class Clips(NamedTuple):
    """Feature sequences that all runs draw from."""

    features: Any
    """[n t d], padded with zeros; with a leading axis of runs where each run has its own (the meta-learner). On the
    device, or on the host as an array or a `streaming.FeatureSource`, of float32 or float16."""
    mask: Bool[Array | np.ndarray, "n t"]
    """True at real frames."""
    labels: Int[Array | np.ndarray, " n"]
    """1 bona fide, 0 attack."""

    @property
    def own(self) -> bool:
        """Whether each run has its own features."""
        return len(self.features.shape) == 4


class HyperParameters(NamedTuple):
    """What may differ between runs of one program."""

    learning_rate: Float[Array | np.ndarray, " r"]
    weight_decay: Float[Array | np.ndarray, " r"]
    """Decoupled (AdamW), of matrices only."""
    class_weights: Float[Array | np.ndarray, "r 2"]
    """What a clip counts in the loss, by its label."""


class State(NamedTuple):
    """What training changes at every step; each leaf with a leading axis of runs."""

    params: Params
    optimiser: Any
    loss: Float[Array, " r"]
    """Sum of the epoch's weighted losses so far, of which the mean is reported."""
    weight: Float[Array, " r"]
    """Sum of the weights."""


class Loss(NamedTuple):
    """How logits and labels become a loss; static, so that runs which differ in it are programs of their own."""

    temperature: float = 1.0
    """The logits are divided by it, here and in every score."""
    label_smoothing: float = 0.0
    """Share of a label that is divided between both classes."""
    margin: float = 0.0
    """Taken off the right class's logit, after the temperature."""

    @property
    def whole(self) -> "Loss":
        """What validation uses: whole labels, no margin."""
        return Loss(self.temperature)

    def __call__(self, logits: Float[Array, "... 2"], labels: Int[Array, "..."]) -> Float[Array, "..."]:
        """The cross-entropy of each pair of logits; labels are 1 or 0 and broadcast."""
        # Nothing is added to the program of a loss that needs nothing, or its rounding could be another.
        if self == Loss():
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = jax.nn.one_hot(labels, 2, dtype=logits.dtype)
        log_shares = jax.nn.log_softmax(logits / self.temperature - self.margin * right, axis=-1)
        targets = (1 - self.label_smoothing) * right + self.label_smoothing / 2
        return -jnp.sum(targets * log_shares, axis=-1)


class Form(NamedTuple):
    """What is compiled into a program besides the architecture: how the arguments lie in memory, and the loss."""

    own_clips: bool
    """Each run has its own features."""
    same_rows: bool
    """All runs see the same clips in the same order, and `order` holds them once. Their input projections are then
    one matrix product: JAX joins the batched weights into one wide matrix."""
    one_by_one: bool = False
    """Runs are computed one after the other and not side by side, which large networks prefer where there is a cache
    that holds one of them."""
    frames: tuple[int, ...] = (0,)
    """Real frames of all clips of a device's batch, at most; 0, which holds any batch, computes padded frames too. Of
    several, a training step takes the first that holds its batch, where runs are computed one by one."""
    loss: Loss = Loss()


def _adam(go: Bool[Array, ""] | bool) -> optax.GradientTransformation:
    # Moments that decay by nothing stay what they are. For a choice between old and new ones XLA would copy the old
    # ones at every step, which takes as long as all the rest of an update.
    return optax.scale_by_adam(jnp.where(go, 0.9, 1.0), jnp.where(go, 0.999, 1.0))


def fresh(params: Params) -> State:
    """What training begins with; each leaf of `params` has a leading axis of runs."""
    runs = len(jax.tree.leaves(params)[0])
    return State(params, jax.vmap(_adam(True).init)(params), *(jnp.zeros(runs, jnp.float32) for _ in range(2)))


def train(
    architecture: Architecture,
    form: Form,
    state: State,
    clips: Clips,
    hyper: HyperParameters,
    active: Bool[Array, " r"],
    order: Int[Array, "#r s b"],
) -> State:
    """s steps. `order` holds this device's rows of each batch, -1 for none; with one run if all see the same."""

    def run_step(state: State, clips: Clips, hyper: HyperParameters, active: Array, index: Int[Array, " b"]) -> State:
        grads, (loss, weight, count) = mean_gradient(
            architecture, state.params, clips, index, hyper.class_weights, form.frames, form.loss
        )
        # A run that has ended, or that has fewer batches than another, stays as it is.
        go = active & (count > 0)
        # Optax raises its decays to the power of an integer count, which strict promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            updates, optimiser = _adam(go).update(grads, state.optimiser)

        def moved(p: Array, u: Array) -> Array:
            return p - hyper.learning_rate * (u + hyper.weight_decay * p if p.ndim > 1 else u)

        new = State(jax.tree.map(moved, state.params, updates), optimiser, state.loss + loss, state.weight + weight)
        old = state._replace(optimiser=optimiser._replace(count=state.optimiser.count))
        return _where(go, new, old)

    def run(state: State, clips: Clips, hyper: HyperParameters, active: Array, order: Int[Array, "s b"]) -> State:
        def step(state: State, index: Int[Array, " b"]) -> tuple[State, None]:
            return run_step(state, clips, hyper, active, index), None

        return jax.lax.scan(step, state, order)[0]

    return _over_runs(run, form, (0, _axes(form), 0, 0))(state, clips, hyper, active, order)


def mean_gradient(
    architecture: Architecture,
    params: Params,
    clips: Clips,
    index: Int[Array, " b"],
    class_weights: Float[Array | np.ndarray, " 2"],
    frames: tuple[int, ...] = (0,),
    loss: Loss = Loss(),  # noqa: B008, immutable
) -> tuple[Params, tuple[Array, Array, Array]]:
    """Gradient of the weighted losses of all devices' clips, summed and divided by the number of clips.

    Not by the sum of the weights: that would undo them in most batches where one class is rare (class weights are one
    on average, so that over an epoch it comes to the same).

    Args:
        architecture: The classifier.
        params: Its parameters.
        clips: What `index` points into.
        index: This device's clips of the batch; -1 is none.
        class_weights: What a clip counts, by its label.
        frames: As `Form.frames`.
        loss: Of a frame.

    Returns:
        The gradient, and over all devices: the sum of weighted losses, of weights, and the number of clips.
    """
    each = [jax.value_and_grad(partial(_sums, architecture, loss, capacity=most), has_aux=True) for most in frames]
    real = jnp.sum(jnp.sum(clips.mask[jnp.maximum(index, 0)], 1), where=index >= 0)
    which = sum((real > most).astype(jnp.int32) for most in frames[:-1])
    (total, (weight, count)), grads = jax.lax.switch(which, each, devices.varying(params), clips, index, class_weights)
    # Sums, not means: devices hold different numbers of clips, and a mean of means would be wrong.
    total, weight, count, grads = devices.sum_over_batch((total, weight, count, grads))
    return jax.tree.map(lambda g: g / jnp.maximum(count, 1), grads), (total, weight, count)


def validate(
    architecture: Architecture, form: Form, params: Params, clips: Clips, order: Int[Array, "#r s b"]
) -> Float[Array, "r s 2 2"]:
    """Sums of losses, and numbers of rightly classified clips, of attacks and of bona fide clips of every batch.

    Over all devices' rows. Sums of a batch, not of all, so that they do not depend on how much is streamed at a time;
    the numbers are whole, and exact because a batch has fewer than 2**24 clips.
    """

    def run(params: Params, clips: Clips, order: Int[Array, "s b"]) -> Float[Array, "s 2 2"]:
        def batch(index: Int[Array, " b"]) -> Float[Array, "2 2"]:
            losses, labels, right = _classified(architecture, form.loss, params, clips, index, form.frames[-1])
            of = [(index >= 0) & (labels == label) for label in (0, 1)]
            values = (losses, right.astype(losses.dtype))
            return jnp.stack([jnp.stack([jnp.sum(each, where=own) for own in of]) for each in values])

        return jax.lax.map(batch, order)

    return devices.sum_over_batch(_over_runs(run, form, (0, _axes(form)))(params, clips, order))


def probabilities(
    architecture: Architecture, form: Form, params: Params, clips: Clips, order: Int[Array, "#r s b"]
) -> tuple[Float[Array, "r s b t"], Float[Array, "r s b t"]]:
    """P(bona fide) and its logit at every frame of the rows of `order`."""

    def run(params: Params, clips: Clips, order: Int[Array, "s b"]) -> tuple[Array, Array]:
        def batch(index: Int[Array, " b"]) -> tuple[Float[Array, "b t"], Float[Array, "b t"]]:
            frames, _ = _gather(clips, index, form.frames[-1])
            logits = tempered(architecture.apply(params, frames), form.loss.temperature)
            return bona_fide_probability(logits), logits[..., 1] - logits[..., 0]

        return jax.lax.map(batch, order)

    return _over_runs(run, form, (0, _axes(form)))(params, clips, order)


@partial(jax.jit, donate_argnums=(2,))
def choose(better: Bool[Array, " r"], params: Params, best: Params) -> Params:
    """The parameters of the runs that are better, and the best so far of the others."""
    return jax.vmap(_where)(better, params, best)


@jax.jit
def take(tree: Any, rows: Int[Array, " k"]) -> Any:
    """Some of the runs."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@partial(jax.jit, donate_argnums=(0,))
def put(tree: Any, rows: Int[Array, " k"], part: Any) -> Any:
    """All runs, with these in their places."""
    return jax.tree.map(lambda leaf, own: leaf.at[rows].set(own), tree, part)


def _over_runs(run: Callable[..., Any], form: Form, axes: tuple[Any, ...]) -> Callable[..., Any]:
    """What all runs compute, of what one does; the last argument is the order, which may be shared."""
    axes = (*axes, None if form.same_rows else 0)

    def side_by_side(*args: Any) -> Any:
        order = args[-1][0] if form.same_rows else args[-1]
        return jax.vmap(run, axes)(*args[:-1], order)

    def one_by_one(*args: Any) -> Any:
        order = args[-1][0] if form.same_rows else args[-1]

        def own(r: Array) -> Any:
            def pick(axis: int | None, part: Any) -> Any:
                return part if axis is None else jax.tree.map(lambda leaf: leaf[r], part)

            return run(*jax.tree.map(pick, axes, (*args[:-1], order), is_leaf=lambda axis: axis is None))

        return jax.lax.map(own, jnp.arange(len(jax.tree.leaves(args[0])[0])))

    return one_by_one if form.one_by_one else side_by_side


def _sums(
    architecture: Architecture,
    loss: Loss,
    params: Params,
    clips: Clips,
    index: Int[Array, " b"],
    class_weights: Float[Array | np.ndarray, " 2"],
    capacity: int,
) -> tuple[Array, tuple[Array, Array]]:
    """Weighted sum of the clips' losses; sums of weights and of clips."""
    losses, labels, _ = _classified(architecture, loss, params, clips, index, capacity)
    real = (index >= 0).astype(losses.dtype)
    weights = real * class_weights[labels]
    return jnp.sum(losses * weights), (jnp.sum(weights), jnp.sum(real))


def _classified(
    architecture: Architecture, loss: Loss, params: Params, clips: Clips, index: Int[Array, " b"], capacity: int
) -> tuple[Float[Array, " b"], Int[Array, " b"], Bool[Array, " b"]]:
    """The clips' losses, their labels, and whether they are rightly classified.

    A clip's loss is the mean over its real frames.
    """
    frames, labels = _gather(clips, index, capacity)
    logits = architecture.apply(params, frames)
    frame_losses = loss(logits, labels[:, None])
    scores = _masked_mean(bona_fide_probability(tempered(logits, loss.temperature)), frames.mask)
    return _masked_mean(frame_losses, frames.mask), labels, (scores >= 0.5) == (labels == 1)


def _gather(clips: Clips, index: Int[Array, " b"], capacity: int) -> tuple[Frames, Array]:
    """The frames and labels of these clips; of none, something that is nowhere counted."""
    rows = jnp.maximum(index, 0)
    mask, labels = clips.mask[rows], clips.labels[rows]
    if not capacity:
        return padded(clips.features[rows].astype(jnp.float32), mask), labels
    time, batch = mask.shape[1], len(index)
    real = (mask & (index >= 0)[:, None]).T.reshape(-1)
    (places,) = jnp.nonzero(real, size=capacity, fill_value=time * batch)
    flat = clips.features.reshape(-1, clips.features.shape[-1])
    values = flat[rows[places % batch] * time + jnp.minimum(places // batch, time - 1)]
    return Frames(values.astype(jnp.float32), places, mask), labels


def _masked_mean(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, " b"]:
    return jnp.sum(jnp.where(mask, values, 0), -1) / jnp.sum(mask, -1).astype(values.dtype)


def _axes(form: Form) -> Clips:
    """Which of the clips' arrays have an axis of runs, as vmap asks for it."""
    return Clips._make((0 if form.own_clips else None, None, None))


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
