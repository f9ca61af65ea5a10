"""The frames of a clip that are given to a bundle: checked, and in the form that detectors read."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition

Frames: TypeAlias = UInt8[np.ndarray, "_ _ _ 3"] | Sequence[UInt8[np.ndarray, "_ _ 3"]]
"""Of one clip, RGB."""


def check_frames(name: str, rendition: Rendition, frames: Frames) -> None:
    """Raises `UserError` unless these are frames of the rendition of this name."""
    size, most = rendition.size, rendition.most_frames
    wanted = f"[t {size} {size} 3]" if size else "[t h w 3], or a list of [h w 3]"
    for each in frames if isinstance(frames, Sequence) else [frames]:
        shape = each.shape if isinstance(frames, Sequence) else each.shape[1:]
        if each.dtype != np.uint8 or len(shape) != 3 or shape != (size or shape[0], size or shape[1], 3):
            raise UserError(
                f"frames of rendition {name} must be uint8 {wanted}, RGB, not {each.dtype} {list(each.shape)}"
            )
    count, burst = len(frames), rendition.burst
    if count % burst:
        raise UserError(
            f"a clip of rendition {name} consists of whole bursts of {burst} frames, not of {count} "
            "frames; leave incomplete bursts out"
        )
    if most and count > most:
        raise UserError(
            f"a clip of rendition {name} has at most {most} frames, not {count}; choose them as its settings "
            "say (segment, position, max_frames)"
        )


def bgr_frames(frames: Frames, channels: str) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Frames of a clip as the renditions' makers take them.

    Raises:
        UserError: The frames have another type, shape or order of colours.
    """
    if channels not in ("RGB", "BGR"):
        raise UserError(f"channels must be 'RGB' or 'BGR', not {channels!r}")
    images = [np.asarray(each) for each in frames]
    for each in images:
        if each.dtype != np.uint8 or each.ndim != 3 or each.shape[-1] != 3 or not each.size:
            raise UserError(
                f"frames must be uint8 [t h w 3], or a list of [h w 3], not {each.dtype} {list(each.shape)}"
            )
    return [
        np.ascontiguousarray(each[..., ::-1]) if channels == "RGB" else np.ascontiguousarray(each) for each in images
    ]


def joined(rendition: Rendition, frames: Sequence[np.ndarray]) -> Frames:
    """Frames of a rendition as one array [t h w 3]; native ones may differ in size, and stay a list."""
    size = rendition.size
    if not size:
        return frames
    return np.stack(frames) if frames else np.zeros((0, size, size, 3), np.uint8)


def padded(rendition: Rendition, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What there is of each frame [t ...], with an axis of one clip and padded to the rendition's longest [1 t2 ...];
    and the mask [1 t2].
    """
    count = len(values)
    length = rendition.most_frames or count
    filled = np.pad(values, ((0, length - count), *((0, 0),) * (values.ndim - 1)))
    return filled[None], np.arange(length)[None] < count
