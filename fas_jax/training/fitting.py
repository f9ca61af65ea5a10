"""Fitting recurrent classifiers: many runs (protocols, seeds, folds, settings) side by side in one program.

A run is a row of a leading axis: its own parameters, its own clips in its own order, its own settings and early
stopping. All runs read the same clips, which lie on the devices or stream from disk; batches are gathered by index. A
single run is the case of one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Training
from fas_jax.models.architecture import Architecture, Params
from fas_jax.runtime import device_memory, devices
from fas_jax.runtime.interruption import TerminatedError, termination
from fas_jax.runtime.programs import run_kept
from fas_jax.runtime.progress import progress_bar
from fas_jax.training import steps, streaming
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.program import Program, Run, one_by_one, weights
from fas_jax.training.sampling import batched
from fas_jax.training.steps import Clips, Form, Loss
from fas_jax.training.stopping import Progress, describe_failures

__all__ = ["Clips", "Fit", "Observer", "Run", "Validation", "Watcher", "chunk_size", "fit", "predict"]


@dataclass(frozen=True)
class Fit:
    """What training found, one entry a run."""

    params: Params
    """The best parameters by validation, each leaf with a leading axis of runs; NaN where the run failed."""
    best_epoch: Int[np.ndarray, " r"]
    failed: Int[np.ndarray, " r"]
    """The epoch at which the run's loss was found not to be finite; 0 where it always was."""
    history: dict[str, np.ndarray]
    """`epoch` [k], and `train_loss`, `validation_loss`, `validation_accuracy` [k r]; NaN once a run has ended."""


@dataclass(frozen=True)
class Validation:
    """What is seen at a validation; arrays [r] are NaN where a run has ended."""

    epoch: int
    train_loss: Float[np.ndarray, " r"]
    validation_loss: Float[np.ndarray, " r"]
    validation_accuracy: Float[np.ndarray, " r"]
    running: int
    """Runs that go on."""
    steps_per_second: float
    """Of all runs together, since the validation before; NaN if that was before an interruption."""


# Takes an epoch and the parameters of all runs after it.
Observer: TypeAlias = Callable[[int, Params], None]
# Takes what is seen at a validation, for logs.
Watcher: TypeAlias = Callable[[Validation], None]


