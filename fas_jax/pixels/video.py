"""Video files to the few frames that are kept of each; the only decoder. Imports no JAX.

One pass over a file makes all renditions: `grab()` advances past every frame and `retrieve()` converts only those that
some rendition may keep, once.
Whether a file is whole and sound is decided before (`fas_jax.pixels.evidence`).
"""

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.record import ClipInfo, RenditionInfo
from fas_jax.pixels.content import DecodeError, file_bytes, why_none
from fas_jax.pixels.evidence import DAMAGED, SHORTFALL, WHITELISTS, Film, Orientation, examine
from fas_jax.pixels.pictures import read_picture
from fas_jax.pixels.renditions import RenditionMaker, float32
from fas_jax.pixels.selection import Frames, Held, Show, Watcher, told_times

# Damaged files make FFmpeg print pages; what matters of them ends in the DecodeError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# H.264's largest reordering: within it a time stamp that steps back is the container's habit, not a fault.
REORDERED_FRAMES = 16
# Images of a clip that are kept at hand for renditions that keep the same ones.
READ_IMAGES = 8


def decode_file(
    path: Path, makers: Mapping[str, RenditionMaker], upside_down: bool | None = None
) -> tuple[ClipInfo, dict[str, Any]]:
    """What a video file is and, by rendition, its kept frames in RGB; none where a rendition could not be made.

    Memory holds the rendered candidates only (one of each segment), and full frames up to a limit where faces are
    searched in those that may be kept. A rendition that skips by time, or that limit, has the file decoded again.

    Args:
        path: The file.
        makers: From `rendition_makers`, for this file alone.
        upside_down: None applies the file's display matrix. Otherwise that is ignored and frames are turned by 180
            degrees where this is true.

    Raises:
        DecodeError: the file does not open, is not whole, is damaged (see `fas_jax.pixels.evidence.examine`), its time
            runs backwards, or no rendition can be made of it.
    """
    _check_possible(makers)
    size = file_bytes(path)
    late = {name: maker for name, maker in makers.items() if maker.afterwards}
    held, times = Held(maker.settings for maker in late.values()), list[float]()
    try:
        film = examine(path)
        if upside_down is not None:
            turned = Orientation(False, upside_down, upside_down)
            film = dataclasses.replace(film, orientation=turned)
        facts = _decode(path, {**makers, "": held} if late else makers, film, times)
        again = held.frames(
            len(times), told_times(times, facts.fps), lambda watcher: _decode(path, {"": watcher}, film, [])
        )
        for maker in late.values():
            maker.choose(again)
        renditions, frames = _made(makers)
    except cv2.error as error:
        raise DecodeError(f"decoder error: {error.err or error}") from error
    except MemoryError as error:
        raise DecodeError("not enough memory to decode it") from error
    return dataclasses.replace(facts, file_bytes=size, renditions=renditions), frames


def show_file(path: Path, wants: Callable[[float], bool], take: Callable[[Any, float], object]) -> None:
    """Shows a video file from its first frame to its last, while it is decoded; nothing is held.

    Args:
        path: The file.
        wants: Whether the next frame, of which it is given the time in seconds, is to be converted.
        take: Takes every frame, BGR uint8 [h w 3] and upright, or None if it was not wanted; and its time.

    Raises:
        DecodeError: as `decode_file`, some only after the last frame; or the times of its frames are not known.
    """
    file_bytes(path)
    times: list[float] = []
    try:
        _decode(path, {"": _Live(times, wants, take)}, examine(path), times)
    except cv2.error as error:
        raise DecodeError(f"decoder error: {error.err or error}") from error
    except MemoryError as error:
        raise DecodeError("not enough memory to decode it") from error


