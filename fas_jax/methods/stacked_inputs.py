"""What the meta-learner sees of each clip: the base models' probabilities, each run's own."""

import dataclasses
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int

from fas_jax.base.errors import UserError

# Clips that are read or written while the file is mapped.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class StackedInputs:
    """Float32 [r n t d] in a file; a `streaming.FeatureSource` of which each run has its own."""

    file: Any
    """Of [n runs t d]: a clip's numbers lie together."""
    stored: tuple[int, int, int, int]
    runs: Int[np.ndarray, " r"]
    """Which of the runs that are stored."""

    @classmethod
    @contextmanager
    def scratch(cls, shape: tuple[int, ...], folder: Path) -> "Iterator[StackedInputs]":
        """Zeros [r n t d] in a file without a name in `folder`, which ends with the block.

        Raises:
            UserError: There is no room for it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        runs, clips, frames, width = shape
        size = int(np.prod(shape)) * np.dtype(np.float32).itemsize
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                _claim(file, size)
            except OSError as error:
                raise UserError(
                    f"{folder} has no room for {size / 1e6:,.0f} MB, which the meta-learner's inputs take while it is "
                    f"trained: {error.strerror}"
                ) from error
            yield cls(file, (clips, runs, frames, width), np.arange(runs))

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
            found[:, part] = self._mapped("r")[rows[part, None], self.runs].swapaxes(0, 1)
        return found

    def of_runs(self, runs: Int[np.ndarray, " k"]) -> "StackedInputs":
        """Some of the runs, by their places in `runs`."""
        return dataclasses.replace(self, runs=self.runs[runs])

    def add(self, run: int, rows: Int[np.ndarray, " m"], column: int, scores: Float[np.ndarray, "m t"]) -> None:
        """As `add_scores`, to the inputs of one of the runs that are stored."""
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            add_scores(self._mapped("r+")[:, run], rows[part], column, scores[part])

    def _mapped(self, mode: Literal["r", "r+"]) -> np.ndarray:
        # For one use, or all that was ever used would count as this process's memory.
        return np.memmap(self.file, np.float32, mode, shape=self.stored)


def _claim(file: Any, size: int) -> None:
    file.truncate(size)
    # At once: a disk that is full ends a process that writes to a mapped file without a word. Some systems and file
    # systems cannot.
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def add_scores(
    inputs: Float32[np.ndarray, "n t d"],
    rows: Int[np.ndarray, " m"],
    column: int,
    scores: Float[np.ndarray, "m t"],
) -> None:
    """Adds P(attack) of some clips to a column, and P(bona fide) to the next; no clip comes twice."""
    inputs[rows, :, column] += 1 - scores
    inputs[rows, :, column + 1] += scores
