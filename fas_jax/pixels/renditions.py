"""The renditions of a video, made in one pass over its frames: frame selection, crop, size; and what their keys are.

Each rendition has frames, frame indices and a reason of its own where it could not be made. What several of them need
of a frame, such as the search for a face, is done once.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.crop_presets import CROP_PRESETS
from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import RenditionInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation, check_names
from fas_jax.pixels.crops import render
from fas_jax.pixels.detection import Box, Face, check_detector, identity
from fas_jax.pixels.faces import AnnotationError, box_at, find_face, read_boxes
from fas_jax.pixels.selection import (
    Frames,
    Watcher,
    bursts_around,
    fill,
    fill_in_order,
    indices_by_time,
    kept_indices,
    kept_of,
    offset_in,
)

Locate = Callable[[int, UInt8[np.ndarray, "h w 3"]], Face | None]
"""From a frame's index and its BGR pixels to the face."""

# Raised when face crops are chosen otherwise for the same settings.
FACE_CHOICE = 2
# Settings without effect, by crop.
_UNUSED = {"whole": ("margin", "face_model", "no_face"), "annotation": ("face_model",), "detector": ()}
# What decides the pixels of a preset's crop, besides settings of its rendition.
_GEOMETRY = ("shape", "margin", "scale", "targets", "eyes_middle", "most_certain")
_NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)


def rendition_key(rendition: Rendition) -> dict[str, Any]:
    """What a rendition is, JSON-able: of one video, equal keys give the same frames.

    Settings without effect are left out, and the detector's file is named by its content.

    Raises:
        UserError: The detector's file is not there.
    """
    unused = {
        *_UNUSED[rendition.crop],
        "segment" if rendition.seconds else "seconds",
        *(("max_frames", "cap") if rendition.burst > 1 else ("bursts",)),
        *(() if rendition.max_frames else ("cap",)),
        *(() if rendition.tiles else ("tile_step",)),
    }
    if preset := CROP_PRESETS.get(rendition.preset):
        unused |= {"margin", "preset"}
    found = {name: value for name, value in key(rendition).items() if name not in unused}
    if "face_model" in found:
        found |= {"face_model": identity(rendition.face_model), "face_choice": FACE_CHOICE}
    if preset and preset.shape != "whole":
        # What it is, whatever it is called.
        geometry = {name: getattr(preset, name) for name in _GEOMETRY}
        found["preset"] = json.loads(json.dumps(geometry))
    return found


def preparation_key(settings: Preparation, renditions: Mapping[str, Rendition]) -> dict[str, Any]:
    """All settings that decide what is stored of a video, JSON-able."""
    return key(settings) | {"renditions": {name: rendition_key(each) for name, each in renditions.items()}}


def check_renditions(renditions: Mapping[str, Rendition]) -> None:
    """Raises `UserError` unless these can be made: names, ranges, and a detector that can be loaded."""
    check_names(renditions, "renditions")
    for name, rendition in renditions.items():
        leasts = {"segment": 1, "seconds": 0, "max_frames": 0, "burst": 1, "bursts": 1, "size": 0, "margin": 0}
        for field, least in (leasts | {"tiles": 0, "tile_step": 0}).items():
            if getattr(rendition, field) < least:
                raise UserError(f"renditions.{name}: {field} must be at least {least}, not {getattr(rendition, field)}")
        if rendition.tiles:
            _check_tiles(name, rendition)
        if rendition.preset:
            _check_preset(name, rendition)
        if rendition.crop == "detector":
            check_detector(rendition.face_model)


def _check_tiles(name: str, rendition: Rendition) -> None:
    """Raises `UserError` where a rendition of tiles has settings that tiles do not have."""
    where = f"renditions.{name}: tiles"
    if rendition.size < 32:
        raise UserError(f"{where} have sides of `size` native pixels; set size to 32 or more, such as 64")
    if rendition.preset:
        raise UserError(f"{where} keep native pixels, and preset {rendition.preset!r} resizes them; leave one out")
    if rendition.burst > 1:
        raise UserError(f"{where} are cut from single frames, not from bursts; leave burst or tiles out")


