"""Grey frames as whole numbers, their smoothed version, and what all families of measures compute with.

Most measures compare a frame I with Î, itself after a 3x3 Gaussian. They are small differences of large numbers, which
float32 would lose. Grey levels are whole numbers here, so the differences of neighbours are exact, and what is filtered
and summed is the deviation D = I - Î and not Î. Sums of many pixels go over rows first, so that rounding stays small.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

Flavour: TypeAlias = Literal["formula", "bob"]
Map: TypeAlias = Float[Array, "h w"]

_EDGE = float(np.exp(-2.0))  # exp(-1 / (2 * 0.5**2)): a neighbour's weight against the centre's
_BOB_SCALE = 1 / (1000 * 255 * 255)


class Grey(NamedTuple):
    """A frame in grey, and how it deviates from its smoothed version."""

    levels: Int[Array, "h w"]
    """Whole numbers; grey values are `unit` times these, plus an offset."""
    unit: float
    """What one level is in grey values."""
    image: Map
    """I, in grey values: 0 to 255, or bob's 16/255 to 235/255."""
    centred: Map
    """I less a constant near its mean, by which variances are computed without loss."""
    deviation: Map
    """D = I - Î."""


def grey_of(frame: UInt8[Array, "h w 3"], flavour: Flavour) -> Grey:
    """The grey frame of a flavour; see `grey_levels`."""
    levels, unit, offset = grey_levels(frame, flavour)
    middle = jnp.round(total(levels.astype(jnp.float32)) / levels.size).astype(jnp.int32)
    return Grey(
        levels,
        unit,
        levels.astype(jnp.float32) * unit + offset,
        (levels - middle).astype(jnp.float32) * unit,
        deviation(levels) * unit,
    )


def grey_levels(frame: UInt8[Array, "h w 3"], flavour: Flavour) -> tuple[Int[Array, "h w"], float, float]:
    """Levels, what one of them is in grey values, and the grey value of level 0.

    `formula`: luma of BT.601, rounded to a whole number from 0 to 255. `bob`: MATLAB's `rgb2ycbcr` luma, unrounded.
    """
    red, green, blue = (frame[..., i].astype(jnp.int32) for i in range(3))
    if flavour == "bob":
        return 65481 * red + 128553 * green + 24966 * blue, _BOB_SCALE, 16 / 255
    return (299 * red + 587 * green + 114 * blue + 500) // 1000, 1.0, 0.0


def deviation(levels: Int[Array, "h w"]) -> Map:
    """I - Î in levels; Î is I after a 3x3 Gaussian of standard deviation 0.5, borders mirrored with the edge pixel."""
    cross, corners = neighbour_differences(levels)
    whole = (1 + 2 * _EDGE) ** 2
    return cross.astype(jnp.float32) * (_EDGE / whole) + corners.astype(jnp.float32) * (_EDGE**2 / whole)


def neighbour_differences(values: Array) -> tuple[Array, Array]:
    """Four times each value less the sum of its four neighbours; likewise for its four corners; borders mirrored."""
    padded = jnp.pad(values, 1, mode="symmetric")
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    corners = padded[:-2, :-2] + padded[:-2, 2:] + padded[2:, :-2] + padded[2:, 2:]
    return 4 * values - (up + down + left + right), 4 * values - corners


def gaussian(size: int, sigma: float) -> tuple[float, ...]:
    """The taps of a Gaussian, which sum to 1."""
    taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return tuple((taps / taps.sum()).tolist())


def filtered(maps: Float[Array, "*m h w"], taps: tuple[float, ...]) -> Float[Array, "*m y x"]:
    """Filters rows and columns by symmetric taps, where they fit into the frame."""
    for axis in (-2, -1):
        size = maps.shape[axis] - len(taps) + 1
        parts = [jax.lax.slice_in_dim(maps, i, i + size, axis=axis) for i in range(len(taps))]
        middle = len(taps) // 2
        maps = taps[middle] * parts[middle] + sum(taps[i] * (parts[i] + parts[-1 - i]) for i in range(middle))
        # Or XLA would compute the first pass anew for each tap of the second.
        maps = jax.lax.optimization_barrier(maps)
    return maps


def total(values: Array) -> Float[Array, ""]:
    """The sum over a frame, of rows first."""
    # Or XLA would make one sum of both.
    return jax.lax.optimization_barrier(values.sum(-1)).sum(-1)


def mean(values: Array) -> Float[Array, ""]:
    """The mean over a frame."""
    return total(values) / values.size


def angle(y: Array, x: Array) -> Array:
    """The angle of (x, y), as `arctan2`, to 2e-7; XLA calls a function of the C library for each pixel of that one.

    The polynomial, and the angle from which it is turned by an eighth of a circle, are those of Cephes' `atanf`.
    """
    wide, high = jnp.abs(x), jnp.abs(y)
    small, large = jnp.minimum(wide, high), jnp.maximum(wide, high)
    far = small > np.float32(np.tan(np.pi / 8)) * large
    under = jnp.where(far, small + large, large)
    slope = jnp.where(far, small - large, small) / jnp.where(under > 0, under, 1)
    square = slope * slope
    found = 8.05374449538e-2 * square - 1.38776856032e-1
    found = (found * square + 1.99777106478e-1) * square - 3.33329491539e-1
    found = found * square * slope + slope + jnp.where(far, np.float32(np.pi / 4), 0)
    found = jnp.where(high > wide, np.float32(np.pi / 2) - found, found)
    return jnp.copysign(jnp.where(jnp.signbit(x), np.float32(np.pi) - found, found), y)


def ratio(over: Array, under: Array) -> Array:
    """A quotient; NaN where it is undefined."""
    defined = under != 0
    return jnp.where(defined, over / jnp.where(defined, under, 1), jnp.nan)
