"""Video files to the few frames that are kept of each; the only decoder. Imports no JAX.

One pass over a file: `grab()` advances past every frame and `retrieve()` converts only those that may be kept.
What a container announces is never believed, only compared with what was decoded.
"""

import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.record import ClipInfo
from fas_jax.base.settings import Preparation

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

Item = TypeVar("Item")


class DecodeError(Exception):
    """A file that gives no trustworthy clip; the message is the reason that reports show."""


@dataclass(frozen=True)
class View:
    """What is stored of one frame."""

    renditions: Mapping[str, UInt8[np.ndarray, "s s 3"]]
    """RGB, by name; none where the frame is to be left out of the clip."""
    box: tuple[float, ...] = ()
    """x, y, width, height of the face; empty where none was looked for."""
    found: bool = True
    """Whether a face was found, if one was looked for."""


Renderer = Callable[[int, UInt8[np.ndarray, "h w 3"]], View]
"""From a frame's index and its BGR pixels."""


def whole_view(settings: Preparation) -> Renderer:
    """Every frame resized whole, as in the paper."""
    return lambda index, image: View({"whole": resize(image, settings.frame_size)})


def kept_indices(frame_count: int, segment: int, position: str, max_frames: int) -> list[int]:
    """Zero-based indices of the frames that are kept of a video, rising.

    Of each segment of `segment` frames, the incomplete last one included, the frame at `position` is kept, or the
    video's last frame where the segment ends before that (paper, eq. 1: frame min(30 k, V) of segment k,
    one-based, for "last"). More than `max_frames` are thinned evenly; 0 keeps all.
    """
    offset = _offset(segment, position)
    return spread([min(start + offset, frame_count - 1) for start in range(0, frame_count, segment)], max_frames)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly spread from the first to the last (the middle one, if `most` is 1)."""
    count = len(items)
    if most == 0 or count <= most:
        return list(items)
    if most == 1:
        return [items[(count - 1) // 2]]
    # Round half up in integers: floating-point rounding must not differ between machines.
    return [items[(2 * k * (count - 1) + most - 1) // (2 * (most - 1))] for k in range(most)]


def decode_clip(path: Path, settings: Preparation) -> tuple[ClipInfo, UInt8[np.ndarray, "t h w 3"]]:
    """The kept frames of a video file, each resized whole to `settings.frame_size` squared, in RGB.

    Raises:
        DecodeError: see `decode_views`.
    """
    info, renditions = decode_views(path, settings, whole_view(settings))
    return info, renditions["whole"]


def decode_views(
    path: Path, settings: Preparation, render: Renderer, upside_down: bool | None = None
) -> tuple[ClipInfo, dict[str, UInt8[np.ndarray, "t h w 3"]]]:
    """The kept frames of a video file in all their renditions.

    Memory holds the rendered candidates only (one of each segment).

    Args:
        path: The file.
        settings: Which frames are kept.
        render: What is made of each.
        upside_down: None applies the file's rotation tag. Otherwise the tag is ignored and frames are turned by 180
            degrees where this is true.

    Raises:
        DecodeError: the file does not open, yields no frame, yields clearly fewer frames than its container
            announces, or its time runs backwards.
    """
    file_bytes = _file_bytes(path)
    try:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        try:
            if not capture.isOpened():
                raise DecodeError("not a video that the decoder can open")
            return _decode(capture, settings, file_bytes, render, upside_down)
        finally:
            capture.release()
    except cv2.error as error:
        raise DecodeError(f"decoder error: {error.err or error}") from error
    except MemoryError as error:
        raise DecodeError("not enough memory to decode it") from error


def is_image(path: Path) -> bool:
    """Whether a file's first bytes are those of a PNG or JPEG image; its suffix says nothing.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(8).startswith(tuple(_IMAGE_STARTS.values()))


def decode_image(path: Path, settings: Preparation) -> tuple[ClipInfo, UInt8[np.ndarray, "1 h w 3"]]:
    """A PNG or JPEG file as a clip of one frame, treated as `decode_clip` treats a video's frame.

    Raises:
        DecodeError: the file is not a PNG or JPEG image, or is damaged.
    """
    info, renditions = decode_frames([path], settings, whole_view(settings))
    return info, renditions["whole"]


def decode_frames(
    paths: Sequence[Path], settings: Preparation, render: Renderer, fps: float = 0.0
) -> tuple[ClipInfo, dict[str, UInt8[np.ndarray, "t h w 3"]]]:
    """A clip whose frames are PNG or JPEG files; of these only the kept ones are read.

    Raises:
        DecodeError: there is no frame, or one that is kept is not a PNG or JPEG image, or is damaged.
    """
    if not paths:
        raise DecodeError("a folder without a frame")
    file_bytes = sum(_file_bytes(path) for path in paths)
    kept = []
    shape: tuple[int, ...] = ()
    codec = ""
    # All candidates are rendered where some may turn out to have no face; else only those that are kept.
    most = 0 if settings.faces != "whole" else settings.max_frames
    for index in kept_indices(len(paths), settings.segment, settings.position, most):
        where = f"frame {paths[index].name}: " if len(paths) > 1 else ""
        image, kind = _read_image(paths[index], where)
        shape, codec = shape or image.shape, codec or kind
        kept.append((index, render(index, image)))
    chosen = _choose(kept, settings)
    frames = _stack(chosen)
    info = ClipInfo(
        frame_indices=tuple(index for index, _ in chosen),
        frame_count=len(paths),
        fps=_float32(fps),
        width=shape[1],
        height=shape[0],
        codec=codec,
        file_bytes=file_bytes,
        colour=colour(frames["whole"]),
        announced_frames=len(paths),
        boxes=_boxes(chosen),
        no_face=sum(not view.found for _, view in kept),
    )
    return info, frames


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


