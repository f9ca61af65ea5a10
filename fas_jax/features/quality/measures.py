"""All measures of frames of one size, and which they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, UInt8

from fas_jax.base.errors import UserError
from fas_jax.features.quality.differences import differences
from fas_jax.features.quality.distortion import COLOURS, distortion
from fas_jax.features.quality.gradients import gradients
from fas_jax.features.quality.grey import Flavour, grey_of
from fas_jax.features.quality.niqe import naturalness
from fas_jax.features.quality.rred import entropic_difference
from fas_jax.features.quality.spectra import spectra
from fas_jax.features.quality.structure import structure

VERSION = 3
"""Raised when the same frames come to have other measures."""
SMALLEST = 3
"""Side of a frame, in pixels, below which nothing is measured."""
GALBALLY: dict[Flavour, tuple[str, ...]] = {
    "formula": (
        *("mse", "psnr", "snr", "sc", "md", "ad", "nae", "ramd", "lmse", "nxc", "mas", "mams", "ted", "tcd", "sme"),
        *("spe", "gme", "gpe", "ssim", "vif", "rred", "jqi", "hlfi", "niqe"),
    ),
    "bob": (
        *("mse", "psnr", "ad", "sc", "nxc", "md", "lmse", "nae", "snr", "ramd", "mas", "mams", "sme", "gme", "gpe"),
        *("ssim", "vif", "hlfi"),
    ),
}
"""Galbally et al.'s measures, in the order of the publication and of the reference implementation."""
_MOMENTS = tuple(f"{channel}-{name}" for channel in "hsv" for name in ("mean", "std", "skewness", "low", "high"))
_REST = (*_MOMENTS, *(f"colour-{i}" for i in range(COLOURS)), "colours", "blur", "edge-width")
WEN: dict[Flavour, tuple[str, ...]] = {
    "formula": ("specular-share", "specular-mean", "specular-std", *_REST),
    "bob": _REST,
}
"""Wen et al.'s measures, in their order."""
_ABOVE_ONE = ("sc", "nxc", "mas", "ssim")
# What a pixel takes while its frame is measured; a batch takes no more than this in all, or is one frame.
_BYTES_A_PIXEL, _BATCH_BYTES = 160, 512 << 20
_BATCH = 8


def names(flavour: Flavour) -> tuple[str, ...]:
    """Of all measures, in the order of what the functions below return."""
    return GALBALLY[flavour] + WEN[flavour]


@functools.partial(jax.jit, static_argnames=("flavour", "only_galbally"))
def deviations(
    frames: UInt8[Array, "n h w 3"], flavour: Flavour = "formula", only_galbally: bool = False
) -> Float32[Array, "n d"]:
    """The measures of RGB frames, of SC, NXC, MAS and SSIM what they have above 1, which float32 keeps all digits of.

    A measure that is undefined, as many are of a flat frame, is NaN. One program for each size of frames.
    """

    def one(frame: Array) -> Array:
        grey = grey_of(frame, flavour)
        found = {
            **differences(frame, grey, flavour),
            **gradients(grey, flavour),
            **spectra(grey, flavour),
            **structure(grey, flavour),
        }
        if flavour == "formula":
            found |= {"rred": entropic_difference(grey), "niqe": naturalness(grey.levels)}
        wanted = GALBALLY[flavour]
        if not only_galbally:
            found |= distortion(frame, flavour)
            wanted = names(flavour)
        values = jnp.stack([jnp.asarray(found[name], jnp.float32) for name in wanted])
        return jnp.where(jnp.isfinite(values), values, jnp.nan)

    # One frame after the other: its maps stay in the cache, and large ones are divided among the cores.
    found: Array = jax.lax.map(one, frames)
    return found


def measure(frames: UInt8[np.ndarray, "n h w 3"], flavour: Flavour = "formula") -> Float32[np.ndarray, "n d"]:
    """`deviations` of any number of frames, in memory that their number does not change.

    Raises:
        UserError: The frames are smaller than 3 pixels.
    """
    count, height, width = frames.shape[:3]
    if min(height, width) < SMALLEST:
        raise UserError(
            f"a frame of {width}x{height} pixels is too small to be measured; it takes {SMALLEST}x{SMALLEST}"
        )
    size = batch_size(height, width)
    found = [np.zeros((0, len(names(flavour))), np.float32)]
    for start in range(0, count, size):
        part = frames[start : start + size]
        # One program serves all batches of a size, the last one too.
        full = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
        found.append(np.asarray(deviations(full, flavour))[: len(part)])
    return np.concatenate(found)


def batch_size(height: int, width: int) -> int:
    """Frames of this size that are measured at a time."""
    return min(_BATCH, max(1, _BATCH_BYTES // (_BYTES_A_PIXEL * height * width)))


def published(values: Float[np.ndarray, "n d"], flavour: Flavour) -> Float64[np.ndarray, "n d"]:
    """What `deviations` returns as the publications define it, in float64."""
    ones = np.array([name in _ABOVE_ONE for name in names(flavour)[: values.shape[-1]]], np.float64)
    return values.astype(np.float64) + ones
