"""The compiled functions of one training and what they are given: the runs, their clips and settings on the mesh."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int, Int64

from fas_jax.base.settings import Training
from fas_jax.models.architecture import Architecture, Params
from fas_jax.runtime import devices
from fas_jax.training import on_mesh, steps, streaming
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.profiling import Profiler
from fas_jax.training.sampling import Balance, batched, class_weights, epoch_order, frames_to_compute
from fas_jax.training.steps import Clips, Form, HyperParameters, Loss, State
from fas_jax.training.stopping import Progress, Validated

# Floating-point operations for which one compiles a program: some seconds of two cores.
_COMPILATION = 1 << 39
# Share of the batches that a large network's shorter step is to hold.
_USUAL = 0.85
# Weights from which on a CPU trains runs one by one: LSTM-1000 (12 million) gains a fifth by it, GRU-64 (400 thousand)
# nothing.
_LARGE = 1 << 21


@dataclass(frozen=True)
class Run:
    """One training: which clips it learns from, which tell it when to stop, and what it has of its own."""

    name: str
    seed: int
    train: Int[np.ndarray, " n1"]
    validation: Int[np.ndarray, " n2"]
    learning_rate: float | None = None
    """Instead of the settings'."""
    weight_decay: float | None = None
    """Instead of the settings'."""
    class_weights: tuple[float, float] | None = None
    """What an attack and a bona fide clip count in the loss, instead of what `balance` makes of the settings; one on
    average over the clips that are drawn keeps the learning rate's meaning."""
    balance: Balance | None = None
    """Instead of the settings'."""
    start: Architecture | None = None
    """Draws the run's first parameters, of the same shapes, instead of the architecture of all runs."""
    clips: str = ""
    """Names in files what `train` and `validation` are, whatever other clips they lie among; their places, if empty."""


