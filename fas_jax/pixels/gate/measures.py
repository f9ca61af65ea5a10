"""Numbers for how well a frame shows a face. NumPy and OpenCV only."""

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fas_jax.pixels.detection import Box, Face

Grey = UInt8[np.ndarray, "h w"]

SIDE = 96
"""Pixels to which the width of a larger face is reduced before sharpness is measured: the limit then holds for faces
of every size."""
_BLOCK, _WHITE = 8, 250
# Cycles per pixel, and the number of directions, between which fine detail is compared.
_FINE, _SECTORS = (0.1, 0.35), 8


def face_grey(grey: Grey, box: Box) -> Grey:
    """The part of a frame's luma under a box; of one outside of the frame, nothing."""
    x, y, width, height = box
    top, left = max(0, round(y)), max(0, round(x))
    return grey[top : max(top, round(y + height)), left : max(left, round(x + width))]


def reduced(grey: Grey) -> Grey:
    """A face's luma at a width of at most `SIDE`."""
    height, width = grey.shape
    if width <= SIDE:
        return grey
    size = SIDE, max(1, round(height * SIDE / width))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def roll(face: Face) -> float:
    """Degrees by which the line through the eyes is turned, clockwise positive; from -180 to 180."""
    right_x, right_y, left_x, left_y = face.eyes
    return math.degrees(math.atan2(left_y - right_y, left_x - right_x))


def yaw(face: Face) -> float:
    """How far the nose lies from the middle between the eyes, along their line: 0 there, 1 or more below an eye."""
    right, left, nose = (np.array(face.points[place : place + 2]) for place in (0, 2, 4))
    line = left - right
    length = float(line @ line)
    return abs(2 * float((nose - right) @ line) / length - 1) if length else math.inf


def pitch(face: Face) -> float:
    """Where the nose lies between the eyes' line (0) and the mouth's (1), across the eyes' line whatever the roll.

    It is smaller for a face that looks up, larger for one that looks down. A face that looks straight ahead has about
    0.55, which differs from person to person. It is no angle: five points do not tell a long nose from a lowered chin.
    It is infinite where the eyes, or the eyes and the mouth, lie in one place.
    """
    right, left, nose, *corners = (np.array(face.points[place : place + 2]) for place in range(0, 10, 2))
    line, eyes, mouth = left - right, (right + left) / 2, (corners[0] + corners[1]) / 2
    down = np.array([-line[1], line[0]])
    whole = float((mouth - eyes) @ down)
    return float((nose - eyes) @ down) / whole if whole else math.inf


def border(box: Box, width: int, height: int) -> float:
    """Least distance between a box and the border of its frame, in widths of the box; negative beyond it."""
    x, y, w, h = box
    return min(x, y, width - x - w, height - y - h) / w


def sharpness(grey: Grey) -> float:
    """1 minus the blur metric of Crete, Dolmiere, Ladret and Nicolas (2007): 1 for noise, 0 for blur or no detail.

    The metric asks how much of the differences between neighbours a further blur takes away.
    """
    image = grey.astype(np.float32)
    found = []
    for axis, kernel in ((0, (1, 9)), (1, (9, 1))):
        blurred = cv2.blur(image, kernel)
        before, after = np.abs(np.diff(image, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        total = float(before.sum())
        found.append(float(np.maximum(before - after, 0).sum()) / total if total else 0.0)
    return min(found)


def motion_blur(grey: Grey) -> float:
    """How much more fine detail a face has across a direction than along it, for the direction where that is most.

    The ratio of mean amplitudes in the spectrum, 1 if all directions are alike; motion takes away the detail along its
    own direction. Infinite where one direction shows none, NaN where there is no detail at all.
    """
    image = grey.astype(np.float32)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    amplitude = np.abs(np.fft.fft2((image - image.mean()) * window))
    down, across = np.meshgrid(*(np.fft.fftfreq(count) for count in image.shape), indexing="ij")
    radius = np.hypot(down, across)
    sector = np.floor(np.mod(np.arctan2(down, across) / math.pi + 0.5 / _SECTORS, 1) * _SECTORS).astype(int)
    fine = (radius >= _FINE[0]) & (radius <= _FINE[1])
    means = np.array([amplitude[fine & (sector == each)].mean() for each in range(_SECTORS)])
    across_it = np.roll(means, _SECTORS // 2)
    if not means.any():
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nanmax(across_it / means))


def light_parts(grey: Grey) -> float:
    """The 90th percentile of the luma: what is light in a face of any colour."""
    return float(np.percentile(grey, 90))


def white_share(grey: Grey) -> float:
    """The share of pixels that are, or nearly are, as bright as can be."""
    return float(np.mean(grey >= _WHITE))


def backlight(grey: Grey, box: Box) -> float:
    """The median luma around a face over that of the face; NaN where the face fills the frame."""
    x, y, w, h = box
    around = np.ones(grey.shape, bool)
    face_grey(around, (x - w / 2, y - h / 2, 2 * w, 2 * h))[:] = False
    if np.mean(around) < 0.05:
        return math.nan
    return float(np.median(grey[around]) / max(1.0, float(np.median(face_grey(grey, box)))))


def blockiness(grey: Grey) -> float:
    """How much larger steps between pixels are at the borders of blocks of 8x8 pixels than elsewhere; 1 for no blocks.

    Blocks lie as JPEG and most codecs lay them, from the upper left corner on: those of a film that was resized after
    it was compressed are not seen.
    """
    found = []
    for axis in (0, 1):
        steps: Float[np.ndarray, "h w"] = np.abs(np.diff(grey.astype(np.float32), axis=axis)).mean(axis=1 - axis)
        at_border = np.arange(len(steps)) % _BLOCK == _BLOCK - 1
        if not at_border.any() or at_border.all():
            return math.nan
        # Half a level of rounding: a drawn picture has flat parts.
        found.append((steps[at_border].mean() + 0.5) / (steps[~at_border].mean() + 0.5))
    return float(max(found))
