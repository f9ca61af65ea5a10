"""Frames of clips of prepared datasets, read and decoded when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int, UInt8

from fas_jax.base.errors import UserError
from fas_jax.datasets.loading import FrameClips


@dataclass(frozen=True, eq=False)
class StoredFrames:
    """The frames of n clips in one rendition. Can be pickled; any thread may read, also several at once."""

    parts: tuple[FrameClips, ...]
    """The datasets that hold them."""
    part: Int[np.ndarray, " n"]
    """In which of the datasets each clip lies."""
    place: Int[np.ndarray, " n"]
    """Where in it."""
    mask: Bool[np.ndarray, "n t"]
    """True at real frames, which are the first of a clip."""
    size: int
    """Side of a frame in pixels."""
    burst: int = 1
    """Above 1, a clip's frames are bursts of so many consecutive frames, one after the other."""

    def __len__(self) -> int:
        return len(self.place)

    def frame(self, row: int, number: int) -> UInt8[np.ndarray, "h w 3"]:
        """One frame of a clip, RGB; of a clip with t frames, `number` is 0 to t - 1.

        Raises:
            UserError: The stored frame is damaged or of another size.
        """
        return self.some(row, [number])[0]

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        """As `frame`, several frames of a clip, which is read once."""
        return self._checked(row, self.parts[self.part[row]].frames(int(self.place[row]), numbers))

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m t h w 3"]:
        """All frames of some clips, zero where there is none.

        Raises:
            UserError: A stored frame is damaged or of another size.
        """
        found = np.zeros((len(rows), self.mask.shape[1], self.size, self.size, 3), np.uint8)
        for target, row in zip(found, np.asarray(rows).tolist(), strict=True):
            count = int(self.mask[row].sum())
            if count:
                target[:count] = self.some(row, range(count))
        return found

    def only(self, kept: Bool[np.ndarray, "n t"]) -> "StoredFrames":
        """The same clips with some of their frames, as if they had no others; `kept` is false where there is none."""
        count = kept.sum(1)
        mask = np.arange(kept.shape[1]) < count[:, None]
        numbers = tuple(np.flatnonzero(row) for row in kept)
        return _SomeFrames(self.parts, self.part, self.place, mask, self.size, self.burst, whole=self, numbers=numbers)

    def _checked(self, row: int, frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The frames, which must have the rendition's size."""
        for frame in frames:
            if frame.shape != (self.size, self.size, 3):
                height, width = frame.shape[:2]
                raise UserError(
                    f"{self.parts[self.part[row]].where} holds a frame of {width}x{height} pixels in place of "
                    f"{self.size}x{self.size}; prepare again"
                )
        return frames


@dataclass(frozen=True, eq=False)
class _SomeFrames(StoredFrames):
    whole: StoredFrames = field(kw_only=True)
    numbers: tuple[Int[np.ndarray, " _"], ...] = field(kw_only=True)
    """Of each clip's frames, in `whole`."""

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        return self.whole.some(row, self.numbers[row][list(numbers)].tolist())