class Program:
    """The compiled functions of one `fit`, and everything about it that does not change."""

    def __init__(
        self, architecture: Architecture, runs: Sequence[Run], clips: Clips, settings: Training, title: str
    ) -> None:
        self._architecture, self._settings = architecture, settings
        self._profiled = Profiler(Path(settings.profile) if settings.profile else None, title)
        self._labels = np.asarray(clips.labels)
        self._lengths = np.asarray(clips.mask).sum(1, dtype=np.int32)
        self._longest = clips.mask.shape[1]
        pmapped = settings.mapping == "pmap"
        self.mesh: Mesh = devices.make_mesh(len(runs), settings.batch_size, 1 if pmapped else settings.run_devices)
        # Rows that fill up the mesh; never active.
        self.count = len(runs)
        self.width = -(-len(runs) // self.mesh.shape[devices.RUNS]) * self.mesh.shape[devices.RUNS]
        self._runs = [*runs, *[runs[-1]] * (self.width - len(runs))]
        if self.width > self.count:
            rows = np.minimum(np.arange(self.width), self.count - 1)
            clips = streaming.of_runs(clips, rows)
        self._clips = streaming.place(clips, self.mesh, settings.resident_mb)
        apart = one_by_one(architecture)
        first = runs[0]
        same_order = all(
            (run.seed, run.balance) == (first.seed, first.balance) and np.array_equal(run.train, first.train)
            for run in runs
        )
        same_validation = all(np.array_equal(run.validation, first.validation) for run in runs)
        loss = Loss(settings.temperature, settings.label_smoothing, settings.margin)
        self._train_form = Form(clips.own, same_order, apart, loss=loss)
        self._validation_form = Form(clips.own, same_validation, apart, loss=loss.whole)
        self._hyper = self._settings_of_runs()
        self._validation_clips, self._validation_weights = self._validation_classes()
        self._own: dict[bytes, Any] = {}
        self.steps = max(-(-len(self._order(run, 0)) // settings.batch_size) for run in runs)

        # How many runs have to end before a narrower program is worth its compilation; by estimate, so that a training
        # that goes on after a stop does the same.
        work = 6 * weights(architecture) * settings.batch_size * clips.mask.shape[1] * self.steps * settings.patience
        self._worth = max(1, -(-_COMPILATION // work))

    def live(self, progress: Progress) -> np.ndarray:
        """The rows to go on with."""
        return progress.live(self.mesh.shape[devices.RUNS], self._worth)

    def start(self, checkpoints: Checkpoints | None) -> tuple[State, Params, Progress, int]:
        """State, best parameters and progress before the first step or where a checkpoint left them; steps done."""
        progress = Progress.start(self.width, self._settings)
        progress.active[self.count :] = False
        restored = checkpoints.restore((*self._shapes(), progress.first(self.count))) if checkpoints else None
        if restored:
            done, (*found, known) = restored
            state, best = devices.place(jax.tree.map(self._filled_up, found), self.mesh, devices.BY_RUN)
            for leaf, own in zip(progress.first(self.count), known, strict=True):
                leaf[...] = own
        else:
            best, done = self._initial(), 0
            # Of a copy, because the step is given the state's buffers.
            state = on_mesh.fresh(self.mesh)(jax.tree.map(jax.numpy.copy, best))
        return state, best, progress, done

    def kept(self, state: State, best: Params, progress: Progress) -> tuple[State, Params, Progress]:
        """What a checkpoint holds: the runs alone, because the rows that fill up the mesh differ between machines."""
        state, best = jax.tree.map(lambda leaf: leaf[: self.count], devices.fetch((state, best)))
        return state, best, progress.first(self.count)

    def _shapes(self) -> tuple[State, Params]:
        """Of the state and the best parameters that a checkpoint holds."""

        def of_all(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((self.count, *leaf.shape), leaf.dtype)

        params = jax.tree.map(of_all, self._architecture.shapes())
        return jax.eval_shape(steps.fresh, params), params

    def _filled_up(self, runs: Any) -> Any:
        """With a row for every row of the mesh, by repeating the last."""
        return np.concatenate([runs, *[runs[-1:]] * (self.width - self.count)]) if self.width > self.count else runs

    def epoch(self, state: State, live: np.ndarray, active: Bool[np.ndarray, " r"], epoch: int, first: int) -> Any:
        """Yields the state and the number of steps done, from step `first` to the end of the epoch."""
        runs = [self._runs[row] for row in live]
        if self._train_form.same_rows:
            runs = runs[:1]
        order = batched(
            [self._order(run, epoch) for run in runs], self._settings.batch_size, self._batch_devices, self.steps
        )
        form = (self._packed_as_usual if self._train_form.one_by_one else self._packed)(self._train_form, order)
        clips, hyper = self._of(live)
        mask = devices.place(active[live], self.mesh, devices.BY_RUN)
        step = first
        for part, own in streaming.parts(clips, order, first, self.mesh, self._settings.part_mb << 20):
            if part is not clips:
                # The host runs ahead of the device: without this every part of the epoch would wait in memory.
                jax.block_until_ready(state)
            state = self._profiled(partial(self._steps, form, part, hyper, mask), state, own)
            step = min(self.steps, step + own.shape[2])
            yield state, step

    def _steps(
        self, form: Form, part: Clips, hyper: HyperParameters, active: Any, state: State, order: np.ndarray
    ) -> State:
        train = on_mesh.train(self._architecture, form, self.mesh, self._settings.mapping)
        new: State = train(state, part, hyper, active, self._placed(order, form))
        return new

    def _packed(self, form: Form, order: np.ndarray) -> Form:
        """The form, made for these batches."""
        return form._replace(frames=(frames_to_compute(order, self._lengths, self._longest),))

    def _packed_as_usual(self, form: Form, order: np.ndarray) -> Form:
        """As `_packed`; large networks spend their time on frames, of which most batches have fewer than some."""
        packed = self._packed(form, order)
        usual = frames_to_compute(order, self._lengths, self._longest, _USUAL)
        return packed._replace(frames=(usual, *packed.frames)) if 0 < usual != packed.frames[0] else packed

    def validate(self, state: State, live: np.ndarray) -> Validated:
        """What the validation clips say of the state; of runs not in `live` the losses are NaN and no clip is right."""
        clips, _ = self._of(live)
        whole = len(live) == self.width
        params = state.params if whole else self.take(state.params, live)
        runs = [self._runs[row] for row in live]
        order = batched(
            [run.validation for run in (runs[:1] if self._validation_form.same_rows else runs)],
            self._settings.batch_size,
            self._batch_devices,
        )
        form = self._packed(self._validation_form, order)
        validate = on_mesh.validate(self._architecture, form, self.mesh, self._settings.mapping)
        # Losses of both classes, then numbers of rightly classified clips.
        sums = np.zeros((len(live), 2, 2))
        for part, own in streaming.parts(clips, order, 0, self.mesh, self._settings.part_mb << 20):
            sums += devices.fetch(validate(params, part, self._placed(own, form))).sum(1, dtype=np.float64)
        total, weight = devices.fetch((state.loss, state.weight))
        loss, right = np.full(self.width, np.nan, np.float32), np.zeros((2, self.width), np.int32)
        weights, count = self._validation_weights[:, live], self._validation_clips[:, live]
        loss[live] = (sums[:, 0].T * weights).sum(0) / (count * weights).sum(0)
        right[:, live] = sums[:, 1].T
        with np.errstate(invalid="ignore"):
            train_loss = np.where(weight > 0, total / np.maximum(weight, 1e-30), np.nan)
        return Validated(train_loss, loss, right, self._validation_clips, self._validation_weights)

    def choose(self, better: Bool[np.ndarray, " r"], params: Params, best: Params) -> Params:
        """`steps.choose`, on the mesh."""
        return steps.choose(devices.place(better, self.mesh, devices.BY_RUN), params, best)

    def take(self, tree: Any, live: np.ndarray) -> Any:
        """Some of the runs, on the mesh."""
        return devices.place(steps.take(tree, devices.place(live, self.mesh)), self.mesh, devices.BY_RUN)

    def put(self, tree: Any, live: np.ndarray, own: Any) -> Any:
        """All runs with these in their places, on the mesh."""
        return devices.place(steps.put(tree, devices.place(live, self.mesh), own), self.mesh, devices.BY_RUN)

    def without_sums(self, state: State) -> State:
        """At the beginning of an epoch."""
        # Two arrays and not one twice: the step is given both buffers.
        loss, weight = (
            devices.place(np.zeros(state.loss.shape, np.float32), self.mesh, devices.BY_RUN) for _ in range(2)
        )
        return state._replace(loss=loss, weight=weight)

    def result(self, best: Params, progress: Progress) -> tuple[Params, np.ndarray, np.ndarray]:
        """The real runs' best parameters, epochs of these, and epochs of failure."""
        failed = progress.failed[: self.count]
        best = devices.gather(best)
        if self.width > self.count:
            best = jax.tree.map(lambda leaf: leaf[: self.count], best)
        if failed.any():
            rows = np.flatnonzero(failed)
            best = jax.tree.map(lambda leaf: leaf.at[rows].set(np.nan), best)
        return best, progress.best_epoch[: self.count], failed

    @property
    def _batch_devices(self) -> int:
        return self.mesh.shape[devices.DATA]

    def _order(self, run: Run, epoch: int) -> np.ndarray:
        return epoch_order(run.train, self._labels[run.train], run.seed, epoch, self._balance(run))

    def _balance(self, run: Run) -> Balance:
        return run.balance or self._settings.balance

    def _initial(self) -> Params:
        """Fresh parameters on the mesh."""
        keys = jax.numpy.stack([jax.random.key(run.seed) for run in self._runs])
        if self._architecture.draws_in_turn:
            params = devices.place(self._architecture.init_each(keys), self.mesh, devices.BY_RUN)
        else:
            # Each device draws its own, which it may only do without QR decompositions: see `init_each`.
            params = on_mesh.draw(self._architecture, self.mesh)(
                devices.place(jax.random.key_data(keys), self.mesh, devices.BY_RUN)
            )
        # What a run starts from is its own; the program is the same.
        own = [run.start or self._architecture for run in self._runs]
        for start in sorted({*own} - {self._architecture}, key=repr):
            rows = np.array([row for row, each in enumerate(own) if each == start])
            others = start.init_each(keys[rows])
            params = self.put(params, rows, devices.place(others, self.mesh))
        return params

    def _settings_of_runs(self) -> HyperParameters:
        settings, labels = self._settings, self._labels

        def values(name: str) -> np.ndarray:
            own = [getattr(run, name) for run in self._runs]
            return np.array([getattr(settings, name) if each is None else each for each in own], np.float32)

        weights = [
            class_weights(labels[run.train], self._balance(run)) if run.class_weights is None else run.class_weights
            for run in self._runs
        ]
        return HyperParameters(values("learning_rate"), values("weight_decay"), np.array(weights, np.float32))

    def _validation_classes(self) -> tuple[Int64[np.ndarray, "2 r"], Int64[np.ndarray, "2 r"]]:
        """How many validation clips of each class the runs have, and what one of them counts.

        Validation weighs the classes as they are meant to count; every validation clip is seen once. The weights are
        whole numbers: those of one class are the number of clips of the other.
        """
        counts = np.array([np.bincount(self._labels[run.validation], minlength=2)[:2] for run in self._runs]).T
        plain = np.array([self._balance(run) == "none" for run in self._runs])
        return counts, np.where(plain, 1, counts[::-1])

    def _of(self, live: np.ndarray) -> tuple[Clips, HyperParameters]:
        """The clips and hyper of the live runs on the mesh; kept until others are live."""
        key = live.tobytes()
        if key not in self._own:
            clips = self._clips
            if clips.own and len(live) < self.width:
                if isinstance(clips.features, jax.Array):
                    clips = clips._replace(features=self.take(clips.features, live))
                else:
                    clips = streaming.of_runs(clips, live)
            hyper = jax.tree.map(lambda leaf: leaf[live], self._hyper)
            self._own = {key: (clips, devices.place(hyper, self.mesh, devices.BY_RUN))}
        return self._own[key]

    def _placed(self, order: np.ndarray, form: Form) -> Any:
        if self._settings.mapping == "pmap":
            return order
        return devices.place(order, self.mesh, on_mesh.order_spec(form))


def weights(architecture: Architecture) -> int:
    """How many numbers a run trains."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(architecture.shapes()))


def one_by_one(architecture: Architecture) -> bool:
    """Whether runs are computed one after the other; see `Form`."""
    return jax.default_backend() == "cpu" and weights(architecture) > _LARGE
