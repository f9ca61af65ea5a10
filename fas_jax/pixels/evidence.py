"""What a film's own packets, time stamps and decoder say of it: whether all of it is there, whole and upright.

PyAV reads the file once before OpenCV gives its pixels: it tells what OpenCV hides, such as the decoder's errors and
the samples that an edit list leaves out. What a container announces is believed only where it counts its own samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.stream import Disposition
from jaxtyping import UInt8

from fas_jax.pixels.content import DecodeError

# A text file that starts with "ffconcat" or "#EXTM3U" would have FFmpeg open whatever it names, on disk or on
# the network. Only local files in plain containers are read.
WHITELISTS = {
    "protocol_whitelist": "file",
    "format_whitelist": "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,asf,flv,ogg,mjpeg,h264,hevc",
}
# A tenth may be missing at the end: a container's length counts what an encoder withheld, or the last frame's time.
SHORTFALL = 10
# Of this many frames one may decode with errors. Between key frames an error spreads to the frames after it.
DAMAGED = 20
# Streams of pictures that are not the film: covers, previews, tiles.
_NOT_THE_FILM = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
# These decoders conceal an error without marking the frame, unless they are to fail on it.
_FAIL_ON_ERRORS = ("mjpeg", "hevc")


class Orientation(NamedTuple):
    """How stored pixels become upright: first transposed, then flipped."""

    transposed: bool = False
    flipped_x: bool = False
    """Left and right exchanged."""
    flipped_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which pixels are turned, before they are mirrored if `mirrored`."""
        flipped_x = self.flipped_x ^ self.mirrored
        if self.transposed:
            return 90 if flipped_x else 270
        return 180 if flipped_x else 0

    @property
    def mirrored(self) -> bool:
        """Whether turned pixels have left and right exchanged as well."""
        return self.transposed ^ self.flipped_x ^ self.flipped_y

    def upright(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "..."]:
        """The image as it is meant to be seen; height and width change places if `transposed`."""
        if self.transposed:
            image = cv2.transpose(image)
        if self.flipped_x or self.flipped_y:
            image = cv2.flip(image, -1 if self.flipped_x and self.flipped_y else int(self.flipped_x))
        return image


@dataclass(frozen=True)
class Film:
    """What PyAV found in a file."""

    frames: int
    """Frames that are to be shown and decode, damaged ones included."""
    stored: int
    """Samples that the container counts; 0 where it has no count of its own."""
    damaged: int
    """Frames that decode with errors or not at all."""
    early: int
    """Packets before the first frame of a file that does not begin with a key frame."""
    failed: int
    """Packets after it that do not decode."""
    orientation: Orientation


