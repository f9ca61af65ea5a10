"""Video files to the few frames that are kept of each; the only decoder. Imports no JAX.

One pass over a file makes all renditions: `grab()` advances past every frame and `retrieve()` converts only those that
some rendition may keep, once.
What a container announces is never believed, only compared with what was decoded.
"""

import dataclasses
import math
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.record import ClipInfo, RenditionInfo
from fas_jax.pixels.renditions import RenditionMaker, float32
from fas_jax.pixels.selection import Frames, Held, Show, Watcher, told_times

# A text file that starts with "ffconcat" or "#EXTM3U" would have FFmpeg open whatever it names, on disk or on
# the network. Only local files in plain containers are read.
os.environ.setdefault(
    "OPENCV_FFMPEG_CAPTURE_OPTIONS",
    "protocol_whitelist;file"
    "|format_whitelist;avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,asf,flv,ogg,mjpeg,h264,hevc",
)
# Damaged files make FFmpeg print pages; what matters of them ends in the DecodeError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_IMAGE_STARTS = {"png": b"\x89PNG", "jpeg": b"\xff\xd8"}
# Decoders may withhold the frames that a codec still had to reorder (up to 16 in H.264), and some containers
# announce duration x rate instead of a count. Beyond a tenth the file has lost a part of its content.
SHORTFALL = 10
# H.264's largest reordering: within it a time stamp that steps back is the container's habit, not a fault.
REORDERED_FRAMES = 16
# Images of a clip that are kept at hand for renditions that keep the same ones.
READ_IMAGES = 8


class DecodeError(Exception):
    """A file that gives no trustworthy clip; the message is the reason that reports show."""


def decode_file(
    path: Path, makers: Mapping[str, RenditionMaker], upside_down: bool | None = None
) -> tuple[ClipInfo, dict[str, UInt8[np.ndarray, "t s s 3"]]]:
    """What a video file is and, by rendition, its kept frames in RGB; none where a rendition could not be made.

    Memory holds the rendered candidates only (one of each segment), and full frames up to a limit where faces are
    searched in those that may be kept. A rendition that skips by time, or that limit, has the file decoded again.

    Args:
        path: The file.
        makers: From `rendition_makers`, for this file alone.
        upside_down: None applies the file's rotation tag. Otherwise the tag is ignored and frames are turned by 180
            degrees where this is true.

    Raises:
        DecodeError: the file does not open, yields no frame, yields clearly fewer frames than its container
            announces, its time runs backwards, or no rendition can be made of it.
    """
    _check_possible(makers)
    file_bytes = _file_bytes(path)
    late = {name: maker for name, maker in makers.items() if maker.afterwards}
    held, times = Held(maker.settings for maker in late.values()), list[float]()

    def decode(watchers: Mapping[str, Watcher], times: list[float]) -> ClipInfo:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        try:
            if not capture.isOpened():
                raise DecodeError("not a video that the decoder can open")
            return _show_frames(capture, watchers, upside_down, times)
        finally:
            capture.release()

    try:
        facts = decode({**makers, "": held} if late else makers, times)
        again = held.frames(len(times), told_times(times, facts.fps), lambda watcher: decode({"": watcher}, []))
        for maker in late.values():
            maker.choose(again)
        renditions, frames = _made(makers)
    except cv2.error as error:
        raise DecodeError(f"decoder error: {error.err or error}") from error
    except MemoryError as error:
        raise DecodeError("not enough memory to decode it") from error
    return dataclasses.replace(facts, file_bytes=file_bytes, renditions=renditions), frames


def decode_images(
    paths: Sequence[Path], makers: Mapping[str, RenditionMaker], fps: float = 0.0
) -> tuple[ClipInfo, dict[str, UInt8[np.ndarray, "t s s 3"]]]:
    """As `decode_file`, for a clip whose frames are PNG or JPEG files; of these only the kept ones are read.

    Raises:
        DecodeError: there is no frame, one that is kept is not a PNG or JPEG image or is damaged, or no rendition can
            be made.
    """
    if not paths:
        raise DecodeError("a folder without a frame")
    _check_possible(makers)
    file_bytes = sum(_file_bytes(path) for path in paths)
    read: dict[int, tuple[tuple[int, ...], str]] = {}

    @lru_cache(maxsize=READ_IMAGES)
    def image(index: int) -> UInt8[np.ndarray, "h w 3"]:
        where = f"frame {paths[index].name}: " if len(paths) > 1 else ""
        content, kind = _read_image(paths[index], where)
        read[index] = content.shape, kind
        return content

    def show(indices: Collection[int], to: Show) -> None:
        for index in sorted(indices):
            to(index, image(index))

    rate = fps or float(len(paths) == 1)
    clip = Frames(len(paths), [index / rate for index in range(len(paths))] if rate else [], show)
    for maker in makers.values():
        maker.choose(clip)
    renditions, frames = _made(makers)
    shape, codec = read[min(read)]
    info = ClipInfo(
        frame_count=len(paths),
        fps=float32(fps),
        width=shape[1],
        height=shape[0],
        codec=codec,
        file_bytes=file_bytes,
        announced_frames=len(paths),
        renditions=renditions,
    )
    return info, frames


