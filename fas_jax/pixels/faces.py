"""Where the face is: from the dataset's annotation, from a detector, or not at all; `crops` cuts it out."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import inside
from fas_jax.base.record import Source
from fas_jax.pixels.detection import Box, Face, find_faces

KINDS = ("boxes", "corners", "eyes")
# Smallest side of a box, in pixels, that is a face and not a slip of the annotation.
SMALLEST = 4.0
# A face's width and height in distances between the eyes, and how far above the eyes it begins. Anthropometry gives
# about 2.2 distances of width; the height from hairline to chin is about 3.
_EYES_WIDTH, _EYES_HEIGHT, _EYES_ABOVE = 2.2, 3.0, 1.1


class AnnotationError(Exception):
    """A face annotation that is missing or cannot be used; the message is the reason that reports show."""


def read_boxes(root: Path, source: Source) -> dict[int, Box]:
    """The annotated boxes of a video, by zero-based frame; a frame without a face has none.

    Raises:
        AnnotationError: The video has no annotation, or one that is unreadable.
    """
    if not source.annotation:
        raise AnnotationError("no face annotation belongs to it; use crop = 'detector' or 'whole'")
    try:
        text = inside(root, source.annotation).read_text(encoding="utf-8-sig")
    except UserError:
        raise AnnotationError(f"face annotation {source.annotation} is a link that leads out of the folder") from None
    except (OSError, ValueError) as error:
        raise AnnotationError(f"face annotation {source.annotation} cannot be read: {error}") from error
    try:
        return parse_boxes(text, source.annotation_kind)
    except ValueError as error:
        raise AnnotationError(f"face annotation {source.annotation}: {error}") from error


def parse_boxes(text: str, kind: str) -> dict[int, Box]:
    """Boxes by frame from an annotation's text; lines are numbers apart by commas or blanks, the frame first.

    Args:
        text: The file's content, with any kind of line ends.
        kind: `boxes`, x y width height (Replay-Attack, Idiap's boxes of CASIA-FASD); `corners`, x1 y1 x2 y2 and eyes
            that are not used (MSU-MFSD); `eyes`, x and y of the right, then of the left eye (OULU-NPU), from which
            the box follows by the usual proportions of a face.

    All zeros, and boxes without extent, mean that no face was found: such a frame has no entry.

    Raises:
        ValueError: a line that is not of this form.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    columns = {"boxes": (5,), "corners": (5, 9), "eyes": (5,)}[kind]
    found: dict[int, Box] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"[,\s]+", line.strip(" \t,"))
        if words == [""]:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise ValueError(f"line {number} is not a line of numbers: {line.strip()!r}") from None
        if len(values) not in columns or not all(map(math.isfinite, values)) or values[0] != int(values[0]):
            raise ValueError(f"line {number} has not the {columns[0]} numbers of {kind}: {line.strip()!r}")
        box = _box(values[1:5], kind)
        if box is not None:
            found[int(values[0])] = box
    return found


def _box(values: list[float], kind: str) -> Box | None:
    first_x, first_y, second_x, second_y = values
    if kind == "boxes":
        box = (first_x, first_y, second_x, second_y)
    elif kind == "corners":
        box = (first_x, first_y, second_x - first_x, second_y - first_y)
    else:
        distance = math.hypot(second_x - first_x, second_y - first_y)
        middle_x, middle_y = (first_x + second_x) / 2, (first_y + second_y) / 2
        width = _EYES_WIDTH * distance
        box = (middle_x - width / 2, middle_y - _EYES_ABOVE * distance, width, _EYES_HEIGHT * distance)
    return box if min(box[2:]) >= SMALLEST else None


def box_at(boxes: Mapping[int, Box], index: int) -> Box | None:
    """The box in a frame: annotated, or between the nearest annotated ones before and after in proportion.

    Before the first and after the last annotated frame that one's box holds. None where no frame has one.
    """
    if index in boxes or not boxes:
        return boxes.get(index)
    before = max((known for known in boxes if known < index), default=None)
    after = min((known for known in boxes if known > index), default=None)
    if before is None or after is None:
        return boxes[after if before is None else before]  # type: ignore[index]
    share = (index - before) / (after - before)
    mixed = [(1 - share) * first + share * second for first, second in zip(boxes[before], boxes[after], strict=True)]
    return mixed[0], mixed[1], mixed[2], mixed[3]


def find_face(image: UInt8[np.ndarray, "h w 3"], model: str, most_certain: bool = False) -> Face | None:
    """The largest face, or the one with the highest score, that a detector finds in a BGR frame; None without one.

    Every frame speaks for itself: kept frames lie a second apart, in which a hand-held attack moves by more than the
    margin, so a box between two others' would name a face what need not be one.
    """
    found = find_faces(image, model)
    if not found:
        return None
    face = max(found, key=lambda each: each.score) if most_certain else found[0]
    return face if min(face.box[2:]) >= SMALLEST else None
