"""Which way up a frame is, by a search for faces in four turns. NumPy and OpenCV only."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.pixels.detection import MTCNN, SIDE, Face, find_faces

Picture = UInt8[np.ndarray, "h w 3"]

TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
"""By degrees clockwise, OpenCV's turn of a picture."""


class Turn(NamedTuple):
    """How a picture has to be turned to be upright."""

    degrees: int
    """Clockwise: 0, 90, 180 or 270."""
    score: float
    """Of the surest face in the picture turned so."""


def turned(picture: Picture, degrees: int) -> Picture:
    """A picture turned clockwise by 0, 90, 180 or 270 degrees."""
    code = TURNS[degrees]
    return picture if code is None else cv2.rotate(picture, code)


def faces_in(picture: Picture) -> list[Face]:
    """The faces that MTCNN finds in a BGR picture, the largest first, in its own pixels.

    The picture is searched at a longer side of at most `SIDE` pixels: smaller faces than are seen then fail the gate.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    if scale == 1:
        return find_faces(picture, MTCNN)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    across, down = width / size[0], height / size[1]
    return [
        Face(
            (face.box[0] * across, face.box[1] * down, face.box[2] * across, face.box[3] * down),
            tuple(value * (down if place % 2 else across) for place, value in enumerate(face.points)),
            face.score,
        )
        for face in find_faces(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), MTCNN)
    ]


def upright_turn(picture: Picture) -> Turn | None:
    """The turn in which MTCNN is surest of a face; None if it finds none in any turn.

    Args:
        picture: BGR.
    """
    found = [
        Turn(degrees, max(face.score for face in faces))
        for degrees in TURNS
        if (faces := faces_in(turned(picture, degrees)))
    ]
    return max(found, key=lambda each: each.score, default=None)
