"""Measure 21 of Galbally et al.: reduced-reference entropic differencing (RRED) of Soundararajan and Bovik (2012).

It compares how much information both frames hold in one subband of a steerable pyramid. The subband is the one that
the authors' code reads, number 16 of a pyramid of four scales and six orientations: the second finest scale,
differentiated down the columns. Nothing is pooled before the comparison, as with all of the reference's information.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fas_jax.features.quality.grey import Grey, mean

SMALLEST_RRED = 16
"""Side of a frame, in pixels, from which its subband has more windows than a window has pixels."""
_BLOCK = 3
_NOISE = 0.1  # variance of what neurons add, in squared grey values
_FLAT = 1e-6  # variance of a subband, below which it is rounding
_LEAST = 1e-6  # of the largest variance of a direction: below it, the direction is rounding


def _whole(*corner: tuple[float, ...], down: int = 1) -> np.ndarray:
    """A filter from its upper left part, up to the middle; `down` is -1 where the lower part has the other sign."""
    upper = np.array(corner, np.float32)
    upper = np.concatenate([upper, upper[:, -2::-1]], 1)
    return np.concatenate([upper, down * upper[-2::-1]])


# The filters sp5 of Simoncelli's matlabPyrTools (MIT licence).
_FIRST_LOW = _whole(
    (0.00341614, -0.01551246, -0.03848215),
    (-0.01551246, 0.05586982, 0.15925570),
    (-0.03848215, 0.15925570, 0.40304148),
)
_LOW = 2 * _whole(
    (0.00085404, -0.00244917, -0.00387812, -0.00944432, -0.00962054),
    (-0.00244917, -0.00523281, -0.00661117, 0.00410600, 0.01002988),
    (-0.00387812, -0.00661117, 0.01396746, 0.03277038, 0.03981393),
    (-0.00944432, 0.00410600, 0.03277038, 0.06426333, 0.08169618),
    (-0.00962054, 0.01002988, 0.03981393, 0.08169618, 0.10096540),
)
_BAND = _whole(
    (-0.00277643, -0.00496194, -0.01026699, -0.01455399),
    (0.00986904, 0.00893064, -0.01189859, -0.02755155),
    (0.01021852, 0.03075356, 0.08226445, 0.11732297),
    (0.0, 0.0, 0.0, 0.0),
    down=-1,
)


def entropic_difference(grey: Grey) -> Float[Array, ""]:
    """The mean absolute difference of the scaled entropies of 3x3 blocks of I and Î, in bits.

    NaN where a side has less than 16 pixels, and where a subband is flat.
    """
    if min(grey.levels.shape) < SMALLEST_RRED:
        return jnp.full((), jnp.nan)
    # The subband has no constant part, so that of I may be missing.
    maps = jnp.stack([grey.centred, grey.centred - grey.deviation])
    bands = _correlated(_correlated(_correlated(maps, _FIRST_LOW), _LOW, step=2), _BAND)
    return mean(jnp.abs(_information(bands[0]) - _information(bands[1])))


def _correlated(maps: Float[Array, "m h w"], taps: np.ndarray, step: int = 1) -> Float[Array, "m y x"]:
    """Under borders that are mirrored at the edge pixels; of every `step`th pixel."""
    reach = len(taps) // 2
    padded = jnp.pad(maps, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    height, width = ((size - 1) // step * step + 1 for size in maps.shape[1:])
    found = jnp.zeros(())
    # XLA's convolution takes three times as long on CPUs.
    for (y, x), tap in np.ndenumerate(taps):
        found = found + tap * padded[:, y : y + height : step, x : x + width : step]
    # Or XLA would compute this filter anew for each tap of the next.
    kept: Array = jax.lax.optimization_barrier(found)
    return kept


def _information(band: Float[Array, "h w"]) -> Float[Array, "y x"]:
    """Scaled entropies of the blocks, which are a Gaussian times a factor of each block's own.

    A block of n = 9 coefficients has the factor s² = block' K^-1 block / n, where K is the covariance of all windows.
    Its entropy, once neurons have added their noise, is h = log2((2 pi e)^n |s² K + noise I|) / 2, scaled by
    log2(1 + s²).
    """
    height, width = (size - size % _BLOCK for size in band.shape)
    band = band[:height, :width]
    places = [(y, x) for y in range(_BLOCK) for x in range(_BLOCK)]
    windows = [band[y : height + y - _BLOCK + 1, x : width + x - _BLOCK + 1] for y, x in places]
    rows = jnp.stack([each - mean(each) for each in windows], -1).reshape(-1, len(places))
    # By the singular values of the windows: K holds their squares, of which float32 would lose the small ones.
    _, spread, axes = jnp.linalg.svd(jnp.linalg.qr(rows, mode="r"))
    variances = spread * spread / len(rows)
    kept = variances > _LEAST * variances[0]
    scale = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, variances, 1)), 0)
    blocks = jnp.stack([band[y::_BLOCK, x::_BLOCK] for y, x in places], -1).reshape(-1, len(places))
    turned = jnp.matmul(blocks, axes.T, precision=jax.lax.Precision.HIGHEST) * scale[None]
    factor = jnp.square(turned).mean(-1)
    noisy = factor[:, None] * variances[None] + _NOISE
    entropy = (len(places) * np.log2(2 * np.pi * np.e) + jnp.log2(noisy).sum(-1)) / 2
    found = jnp.where(variances[0] > _FLAT, jnp.log2(1 + factor) * entropy, jnp.nan)
    return found.reshape(height // _BLOCK, width // _BLOCK)