def is_image(path: Path) -> bool:
    """Whether a file's first bytes are those of a PNG or JPEG image; its suffix says nothing.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(8).startswith(tuple(_IMAGE_STARTS.values()))


def _read_image(path: Path, where: str) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
    content = path.read_bytes()
    codec = next((name for name, start in _IMAGE_STARTS.items() if content.startswith(start)), None)
    if not codec:
        raise DecodeError(f"{where}not a PNG or JPEG image")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DecodeError(f"{where}decoder error: {error.err or error}") from error
    if image is None:
        raise DecodeError(f"{where}not an image that the decoder can read")
    return image, codec


def pack_frame(frame: UInt8[np.ndarray, "h w 3"], records: Literal["png", "raw"] = "png") -> bytes:
    """An RGB image as it is stored, without loss: as PNG, or uncompressed as PPM."""
    # OpenCV's default for PNG: on video frames 40 % faster to write and 25 % faster to read than an explicit level 1,
    # for 10 % more bytes.
    done, content = cv2.imencode({"png": ".png", "raw": ".ppm"}[records], frame[..., ::-1])
    if not done:
        raise ValueError(f"an array of shape {frame.shape} and type {frame.dtype} cannot be stored as an image")
    return bytes(content)


def unpack_frame(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB image that `pack_frame` stored, in either form."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("a stored frame is not a readable image: the prepared dataset is damaged")
    return image


def _show_frames(
    capture: cv2.VideoCapture, makers: Mapping[str, Watcher], upside_down: bool | None, times: list[float]
) -> ClipInfo:
    """Shows every frame to the makers that want it; what is found of the file, but for its size.

    `times` takes the time of every frame, in milliseconds.
    """
    if upside_down is not None:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360 if upside_down is None else 180 * upside_down
    announced = _announced(capture)
    tolerated = max(1, announced // SHORTFALL)
    # The incomplete last segment keeps the video's last frame, which is known to be the last only afterwards.
    # It cannot come before this index, because a video that ends earlier is refused.
    last_from = announced - tolerated - 1
    fps = _fps(capture)
    latest, slack = -math.inf, 1000.0 * REORDERED_FRAMES / (fps or REORDERED_FRAMES)

    shape: tuple[int, ...] = ()
    index = 0
    while capture.grab():
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
            if upside_down:
                image = cv2.rotate(image, cv2.ROTATE_180)
            shape = shape or image.shape
            for maker in wanting:
                maker.show(index, image)
            _check_possible(makers)
        index += 1

    if index == 0:
        raise DecodeError(f"opens, but no frame decodes ({announced or 'no'} announced)")
    if announced - index > tolerated:
        raise DecodeError(f"truncated: {index} of {announced} announced frames decode")
    for maker in makers.values():
        maker.end()
    return ClipInfo(
        frame_count=index,
        fps=fps,
        width=shape[1],
        height=shape[0],
        codec=_codec(capture),
        file_bytes=0,
        announced_frames=announced,
        rotation=rotation,
    )


def _made(
    makers: Mapping[str, RenditionMaker],
) -> tuple[dict[str, RenditionInfo], dict[str, UInt8[np.ndarray, "t s s 3"]]]:
    made = {name: maker.made() for name, maker in makers.items()}
    _check_possible(makers)
    return {name: info for name, (info, _) in made.items()}, {name: frames for name, (_, frames) in made.items()}


def _check_possible(makers: Mapping[str, Watcher]) -> None:
    """Raises `DecodeError` when no rendition of the video can be made any more."""
    if all(maker.reason for maker in makers.values()):
        several = len(makers) > 1
        raise DecodeError(
            "; ".join(f"{name}: {each.reason}" if several else each.reason for name, each in makers.items())
        )


def _file_bytes(path: Path) -> int:
    try:
        about = path.stat()
        # Opening a pipe would wait for a writer that never comes.
        if not stat.S_ISREG(about.st_mode):
            raise DecodeError("cannot be read: not a plain file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise DecodeError(f"cannot be read: {error.strerror or error}") from error
    if about.st_size == 0:
        raise DecodeError("empty file (0 bytes)")
    return about.st_size


def _announced(capture: cv2.VideoCapture) -> int:
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # Containers without a count give nonsense such as -1.8e16.
    return int(count) if math.isfinite(count) and 0 < count < 1e9 else 0


def _fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return float32(fps) if math.isfinite(fps) and 0 < fps < 1e5 else 0.0


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    text = code.to_bytes(4, "little").decode("latin-1")
    return text if text.isascii() and text.isprintable() else f"0x{code:08x}"
