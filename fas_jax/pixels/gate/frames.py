"""Which frames of a video the gate checks. Imports no JAX."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.record import RenditionInfo
from fas_jax.base.rendition import Rendition
from fas_jax.pixels.crops import render
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.renditions import FollowingRendition, RenditionMaker, colour


def gate_rendition(read: Rendition, settings: Gate) -> Rendition:
    """Whole frames in native pixels, of those from which a detector's rendition takes its own.

    They are spread over these; or where the rendition keeps the first ones (`cap`), they are the last ones in which it
    looks for a frame to keep, as in a session that ends with them.

    Args:
        read: The rendition of the detector.
        settings: With the largest number of frames.
    """
    kept = read.bursts if read.burst > 1 else read.max_frames
    if kept and read.cap == "first" and read.burst == 1:
        return LatestRendition(
            segment=read.segment,
            seconds=read.seconds,
            position=read.position,
            max_frames=kept,
            cap="first",
            crop="whole",
            size=0,
            read=read,
            latest=settings.frames,
        )
    return Rendition(
        segment=read.segment,
        seconds=read.seconds,
        position=read.position,
        max_frames=min(kept or settings.frames, settings.frames),
        crop="whole",
        size=0,
    )


@dataclass(frozen=True)
class LatestRendition(FollowingRendition):
    """The last frames that are offered to a rendition which keeps the first ones: those without a face, too."""

    latest: int = 1
    """Largest number of these frames; no more are held."""

    def maker(self, read: RenditionMaker) -> RenditionMaker:
        return _LatestMaker(self, read)


class _LatestMaker(RenditionMaker):
    """Stops where the followed rendition has all its frames, or fails."""

    def __init__(self, rendition: LatestRendition, read: RenditionMaker) -> None:
        # Where the other one cannot be made at all, its candidates are seen as if it kept them.
        super().__init__(rendition, None if read.reason else read.locate)
        self._no_face_leads_to = rendition.read.no_face
        self._latest: deque[tuple[int, UInt8[np.ndarray, "h w 3"]]] = deque(maxlen=rendition.latest)
        self._taken: set[int] = set()
        self._failed = False

    def add(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Holds a frame, and finds out whether the followed rendition keeps it."""
        if self._failed:
            return
        self._latest.append((index, render(image, None, self.settings)))
        if self.locate is None or self.locate(index, image) or self._no_face_leads_to == "whole":
            self._taken.add(index)
        # No reason of this rendition: the gate says what it sees until there.
        self._failed = index not in self._taken and self._no_face_leads_to == "fail"

    def has(self, index: int) -> bool:
        return self._failed or index in self._taken

    def made(self) -> tuple[RenditionInfo, Any]:
        if self.reason:
            return super().made()
        frames = [frame for _, frame in self._latest]
        return RenditionInfo(frame_indices=tuple(index for index, _ in self._latest), colour=colour(frames)), frames
