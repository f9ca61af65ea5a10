"""Operations on colour images that are many times slower when NumPy broadcasts over three channels."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8


def spread(plane: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The plane in all three channels."""
    return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def scale_channels(image: Float32[np.ndarray, "h w 3"], factors: Float32[np.ndarray, "3"]) -> None:
    """Multiplies each channel by its factor, in place."""
    rows = image.reshape(image.shape[0], -1)
    rows *= np.tile(factors, image.shape[1])


def look_up(index: UInt8[np.ndarray, "h w 3"], table: Float32[np.ndarray, "256 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Each channel's table at the image's values."""
    return cv2.LUT(index, table[None])


def lay_over(
    frame: Float32[np.ndarray, "h w 3"], colour: Float32[np.ndarray, "h w 3"], cover: Float32[np.ndarray, "h w"]
) -> None:
    """Lays premultiplied colour over the frame, in place."""
    frame *= spread(1 - cover)
    frame += colour