def fit(
    architecture: Architecture,
    runs: Sequence[Run],
    clips: Clips,
    settings: Training,
    checkpoints: Checkpoints | None = None,
    *,
    title: str = "",
    observe: Observer | None = None,
    watch: Watcher | None = None,
    all_may_fail: bool = False,
) -> Fit:
    """Trains all runs until each has stopped improving on its validation clips.

    Loss: cross-entropy at every frame, mean over a clip's real frames, then weighted mean over the batch's clips.
    A run whose loss is no longer finite ends, is marked, and has NaN for parameters; the others go on.

    Args:
        architecture: The same for all runs.
        runs: At least one.
        clips: What the runs' indices point into.
        settings: Optimiser, batch and early stopping.
        checkpoints: Where to save and from where to go on; an interrupted training that goes on ends with the
            same bits as an unbroken one. SIGTERM and SIGUSR1 save and end the program.
        title: For the progress bar and the profiler's trace.
        observe: Is shown the parameters at every validation, after it has been judged, and says nothing back: what
            it finds out (an oracle's claims) cannot reach what is chosen. Those before a resumption are not shown.
        watch: Is given what is seen at every validation, and what was seen before a resumption once more.
        all_may_fail: Makes it no error that no run's loss is finite any more.

    Raises:
        UserError: A run's clips lack a class, or no run's loss is finite any more.
        TerminatedError: After SIGTERM or SIGUSR1.
    """
    labels = np.asarray(clips.labels)
    _check(runs, labels)
    program = Program(architecture, runs, clips, settings, title)
    count, names = len(runs), [run.name for run in runs]
    state, best, progress, done = program.start(checkpoints)
    spent, last_validation = 0, time.monotonic()
    if watch:
        for before in range(progress.validations):
            watch(_validation(progress, count, before, np.nan))

    with (
        termination() as asked,
        progress_bar(
            total=settings.max_epochs,
            initial=done // program.steps,
            desc=title,
            unit="epoch",
            disable=not devices.is_first(),
        ) as bar,
    ):
        while done < settings.max_epochs * program.steps and progress.active.any():
            epoch, first = divmod(done, program.steps)
            live = program.live(progress)
            own = state if len(live) == program.width else program.take(state, live)
            if not first:
                own = program.without_sums(own)
            for new, reached in program.epoch(own, live, progress.active, epoch, first):
                own, step = new, reached
                stop = devices.any_process(asked.is_set())
                if stop:
                    break
            state = own if len(live) == program.width else program.put(state, live, own)
            spent += (step - first) * int(progress.active.sum())
            done = epoch * program.steps + step
            if step < program.steps:
                _terminate(checkpoints, done, partial(program.kept, state, best, progress), asked.number)
            epoch += 1
            bar.update()
            if not epoch % settings.validate_every or epoch >= settings.max_epochs:
                better = progress.update(epoch, program.validate(state, live), settings)
                best = program.choose(better, state.params, best)
                if not all_may_fail and not progress.active.any() and progress.failed[:count].all():
                    raise UserError(describe_failures(names, progress.failed[:count]))
                if observe:
                    observe(epoch, jax.tree.map(lambda leaf: leaf[:count], state.params))
                now = time.monotonic()
                validation = _validation(
                    progress, count, progress.validations - 1, spent / max(now - last_validation, 1e-9)
                )
                if watch:
                    watch(validation)
                bar.set_postfix(_shown(validation, progress.earliest_end(settings)), refresh=False)
                spent, last_validation = 0, now
                if checkpoints and progress.validations % settings.checkpoint_every == 0:
                    checkpoints.save(done, program.kept(state, best, progress))
            if stop:
                _terminate(checkpoints, done, partial(program.kept, state, best, progress), asked.number)
    params, best_epoch, failed = program.result(best, progress)
    return Fit(params, best_epoch, failed, progress.first(count).history())


def _validation(progress: Progress, count: int, number: int, speed: float) -> Validation:
    """What was seen at a validation; the first `count` runs are real."""
    epoch, train_loss, loss, accuracy = progress.log[number, :, :count]
    active = (
        progress.active[:count]
        if number + 1 == progress.validations
        else ~np.isnan(progress.log[number + 1, 0, :count])
    )
    return Validation(int(np.nanmax(epoch)), train_loss, loss, accuracy, int(active.sum()), speed)


def _shown(validation: Validation, earliest_end: int) -> dict[str, str]:
    """A validation on the progress bar: means over the runs that have not ended before."""

    def mean(values: np.ndarray) -> str:
        return f"{np.nanmean(values):.4f}" if np.isfinite(values).any() else "nan"

    return {
        "finished": f"{len(validation.train_loss) - validation.running}/{len(validation.train_loss)}",
        "loss": mean(validation.train_loss),
        "validation": mean(validation.validation_loss),
        "accuracy": mean(validation.validation_accuracy),
        "steps/s": f"{validation.steps_per_second:.0f}",
        "ends": f"epoch {earliest_end} or later",
    }


class Predicted(NamedTuple):
    """What the parameters of a run make of some clips; values at padded frames mean nothing."""

    probabilities: Float[np.ndarray, "_ t"]
    """P(bona fide) at every frame."""
    logits: Float[np.ndarray, "_ t"]
    """Of P(bona fide), finite where the probability is rounded to 0 or 1."""