class _Live(Watcher):
    """Hands on frames with their times, which are those of `told_times` as far as the beginning of a file tells."""

    def __init__(
        self, times: Sequence[float], wants: Callable[[float], bool], take: Callable[[Any, float], object]
    ) -> None:
        """`times`, in milliseconds, grows before a frame is shown."""
        self._times, self._wants, self._take = times, wants, take
        self._time = self._interval = 0.0

    def wants(self, index: int, last_from: int) -> bool:
        told = self._times[index] / 1000
        if index == 1 and not any(self._times):
            raise DecodeError("the times of its frames are not known")
        if index:
            time = max(told, self._time) if told else self._time + self._interval
            self._interval, self._time = time - self._time, time
        else:
            self._time = told
        # The first frame tells the size.
        if index == 0 or self._wants(self._time):
            return True
        self._take(None, self._time)
        return False

    def show(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self._take(image, self._time)


def decode_images(
    paths: Sequence[Path], makers: Mapping[str, RenditionMaker], fps: float = 0.0
) -> tuple[ClipInfo, dict[str, Any]]:
    """As `decode_file`, for a clip whose frames are PNG or JPEG files; of these only the kept ones are read.

    Raises:
        DecodeError: there is no frame, one that is kept is not a PNG or JPEG image or is damaged, or no rendition can
            be made.
    """
    if not paths:
        raise DecodeError("a folder without a frame")
    _check_possible(makers)
    size = sum(file_bytes(path) for path in paths)
    read: dict[int, tuple[tuple[int, ...], str, str]] = {}

    @lru_cache(maxsize=READ_IMAGES)
    def image(index: int) -> UInt8[np.ndarray, "h w 3"]:
        where = f"frame {paths[index].name}: " if len(paths) > 1 else ""
        try:
            picture = read_picture(paths[index])
        except DecodeError as error:
            raise DecodeError(f"{where}{error}") from error
        damage = f"{where}{picture.damage}" if picture.damage else ""
        read[index] = picture.image.shape, picture.kind, damage
        return picture.image

    def show(indices: Collection[int], to: Show) -> None:
        for index in sorted(indices):
            to(index, image(index))

    rate = fps or float(len(paths) == 1)
    clip = Frames(len(paths), [index / rate for index in range(len(paths))] if rate else [], show)
    for maker in makers.values():
        maker.choose(clip)
    damages = [damage for _, (_, _, damage) in sorted(read.items()) if damage]
    if len(damages) * DAMAGED > len(read):
        raise DecodeError(f"damaged: {len(damages)} of {len(read)} frames; {damages[0]}")
    renditions, frames = _made(makers)
    shape, codec, _ = read[min(read)]
    info = ClipInfo(
        frame_count=len(paths),
        fps=float32(fps),
        width=shape[1],
        height=shape[0],
        codec=codec,
        file_bytes=size,
        announced_frames=len(paths),
        damaged_frames=len(damages),
        renditions=renditions,
    )
    return info, frames


def choose_frames(
    images: Sequence[UInt8[np.ndarray, "h w 3"]], makers: Mapping[str, RenditionMaker], fps: float = 0.0
) -> tuple[ClipInfo, dict[str, Any]]:
    """As `decode_images`, for a clip whose frames are in memory, BGR and upright.

    Raises:
        DecodeError: there is no frame, or no rendition can be made.
    """
    if not len(images):
        raise DecodeError("an array without a frame")
    _check_possible(makers)

    def show(indices: Collection[int], to: Show) -> None:
        for index in sorted(indices):
            to(index, images[index])

    rate = fps or float(len(images) == 1)
    clip = Frames(len(images), [index / rate for index in range(len(images))] if rate else [], show)
    for maker in makers.values():
        maker.choose(clip)
    renditions, frames = _made(makers)
    height, width = images[0].shape[:2]
    info = ClipInfo(
        frame_count=len(images),
        fps=float32(fps),
        width=width,
        height=height,
        codec="",
        file_bytes=0,
        renditions=renditions,
    )
    return info, frames


def _decode(path: Path, watchers: Mapping[str, Watcher], film: Film, times: list[float]) -> ClipInfo:
    """As `_show_frames`, of a file."""
    options = WHITELISTS
    if film.early:
        # OpenCV has to know a frame's size before it shows one, and looks for it in the first five seconds only.
        options = {**options, "analyzeduration": "1000000000", "probesize": "1000000000"}
    # Whatever the environment holds: without the lists a file may have others opened.
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(f"{name};{value}" for name, value in options.items())
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise DecodeError("not a video that the decoder can open")
        # OpenCV takes mirrors for turns.
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        return _show_frames(capture, watchers, film, times)
    finally:
        capture.release()


def _show_frames(capture: cv2.VideoCapture, makers: Mapping[str, Watcher], film: Film, times: list[float]) -> ClipInfo:
    """Shows every frame to the makers that want it; what is found of the file, but for its size.

    `times` takes the time of every frame, in milliseconds.
    """
    tolerated = max(1, film.frames // SHORTFALL)
    # The incomplete last segment keeps the video's last frame, which is known to be the last only afterwards.
    # It cannot come before this index, because a video that ends earlier is refused.
    last_from = film.frames - tolerated - 1
    fps = _fps(capture)
    latest, slack = -math.inf, 1000.0 * REORDERED_FRAMES / (fps or REORDERED_FRAMES)

    shape: tuple[int, ...] = ()
    index = 0
    undecodable = film.early + film.failed
    while (grabbed := capture.grab()) or undecodable:
        if not grabbed:
            # OpenCV stops at a packet that does not decode, and goes on with the next one if it is asked again.
            undecodable -= 1
            continue
        # 0 also stands for "no time told": AVI has none for the frames that the decoder gives last.
        time = capture.get(cv2.CAP_PROP_POS_MSEC)
        if 0 < time < latest - slack:
            raise DecodeError(f"time runs backwards at frame {index}: {time:.0f} ms after {latest:.0f} ms")
        latest = max(latest, time)
        times.append(time)
        if wanting := [maker for maker in makers.values() if maker.wants(index, last_from)]:
            done, image = capture.retrieve()
            if not done or image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise DecodeError(f"frame {index} does not decode to an 8-bit colour image")
            image = film.orientation.upright(image)
            shape = shape or image.shape
            for maker in wanting:
                maker.show(index, image)
            _check_possible(makers)
        index += 1

    if index == 0:
        raise DecodeError(f"opens, but no frame decodes (codec {_codec(capture)})")
    if abs(film.frames - index) > tolerated:
        raise DecodeError(f"damaged: OpenCV decodes {index} of {film.frames} frames")
    for maker in makers.values():
        maker.end()
    return ClipInfo(
        frame_count=index,
        fps=fps,
        width=shape[1],
        height=shape[0],
        codec=_codec(capture),
        file_bytes=0,
        announced_frames=film.stored,
        damaged_frames=film.damaged,
        rotation=film.orientation.rotation,
        mirrored=film.orientation.mirrored,
    )


def _made(
    makers: Mapping[str, RenditionMaker],
) -> tuple[dict[str, RenditionInfo], dict[str, Any]]:
    made = {name: maker.made() for name, maker in makers.items()}
    _check_possible(makers)
    return {name: info for name, (info, _) in made.items()}, {name: frames for name, (_, frames) in made.items()}


def _check_possible(makers: Mapping[str, Watcher]) -> None:
    """Raises `DecodeError` when no rendition of the video can be made any more."""
    if all(maker.reason for maker in makers.values()):
        raise DecodeError(why_none({name: each.reason for name, each in makers.items()}))


def _fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return float32(fps) if math.isfinite(fps) and 0 < fps < 1e5 else 0.0


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    text = code.to_bytes(4, "little").decode("latin-1")
    return text if text.isascii() and text.isprintable() else f"0x{code:08x}"
