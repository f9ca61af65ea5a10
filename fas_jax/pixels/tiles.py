"""Tiles: squares of native pixels, from a window that slides over the face or the whole frame; nothing is resampled."""

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.rendition import Rendition
from fas_jax.pixels.detection import Box

Image = UInt8[np.ndarray, "h w 3"]


def cut_tiles(image: Image, box: Box | None, rendition: Rendition) -> UInt8[np.ndarray, "k s s 3"]:
    """The tiles of a BGR frame, as RGB, row by row; none where the frame is smaller than a tile.

    The result is a copy, so that the frame need not stay in memory.
    """
    side = rendition.size
    corners = tile_corners(image.shape[0], image.shape[1], box, rendition)
    found = np.empty((len(corners), side, side, 3), np.uint8)
    for tile, (top, left) in zip(found, corners, strict=True):
        tile[...] = image[top : top + side, left : left + side, ::-1]
    return found


def tile_corners(height: int, width: int, box: Box | None, rendition: Rendition) -> list[tuple[int, int]]:
    """Top and left of a frame's tiles, row by row; all of a tile's pixels lie within the frame.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        box: Box of the face; with None the window slides over the whole frame. It is rounded to float32, as it is
            stored, so that the stored box gives the same corners.
        rendition: The rendition, which gives size, margin, tiles and tile_step.

    Returns:
        At most `rendition.tiles` corners; none where the frame is smaller than a tile.
    """
    size, step = rendition.size, rendition.tile_step or rendition.size
    if min(height, width) < size:
        return []
    spans = [(0, height), (0, width)]
    if box is not None:
        x, y, w, h = (float(np.float32(value)) for value in box)
        side = max(w, h) * (1 + 2 * rendition.margin)
        spans = [_within(y + h / 2, side, height, size), _within(x + w / 2, side, width, size)]
    free = [end - start - size for start, end in spans]
    counts = [1 + -(-each // step) for each in free]
    while counts[0] * counts[1] > rendition.tiles:
        # One place fewer in the direction in which they lie closer together.
        gaps = [each / (count - 1) if count > 1 else np.inf for each, count in zip(free, counts, strict=True)]
        counts[int(gaps[1] < gaps[0])] -= 1
    rows, columns = (
        [start + place for place in _spread(each, count, size)]
        for (start, _), each, count in zip(spans, free, counts, strict=True)
    )
    return [(top, left) for top in rows for left in columns]


def _within(middle: float, length: float, most: int, least: int) -> tuple[int, int]:
    """Start and end of a span about a middle, cut off at the frame's borders, but no shorter than a tile."""
    start, end = (round(min(max(middle + sign * length / 2, 0), most)) for sign in (-1, 1))
    if end - start < least:
        start = min(max((start + end - least) // 2, 0), most - least)
        end = start + least
    return start, end


def _spread(last: int, count: int, size: int) -> list[int]:
    """So many places from 0 to `last`, evenly spread: with gaps, each in the middle of its share; else up to both ends.

    In integers, which give the same places on every machine.
    """
    length = last + size
    if count * size < length or count == 1:
        # Corners of a face's surroundings would otherwise be what few tiles show.
        return [((2 * number + 1) * length - count * size) // (2 * count) for number in range(count)]
    return [(2 * number * last + count - 1) // (2 * (count - 1)) for number in range(count)]
