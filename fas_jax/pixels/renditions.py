"""The renditions of a video, made in one pass over its frames: frame selection, crop, size; and what their keys are.

Each rendition has frames, frame indices and a reason of its own where it could not be made. What several of them need
of a frame, such as the search for a face, is done once.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.record import RenditionInfo, Source
from fas_jax.base.settings import Preparation, Rendition, check_names
from fas_jax.pixels.detection import Box, check_detector, identity
from fas_jax.pixels.faces import AnnotationError, box_at, cut, largest_face, read_boxes
from fas_jax.pixels.selection import Frames, Watcher, fill, indices_by_time, kept_indices, offset_in, spread

Locate = Callable[[int, UInt8[np.ndarray, "h w 3"]], Box | None]
"""From a frame's index and its BGR pixels to the face's box."""

# Raised when face crops are chosen otherwise for the same settings.
FACE_CHOICE = 2
# Settings without effect, by crop.
_UNUSED = {"whole": ("margin", "face_model", "no_face"), "annotation": ("face_model",), "detector": ()}
_NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)


def rendition_key(rendition: Rendition) -> dict[str, Any]:
    """What a rendition is, JSON-able: of one video, equal keys give the same frames.

    Settings without effect are left out, and the detector's file is named by its content.

    Raises:
        UserError: The detector's file is not there.
    """
    unused = {*_UNUSED[rendition.crop], "segment" if rendition.seconds else "seconds"}
    found = {name: value for name, value in key(rendition).items() if name not in unused}
    if "face_model" in found:
        found |= {"face_model": identity(rendition.face_model), "face_choice": FACE_CHOICE}
    return found


def preparation_key(settings: Preparation, renditions: Mapping[str, Rendition]) -> dict[str, Any]:
    """All settings that decide what is stored of a video, JSON-able."""
    return key(settings) | {"renditions": {name: rendition_key(each) for name, each in renditions.items()}}


def check_renditions(renditions: Mapping[str, Rendition]) -> None:
    """Raises `UserError` unless these can be made: names, ranges, and a detector that can be loaded."""
    check_names(renditions, "renditions")
    for name, rendition in renditions.items():
        for field, least in (("segment", 1), ("seconds", 0), ("max_frames", 0), ("size", 0), ("margin", 0)):
            if getattr(rendition, field) < least:
                raise UserError(f"renditions.{name}: {field} must be at least {least}, not {getattr(rendition, field)}")
        if rendition.crop == "detector":
            check_detector(rendition.face_model)


class RenditionMaker(Watcher):
    """Makes one rendition of one video, of the frames that it is shown in order or that it chooses at the end."""

    def __init__(self, rendition: Rendition, locate: Locate | None = None, reason: str = "") -> None:
        """`locate` finds the face, for all crops but `whole`; with a `reason`, the rendition cannot be made."""
        self.reason = reason
        self.settings = rendition
        self._locate = locate
        self._offset = offset_in(rendition.segment, rendition.position)
        self._kept: dict[int, tuple[UInt8[np.ndarray, "h w 3"], Box | None]] = {}
        self._last: tuple[int, np.ndarray] | None = None
        self._shown = self._no_face = 0

    @property
    def afterwards(self) -> bool:
        """Whether it chooses its frames once the video's end is known, by `choose`, and wants none before.

        The search for a face costs more than decoding: only frames that may be kept are searched; and only those that
        are kept are held in native size. By time, a segment's last frame shows in the one after it.
        """
        settings = self.settings
        late = settings.crop == "detector" or not settings.size
        return bool(settings.seconds or (late and settings.max_frames)) and not self.reason

    def choose(self, frames: Frames) -> None:
        """Renders the frames that are kept of a video whose frames can be shown in rounds.

        A frame that is left out because it shows no face is replaced by the nearest candidate that shows one.
        """
        settings = self.settings
        if self.reason:
            return
        if not settings.seconds:
            candidates = kept_indices(frames.count, settings.segment, settings.position, 0)
        elif frames.times:
            candidates = indices_by_time(frames.times, settings.seconds, settings.position)
        else:
            self.reason = "the times of its frames are not known, so it cannot be skipped by seconds"
            return

        def kept(numbers: Sequence[int]) -> dict[int, bool]:
            frames.show([candidates[number] for number in numbers], self.add)
            return {number: bool(self.reason) or candidates[number] in self._kept for number in numbers}

        fill(len(candidates), settings.max_frames, kept)

    def wants(self, index: int, last_from: int) -> bool:
        if self.reason or self.afterwards:
            return False
        within = index % self.settings.segment
        return within == self._offset or (within < self._offset and index >= last_from)

    def show(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Takes a frame that is wanted; one before its segment's place is used only if it is the video's last."""
        if index % self.settings.segment == self._offset:
            self.add(index, image)
            self._last = None
        else:
            self._last = index, image

    def end(self) -> None:
        if self._last is not None:
            self.add(*self._last)

    def add(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Renders a frame."""
        if self.reason:
            return
        settings = self.settings
        self._shown += 1
        box = self._locate(index, image) if self._locate else None
        if self._locate and box is None:
            self._no_face += 1
            if settings.no_face == "fail":
                self.reason = f"no face in frame {index}"
            if settings.no_face != "whole":
                return
        pixels = cut(image, box, settings.margin) if box else image
        if settings.size:
            self._kept[index] = resize(pixels, settings.size), box
        else:
            self._kept[index] = native(pixels, box is not None), box

    def made(self) -> tuple[RenditionInfo, Any]:
        """What was made, and its RGB frames: uint8 [t s s 3], or a list of [h w 3] where they keep native pixels."""
        kept = spread(sorted(self._kept), self.settings.max_frames)
        if not kept and not self.reason:
            self.reason = f"no face in any of its {self._shown} frames"
        if self.reason:
            nothing = np.zeros((0, self.settings.size, self.settings.size, 3), np.uint8)
            return RenditionInfo(no_face=self._no_face, reason=self.reason), nothing
        frames = [self._kept[index][0] for index in kept]
        boxes = (value for index in kept for value in (self._kept[index][1] or _NO_BOX)) if self._locate else ()
        info = RenditionInfo(
            frame_indices=tuple(kept),
            colour=colour(frames),
            boxes=tuple(float32(value) for value in boxes),
            no_face=self._no_face,
        )
        return info, np.stack(frames) if self.settings.size else frames


def rendition_makers(root: Path, source: Source, renditions: Mapping[str, Rendition]) -> dict[str, RenditionMaker]:
    """A maker for each rendition of one video; they share the search for faces.

    Raises:
        UserError: The detector's model cannot be loaded.
    """
    found: dict[tuple[str, int], Box | None] = {}

    def detected(model: str) -> Locate:
        def locate(index: int, image: UInt8[np.ndarray, "h w 3"]) -> Box | None:
            if (model, index) not in found:
                found[model, index] = largest_face(image, model)
            return found[model, index]

        return locate

    def maker(rendition: Rendition) -> RenditionMaker:
        if source.chosen:
            rendition = dataclasses.replace(rendition, segment=1, seconds=0.0)
        if rendition.crop == "whole":
            return RenditionMaker(rendition)
        if rendition.crop == "detector":
            return RenditionMaker(rendition, detected(rendition.face_model))
        if source.box:
            return RenditionMaker(rendition, lambda index, image: source.box)  # type: ignore[arg-type, return-value]
        try:
            boxes = read_boxes(root, source)
        except AnnotationError as error:
            return RenditionMaker(rendition, reason=str(error))
        return RenditionMaker(rendition, lambda index, image: box_at(boxes, index))

    return {name: maker(each) for name, each in renditions.items()}


def resize(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A BGR image as an RGB square."""
    # Shrinking must average all pixels: sampling some of them folds print dots and pixel grids into moiré
    # that depends on the camera's resolution, which is a trace of the dataset and not of the attack.
    height, width = image.shape[:2]
    smaller = (min(width, size), min(height, size))
    if smaller != (width, height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image[..., ::-1])


def native(image: UInt8[np.ndarray, "h w 3"], face: bool) -> UInt8[np.ndarray, "y x 3"]:
    """A BGR image as RGB with its own pixels; of a face, the middle square of the largest of some sides."""
    if face:
        side = min(image.shape[:2])
        # 2^k and 3 * 2^k: as many programs as faces differ in size, not one for each.
        largest = max((n * 2**k for k in range(16) for n in (2, 3) if n * 2**k <= side), default=side)
        top, left = ((length - largest) // 2 for length in image.shape[:2])
        image = image[top : top + largest, left : left + largest]
    return np.ascontiguousarray(image[..., ::-1])


def colour(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> tuple[float, ...]:
    """Mean, then standard deviation, of R, G and B over all pixels of a clip, rounded to float32."""
    count, total, squares = 0, np.zeros(3, np.int64), np.zeros(3, np.int64)
    # Exact integer sums: the same on every machine and for every order of summation.
    for frame in frames:
        pixels = frame.reshape(-1, 3).astype(np.int64)
        count, total, squares = count + len(pixels), total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0)
    spread_ = [math.sqrt(count * int(q) - int(s) ** 2) / count for q, s in zip(squares, total, strict=True)]
    return tuple(float32(value) for value in [*(int(s) / count for s in total), *spread_])


def float32(value: float) -> float:
    """A number rounded as TFDS stores it, so that what is decoded equals what is read back."""
    return float(np.float32(value))
