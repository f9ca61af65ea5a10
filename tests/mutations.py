"""Damage to files, drawn from a generator; and videos of two classes that a detector tells apart by its pixels."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from fas_jax.base.rendition import Rendition
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.decision import Decision
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.logistic_fitting import LogisticDetector
from tests.made_up import make_bundle
from tests.tiny_backbone import TINY, TINY_FEATURES
from tests.trees import write_video

COUNTS = {"destroyed": 420, "attacks": 420, "faces": 12, "streamed": 200, "streams": 200, "bundles": 248}
REQUESTS = {"frames": 300, "requests": 100, "bytes": 100}
assert sum(COUNTS.values()) + sum(REQUESTS.values()) == 2000

Mutation = Callable[[np.random.Generator, bytes], bytes]
SEEN = Rendition(seconds=0.2, position="first", max_frames=4, cap="first", size=48)
_SIDES = np.sign(np.random.default_rng(5).normal(size=TINY.dimension))
_WEIGHTS = TINY.init(0)["weights"]


def pattern(bona_fide: bool, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture of 4x4 colours that moves each feature of the tiny network to one end; that of an attack is inverse."""
    colours = (_WEIGHTS @ _SIDES > 0).reshape(4, 4, 3) == bona_fide
    cells = np.where(colours, 235, 20).astype(np.uint8)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)


def film(bona_fide: bool, count: int = 24, seed: int = 0) -> list[np.ndarray]:
    """Frames of a pattern with a camera's noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-12, 13, (count, 48, 64, 3))
    return list(np.clip(pattern(bona_fide).astype(int) + noise, 0, 255).astype(np.uint8))


def resemblance(frame: np.ndarray) -> float:
    """Correlation of an RGB picture with that of a bona fide: 1 for the same, -1 for an attack's, 0 for one colour."""
    own = cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA).astype(float)
    wanted = pattern(True).astype(float)
    own, wanted = own - own.mean(), wanted - wanted.mean()
    scale = np.sqrt((own**2).sum() * (wanted**2).sum())
    return float((own * wanted).sum() / scale) if scale else 0.0


def telling_bundle(folder: Path) -> Bundle:
    """A bundle that accepts a clip only if its frames show the pattern of bona fide videos."""
    made = make_bundle(folder, {"mean": MeanFeature()}, renditions={"whole": SEEN}, features=TINY_FEATURES)
    width = TINY.dimension
    params = {"mean": np.zeros(width), "scale": np.ones(width), "weights": 10 * _SIDES / width, "bias": np.float64(0)}
    return dataclasses.replace(
        made,
        detectors={"mean": LogisticDetector(MeanFeature(), params)},
        # Nine tenths of the way from one end to the other.
        decisions={"mean": Decision(float(1 / (1 + np.exp(-8.0))))},
        preparation=dataclasses.replace(made.preparation, timeout=30),
    )


