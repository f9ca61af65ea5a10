"""Crops of other projects by name: what is cut out of a frame around a face, as their code or papers say.

`fas_jax.pixels.crops` cuts them. Three things hold for all presets, and differ from most originals: shrinking averages
all pixels; crops are stored without loss; and where a crop reaches beyond the frame, the border is repeated, because a
black margin would tell how near to the border a face is. docs/crops.md shows them as a table.
"""

from dataclasses import dataclass
from typing import Literal

# Where the five points of a face lie in the square of dlib's mean shape, whose detector is not needed.
_MEAN = (
    (0.224152, 0.2119465),
    (0.75610125, 0.2119465),
    (0.490127, 0.628106),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)
_MXNET = "MTCNN in its MXNet port; MTCNN here is facenet-pytorch's, whose boxes and points are near and not equal"


@dataclass(frozen=True)
class CropPreset:
    """One project's crop."""

    source: str
    """Whose crop it is, and where it was read."""
    shape: Literal["whole", "square", "box", "inside", "points", "aligned"]
    """`whole`: the frame. `square`: a square around the box's centre, its longer side and twice the margin wide. `box`:
    the box as it is, cut off at the frame, and stretched. `inside`: the box times `scale`, made smaller and moved
    until it lies in the frame, and stretched. `points`: a square from the left- and topmost of the five points, the
    longer side of their extent wide, with the margin on every side; cut off at the frame. `aligned`: turned and scaled
    so that points come to lie at `targets`."""
    size: int
    """Side in pixels."""
    margin: float = 0.0
    """Added on every side, as a share of the longer side."""
    scale: float = 1.0
    targets: tuple[tuple[float, float], ...] = ()
    """x and y of the first points of a face, in shares of the side; a similarity transform takes the face's points
    there with the least squared error."""
    eyes_middle: tuple[float, float] | None = None
    """Where the middle of the eyes lies, whatever the transform says; it then gives angle and scale alone."""
    most_certain: bool = False
    """Whether the face with the highest score is taken, and not the largest."""
    face_model: str = "mtcnn"
    """The detector, unless the rendition names another."""
    stored: str = "not stated"
    """How the original stores its crops; here it is without loss."""
    unknown: str = ""
    """What is not known of the original, or done otherwise here."""

    @property
    def reads_points(self) -> bool:
        """Whether a box alone is not enough."""
        return self.shape in ("points", "aligned")


def _padded(padding: float) -> tuple[tuple[float, float], ...]:
    return tuple(((padding + x) / (1 + 2 * padding), (padding + y) / (1 + 2 * padding)) for x, y in _MEAN)


# bob.bio.face: the eyes (face_size + 1) / 2 apart, their middle at (face_size - 0.5) / 2 across and a quarter down.
_BOB_EYES = ((55.5 / 224, 0.25), (168 / 224, 0.25))
_BLACK = "the original's border is black, and it samples single pixels when it shrinks"

CROP_PRESETS: dict[str, CropPreset] = {
    "whole": CropPreset("Muhammad et al. 2023 (this package's paper)", "whole", 224, face_model=""),
    "ssdg": CropPreset(
        "SSDG (Jia et al., CVPR 2020), by its MXNet MTCNN's function for chips",
        "aligned",
        256,
        targets=_padded(0.37),
        eyes_middle=(0.5, 0.4),
        unknown=f"{_MXNET}; {_BLACK}. The function was read in copies of the port",
    ),
    "flip": CropPreset(
        "FLIP (Srivatsan et al., ICCV 2023) and ViTAF (Huang et al., ECCV 2022), who took SSDG's crop",
        "aligned",
        224,
        targets=_padded(0.37),
        eyes_middle=(0.5, 0.4),
        unknown=f"{_MXNET}; {_BLACK}; whether they cut at 224 or shrink 256 to 224",
    ),
    "safas": CropPreset(
        "SA-FAS (Sun et al., CVPR 2023), preposess.py",
        "box",
        256,
        most_certain=True,
        stored="JPEG",
        unknown="the original's JPEG is left out here; it stretches the crop when it is loaded, by bilinear sampling",
    ),
    "gac": CropPreset(
        "GAC-FAS (Le and Woo, CVPR 2024), who took SA-FAS's crop",
        "box",
        256,
        most_certain=True,
        stored="JPEG",
        unknown="as safas",
    ),
    "gdfas": CropPreset(
        "GD-FAS (Jung et al., ICCV 2025): aligned, padding 0.6",
        "aligned",
        224,
        targets=_padded(0.6),
        eyes_middle=(0.5, 0.4),
        unknown=f"its code for crops was not read: SSDG's function with this padding is assumed; {_BLACK}",
    ),
    "iadg": CropPreset(
        "IADG (Zhou et al., CVPR 2023), dataloaders/DG_dataset.py, margin 0.7",
        "points",
        256,
        margin=0.35,
        unknown="which detector gave its points; its crop is not turned",
    ),
    "minivision-2.7": CropPreset(
        "Silent-Face-Anti-Spoofing (minivision-ai), src/generate_patches.py, scale 2.7",
        "inside",
        80,
        scale=2.7,
        unknown="its detector is a Caffe RetinaFace, whose boxes are not those of MTCNN",
    ),
    "minivision-4.0": CropPreset(
        "Silent-Face-Anti-Spoofing (minivision-ai), src/generate_patches.py, scale 4",
        "inside",
        80,
        scale=4.0,
        unknown="as minivision-2.7",
    ),
    "facenox": CropPreset(
        "face-antispoof-onnx (facenox): the box times 1.5",
        "square",
        128,
        margin=0.25,
        unknown="its code was not read: a square is assumed; its detector is YuNet",
    ),
    "bob": CropPreset(
        "bob.pad.face and bob.bio.face (Idiap), the crop of DeepPixBiS: eyes at fixed positions",
        "aligned",
        224,
        targets=_BOB_EYES,
        unknown="its detector is a Caffe MTCNN; what it fills borders with",
    ),
}
