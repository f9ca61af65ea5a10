"""What methods make of every clip's frames, for methods that read scores."""

import dataclasses
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int

from fas_jax.base.errors import UserError

# Clips that are read or written while the file is mapped.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class FrameScores:
    """P(bona fide) at every frame of n clips by the detectors of r tasks: in memory, or in a file."""

    place: "Path | np.ndarray"
    """A file of float32 [n r t], in which a clip's numbers lie together, or the array."""
    tasks: int
    mask: Bool[np.ndarray, "n t"]
    """True at frames that are scored."""

    @classmethod
    def in_file(cls, path: Path, tasks: int, mask: Bool[np.ndarray, "n t"]) -> "FrameScores":
        """A new file of zeros.

        Raises:
            UserError: There is no room for it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        size = mask.size * tasks * np.dtype(np.float32).itemsize
        try:
            with path.open("wb") as file:
                _claim(file, size)
        except OSError as error:
            raise UserError(
                f"{path.parent} has no room for {size / 1e6:,.0f} MB of out-of-fold scores: {error.strerror}"
            ) from error
        return cls(path, tasks, mask)

    @classmethod
    def in_memory(cls, tasks: int, mask: Bool[np.ndarray, "n t"]) -> "FrameScores":
        """Zeros in memory."""
        return cls(np.zeros((mask.shape[0], tasks, mask.shape[1]), np.float32), tasks, mask)

    def put(self, task: int, rows: Int[np.ndarray, " m"], scores: Float32[np.ndarray, "m t"]) -> None:
        """Writes the scores of some clips by the detectors of a task; NaN at padded frames becomes 0."""
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            own = scores[part]
            # What is no number at a padded frame would reach the gradients of a stack, whatever its mask says.
            meaningless = np.isnan(own) & ~self.mask[rows[part]]
            self._all("r+")[rows[part], task] = np.where(meaningless, 0, own)

    def of_task(self, task: int, rows: Int[np.ndarray, " m"]) -> Float32[np.ndarray, "m t"]:
        """The scores of some clips by the detectors of a task."""
        return np.array(self._all("r")[rows, task])

    def read(self, rows: Int[np.ndarray, " m"], tasks: Int[np.ndarray, " r"]) -> Float32[np.ndarray, "r m t"]:
        """The scores of some clips by the detectors of some tasks."""
        return np.array(self._all("r")[rows[:, None], tasks[None]].swapaxes(0, 1))

    def _all(self, mode: Literal["r", "r+"]) -> np.ndarray:
        if isinstance(self.place, np.ndarray):
            return self.place
        shape = (self.mask.shape[0], self.tasks, self.mask.shape[1])
        if not int(np.prod(shape)) > 0:
            return np.zeros(shape, np.float32)
        # Mapped for one use, or all that was ever used would count as this process's memory.
        return np.memmap(self.place, np.float32, mode, shape=shape)


@dataclass(frozen=True, eq=False)
class StackedScores:
    """P(attack) and P(bona fide) of several methods as vectors, float32 [r n t d]: a `streaming.FeatureSource`.

    Each of r tasks has its own.
    """

    methods: tuple[FrameScores, ...]
    tasks: tuple[int, ...]
    combine: Literal["concat", "sum"]

    @property
    def mask(self) -> Bool[np.ndarray, "n t"]:
        """True where every method scores the frame."""
        shapes = {scores.mask.shape for scores in self.methods}
        if len(shapes) > 1:
            raise UserError("a stack over frames needs methods that read the same frames; give them one rendition")
        return np.logical_and.reduce([scores.mask for scores in self.methods])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[r n t d]."""
        width = 2 * len(self.methods) if self.combine == "concat" else 2
        clips, frames = self.methods[0].mask.shape
        return len(self.tasks), clips, frames, width

    @property
    def dtype(self) -> np.dtype:
        """Float32."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> Float32[np.ndarray, "r m t d"]:
        """The vectors of some clips."""
        runs, _, frames, width = self.shape
        found = np.zeros((runs, len(rows), frames, width), np.float32)
        tasks = np.array(self.tasks)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            for number, scores in enumerate(self.methods):
                own = scores.read(np.asarray(rows[part]), tasks)
                column = 2 * number if self.combine == "concat" else 0
                found[:, part, :, column] += 1 - own
                found[:, part, :, column + 1] += own
        return found

    def of_runs(self, runs: Int[np.ndarray, " k"]) -> "StackedScores":
        """Some of the tasks, by their places in `tasks`."""
        return dataclasses.replace(self, tasks=tuple(self.tasks[run] for run in np.asarray(runs).tolist()))


def _claim(file: Any, size: int) -> None:
    file.truncate(size)
    # At once: a disk that is full ends a process that writes to a mapped file without a word. Some systems and file
    # systems cannot.
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