def sources(folder: Path, bona_fide: bool) -> dict[str, Path]:
    """The same film in containers and codecs, and one of its frames as pictures."""
    folder.mkdir(parents=True)
    frames, found = film(bona_fide), {}
    for name, codec in (
        ("h264.mp4", "libx264"),
        ("mpeg4.mp4", "mpeg4"),
        ("h264.mov", "libx264"),
        ("mjpeg.avi", "mjpeg"),
        ("mpeg4.avi", "mpeg4"),
        ("h264.mkv", "libx264"),
        ("vp8.webm", "libvpx"),
        ("hevc.mp4", "libx265"),
    ):
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        found[name] = write_video(folder / name, frames, codec, 25, **options)
    for name in ("frame.png", "frame.jpg"):
        found[name] = folder / name
        cv2.imwrite(str(found[name]), frames[0][..., ::-1])
    return found


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    """Without its end: a fifth at least."""
    return content[: int(rng.integers(0, len(content) * 4 // 5))]


def beheaded(rng: np.random.Generator, content: bytes) -> bytes:
    """Without its beginning; pictures of a motion JPEG may follow."""
    return content[int(rng.integers(16, len(content) // 2)) :]


def blank(rng: np.random.Generator, content: bytes) -> bytes:
    """Zeros, from somewhere in the first half to the end."""
    place = int(rng.integers(0, len(content) // 2))
    return content[:place] + bytes(len(content) - place)


def garbage(rng: np.random.Generator, content: bytes) -> bytes:
    """Noise behind the first bytes."""
    return content[: int(rng.integers(0, 32))] + rng.bytes(int(rng.integers(1, 4000)))


def stranger(rng: np.random.Generator, content: bytes) -> bytes:
    """Something else, whatever the name says."""
    starts = (
        *(b"GIF89a", b"II*\0", b"PK\3\4", b"\x7fELF", b"%PDF-1.7\n", b"BM", b"8BPS", b"<svg ", b"#!/bin/sh\n"),
        *(b"ffconcat version 1.0\nfile /etc/passwd\n", b"#EXTM3U\nhttp://127.0.0.1/\n", b"RIFF\0\0\0\0WEBPVP8 ", b""),
        *(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x0cJXL \r\n\x87\n", b"ID3\4", b"OggS", b"FLV\1\5"),
    )
    start = starts[int(rng.integers(len(starts)))]
    return start + (rng.bytes(int(rng.integers(0, 3000))) if start else b"")


def bomb(rng: np.random.Generator, content: bytes) -> bytes:
    """A header that promises a picture of up to 65,500 x 65,500 pixels; of films, sizes wherever the true ones are."""
    size = [int(rng.choice([20_000, 30_000, 65_500])) for _ in range(2)]
    changed = bytearray(content)
    if content.startswith(b"\x89PNG"):
        changed[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
        changed[29:33] = zlib.crc32(changed[12:29]).to_bytes(4, "big")
        return bytes(changed)
    if content.startswith(b"\xff\xd8\xff"):
        at = content.index(b"\xff\xc0")
        changed[at + 5 : at + 9] = size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
        return bytes(changed)
    # The atom or chunk that says how long everything is.
    at = max(content.find(b"moov"), content.find(b"movi"), content.find(b"\x1a\x45\xdf\xa3") + 4)
    return content[: at - 4] + b"\x7f\xff\xff\xff" + content[at:][: int(rng.integers(4, 200))]


DESTROYING: Mapping[str, Mutation] = {each.__name__: each for each in (cut, blank, garbage, stranger, bomb)}
"""What leaves no whole film or picture of a file, so that it has to be refused."""


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    """Some bits are others."""
    changed = bytearray(content)
    for at in rng.integers(0, len(content), int(rng.choice([1, 4, 30]))).tolist():
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flipped_head(rng: np.random.Generator, content: bytes) -> bytes:
    """Some of the first or last bytes, which tell sizes, times and codecs, are others."""
    changed = bytearray(content)
    for at in rng.integers(0, min(600, len(content)), int(rng.integers(1, 6))).tolist():
        changed[at if rng.integers(2) else -1 - at] = int(rng.choice([0, 1, 127, 128, 255]))
    return bytes(changed)


def spliced(rng: np.random.Generator, content: bytes) -> bytes:
    """A piece of it stands elsewhere, again."""
    begin, place = rng.integers(0, len(content), 2).tolist()
    return content[:place] + content[begin : begin + int(rng.integers(1, 2000))] + content[place:]


def punched(rng: np.random.Generator, content: bytes) -> bytes:
    """A hole of zeros."""
    place, length = int(rng.integers(0, len(content))), int(rng.integers(1, 500))
    return content[:place] + bytes(min(length, len(content) - place)) + content[place + length :]


def extended(rng: np.random.Generator, content: bytes) -> bytes:
    """Something follows."""
    return content + (content if rng.integers(2) else rng.bytes(int(rng.integers(1, 5000))))


def unchanged(rng: np.random.Generator, content: bytes) -> bytes:
    """Under another name alone."""
    return content


DAMAGING: Mapping[str, Mutation] = {
    each.__name__: each for each in (beheaded, flipped, flipped_head, spliced, punched, extended, unchanged)
}
"""What may leave a film or picture that can be judged."""
