"""Measures 13, 14, 17 and 18 of Galbally et al.: edges, corners and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Num

from fas_jax.features.quality.grey import Flavour, Grey, Map, angle, filtered, gaussian, mean, ratio, total

_CORNER_WINDOW = gaussian(5, 1.5)
_HARRIS = 0.04
_CORNER_SHARE = 0.01  # of the strongest corner's response
_BOB_SPACING = 5


def gradients(grey: Grey, flavour: Flavour) -> dict[str, Array]:
    """GME and GPE; in the flavour `formula` also TED and TCD."""
    down, across = _gradient(grey.levels.astype(jnp.float32) * grey.unit)
    lost_down, lost_across = _gradient(grey.deviation)
    other_down, other_across = down - lost_down, across - lost_across
    # |G| - |Ĝ| as a quotient: the difference of the roots would lose what they share.
    roots = jnp.sqrt(down**2 + across**2) + jnp.sqrt(other_down**2 + other_across**2)
    change = (down + other_down) * lost_down + (across + other_across) * lost_across
    change = jnp.where(roots > 0, change / jnp.where(roots > 0, roots, 1), 0)
    if flavour == "bob":
        change_of_angle = angle(across, down) - angle(other_across, other_down)
        return {"gme": mean(jnp.abs(change)) / _BOB_SPACING, "gpe": mean(jnp.abs(change_of_angle))}
    # The smaller of the two angles between both gradients.
    turned = angle(down * lost_across - across * lost_down, down * other_down + across * other_across)
    # A gradient of 0 has no angle, and zeros have signs.
    turned = jnp.where((down == 0) & (across == 0), 0, turned)
    return {"gme": mean(change * change), "gpe": mean(turned * turned), **_maps(grey)}


def _gradient(values: Map) -> tuple[Map, Map]:
    """Down and across: central differences, one-sided ones at the border; of one row or column, 0."""

    def along(axis: int) -> Map:
        size = values.shape[axis]
        if size == 1:
            return jnp.zeros_like(values)
        # A border pixel repeated on both sides of the border: half a difference there, a whole one inside.
        padded = jnp.pad(values, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        steps = jax.lax.slice_in_dim(padded, 2, None, axis=axis) - jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        share = np.full(size, 0.5, np.float32)
        share[[0, -1]] = 1
        return steps * (share[:, None] if axis == 0 else share[None])

    return along(0), along(1)


def _maps(grey: Grey) -> dict[str, Array]:
    if min(grey.levels.shape) < 7:
        return {"ted": jnp.full((), jnp.nan), "tcd": jnp.full((), jnp.nan)}
    exact = grey.levels.astype(jnp.float32)
    smooth = exact - grey.deviation
    edges, smooth_edges = _edges(exact), _edges(smooth)
    corners, smooth_corners = _corners(exact), _corners(smooth)
    # A flat frame has neither.
    flat = total(edges.astype(jnp.float32)) == 0
    changed = total((edges != smooth_edges).astype(jnp.float32)) / grey.levels.size
    return {
        "ted": jnp.where(flat, jnp.nan, changed),
        "tcd": ratio(jnp.abs(corners - smooth_corners), jnp.maximum(corners, smooth_corners)),
    }


def sobel(values: Num[Array, "h w"]) -> tuple[Num[Array, "y x"], Num[Array, "y x"]]:
    """Down and across, inside the border."""
    rows = values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]
    columns = values[:-2] + 2 * values[1:-1] + values[2:]
    return rows[2:] - rows[:-2], columns[:, 2:] - columns[:, :-2]


def _edges(values: Map) -> Bool[Array, "y x"]:
    """Where the squared response of Sobel's filters is more than four times its mean, MATLAB's default, unthinned."""
    down, across = sobel(values)
    strength = down * down + across * across
    return strength > 4 * mean(strength)


def _corners(values: Map) -> Array:
    """How many: places where Harris' response is above that of the eight around it and 1 % of the strongest."""
    down, across = values[2:, 1:-1] - values[:-2, 1:-1], values[1:-1, 2:] - values[1:-1, :-2]
    a, b, c = filtered(jnp.stack([down * down, across * across, down * across]), _CORNER_WINDOW)
    response = a * b - c * c - _HARRIS * (a + b) ** 2
    padded = jnp.pad(response, 1, constant_values=-jnp.inf)
    height, width = response.shape
    around = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    most = around[0]
    for each in around[1:]:
        most = jnp.maximum(most, each)
    return total(((response > most) & (response > _CORNER_SHARE * response.max())).astype(jnp.float32))
