"""Frames of clips of prepared datasets, read and decoded when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        mask = np.arange(kept.shape[1]) < kept.sum(1)[:, None]
        return PickedFrames.of(self, np.argsort(~kept, axis=1, kind="stable"), mask)

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


@dataclass(frozen=True, eq=False, kw_only=True)
class PickedFrames(StoredFrames):
    """Some frames of the clips of another, in an order of their own."""

    source: StoredFrames
    """The frames, of which there may be more."""
    order: Int[np.ndarray, "n t"]
    """Which frame of a clip in the source each of its frames is."""

    @classmethod
    def of(cls, source: StoredFrames, order: Int[np.ndarray, "n t"], mask: Bool[np.ndarray, "n t"]) -> "PickedFrames":
        """Those frames of `source` that `order` names where the mask is true, which is so for a row's first ones."""
        return cls((), source.part, source.place, mask, source.size, source.burst, source=source, order=order)

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        """See `StoredFrames.some`."""
        return self.source.some(row, self.order[row, list(numbers)].tolist())
