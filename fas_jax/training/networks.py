"""The loop for a network on frames: one training on all devices, with validations, checkpoints and their resumption."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution, Training
from fas_jax.datasets.loading import made_ahead, prefetched
from fas_jax.runtime import devices
from fas_jax.runtime.interruption import TerminatedError, termination
from fas_jax.runtime.progress import progress_bar
from fas_jax.training import network_steps, out_of_memory
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.fitting import Validation, Watcher
from fas_jax.training.freezing import NOTHING, Frozen
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.network_steps import State
from fas_jax.training.objectives import Objective
from fas_jax.training.profiling import traced_steps
from fas_jax.training.stopping import Progress, Validated

_AHEAD = 2
"""Batches that wait on the devices."""
_NO_LOSS, _ONE = np.full(1, np.nan, np.float32), np.ones((2, 1), int)
_NOTHING = Validated(_NO_LOSS, _NO_LOSS, 0 * _ONE, _ONE, _ONE)
"""What validation says of parameters that are no numbers."""


@dataclass(frozen=True)
class Trained:
    """What a training found."""

    params: Any
    """The best by validation, averaged where that was asked for."""
    stats: Any
    best_step: int
    failed: int
    """The step whose loss or gradient was not finite any more, or after which validation's was not; training ended
    there. 0 where there was none."""
    history: dict[str, np.ndarray]
    """`epoch` [k], the steps of the validations, and `train_loss`, `validation_loss`, `validation_accuracy` [k 1]."""
    waited: float
    """Share of the time in which the devices had nothing to do because no batch was ready; NaN without a step."""


def train_network(
    objective: Objective,
    params: Any,
    stats: Any,
    batches: Callable[[int], Mapping[str, np.ndarray]],
    validate: Callable[[Any, Any], Validated],
    settings: NetworkTraining,
    execution: Execution,
    seed: int,
    checkpoints: Checkpoints | None = None,
    *,
    title: str = "",
    watch: Watcher | None = None,
    frozen: Frozen = NOTHING,
) -> Trained:
    """Trains until the last step, or until validation has not been better for as long as `settings.patience` says.

    Args:
        objective: The network with its loss.
        params: To begin with; `backbone` and whatever else trains.
        stats: Running statistics to begin with.
        batches: From a step's number, which counts from 0, to its batch; pure. Arrays [b ...] with equal b.
        validate: From parameters and statistics to what the validation clips say of them; its training loss is ignored.
            Its loss is whatever is to become small, unless the accuracy is monitored.
        settings: Of the training.
        execution: How the machine is used.
        seed: Of what the objective draws.
        checkpoints: Where to save and from where to go on; on a CPU, an interrupted training that goes on ends with the
            same bits as an unbroken one. SIGTERM and SIGUSR1 save and end the program.
        title: For the progress bar and messages.
        watch: Is given what is seen at every validation, and what was seen before a resumption once more.
        frozen: What stays as it is.

    Raises:
        UserError: The devices and `accumulate` do not divide a batch, or a step does not fit into their memory.
        TerminatedError: After SIGTERM or SIGUSR1.
    """
    rule = Training(
        max_epochs=settings.steps,
        validate_every=settings.validate_every,
        patience=settings.patience,
        monitor="accuracy" if settings.monitor == "accuracy" else "loss",
    )
    state, best = network_steps.start(params, stats, settings, seed, frozen), (params, stats)
    progress, done = Progress.start(1, rule), 0
    if checkpoints and (found := checkpoints.restore(_kept(state, best, progress))):
        done, kept = found
        state, best = kept["state"], devices.fetch(kept["best"])
        progress = Progress(*map(np.array, kept["progress"]))
    first = batches(done)
    mesh = _mesh(first, settings, execution, title)
    step = network_steps.step_program(objective, settings, mesh, execution.mapping, frozen)
    hyper = devices.place(np.array([settings.learning_rate, settings.weight_decay], np.float32), mesh)
    state = devices.place(state, mesh)
    shapes = out_of_memory.shapes_of((state, _divided(first, mesh), hyper))
    advice = partial(out_of_memory.step_advice, objective, settings, mesh, execution.mapping, shapes, title, frozen)
    if watch:
        for before in range(progress.validations):
            watch(_seen(progress, before, np.nan))

    clock = _Clock()
    with (
        out_of_memory.told(advice),
        termination() as asked,
        traced_steps(Path(execution.profile) if execution.profile else None, title) as trace,
        contextlib.closing(_placed(batches, range(done, settings.steps), mesh, settings.loaders)) as stream,
        progress_bar(
            total=settings.steps, initial=done, desc=title, unit="step", disable=not devices.is_first()
        ) as bar,
    ):
        while done < settings.steps and progress.active.any():
            state, loss = step(state, clock.next(stream), hyper)
            clock.note(loss)
            trace(loss)
            done += 1
            bar.update()
            if not done % settings.validate_every or done == settings.steps:
                speed = clock.stop()
                averaged, total, failed = devices.fetch((state.averaged, state.loss, state.failed))
                # Once a loss was not finite, nothing that follows counts, even if it comes back to numbers.
                mean = np.nan if failed else total / (1 + (done - 1) % settings.validate_every)
                with out_of_memory.told(partial(out_of_memory.validation_advice, title)):
                    seen = _NOTHING if failed else validate(*averaged)
                seen = seen._replace(train_loss=np.array([mean], np.float32))
                if progress.update(done, seen, rule).any():
                    best = averaged
                state = state._replace(loss=devices.place(np.zeros((), np.float32), mesh))
                if watch:
                    watch(_seen(progress, progress.validations - 1, speed))
                shown = {"loss": mean, "validation": seen.loss[0], "waited": clock.waited}
                bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()}, refresh=False)
                if checkpoints and progress.validations % execution.checkpoint_every == 0:
                    checkpoints.save(done, _kept(state, best, progress))
                clock.go_on()
            if devices.any_process(asked.is_set()):
                if checkpoints:
                    checkpoints.save(done, _kept(state, best, progress))
                saved = "the training was saved" if checkpoints else "nothing was to be saved"
                raise TerminatedError(saved, asked.number)
    if devices.is_first() and np.isfinite(clock.waited):
        print(f"{title}: the devices waited for frames in {clock.waited:.0%} of the time", flush=True)
    # Parameters that are finite may still give scores that are none, in bfloat16 above all.
    failed = (int(devices.fetch(state.failed)) or int(progress.failed[0])) if progress.failed[0] else 0
    return Trained(*best, int(progress.best_epoch[0]), failed, progress.history(), clock.waited)


class _Clock:
    """Measures the time of the steps, and in how much of it the devices wait for input."""

    def __init__(self) -> None:
        self._waited = self._spent = 0.0
        self._start, self._steps = time.monotonic(), 0
        self._losses: list[jax.Array] = []

    @property
    def waited(self) -> float:
        """Share of the time of all steps; NaN if there was none."""
        return self._waited / self._spent if self._spent else np.nan

    def next(self, stream: Iterator[Any]) -> Any:
        """The next batch; the time until it is there counts as waiting if the step before has ended by then."""
        if len(self._losses) > 1:  # otherwise the host would run ahead of the devices
            jax.block_until_ready(self._losses.pop(0))
        start = time.monotonic()
        batch = next(stream)
        if not self._losses or self._losses[-1].is_ready():  # type: ignore[attr-defined]
            self._waited += time.monotonic() - start
        return batch

    def note(self, loss: jax.Array) -> None:
        """Takes what a step gives at its end."""
        self._losses.append(loss)
        self._steps += 1

    def stop(self) -> float:
        """Waits for the last step; returns the steps a second since the clock went on."""
        jax.block_until_ready(self._losses)
        spent = time.monotonic() - self._start
        self._spent += spent
        return self._steps / max(spent, 1e-9)

    def go_on(self) -> None:
        """Counts again, after something that was no step."""
        self._losses.clear()
        self._start, self._steps = time.monotonic(), 0


def _placed(
    batches: Callable[[int], Mapping[str, np.ndarray]], steps: range, mesh: Mesh, loaders: int
) -> Generator[Any, None, None]:
    """The steps' batches on the mesh, each device with its share; made and sent ahead."""

    def place(batch: Mapping[str, np.ndarray]) -> Any:
        return devices.place(_divided(batch, mesh), mesh, devices.BY_ROW)

    def source() -> Generator[Any, None, None]:
        with contextlib.closing(made_ahead(batches, steps, processes=loaders)) as made:
            for batch in made:
                yield place(batch)

    with contextlib.closing(prefetched(source(), _AHEAD)) as ahead:  # type: ignore[type-var]  # it is a generator
        yield from ahead


