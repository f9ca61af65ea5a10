"""What is known of a video, before and after it is decoded; shared by all datasets and all stages."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

SPLITS = ("train", "dev", "test")
BONA_FIDE, ATTACK = 1, 0
# Coarse PAI species, comparable across datasets; `pai_fine` holds each dataset's own, finer names.
COARSE_PAI = ("print", "cut", "warped", "replay")


@dataclass(frozen=True)
class Video:
    """A video file and what its dataset says of it."""

    path: str
    """Relative to the dataset's root, with forward slashes."""
    dataset: str
    """`O`, `C`, `I` or `M`, with `synth-` before it where the videos are rendered."""
    subject: str
    """Unique within the dataset."""
    split: str
    """Official split: train, dev or test."""
    label: int
    """1 bona fide, 0 attack."""
    pai: str
    """Coarse PAI species (print, cut, warped, replay), or `bonafide`."""
    pai_fine: str
    """The dataset's own PAI species, or `bonafide`."""
    device: str
    """Capture device, in the dataset's own words; empty where not told."""
    session: str
    """Session or lighting, in the dataset's own words; empty where not told."""


@dataclass(frozen=True)
class ClipInfo:
    """What decoding a video found, without the frames."""

    frame_indices: tuple[int, ...]
    """Zero-based indices of the kept frames, rising."""
    frame_count: int
    """Frames that could be decoded."""
    fps: float
    """Frame rate that the container tells; 0 where it tells none."""
    width: int
    """Pixels, after any rotation tag."""
    height: int
    codec: str
    """Four-character code that the container tells."""
    file_bytes: int
    colour: tuple[float, ...]
    """Mean of R, G, B, then standard deviation of R, G, B, over the kept frames' pixels (0 to 255)."""
    announced_frames: int = 0
    """Frames that the container announces; 0 where it announces none."""


@dataclass(frozen=True)
class Clip:
    """The kept frames of one video."""

    video: Video
    info: ClipInfo
    frames: UInt8[np.ndarray, "t h w 3"]
    """RGB."""


@dataclass(frozen=True)
class Failure:
    """A video that could not be scored (a non-response), and why."""

    video: Video
    reason: str


def to_row(value: Any) -> dict[str, Any]:
    """A flat dataclass as a dictionary for JSON."""
    return dataclasses.asdict(value)
