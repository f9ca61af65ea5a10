"""Which frames of a video are kept, by their number or by their time, and how they are seen after the video's end."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.rendition import Rendition

Item = TypeVar("Item")
Show = Callable[[int, UInt8[np.ndarray, "h w 3"]], None]
"""Takes a frame: its index and its BGR pixels."""

# Full frames of a video that wait for its end, in bytes: 41 of 1920x1080. What is beyond is decoded again.
HELD_BYTES = 256 << 20
# Containers round times, Matroska to milliseconds: by so many two times may be nearer to each other than they were.
ROUNDING_MS = 1


@dataclass(frozen=True)
class Frames:
    """A video whose end is known, and whose frames can be shown in any number of rounds."""

    count: int
    times: Sequence[float]
    """Of every frame, in seconds, rising; empty where they are not known."""
    show: Callable[[Collection[int], Show], None]
    """Shows the frames with these indices in rising order."""


class Watcher:
    """Sees the frames of a video as they are decoded; of its own, it wants none."""

    reason = ""
    """Why it wants no frame any more."""

    def wants(self, index: int, last_from: int) -> bool:
        """Whether to `show` the frame with this index; frames from `last_from` on may be the video's last."""
        return False

    def show(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Takes a frame that is wanted."""

    def end(self) -> None:
        """To be called after the video's last frame was shown."""


class Chosen(Watcher):
    """Hands on the frames with some indices."""

    def __init__(self, indices: Collection[int], show: Show) -> None:
        self._indices, self._show = frozenset(indices), show

    def wants(self, index: int, last_from: int) -> bool:
        return index in self._indices

    def show(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self._show(index, image)


class Held(Watcher):
    """Holds the frames that may be kept until the video's end tells which are, as far as they fit into `HELD_BYTES`."""

    def __init__(self, renditions: Iterable[Rendition]) -> None:
        """`renditions` choose afterwards; nothing is held for those that skip by time, whose frame any may be, and for
        those of bursts, which would take too much memory."""
        self._offsets = [
            (each.segment, offset_in(each.segment, each.position))
            for each in renditions
            if not each.seconds and each.burst == 1
        ]
        self._images: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
        self._bytes = 0
        self._last: tuple[int, UInt8[np.ndarray, "h w 3"]] | None = None

    def wants(self, index: int, last_from: int) -> bool:
        # The first frame tells the size where no other watcher wants a frame.
        if index == 0 or (index >= last_from and self._is_candidate(index, at_end=True)):
            return True
        return self._bytes < HELD_BYTES and self._is_candidate(index)

    def show(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        if self._is_candidate(index) and self._bytes < HELD_BYTES:
            self._images[index] = image
            self._bytes += image.nbytes
        self._last = index, image

    def frames(self, count: int, times: Sequence[float], again: Callable[[Watcher], object]) -> Frames:
        """The frames, `again` decoding the video once more for a watcher where some that are asked for are not held."""
        images = self._images | dict([self._last] if self._last else [])

        def show(indices: Collection[int], to: Show) -> None:
            if all(index in images for index in indices):
                for index in sorted(indices):
                    to(index, images[index])
            else:
                again(Chosen(indices, to))

        return Frames(count, times, show)

    def _is_candidate(self, index: int, at_end: bool = False) -> bool:
        places = ((index % segment, offset) for segment, offset in self._offsets)
        return any(within == offset or (at_end and within < offset) for within, offset in places)


def kept_indices(frame_count: int, segment: int, position: str, max_frames: int) -> list[int]:
    """Zero-based indices of the frames that are kept of a video, rising.

    Of each segment of `segment` frames, the incomplete last one included, the frame at `position` is kept, or the
    video's last frame where the segment ends before that (paper, eq. 1: frame min(30 k, V) of segment k,
    one-based, for "last"). More than `max_frames` are thinned evenly; 0 keeps all.
    """
    offset = offset_in(segment, position)
    return spread([min(start + offset, frame_count - 1) for start in range(0, frame_count, segment)], max_frames)


def indices_by_time(times: Sequence[float], seconds: float, position: str) -> list[int]:
    """As `kept_indices`, where a segment lasts `seconds` from the first frame's time on; nothing is thinned.

    A segment without a frame gives none. At a constant rate the indices are those of the segment of as many frames.

    Args:
        times: Of every frame, in seconds, rising.
        seconds: Length of a segment.
        position: Which of a segment's frames: the first, the last, or the last before its middle.
    """
    length = 1000 * seconds
    passed = [round(1000 * (time - times[0])) for time in times]
    segments: dict[int, list[int]] = {}
    for index, time in enumerate(times):
        segments.setdefault(segment_at(time, times[0], seconds), []).append(index)
    kept = []
    for number, indices in segments.items():
        before = [index for index in indices if passed[index] < (number + 0.5) * length - ROUNDING_MS]
        kept.append(
            {"first": indices[0], "middle": before[-1] if before else indices[0], "last": indices[-1]}[position]
        )
    return kept


def bursts_around(indices: Sequence[int], length: int, frame_count: int) -> list[range]:
    """Bursts of consecutive frames around some frames of a video, rising; no two share a frame.

    Args:
        indices: Of these frames, rising. Each lies in the middle of its burst (the earlier of two middles), or as near
            to it as the video's first and last frame allow. A burst that would overlap the one before it is left out.
        length: Frames of a burst.
        frame_count: Of the video; fewer than `length` give no burst.
    """
    found: list[range] = []
    for index in indices if frame_count >= length else ():
        start = min(max(index - (length - 1) // 2, 0), frame_count - length)
        if not found or start >= found[-1].stop:
            found.append(range(start, start + length))
    return found


def told_times(milliseconds: Sequence[float], fps: float) -> list[float]:
    """Times in seconds, rising, from a decoder's; empty if it tells none.

    Args:
        milliseconds: Of every frame; 0 after the first stands for a time that is not told, as AVI has for the frames
            that the decoder gives last: such a frame follows the one before it at the container's rate.
        fps: The container's rate; 0 where it names none.
    """
    if len(milliseconds) > 1 and not any(milliseconds):
        return []
    times: list[float] = []
    for index, time in enumerate(milliseconds):
        if index and not time:
            times.append(times[-1] + (1 / fps if fps else 0.0))
        else:
            times.append(max(time / 1000, times[-1] if times else -math.inf))
    return times


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spread from the first to the last (the middle one, if `most` is 1)."""
    count = len(items)
    if most == 0 or count <= most:
        return list(items)
    if most == 1:
        return [items[(count - 1) // 2]]
    # Round half up in integers: floating-point rounding must not differ between machines.
    return [items[(2 * k * (count - 1) + most - 1) // (2 * (most - 1))] for k in range(most)]


def middles(count: int, most: int) -> list[int]:
    """The middle places of `most` equal parts of `count` places, so that one place is the middle one; all, if fewer."""
    parts = min(count, most)
    return [int((part + 0.5) * count / parts) for part in range(parts)]


def fill(count: int, most: int, kept: Callable[[Sequence[int]], Mapping[int, bool]]) -> None:
    """Offers candidates until `most` of them are kept or none is left: evenly spread ones, then their neighbours.

    For each of the spread candidates that is not kept, the nearest one that was not offered yet is offered in its place
    (of two as near, the earlier), again and again.

    Args:
        count: The number of candidates.
        most: How many are to be kept; 0 for all that can be.
        kept: Takes the numbers of the candidates of a round and says of each whether it is kept.
    """
    round_ = {place: place for place in spread(range(count), most)}
    left = set(range(count)) - round_.keys()
    while round_:
        found = kept(sorted(round_.values()))
        places = [place for place, candidate in round_.items() if not found[candidate]]
        round_ = {}
        for place in places[: len(left)]:
            nearest = min(left, key=lambda candidate: (abs(candidate - place), candidate))
            left.remove(nearest)
            round_[place] = nearest


def fill_in_order(count: int, most: int, kept: Callable[[Sequence[int]], Mapping[int, bool]]) -> None:
    """As `fill`, with the first candidates that are kept: each that is not is replaced by the next one."""
    start, lack = 0, most or count
    while start < count and lack:
        found = kept(range(start, min(start + lack, count)))
        start, lack = start + len(found), lack - sum(found.values())


def kept_of(items: Sequence[Item], rendition: Rendition) -> list[Item]:
    """Those of a video's frames, in order, that the rendition's cap keeps."""
    if rendition.burst == 1 and rendition.cap == "first":
        return list(items[: rendition.max_frames or None])
    return spread(items, rendition.most_kept)


def segment_at(time: float, start: float, seconds: float) -> int:
    """The number of the segment of so many seconds in which a time lies, where the first begins at `start`."""
    return math.floor((round(1000 * (time - start)) + ROUNDING_MS) / (1000 * seconds))


def offset_in(segment: int, position: str) -> int:
    """The index within a segment of so many frames of the one at `position`."""
    return {"first": 0, "middle": (segment - 1) // 2, "last": segment - 1}[position]
