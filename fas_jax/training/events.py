"""Learning curves as TensorBoard event files, without TensorFlow.

Messages and records are TensorBoard's own. The libraries that write whole files keep a thread for every run, and some
an open file too, and they begin another file after every interruption; here hundreds of runs are written side by side,
and a curve that goes on is appended to.
"""

import io
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from fas_jax.base.files import plain_name, write_json
from fas_jax.training.fitting import Validation

_NAME = "events.out.tfevents.0.fas_jax"
RATE = "rate.json"
"""Beside the curves of a program: how fast it was, and where, for estimates of what a training will take."""
# Seconds for which curves wait in memory, so that many runs cost few writes; what a kill takes away is written again
# from the checkpoint.
_WAIT = 10.0


class EventFiles:
    """Writes what is seen of a program's runs; a `Watcher`, to be used in a `with` block.

    Validations that are in the files already, as after a training that was killed, are not written again.

    Args:
        folder: Gets a folder for each run, `PROGRAM/RUN`, and `programs/PROGRAM` for what they share.
        program: Its name.
        runs: Their names.
        about: What goes into `RATE` beside the median of the steps a second, JSON-able; without it, there is no such
            file.
    """

    def __init__(self, folder: Path, program: str, runs: Sequence[str], about: Mapping[str, Any] | None = None) -> None:
        self._files = [_EventFile(Path(folder) / plain_name(program) / plain_name(name) / _NAME) for name in runs]
        self._place = Path(folder) / "programs" / plain_name(program)
        self._shared = _EventFile(self._place / _NAME)
        self._about, self._speeds = about, list[float]()
        self._written = time.monotonic()

    def __call__(self, validation: Validation) -> None:
        for number, file in enumerate(self._files):
            file.add(
                validation.epoch,
                {
                    "loss/train": validation.train_loss[number],
                    "loss/validation": validation.validation_loss[number],
                    "accuracy/validation": validation.validation_accuracy[number],
                },
            )
        if np.isfinite(validation.steps_per_second):
            self._speeds.append(float(validation.steps_per_second))
        finished = len(self._files) - validation.running
        self._shared.add(validation.epoch, {"steps per second": validation.steps_per_second, "runs finished": finished})
        if time.monotonic() - self._written > _WAIT:
            self._write()

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()
        if self._about is not None and self._speeds:
            # The first one compiles.
            speed = float(np.median(self._speeds[1:] or self._speeds))
            write_json(self._place / RATE, {**self._about, "steps_per_second": speed})

    def _write(self) -> None:
        for file in (*self._files, self._shared):
            file.write()
        self._written = time.monotonic()


class _EventFile:
    """One curve's file; what is added reaches it with `write`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = io.BytesIO()
        self._records = RecordWriter(self._waiting)
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.read_bytes() if path.exists() else b""
        whole, self._last = _scan(known)
        if whole < len(known):
            with path.open("rb+") as file:
                file.truncate(whole)
        if not whole:
            self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values of a step that is not in the file yet; NaN is no value."""
        known = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if not np.isnan(value)]
        if step > self._last and known:
            self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=known)))
            self._last = step

    def write(self) -> None:
        if content := self._waiting.getvalue():
            with self._path.open("ab") as file:
                file.write(content)
            self._waiting.seek(0)
            self._waiting.truncate()

    def _add(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def _scan(data: bytes) -> tuple[int, int]:
    """Bytes of whole records, after which a kill may have left half a one, and the last one's step; -1 if none.

    A record is a length, its checksum, an event of that length, and a checksum.
    """
    end, step = 0, -1
    while end + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, end)
        if end + length + 16 > len(data):
            break
        step = Event.FromString(data[end + 12 : end + 12 + length]).step
        end += length + 16
    return end, step