def _check_preset(name: str, rendition: Rendition) -> None:
    """Raises `UserError` unless a rendition's other settings leave its preset as it is."""
    if rendition.preset not in CROP_PRESETS:
        raise UserError(f"renditions.{name}: {unknown_name('preset', rendition.preset, CROP_PRESETS)}")
    preset, where = CROP_PRESETS[rendition.preset], f"renditions.{name}: preset {rendition.preset!r}"
    if rendition.crop == "annotation" and preset.reads_points:
        raise UserError(f"{where} needs five points of a face, which annotations do not have; use crop = 'detector'")
    crops = ("whole",) if preset.shape == "whole" else ("detector", "annotation")
    for field, own in (("crop", crops), ("margin", (Rendition().margin,)), ("size", (preset.size,))):
        value = getattr(rendition, field)
        if value not in own:
            raise UserError(f"{where} has its own {field}, and {field} = {value!r} contradicts it; leave {field} out")


class RenditionMaker(Watcher):
    """Makes one rendition of one video, of the frames that it is shown in order or that it chooses at the end."""

    def __init__(self, rendition: Rendition, locate: Locate | None = None, reason: str = "") -> None:
        """`locate` finds the face, for all crops but `whole`; with a `reason`, the rendition cannot be made."""
        self.reason = reason
        self.settings = rendition
        self.locate = locate
        self._offset = offset_in(rendition.segment, rendition.position)
        self._kept: dict[int, tuple[UInt8[np.ndarray, "h w 3"], Box | None]] = {}
        self._last: tuple[int, np.ndarray] | None = None
        self._before_middle: list[tuple[int, UInt8[np.ndarray, "h w 3"]]] = []
        self._face: tuple[bool, Face | None] = False, None
        self._shown = self._no_face = 0

    @property
    def afterwards(self) -> bool:
        """Whether it chooses its frames once the video's end is known, by `choose`, and wants none before.

        The search for a face costs more than decoding: only frames that may be kept are searched; and only those that
        are kept are held in native size. By time, a segment's last frame shows in the one after it. Bursts begin before
        the frame that they are kept around.
        """
        settings = self.settings
        late = (settings.crop == "detector" or not settings.size) and settings.max_frames
        return bool(settings.seconds or settings.burst > 1 or late) and not self.reason

    def choose(self, frames: Frames) -> None:
        """Renders the frames that are kept of a video whose frames can be shown in rounds.

        A frame, or a burst, that is left out because it shows no face is replaced by the nearest candidate that shows
        one.
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

        if settings.burst > 1:
            self._choose_bursts(bursts_around(candidates, settings.burst, frames.count), frames)
            return

        def kept(numbers: Sequence[int]) -> dict[int, bool]:
            frames.show([candidates[number] for number in numbers], self.add)
            return {number: self.has(candidates[number]) for number in numbers}

        (fill_in_order if settings.cap == "first" else fill)(len(candidates), settings.max_frames, kept)

    def _choose_bursts(self, candidates: Sequence[range], frames: Frames) -> None:
        if not candidates:
            self.reason = f"its {frames.count} frames are fewer than a burst of {self.settings.burst}"

        def kept(numbers: Sequence[int]) -> dict[int, bool]:
            middles = {
                index: each[(len(each) - 1) // 2] for each in map(candidates.__getitem__, numbers) for index in each
            }
            frames.show(middles, lambda index, image: self._add_to_burst(index, image, middles[index]))
            return {number: self.has(candidates[number][0]) for number in numbers}

        fill(len(candidates), self.settings.bursts, kept)

    def _add_to_burst(self, index: int, image: UInt8[np.ndarray, "h w 3"], middle: int) -> None:
        """Renders a frame of a burst; those before its middle one, whose face is that of all, wait for it."""
        if index < middle:
            self._before_middle.append((index, image))
            return
        if index == middle:
            self._face = self._search(index, image)
            waiting, self._before_middle = self._before_middle, []
            for each in waiting:
                self._keep(*each, self._face)
        self._keep(index, image, self._face)

    def has(self, index: int) -> bool:
        """Whether a frame that was shown needs no other one in its place."""
        return bool(self.reason) or index in self._kept

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
        self._keep(index, image, self._search(index, image))

    def _search(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> tuple[bool, Face | None]:
        """Whether a frame is to be kept, and its face; None takes the whole frame."""
        if self.reason:
            return False, None
        self._shown += 1
        face = self.locate(index, image) if self.locate else None
        if self.locate and face is None:
            self._no_face += 1
            if self.settings.no_face == "fail":
                self.reason = f"no face in frame {index}"
            return self.settings.no_face == "whole", None
        return True, face

    def _keep(self, index: int, image: UInt8[np.ndarray, "h w 3"], found: tuple[bool, Face | None]) -> None:
        wanted, face = found
        if not wanted:
            return
        pixels, size = render(image, face, self.settings), self.settings.size
        if not len(pixels):
            height, width = image.shape[:2]
            self.reason = f"its frames of {width}x{height} pixels are smaller than a tile of {size}x{size}"
            return
        self._kept[index] = pixels, face.box if face else None

    def made(self) -> tuple[RenditionInfo, Any]:
        """What was made, and its RGB frames: uint8 [t s s 3], or a list of [h w 3] where they keep native pixels."""
        kept = kept_of(sorted(self._kept), self.settings)
        if not kept and not self.reason:
            self.reason = f"no face in any of its {self._shown} frames"
        if self.reason:
            nothing = np.zeros((0, self.settings.size, self.settings.size, 3), np.uint8)
            return RenditionInfo(no_face=self._no_face, reason=self.reason), nothing
        frames = [self._kept[index][0] for index in kept]
        if self.settings.tiles:
            kept = [index for index, tiles in zip(kept, frames, strict=True) for _ in tiles]
            frames = [tile for tiles in frames for tile in tiles]
        boxes = (value for index in kept for value in (self._kept[index][1] or _NO_BOX)) if self.locate else ()
        info = RenditionInfo(
            frame_indices=tuple(kept),
            colour=colour(frames),
            boxes=tuple(float32(value) for value in boxes),
            no_face=self._no_face,
        )
        return info, np.stack(frames) if self.settings.size else frames


@dataclasses.dataclass(frozen=True)
class FollowingRendition(Rendition):
    """One whose frames depend on those that another one keeps of the video."""

    read: Rendition = dataclasses.field(default_factory=Rendition)

    def maker(self, read: RenditionMaker) -> RenditionMaker:
        """Makes it, given a fresh maker of the other one, which tells how faces are found."""
        raise NotImplementedError


def rendition_makers(root: Path, source: Source, renditions: Mapping[str, Rendition]) -> dict[str, RenditionMaker]:
    """A maker for each rendition of one video; they share the search for faces.

    Raises:
        UserError: The detector's model cannot be loaded.
    """
    found: dict[tuple[str, bool, int], Face | None] = {}

    def detected(model: str, most_certain: bool) -> Locate:
        def locate(index: int, image: UInt8[np.ndarray, "h w 3"]) -> Face | None:
            place = (model, most_certain, index)
            if place not in found:
                found[place] = find_face(image, model, most_certain)
            return found[place]

        return locate

    def maker(rendition: Rendition) -> RenditionMaker:
        if source.chosen and rendition.burst > 1:
            return RenditionMaker(rendition, reason="its frames were chosen from a longer video and are no bursts")
        if source.chosen:
            rendition = dataclasses.replace(rendition, segment=1, seconds=0.0)
        if isinstance(rendition, FollowingRendition):
            return rendition.maker(maker(rendition.read))
        if rendition.crop == "whole":
            return RenditionMaker(rendition)
        if rendition.crop == "detector":
            preset = CROP_PRESETS.get(rendition.preset)
            return RenditionMaker(rendition, detected(rendition.face_model, bool(preset and preset.most_certain)))
        if source.box:
            given = Face(source.box)  # type: ignore[arg-type]
            return RenditionMaker(rendition, lambda index, image: given)
        try:
            boxes = read_boxes(root, source)
        except AnnotationError as error:
            return RenditionMaker(rendition, reason=str(error))

        def annotated(index: int, image: UInt8[np.ndarray, "h w 3"]) -> Face | None:
            box = box_at(boxes, index)
            return Face(box) if box else None

        return RenditionMaker(rendition, annotated)

    return {name: maker(each) for name, each in renditions.items()}


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
