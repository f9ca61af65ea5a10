"""Measures 15, 16 and 23 of Galbally et al.: magnitude and phase of the spectrum, and its share of low frequencies."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fas_jax.features.quality.grey import Flavour, Grey, angle, ratio, total

_CUT_OFF = 0.15


def spectra(grey: Grey, flavour: Flavour) -> dict[str, Array]:
    """SME and HLFI; in the flavour `formula` also SPE."""
    height, width = grey.levels.shape
    # The constant is left out of both transforms: D has none, and I's would drown the rest in float32.
    own, lost = jnp.fft.rfft2(grey.centred), jnp.fft.rfft2(grey.deviation)
    other = own - lost
    magnitude = jnp.abs(own)
    roots = magnitude + jnp.abs(other)
    change = (own + other).real * lost.real + (own + other).imag * lost.imag
    change = jnp.where(roots > 0, change / jnp.where(roots > 0, roots, 1), 0)
    # Columns of the half spectrum that stand for two of the whole one.
    twice = np.full((1, width // 2 + 1), 2.0, np.float32)
    twice[:, 0] = 1
    if width % 2 == 0:
        twice[:, -1] = 1
    magnitude = magnitude.at[0, 0].set(total(grey.image))
    if flavour == "bob":
        return {"sme": total(change * change) / grey.levels.size, "hlfi": _bob_index(magnitude.sum(0), width)}
    product = own * jnp.conj(other)
    # Undefined for a flat frame, whose magnitudes are rounding.
    flat = jnp.all(grey.levels == grey.levels[0, 0])
    phase = jnp.where(flat, jnp.nan, total(angle(product.imag, product.real) ** 2 * twice))
    low = [np.abs(np.fft.fftfreq(height)) <= _CUT_OFF, np.fft.rfftfreq(width) <= _CUT_OFF]
    lows = (low[0][:, None] & low[1]) * twice
    highs = (~low[0][:, None] & ~low[1]) * twice
    return {
        "sme": total(change * change * twice) / grey.levels.size,
        "spe": phase / grey.levels.size,
        "hlfi": jnp.where(flat, jnp.nan, ratio(total(magnitude * (lows - highs)), total(magnitude * twice))),
    }


def _bob_index(columns: Array, width: int) -> Array:
    """By columns of the whole spectrum, whose middle bob takes for the low frequencies."""
    whole = columns[np.minimum(np.arange(width), width - np.arange(width))]
    middle, reach = round(width / 2), round(round(_CUT_OFF * width) / 2)
    called_low = np.zeros(width, bool)
    called_low[max(0, middle - reach) : middle + reach] = True
    return ratio(jnp.abs((whole * np.where(called_low, 1, -1).astype(np.float32)).sum()), whole.sum())