def predict(
    architecture: Architecture,
    params: Params,
    clips: Clips,
    rows: Sequence[Int[np.ndarray, " _"]],
    batch_size: int = 64,
    *,
    settings: Training = Training(),  # noqa: B008, frozen
) -> list[Predicted]:
    """P(bona fide) and its logit at every frame of the clips `rows[r]`, by the parameters of run r.

    The batch shape is fixed and padded, so that a clip's score does not depend on which clips come with it.

    Args:
        architecture: Of all runs.
        params: Each leaf with a leading axis of runs.
        clips: What the rows point into.
        rows: Of every run.
        batch_size: Clips computed at once for a run.
        settings: Say which features are streamed, how much at a time, and the temperature.
    """
    order = batched(rows, batch_size, 1)
    loss = Loss(settings.temperature)
    form = Form(clips.own, same_rows=False, one_by_one=one_by_one(architecture), loss=loss)
    mesh = devices.one_device()
    placed = streaming.place(clips, mesh, settings.resident_mb)
    params = devices.place(params, mesh)
    found = [Predicted(*np.empty((2, len(row), clips.mask.shape[1]), np.float32)) for row in rows]
    name = f"{type(architecture).__module__} {architecture} {form}"
    start = 0
    for part, own in streaming.parts(placed, order, 0, mesh, settings.part_mb << 20):
        program = partial(_probabilities, architecture, form)
        outputs = map(np.asarray, run_kept(name, program, params, part, own[0], code=type(architecture)))
        for kind, of_runs in enumerate(outputs):
            for run, each in zip(found, of_runs, strict=True):
                # In place: beyond a part, no run's scores are padded to the longest one's.
                own_part = run[kind][start : start + own.shape[2] * batch_size]
                own_part[:] = each.reshape(-1, each.shape[-1])[: len(own_part)]
        start += own.shape[2] * batch_size
    return found


def chunk_size(architecture: Architecture, runs: int, clips: Clips, settings: Training) -> int:
    """How many runs of this kind the devices' memory holds at once, at least one; by estimate."""
    _, frames, width = clips.features.shape[-3:]
    count = weights(architecture)
    # Weights, two moments, the best, gradients, updates and what a step writes anew; then a batch's features, gates
    # and states, forth and back.
    run = 4 * (8 * count + settings.batch_size * frames * (2 * width + architecture.frame_floats))
    size, shared = streaming.size(clips.features), 0
    cores = jax.device_count() if devices.are_cores() else 1
    there = isinstance(clips.features, jax.Array)
    own = size // clips.features.shape[0] if clips.own else 0
    if not there and (own or size) > streaming.limit(settings.resident_mb):
        shared = 3 * settings.part_mb << 20
    elif own:
        run += own
    else:
        # Cores share the memory of their copies, of which the first may be there already.
        shared = size * (cores - there) // cores
    room = devices.least(int(0.8 * device_memory.free_memory()) - shared)
    # Cores divide runs alone. Other devices, if not told, may share batches instead, and then each holds all runs.
    across = 1 if settings.mapping == "pmap" else settings.run_devices or cores
    return int(min(runs, max(1, room // run * across)))


@partial(jax.jit, static_argnums=(0, 1))
def _probabilities(
    architecture: Architecture, form: Form, params: Params, clips: Clips, order: Any
) -> tuple[jax.Array, jax.Array]:
    return steps.probabilities(architecture, form, params, clips, order)


def _terminate(checkpoints: Checkpoints | None, done: int, kept: Callable[[], Any], number: int) -> None:
    if checkpoints:
        checkpoints.save(done, kept())
    raise TerminatedError("the training was saved" if checkpoints else "nothing was to be saved", number)


def _check(runs: Sequence[Run], labels: Int[np.ndarray, " n"]) -> None:
    if not runs:
        raise UserError("there is nothing to train: no protocol gave a run")
    for run in runs:
        for part, indices in (("training", run.train), ("validation", run.validation)):
            found = set(np.unique(labels[indices]).tolist())
            missing = [name for name, label in (("bona fide", 1), ("attack", 0)) if label not in found]
            if missing:
                raise UserError(f"run {run.name}: its {part} clips hold no {' and no '.join(missing)} video")
