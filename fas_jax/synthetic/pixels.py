"""Operations on colour images that are many times slower when NumPy broadcasts over three channels."""

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float32

# Pixels of a strip: a few colour images of so many fit into a core's second-level cache.
_STRIP = 16384


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows of a frame, some at a time, so that what a chain of operations leaves stays in the cache.

    Whole vectors of 16 numbers fit into all but the last strip, so that results are those for the whole frame.
    """
    rows = max(16, _STRIP // width // 16 * 16)
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def open_grid(height: int, width: int) -> tuple[Float32[np.ndarray, "h 1"], Float32[np.ndarray, "1 w"]]:
    """Rows and columns of pixels, which broadcast to a frame."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def each(colour: Float32[np.ndarray, "3"]) -> Float32[np.ndarray, "3 1 1"]:
    """The colour, to broadcast over images whose channels come first, which NumPy does many times faster."""
    return colour[:, None, None]


def spread(plane: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The plane in all three channels."""
    return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def without_cover(layer: Float32[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "h w 3"]:
    """The first three channels."""
    return cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB)


def lay_over(frame: Float32[np.ndarray, "h w 3"], layer: Float32[np.ndarray, "h w 4"]) -> None:
    """Lays premultiplied colour with its coverage over the frame, in place."""
    for rows in strips(*frame.shape[:2]):
        part = frame[rows]
        part *= spread(1 - layer[rows, :, 3])
        part += without_cover(layer[rows])
