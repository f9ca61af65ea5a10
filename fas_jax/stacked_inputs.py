"""What the meta-learner sees of each clip: the base models' probabilities, each run's own."""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int

# Clips that are read or written while the file is mapped.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class StackedInputs:
    """Float32 [r n t d], in memory or in a file; a `streaming.FeatureSource` of which each run has its own."""

    content: Any
    """Array or file of [n runs t d]: a clip's numbers lie together."""
    stored: tuple[int, int, int, int]
    runs: Int[np.ndarray, " r"]
    """Which of the runs that are stored."""

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "StackedInputs":
        """Of a shape [r n t d], in memory."""
        runs, clips, frames, width = shape
        stored = (clips, runs, frames, width)
        return cls(np.zeros(stored, np.float32), stored, np.arange(runs))

    @classmethod
    @contextmanager
    def scratch(cls, shape: tuple[int, ...], folder: Path) -> "Iterator[StackedInputs]":
        """As `zeros`, in a file without a name in `folder`, which ends with the block."""
        runs, clips, frames, width = shape
        folder.mkdir(parents=True, exist_ok=True)
        stored = (clips, runs, frames, width)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(int(np.prod(stored)) * np.dtype(np.float32).itemsize)
            yield cls(file, stored, np.arange(runs))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[r n t d]."""
        clips, _, frames, width = self.stored
        return len(self.runs), clips, frames, width

    @property
    def dtype(self) -> np.dtype:
        """Float32."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> Float32[np.ndarray, "r m t d"]:
        """The inputs of some clips."""
        found = np.empty((len(self.runs), len(rows), *self.stored[2:]), np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[:, part] = self._array("r")[rows[part]][:, self.runs].swapaxes(0, 1)
        return found

    def of_runs(self, runs: Int[np.ndarray, " k"]) -> "StackedInputs":
        """Some of the runs, by their places in `runs`."""
        return dataclasses.replace(self, runs=self.runs[runs])

    def add(self, run: int, rows: Int[np.ndarray, " m"], column: int, scores: Float[np.ndarray, "m t"]) -> None:
        """Adds P(attack) to a column of one run's inputs, and P(bona fide) to the next."""
        for start in range(0, len(rows), _BLOCK):
            own, values = rows[start : start + _BLOCK], scores[start : start + _BLOCK]
            array = self._array("r+")
            array[own, run, :, column] += 1 - values
            array[own, run, :, column + 1] += values

    def _array(self, mode: Literal["r", "r+"]) -> np.ndarray:
        if isinstance(self.content, np.ndarray):
            return self.content
        # Mapped for one use, or all that was ever used would count as this process's memory.
        return np.memmap(self.content, np.float32, mode, shape=self.stored)
