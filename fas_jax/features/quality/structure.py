"""Measures 19, 20 and 22 of Galbally et al.: structural similarity, visual information, blocks of JPEG."""

import jax.numpy as jnp
from jaxtyping import Array

from fas_jax.features.quality.grey import Flavour, Grey, filtered, gaussian, mean, ratio, total

_SSIM_WINDOW = gaussian(11, 1.5)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_VIF_NOISE = 2.0
_TINY = 1e-10
SMALLEST_VIF = 41
"""Side of a frame, in pixels, from which VIF has a fourth scale."""
_ALPHA, _BETA, _GAMMAS = -245.8909, 261.9373, (-0.02398886, 0.01601664, 0.00642859)


def structure(grey: Grey, flavour: Flavour) -> dict[str, Array]:
    """SSIM, what it has above 1, and VIF; in the flavour `formula` also JQI."""
    found = {"ssim": _ssim(grey, flavour), "vif": _vif(grey)}
    return found if flavour == "bob" else {**found, "jqi": _jpeg(grey)}


def _moments(image: Array, lost: Array, taps: tuple[float, ...]) -> tuple[Array, ...]:
    """In windows: means of I and D, variances of I and D, and their covariance."""
    maps = jnp.stack([image, lost, image * image, lost * lost, image * lost])
    first, second, squares, lost_squares, products = filtered(maps, taps)
    return first, second, squares - first**2, lost_squares - second**2, products - first * second


def _ssim(grey: Grey, flavour: Flavour) -> Array:
    if min(grey.levels.shape) < len(_SSIM_WINDOW):
        return jnp.full((), jnp.nan)
    mean1, lost, variance1, varied, covaried = _moments(grey.centred, grey.deviation, _SSIM_WINDOW)
    mean1 = mean1 + (grey.image - grey.centred)[0, 0]
    mean2 = mean1 - lost
    # As differences from 1: luminance loses (mean1 - mean2)^2, contrast and structure the variance of D.
    variance2 = variance1 - 2 * covaried + varied
    missing = varied
    if flavour == "bob":  # takes the mean of I off the squares of Î
        slip = -lost * (mean1 + mean2)
        variance2, missing = variance2 + slip, varied + slip
    luminance = lost * lost / (mean1**2 + mean2**2 + _C1)
    contrast = missing / (variance1 + variance2 + _C2)
    return -mean(luminance + (1 - luminance) * contrast)


def _vif(grey: Grey) -> Array:
    if min(grey.levels.shape) < SMALLEST_VIF:
        return jnp.full((), jnp.nan)
    maps = jnp.stack([grey.centred, grey.deviation])
    kept, whole = jnp.zeros(()), jnp.zeros(())
    for scale in range(1, 5):
        size = 2 ** (5 - scale) + 1
        taps = gaussian(size, size / 5)
        if scale > 1:
            maps = filtered(maps, taps)[:, ::2, ::2]
        _, _, variance1, varied, covaried = _moments(maps[0], maps[1], taps)
        variance1, varied = jnp.maximum(variance1, 0), jnp.maximum(varied, 0)
        variance2 = jnp.maximum(variance1 - 2 * covaried + varied, 0)
        # Î = gain I + noise: the noise's variance is what I does not explain of D.
        gain = (variance1 - covaried) / (variance1 + _TINY)
        noise = jnp.maximum(varied - covaried * covaried / (variance1 + _TINY), _TINY)
        flat = (variance1 < _TINY) | (variance2 < _TINY)
        noise = jnp.where(gain < 0, jnp.maximum(variance2, _TINY), noise)
        gain = jnp.where(flat, 0, jnp.maximum(gain, 0))
        variance1 = jnp.where(variance1 < _TINY, 0, variance1)
        kept += total(jnp.log1p(gain * gain * variance1 / (noise + _VIF_NOISE)))
        whole += total(jnp.log1p(variance1 / _VIF_NOISE))
    return ratio(kept, whole)


def _jpeg(grey: Grey) -> Array:
    """JPEG quality index of Wang, Sheikh and Bovik (2002): blocks of 8 pixels, activity, zero crossings."""
    if min(grey.levels.shape) < 16:
        return jnp.full((), jnp.nan)
    pairs = []
    for levels in (grey.levels.T, grey.levels):
        steps = levels[1:] - levels[:-1]
        absolute = jnp.abs(steps).astype(jnp.float32)
        blocks = mean(absolute[7 : 8 * (len(levels) // 8 - 1) : 8])
        activity = (8 * mean(absolute) - blocks) / 7
        signs = jnp.sign(steps)
        pairs.append((blocks, activity, mean((signs[1:] * signs[:-1] < 0).astype(jnp.float32))))
    score = jnp.full((), _BETA)
    for across, down, power in zip(*pairs, _GAMMAS, strict=True):
        value = (across + down) / 2
        score = score * jnp.where(value > 0, value, jnp.nan) ** power
    return _ALPHA + score
