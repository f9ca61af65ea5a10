"""Measures 1 to 12 of Galbally et al.: differences of pixels, correlations and angles."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from fas_jax.features.quality.grey import Flavour, Grey, deviation, mean, neighbour_differences, ratio, total

_LARGEST = 10  # R of R-averaged maximum difference
_BLOCK = 64


def differences(frame: UInt8[Array, "h w 3"], grey: Grey, flavour: Flavour) -> dict[str, Array]:
    """MSE, PSNR, SNR, SC, MD, AD, NAE, RAMD, LMSE, NXC, MAS and MAMS; of SC, NXC and MAS what they have above 1."""
    image, centred, own = grey.image, grey.centred, grey.deviation
    squares, error = total(image * image), total(own * own)
    peak = 255.0**2 if flavour == "bob" else (image * image).max()
    absolute = jnp.abs(own)
    # D sums to exactly 0, so a constant may be taken off I beside it.
    product = total(centred * own)
    mas, mams = _row_angles(grey) if flavour == "bob" else _colour_angles(frame)
    return {
        "mse": error / own.size,
        "psnr": _decibel(peak * own.size, error),
        "snr": _decibel(squares, error),
        "sc": ratio(2 * product - error, squares - 2 * product + error),
        "md": absolute.max(),
        "ad": _average(grey),
        "nae": ratio(total(absolute), total(image)),
        "ramd": _largest(own if flavour == "bob" else absolute, flavour),
        "lmse": _laplacian_error(grey, flavour),
        "nxc": -ratio(product, squares),
        "mas": mas,
        "mams": mams,
    }


def _decibel(signal: Array | float, error: Array) -> Array:
    # A black frame has no signal, a flat one no error.
    found = ratio(jnp.asarray(signal), error)
    return 10 * jnp.log10(jnp.where(found > 0, found, jnp.nan))


def _average(grey: Grey) -> Array:
    # Every pixel's weights sum to 1 under mirrored borders: 0, exactly so in whole numbers, which may wrap around.
    cross, corners = neighbour_differences(grey.levels)
    return (cross.sum() + corners.sum()).astype(jnp.float32)


def _largest(values: Array, flavour: Flavour) -> Array:
    count = min(_LARGEST, values.size)
    # The largest of all lie in the blocks with the largest maxima; sorting a whole frame takes longer than all else.
    padded = jnp.pad(values.reshape(-1), (0, -values.size % _BLOCK), constant_values=-jnp.inf).reshape(-1, _BLOCK)
    blocks = jax.lax.top_k(padded.max(1), min(count, len(padded)))[1]
    found = jax.lax.top_k(padded[blocks].reshape(-1), count)[0].mean()
    return jnp.sqrt(found) if flavour == "bob" else found


def _laplacian_error(grey: Grey, flavour: Flavour) -> Array:
    own = neighbour_differences(grey.levels)[0].astype(jnp.float32) * grey.unit
    lost = neighbour_differences(grey.deviation)[0]
    if flavour == "formula":
        own, lost = own[1:-1, 1:-1], lost[1:-1, 1:-1]
    return ratio(total(lost * lost), total(own * own))


def _row_angles(grey: Grey) -> tuple[Array, Array]:
    """Of rows of I with those of Î; sums are divided by the number of pixels and not of rows, as bob does."""
    image, own = grey.image, grey.deviation
    norm, along = (image * image).sum(-1), (image * own).sum(-1)
    # The part of D that is perpendicular to I's row turns it; a cosine near 1 would not say by how much.
    across = own - image * ratio(along, norm)[:, None]
    angle = 2 / jnp.pi * jnp.arctan2(jnp.sqrt((across * across).sum(-1) * norm), norm - along)
    size = jnp.sqrt((own * own).sum(-1)) / 255
    return -angle.sum() / own.size, (angle + size - angle * size).sum() / own.size


def _colour_angles(frame: UInt8[Array, "h w 3"]) -> tuple[Array, Array]:
    """Of colours with those of the smoothed frame: grey values alone have no angle."""
    channels = [frame[..., i].astype(jnp.int32) for i in range(3)]
    red, green, blue = (each.astype(jnp.float32) for each in channels)
    reds, greens, blues = (deviation(each) for each in channels)
    across = (green * blues - blue * greens, blue * reds - red * blues, red * greens - green * reds)
    along = red * (red - reds) + green * (green - greens) + blue * (blue - blues)
    angle = 2 / jnp.pi * jnp.arctan2(jnp.sqrt(sum(each * each for each in across)), along)
    size = jnp.sqrt((reds * reds + greens * greens + blues * blues) / 3) / 255
    return -mean(angle), mean(angle + size - angle * size)
