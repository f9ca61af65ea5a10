"""Learning curves as TensorBoard event files, without TensorFlow.

A file is a chain of records in TensorFlow's framing (length, its checksum, data, their checksum), each a protocol
buffer `Event` (tensorboard/compat/proto/event.proto and summary.proto). The libraries that write such files keep a
thread and an open file for every run, and begin another file after every interruption; here hundreds of runs are
written side by side, and a curve that goes on is appended to.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np

from fas_jax.base.files import plain_name
from fas_jax.training.fitting import Validation

_NAME = "events.out.tfevents.0.fas_jax"
# Seconds for which curves wait in memory, so that many runs cost few writes; what a kill takes away is written again
# from the checkpoint.
_WAIT = 10.0


class EventFiles:
    """Writes what is seen of a program's runs; a `Watcher`, to be used in a `with` block.

    Looks that are in the files already, as after a training that was killed, are not written again.

    Args:
        folder: Gets a folder for each run, `PROGRAM/RUN`, and `programs/PROGRAM` for what they share.
        program: Its name.
        runs: Their names.
    """

    def __init__(self, folder: Path, program: str, runs: Sequence[str]) -> None:
        self._files = [_EventFile(Path(folder) / plain_name(program) / plain_name(name) / _NAME) for name in runs]
        self._shared = _EventFile(Path(folder) / "programs" / plain_name(program) / _NAME)
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
        finished = len(self._files) - validation.running
        self._shared.add(validation.epoch, {"steps per second": validation.steps_per_second, "runs finished": finished})
        if time.monotonic() - self._written > _WAIT:
            self._write()

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()

    def _write(self) -> None:
        for file in (*self._files, self._shared):
            file.write()
        self._written = time.monotonic()


class _EventFile:
    """One curve's file; what is added reaches it with `write`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = bytearray()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.read_bytes() if path.exists() else b""
        whole, self._last = _scan(known)
        if whole < len(known):
            with path.open("rb+") as file:
                file.truncate(whole)
        if not whole:
            self._waiting += _record(_event(0, version="brain.Event:2"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values of a step that is not in the file yet; NaN is no value."""
        known = {tag: float(value) for tag, value in values.items() if not np.isnan(value)}
        if step > self._last and known:
            self._waiting += _record(_event(step, known))
            self._last = step

    def write(self) -> None:
        if self._waiting:
            with self._path.open("ab") as file:
                file.write(self._waiting)
            self._waiting.clear()


def _scan(data: bytes) -> tuple[int, int]:
    """Bytes of whole records, after which a kill may have left half a one, and the last one's step; -1 if none."""
    end, step = 0, -1
    while end + 12 <= len(data):
        length, checksum = struct.unpack_from("<QI", data, end)
        if checksum != _masked_crc(data[end : end + 8]) or end + length + 16 > len(data):
            break
        # Of our own events: tag and time, tag and step.
        step, shift = 0, 0
        for byte in data[end + 12 + 10 :]:
            step |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        end += length + 16
    return end, step


def _event(step: int, values: Mapping[str, float] | None = None, version: str = "") -> bytes:
    """`Event`: wall_time = 1, step = 2, file_version = 3, summary = 5; `Summary.Value`: tag = 1, simple_value = 2."""
    data = struct.pack("<Bd", 1 << 3 | 1, time.time()) + b"\x10" + _varint(step)
    if version:
        data += _field(3, version.encode())
    fields = (_field(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | 5, value) for tag, value in (values or {}).items())
    return data + _field(5, b"".join(_field(1, field) for field in fields)) if values else data


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _masked_crc(data: bytes) -> int:
    """CRC-32C (RFC 3720), rotated and shifted as TFRecord wants it."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ 0x82F63B78 * (value & 1) for value in table]
    return table
