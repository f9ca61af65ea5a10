"""Encoded video files, the same bits for the same frames: one thread, no time stamps, no versions inside."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path


@dataclass(frozen=True)
class Encoding:
    """How a device writes its files."""

    codec: str
    """libx264, mpeg4 or mjpeg."""
    bits_per_pixel: float
    """Average aimed at; a video's own rate varies around it, independently of its class."""


def write_video(
    target: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int, encoding: Encoding, upside_down: bool = False
) -> None:
    """Encodes RGB frames to `target`, which is written whole or not at all.

    `upside_down` stores the pixels turned by 180 degrees and a rotation tag that turns them back. Raises
    `UserError` where the file cannot be written.
    """
    try:
        with atomic_path(target) as temporary:
            _encode(temporary, frames, fps, encoding, upside_down)
            if upside_down:
                _tag_half_turn(temporary)
    except av.FFmpegError as error:
        raise UserError(f"cannot write {target}: {os.strerror(error.errno or 0)} ({error})") from error


def _encode(
    path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], fps: int, encoding: Encoding, upside_down: bool
) -> None:
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = _stream(container, frame, fps, encoding)
            if upside_down:
                frame = frame[::-1, ::-1]
            for packet in stream.encode(_picture(frame, full_range=encoding.codec == "mjpeg")):
                container.mux(packet)
        if stream is None:
            raise ValueError("a video needs at least one frame")
        for packet in stream.encode():
            container.mux(packet)


def _stream(
    container: av.container.OutputContainer, frame: UInt8[np.ndarray, "h w 3"], fps: int, encoding: Encoding
) -> av.VideoStream:
    height, width = frame.shape[:2]
    rate = int(encoding.bits_per_pixel * width * height * fps)
    options = {"flags": "+bitexact", "threads": "1", "maxrate": str(rate), "bufsize": str(rate // 2)}
    if encoding.codec == "libx264":
        options |= {"preset": "superfast", "x264-params": "sliced-threads=0:rc-lookahead=0:sync-lookahead=0"}
    stream = container.add_stream(encoding.codec, rate=Fraction(fps), options=options)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuvj420p" if encoding.codec == "mjpeg" else "yuv420p"
    stream.bit_rate = rate
    context = stream.codec_context
    context.thread_count = 1
    context.gop_size = fps
    context.max_b_frames = 0
    return stream


def _picture(frame: UInt8[np.ndarray, "h w 3"], full_range: bool) -> av.VideoFrame:
    """The frame as planar YUV 4:2:0, converted in integers, which are the same on every machine."""
    if not full_range:
        planes = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")
    height, width = frame.shape[:2]
    converted = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YCrCb)
    chroma = cv2.resize(converted, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    planes = np.concatenate([converted[..., 0].ravel(), chroma[..., 2].ravel(), chroma[..., 1].ravel()])
    return av.VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuvj420p")


def _tag_half_turn(path: Path) -> None:
    """Sets the display matrix of an mp4's track header (ISO/IEC 14496-12, 8.3.2) to a turn by 180 degrees."""
    content = bytearray(path.read_bytes())
    start = content.find(b"tkhd")
    if start < 0:
        raise ValueError(f"{path} has no track header")
    matrix = start + 4 + 40  # version and flags 4, times and ids 20, reserved 8, layer to reserved 8
    width, height = (int.from_bytes(content[matrix + 36 + at : matrix + 40 + at], "big") for at in (0, 4))
    values = (-0x10000, 0, 0, 0, -0x10000, 0, width, height, 0x40000000)
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(content)