def _divided(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, np.ndarray]:
    """The batch's arrays with an axis of the devices that share it in front."""
    shares = mesh.shape[devices.DATA]
    return {name: values.reshape(shares, -1, *values.shape[1:]) for name, values in batch.items()}


def _mesh(batch: Mapping[str, np.ndarray], settings: NetworkTraining, execution: Execution, title: str) -> Mesh:
    """Of the devices that share a batch such as this one."""
    size = len(batch["slots"])
    mesh = devices.make_mesh(1, size, execution.run_devices)
    shares = mesh.shape[devices.DATA]
    if size % (shares * settings.accumulate):
        raise UserError(
            f"{title}: a batch of {size} frames has no equal parts for {shares} devices and accumulate "
            f"{settings.accumulate}; change per_class or accumulate"
        )
    return mesh


def _kept(state: State, best: Any, progress: Progress) -> dict[str, Any]:
    """What a checkpoint holds."""
    # As NumPy arrays: Orbax would wait without end for the other processes to write what lies on their own devices.
    return {"state": devices.fetch(state), "best": devices.fetch(best), "progress": progress}


def _seen(progress: Progress, number: int, speed: float) -> Validation:
    step, train_loss, loss, accuracy = progress.log[number]
    return Validation(int(step[0]), train_loss, loss, accuracy, int(progress.active.sum()), speed)
