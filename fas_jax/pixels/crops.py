"""What is cut out of a frame around a face: a square of the user's own margin, or the crop of a preset.

Shrinking averages all pixels, because sampling some of them would fold print dots and pixel grids into moiré that
depends on the camera and not on the attack. Beyond the frame the border is repeated: a black margin would tell how near
to the border a face is.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fas_jax.base.crop_presets import CROP_PRESETS, CropPreset
from fas_jax.base.rendition import Rendition
from fas_jax.pixels.detection import Box, Face
from fas_jax.pixels.disturbances import MovedRendition
from fas_jax.pixels.tiles import cut_tiles

Image = UInt8[np.ndarray, "h w 3"]


def render(image: Image, face: Face | None, rendition: Rendition) -> UInt8[np.ndarray, "*_ _ _ 3"]:
    """A BGR frame, or what a rendition cuts out of it around a face, as RGB of its size, or with native pixels.

    Of a rendition with tiles, these: [k size size 3], with k = 0 where the frame is smaller than a tile.
    """
    if isinstance(rendition, MovedRendition):
        if face is None:
            x, y, width, height = rendition.moved(Face((0, 0, image.shape[1], image.shape[0]))).box
            image = _window(image, round(x), round(y), round(width), round(height))
        else:
            face = rendition.moved(face)
    if rendition.tiles:
        return cut_tiles(image, face.box if face else None, rendition)
    if face is None or not rendition.preset:
        pixels = image if face is None else cut(image, face.box, rendition.margin)
        return resize(pixels, rendition.size) if rendition.size else native(pixels, face is not None)
    preset = CROP_PRESETS[rendition.preset]
    if preset.shape == "aligned":
        return align(image, points_of(face), preset)
    if preset.shape == "square":
        return resize(cut(image, face.box, preset.margin), preset.size)
    left, top, right, bottom = _corners(image, face, preset)
    return resize(image[top:bottom, left:right], preset.size)


def points_of(face: Face) -> Float[np.ndarray, "5 2"]:
    """x and y of a face's five points."""
    return np.reshape(face.points, (5, 2))


def cut(image: Image, box: Box, margin: float) -> UInt8[np.ndarray, "s s 3"]:
    """The square around a box, its longer side and twice the margin wide; beyond the frame the border is repeated."""
    x, y, width, height = box
    side = max(2, round(max(width, height) * (1 + 2 * margin)))
    # No frame shows a face many times its own size: such a box would only ask for memory.
    side = min(side, 2 * max(image.shape[:2]))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    return _window(image, left, top, side, side)


def _window(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """A part of a frame; beyond the frame the border is repeated."""
    rows = np.clip(np.arange(top, top + height), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + width), 0, image.shape[1] - 1)
    return image[rows][:, columns]


def align(image: Image, points: Float[np.ndarray, "5 2"], preset: CropPreset) -> UInt8[np.ndarray, "size size 3"]:
    """A BGR frame turned and scaled so that a face's points come to lie where the preset says, as an RGB square."""
    goal = np.array(preset.targets) * preset.size
    turn, move = similarity(points[: len(goal)], goal)
    if preset.eyes_middle:
        move = np.array(preset.eyes_middle) * preset.size - turn @ points[:2].mean(axis=0)
    # Each pixel of the crop is the mean of so many samples a side, no two of them further apart than two pixels.
    fine = max(1, math.ceil(1 / math.sqrt(np.linalg.det(turn))))
    # Pixels lie at whole numbers, half a pixel from their left edge.
    matrix = np.concatenate([fine * turn, (fine * (move + 0.5) - 0.5)[:, None]], axis=1)
    side = fine * preset.size
    found = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return resize(found, preset.size)


def similarity(
    points: Float[np.ndarray, "n 2"], goal: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2"]]:
    """Turn with scale, and move, that take points to others with the least squared error (Umeyama 1991), unmirrored.

    Raises:
        ValueError: All points are one.
    """
    centre, aim = points.mean(axis=0), goal.mean(axis=0)
    variance = ((points - centre) ** 2).sum()
    if variance == 0:
        raise ValueError("points that all lie at one place have no direction")
    left, strengths, right = np.linalg.svd((goal - aim).T @ (points - centre))
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * signs) @ right * (strengths @ signs) / variance
    return turn, aim - turn @ centre


def _corners(image: Image, face: Face, preset: CropPreset) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (excluded) of an upright crop, in whole pixels of the frame."""
    height, width = image.shape[:2]
    x, y, w, h = face.box
    if preset.shape == "inside":
        scale = min((height - 1) / h, (width - 1) / w, preset.scale)
        starts = [
            min(max(at + side / 2 - side * scale / 2, 0), most - side * scale)
            for at, side, most in ((x, w, width), (y, h, height))
        ]
        corners = [*starts, starts[0] + w * scale, starts[1] + h * scale]
    elif preset.shape == "points":
        points = np.trunc(points_of(face))
        start, side = points.min(axis=0), np.ptp(points, axis=0).max()
        margin = int(side * preset.margin)
        corners = [*(start - margin), *(start + side + margin)]
    else:
        corners = [x, y, x + w, y + h]
    left, top, right, bottom = map(int, corners)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)


def resize(image: Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A BGR image as an RGB square."""
    height, width = image.shape[:2]
    smaller = (min(width, size), min(height, size))
    if smaller != (width, height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image[..., ::-1])


def native(image: Image, face: bool) -> UInt8[np.ndarray, "y x 3"]:
    """A BGR image as RGB with its own pixels; of a face, the middle square of the largest of some sides."""
    if face:
        side = min(image.shape[:2])
        # 2^k and 3 * 2^k: as many programs as faces differ in size, not one for each.
        largest = max((n * 2**k for k in range(16) for n in (2, 3) if n * 2**k <= side), default=side)
        top, left = ((length - largest) // 2 for length in image.shape[:2])
        image = image[top : top + largest, left : left + largest]
    return np.ascontiguousarray(image[..., ::-1])