def examine(path: Path) -> Film:
    """Decodes a file with PyAV and checks that it is whole.

    Raises:
        DecodeError: the file does not open, holds no film or several, has fewer samples or ends earlier than it says
            itself, or too many of its frames decode with errors.
    """
    with _opened(path) as container:
        stream = _film(container)
        tally = _Tally()
        for packet in _packets(container):
            if packet.pts is not None and packet.stream.type in ("video", "audio"):
                tally.ends = max(tally.ends, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                tally.add(packet)
        if stream.frames:
            # An AVI's empty chunks are frames that were dropped when it was recorded; time goes on over them.
            there = max(tally.samples, tally.ticks) if container.format.name == "avi" else tally.samples
            _check_stored(path, stream.frames, there)
        else:
            _check_length(path, container, tally.ends, 1 / float(stream.guessed_rate or 25))
        film = tally.film(stream.frames)
    if film.damaged * DAMAGED > film.frames + film.failed:
        raise DecodeError(f"damaged: {film.damaged} of {film.frames + film.failed} frames decode with errors")
    return film


@dataclass
class _Tally:
    """Counts over the packets of a film."""

    samples: int = 0
    ends: float = 0.0
    """Seconds, of all streams."""
    ticks: int = 0
    """Where the film ends, in units of its own time."""
    begun: bool = False
    early: int = 0
    frames: int = 0
    failed: int = 0
    marked: int = 0
    """Frames that the decoder marks as damaged."""
    lost: int = 0
    """Packets of which the container knows that they lack something."""
    orientation: Orientation = Orientation()  # noqa: RUF009 - a tuple

    def add(self, packet: Any) -> None:
        """Decodes the next packet."""
        if packet.pts is not None:
            self.ticks = max(self.ticks, packet.pts + (packet.duration or 0))
        # A recording may begin anywhere: what cannot be decoded before its first key frame is no damage.
        self.begun |= not self.samples and packet.is_keyframe
        self.early += not self.begun
        self.samples += packet.size > 0
        self.lost += self.begun and packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self.failed += self.begun
            return
        for frame in frames:
            if not self.frames:
                self.orientation = _orientation(frame)
            self.begun = True
            self.frames += 1
            self.marked += frame.is_corrupt

    def film(self, stored: int) -> Film:
        damaged = max(self.failed + self.marked, self.lost)
        return Film(self.frames, stored, damaged, self.early, self.failed, self.orientation)


def _check_stored(path: Path, stored: int, there: int) -> None:
    """Raises `DecodeError` unless the file holds the samples that its own table counts."""
    missing_allowed = max(1, stored // SHORTFALL)
    if stored - there > missing_allowed:
        # An edit list hides samples; without it all of them are read.
        with _opened(path, ignore_editlist="1") as container:
            film = _film(container).index
            there = max(there, sum(each.stream.index == film and each.size > 0 for each in _packets(container)))
    if stored - there > missing_allowed:
        raise DecodeError(f"truncated: {there} of {stored} announced frames are in the file")


def _check_length(path: Path, container: Any, ends: float, frame: float) -> None:
    """Raises `DecodeError` if all of the streams end, in seconds, before the length that the file states."""
    length = (container.duration or 0) / av.time_base
    if length - ends > max(length / SHORTFALL, frame):
        raise DecodeError(f"truncated: it ends after {ends:.1f} s of {length:.1f} s")
    # FFmpeg does not repeat the length that an ASF file states if its size is not the one that it states.
    if container.format.name == "asf" and not container.duration:
        size, stated = path.stat().st_size, _asf_bytes(path)
        if stated - size > stated / SHORTFALL:
            raise DecodeError(f"truncated: {size} of {stated} bytes")


def _asf_bytes(path: Path) -> int:
    """The file's size according to an ASF file's properties; 0 where they do not say."""
    with path.open("rb") as file:
        header = file.read(1 << 16)
    at = header.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    return int.from_bytes(header[at + 40 : at + 48], "little") if at >= 0 else 0


@contextmanager
def _opened(path: Path, **options: str) -> Iterator[Any]:
    try:
        # Texts in a file, such as its title, may be in any encoding.
        container = av.open(str(path), metadata_errors="replace", container_options={**WHITELISTS, **options})
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError("not a video that the decoder can open") from error
    with container:
        yield container


def _packets(container: Any) -> Iterator[Any]:
    """The packets of all streams, as far as they can be read."""
    try:
        yield from container.demux()
    except av.FFmpegError:
        return


def _film(container: Any) -> Any:
    """The stream that is decoded: the only one that is a film, and the first one of pictures, which OpenCV opens."""
    pictures = container.streams.video
    films = [each for each in pictures if not each.disposition & _NOT_THE_FILM]
    if not films:
        raise DecodeError("not a video: it has no video stream")
    if len(films) > 1:
        raise DecodeError(f"{len(films)} video streams in one file; keep one of them, as a file of its own")
    if films[0].index != pictures[0].index:
        raise DecodeError("a picture's stream stands before its video stream; keep the video alone")
    codec = films[0].codec_context
    if codec is None:
        raise DecodeError("not a video that the decoder can open: its codec is unknown")
    # One thread, as everywhere in a worker.
    codec.thread_type = "NONE"
    # Nobody sees these frames: smoothing them would take a sixth of the time.
    codec.options = {"skip_loop_filter": "all", **({"err_detect": "explode"} if codec.name in _FAIL_ON_ERRORS else {})}
    return films[0]


def _orientation(frame: av.VideoFrame) -> Orientation:
    """What a frame's display matrix says (ISO/IEC 14496-12, 8.3.2)."""
    matrices = [each for each in frame.side_data if each.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrices[0]), np.int32).tolist()
    if a and d and not b and not c:
        return Orientation(False, a < 0, d < 0)
    if b and c and not a and not d:
        return Orientation(True, c < 0, b < 0)
    raise DecodeError("its display matrix is no turn by right angles")