def colour(frames: UInt8[np.ndarray, "t h w 3"]) -> tuple[float, ...]:
    """Mean, then standard deviation, of R, G and B over all pixels of a clip, rounded to float32."""
    pixels = frames.reshape(-1, 3).astype(np.int64)
    # Exact integer sums: the same on every machine and for every order of summation.
    count, total, squares = len(pixels), pixels.sum(axis=0), (pixels * pixels).sum(axis=0)
    spread_ = [math.sqrt(count * int(q) - int(s) ** 2) / count for q, s in zip(squares, total, strict=True)]
    return tuple(_float32(value) for value in [*(int(s) / count for s in total), *spread_])


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


def _decode(
    capture: cv2.VideoCapture, settings: Preparation, file_bytes: int, render: Renderer, upside_down: bool | None
) -> tuple[ClipInfo, dict[str, UInt8[np.ndarray, "t h w 3"]]]:
    if upside_down is not None:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360 if upside_down is None else 180 * upside_down
    announced = _announced(capture)
    tolerated = max(1, announced // SHORTFALL)
    offset = _offset(settings.segment, settings.position)
    # The incomplete last segment keeps the video's last frame, which is known to be the last only afterwards.
    # It cannot come before this index, because a video that ends earlier is refused.
    tail_from = announced - tolerated - 1
    fps = _fps(capture)
    latest, slack = -math.inf, 1000.0 * REORDERED_FRAMES / (fps or REORDERED_FRAMES)

    kept: list[tuple[int, View]] = []
    tail: tuple[int, np.ndarray] | None = None
    shape: tuple[int, ...] = ()
    index = 0
    while capture.grab():
        # 0 also stands for "no time told": AVI has none for the frames that the decoder gives last.
        time = capture.get(cv2.CAP_PROP_POS_MSEC)
        if 0 < time < latest - slack:
            raise DecodeError(f"time runs backwards at frame {index}: {time:.0f} ms after {latest:.0f} ms")
        latest = max(latest, time)
        within = index % settings.segment
        if within == offset or (within < offset and index >= tail_from):
            done, image = capture.retrieve()
            if not done or image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise DecodeError(f"frame {index} does not decode to an 8-bit colour image")
            if upside_down:
                image = cv2.rotate(image, cv2.ROTATE_180)
            shape = shape or image.shape
            if within == offset:
                kept.append((index, render(index, image)))
            else:
                tail = (index, image)
        index += 1

    if index == 0:
        raise DecodeError(f"opens, but no frame decodes ({announced or 'no'} announced)")
    if announced - index > tolerated:
        raise DecodeError(f"truncated: {index} of {announced} announced frames decode")
    if (index - 1) % settings.segment < offset:
        assert tail is not None
        kept.append((tail[0], render(*tail)))
    chosen = _choose(kept, settings)
    frames = _stack(chosen)
    info = ClipInfo(
        frame_indices=tuple(position for position, _ in chosen),
        frame_count=index,
        fps=fps,
        width=shape[1],
        height=shape[0],
        codec=_codec(capture),
        file_bytes=file_bytes,
        colour=colour(frames["whole"]),
        announced_frames=announced,
        rotation=rotation,
        boxes=_boxes(chosen),
        no_face=sum(not view.found for _, view in kept),
    )
    return info, frames


def _choose(kept: list[tuple[int, View]], settings: Preparation) -> list[tuple[int, View]]:
    chosen = spread([each for each in kept if each[1].renditions], settings.max_frames)
    if not chosen:
        raise DecodeError(f"no face in any of its {len(kept)} frames")
    return chosen


def _stack(chosen: list[tuple[int, View]]) -> dict[str, UInt8[np.ndarray, "t h w 3"]]:
    return {name: np.stack([view.renditions[name] for _, view in chosen]) for name in chosen[0][1].renditions}


def _boxes(chosen: list[tuple[int, View]]) -> tuple[float, ...]:
    return tuple(_float32(value) for _, view in chosen for value in view.box)


def _offset(segment: int, position: str) -> int:
    return {"first": 0, "middle": (segment - 1) // 2, "last": segment - 1}[position]


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
    return _float32(fps) if math.isfinite(fps) and 0 < fps < 1e5 else 0.0


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    text = code.to_bytes(4, "little").decode("latin-1")
    return text if text.isascii() and text.isprintable() else f"0x{code:08x}"


def _float32(value: float) -> float:
    # TFDS stores float32: rounding here makes what is decoded equal to what is read back.
    return float(np.float32(value))
