"""What a file is, by its content: a picture that is read, a film, or something that is refused by its name.

A file's suffix says nothing. The same rule holds wherever files are decoded, whether to train or to score.
"""

import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

PICTURES = ("png", "jpeg")
MOST_PIXELS = 1 << 28
"""Of a picture: few enough to be decoded in seconds and to fit into a gigabyte. A file of a kilobyte may announce many
times as many."""

# Pictures that are refused. OpenCV reads some of them, but cannot tell that one is damaged, reads the first of several,
# or leaves their orientation out; FFmpeg would take a tile for the picture.
_STARTS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF or camera raw",
    b"MM\0*": "TIFF or camera raw",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
}
# Major brands of ISO base media files that hold pictures (ISO/IEC 23008-12; AVIF 1.1; CR3).
_BRANDS = {
    **dict.fromkeys(("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1"), "HEIC"),
    **dict.fromkeys(("avif", "avis"), "AVIF"),
    "crx ": "camera raw",
}


class DecodeError(Exception):
    """A file that gives no trustworthy clip; the message is the reason that reports show."""


def why_none(reasons: Mapping[str, str]) -> str:
    """Why no rendition of a video could be made, by those of each; empty where there is none."""
    return "; ".join(f"{name}: {each}" if len(reasons) > 1 else each for name, each in reasons.items())


def kind_of(path: Path) -> Literal["png", "jpeg", "film"]:
    """Whether a file is one PNG or JPEG picture, or else to be opened as a film.

    Raises:
        DecodeError: it cannot be read, is empty, or is a picture of another format.
    """
    file_bytes(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content[:64]
        if start.startswith(b"\x89PNG"):
            # An animation's control chunk stands before the pixels.
            if content.find(b"acTL", 0, max(content.find(b"IDAT"), 0)) >= 0:
                raise DecodeError(_refused("animated PNG"))
            return "png"
        if start.startswith(b"\xff\xd8\xff"):
            return "film" if _goes_on(content) else "jpeg"
    if name := _picture_name(start):
        raise DecodeError(_refused(name))
    return "film"


def file_bytes(path: Path) -> int:
    """The size of a file that can be read and holds something.

    Raises:
        DecodeError: there is no such file, or its path is not UTF-8, which would end the decoder's process.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise DecodeError("cannot be read: its path is not UTF-8; rename it") from None
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


def _refused(name: str) -> str:
    return f"a picture in the format {name}, which is not read; convert it to PNG"


def _picture_name(start: bytes) -> str:
    if start[4:8] == b"ftyp":
        brand = start[8:12].decode("latin-1")
        name = _BRANDS.get(brand, "")
        # The brand mif1 says only that there are pictures; the compatible brands say how they are coded.
        return "AVIF" if name == "HEIC" and b"avif" in start[16:] else name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    # A bitmap's two letters may begin any file: its reserved bytes are zero, and its header has a known size.
    if start[:2] == b"BM" and start[6:10] == bytes(4) and start[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x7c\0\0\0"):
        return "BMP"
    return next((name for known, name in _STARTS.items() if start.startswith(known)), "")


def jpeg_end(content: bytes | mmap.mmap) -> tuple[int, bool]:
    """Where the first picture of a JPEG file ends, -1 if it does not, and whether its header tells of further ones."""
    at, several = 2, False
    while (marker := content[at : at + 2]) != b"\xff\xda":
        segment = content[at + 2 : at + 8]
        if len(segment) < 6 or marker[0] != 0xFF:
            return -1, several
        # CIPA DC-007, multi-picture format: previews and the like.
        several |= segment[2:] == b"MPF\0"
        at += 2 + int.from_bytes(segment[:2], "big")
    # A scan holds no end marker: every 0xFF in it is followed by 0 or a restart marker.
    end = content.find(b"\xff\xd9", at)
    return (end + 2 if end >= 0 else -1), several


def jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels by the header of a sequential JPEG picture; nothing is decoded.

    Raises:
        DecodeError: it is no JPEG picture, its header is damaged, or it is progressive: such a picture may have any
            number of passes over all pixels in few bytes.
    """
    sequential, width, height = _jpeg_header(content)
    if not sequential:
        raise DecodeError("a JPEG picture that is not sequential (baseline)")
    return width, height


def check_pixels(content: bytes, kind: Literal["png", "jpeg"]) -> None:
    """Checks what a picture's header announces, before anything is decoded.

    Raises:
        DecodeError: more pixels than `MOST_PIXELS`, or no size.
    """
    if kind == "jpeg":
        _, width, height = _jpeg_header(content)
    else:
        # The first chunk of a PNG, IHDR, begins with the size.
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if not width * height:
        raise DecodeError("its header gives no size")
    if width * height > MOST_PIXELS:
        raise DecodeError(f"its header announces {width}x{height} pixels; at most {MOST_PIXELS} are decoded")


def _jpeg_header(content: bytes) -> tuple[bool, int, int]:
    """Whether a JPEG picture is sequential, and its width and height."""
    if not content.startswith(b"\xff\xd8\xff"):
        raise DecodeError("not a JPEG picture")
    at = 2
    while len(segment := content[at : at + 9]) == 9 and segment[0] == 0xFF:
        if 0xC0 <= segment[1] <= 0xCF and segment[1] not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
            if not width or not height:
                break
            return segment[1] in (0xC0, 0xC1), width, height
        # A marker may stand behind any number of 0xFF.
        at += 1 if segment[1] == 0xFF else 2 + int.from_bytes(segment[2:4], "big")
    raise DecodeError("a damaged JPEG header")


def _goes_on(content: mmap.mmap) -> bool:
    """Whether another JPEG picture follows the first directly: a stream of pictures without a container."""
    end, several = jpeg_end(content)
    return end >= 0 and content[end : end + 3] == b"\xff\xd8\xff" and not several
