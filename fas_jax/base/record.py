"""What is known about a video before and after it is decoded; shared by all datasets and stages."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "dev", "test")
BONA_FIDE, ATTACK = 1, 0
# Coarse PAI species, comparable across datasets; `pai_fine` holds each dataset's own, finer names.
COARSE_PAI = ("print", "cut", "warped", "replay")


@dataclass(frozen=True, slots=True)
class Video:
    """A video file and what its dataset says about it."""

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
    """Capture device, in the dataset's own words; empty where not known."""
    session: str
    """Session or lighting, in the dataset's own words; empty where not known."""


@dataclass(frozen=True, slots=True)
class RenditionInfo:
    """One rendition of a video, without its frames."""

    frame_indices: tuple[int, ...] = ()
    """Zero-based indices of the kept frames, rising, once for each tile where these are cut into tiles; empty where the
    rendition could not be made."""
    colour: tuple[float, ...] = ()
    """Mean of R, G, B, then standard deviation of R, G, B, over the kept frames' pixels (0 to 255); empty without
    frames."""
    boxes: tuple[float, ...] = ()
    """x, y, width, height of the face in every kept frame, one after the other, in pixels of the turned frame, or those
    of its frame for every tile; zeros where no face was found; empty if the rendition crops no faces."""
    no_face: int = 0
    """Of the frames that were searched, those in which no face was found, including those that were left out."""
    reason: str = ""
    """Why this rendition of this video could not be made; empty where it was made."""


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What decoding a video found, without the frames: facts of the file, and its renditions."""

    frame_count: int
    """Frames that could be decoded."""
    fps: float
    """Frame rate according to the container; 0 where it names none."""
    width: int
    """Pixels, after any rotation tag."""
    height: int
    codec: str
    """Four-character code according to the container."""
    file_bytes: int
    announced_frames: int = 0
    """Frames that the container counts; 0 where it has no count of its own."""
    damaged_frames: int = 0
    """Frames that decode with errors or not at all; of images only those that are kept are known."""
    rotation: int = 0
    """Degrees clockwise by which the stored pixels were turned, as the file's tag or the dataset's list says."""
    mirrored: bool = False
    """Whether left and right of the turned pixels were exchanged, as the file's tag says."""
    renditions: Mapping[str, RenditionInfo] = field(default_factory=dict)
    """By the names of the settings' [renditions.NAME] tables."""


@dataclass(frozen=True)
class Source:
    """What reading a video needs besides its file."""

    frames: tuple[str, ...] = ()
    """Image files in order, relative to the root, for a video that is a folder of frames."""
    fps: float = 0.0
    """Frame rate of `frames`, or the manifest's frame rate of a file that names none; 0 where it is not known."""
    upside_down: bool | None = None
    """What the dataset's list of turned videos says; None where it has no such list."""
    annotation: str = ""
    """File of face positions, relative to the root; empty where there is none."""
    annotation_kind: str = ""
    """`boxes`, `corners` or `eyes`; see `fas_jax.pixels.faces`."""
    box: tuple[float, ...] = ()
    """x, y, width, height of the face in all frames, where that is known."""
    chosen: bool = False
    """Whether the frames were chosen from a longer video already: renditions keep every one, up to `max_frames`."""


@dataclass(frozen=True)
class Failure:
    """A video that could not be scored (a non-response), and why."""

    video: Video
    reason: str


def to_row(value: Any) -> dict[str, Any]:
    """A dataclass as a dictionary for JSON."""
    return dataclasses.asdict(value)


def clip_info(row: Mapping[str, Any]) -> ClipInfo:
    """A `ClipInfo` from the dictionary that `to_row` made, also after JSON, which has no tuples."""
    renditions = {name: RenditionInfo(**_with_tuples(each)) for name, each in row["renditions"].items()}
    return ClipInfo(**{**row, "renditions": renditions})


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
