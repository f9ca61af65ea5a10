"""Wen, Han and Jain's image distortion analysis (IEEE TIFS 10(4), 2015): colours, blur and specularity.

The flavour `bob` lacks the three of specularity: Tan and Ikeuchi's separation visits pixels one after the other, each
of which may change its neighbours before these are visited, and that order cannot be batched. `formula` separates by
their equation in one step; see `_specularity`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from fas_jax.features.quality.gradients import sobel
from fas_jax.features.quality.grey import Flavour, grey_levels, mean, ratio, total

COLOURS = 100
"""The commonest colours whose shares are measures."""
_BINS = 32  # a channel
_BOX = 9
_DARK = 10.0
_WINDOW = 15  # pixels, over which the purest colour is taken for that of the surface without highlights


def distortion(frame: UInt8[Array, "h w 3"], flavour: Flavour) -> dict[str, Array]:
    """All measures by name, in the order of the publication."""
    found = {} if flavour == "bob" else _specularity(frame)
    for name, channel in zip("hsv", _hsv(frame), strict=True):
        found |= {f"{name}-{moment}": value for moment, value in _moments(channel, flavour).items()}
    found |= _histogram(frame)
    levels = grey_levels(frame, "formula")[0]
    return found | {"blur": _blur(levels, flavour), "edge-width": _edge_width(levels, flavour) / 30}


class Channel(NamedTuple):
    """Values of pixels from 0 to 1, as quotients of whole numbers: a bin's edge may be one of them."""

    over: Int[Array, "h w"]
    under: Int[Array, "h w"]

    def reaches(self, fortieths: int) -> Bool[Array, "h w"]:
        """Whether values are at least so many fortieths."""
        return 40 * self.over >= fortieths * self.under

    def exceeds(self, fortieths: int) -> Bool[Array, "h w"]:
        """Whether values are more than so many fortieths."""
        return 40 * self.over > fortieths * self.under


def _hsv(frame: UInt8[Array, "h w 3"]) -> tuple[Channel, ...]:
    """The hue is shifted by half a turn, so that skin does not lie on both ends."""
    red, green, blue = (frame[..., i].astype(jnp.int32) for i in range(3))
    high = jnp.maximum(jnp.maximum(red, green), blue)
    spread = high - jnp.minimum(jnp.minimum(red, green), blue)
    turn = jnp.where(
        red == high,
        green - blue,
        jnp.where(green == high, blue - red + 2 * spread, red - green + 4 * spread),
    )
    turn = jnp.where(turn < 0, turn + 6 * spread, turn) + 3 * spread
    turn = jnp.where(turn > 6 * spread, turn - 6 * spread, turn)
    # A grey pixel has no hue; by convention it counts as red, as black has no saturation.
    coloured = spread > 0
    hue = Channel(jnp.where(coloured, turn, 1), jnp.where(coloured, 6 * spread, 2))
    return hue, Channel(spread, jnp.maximum(high, 1)), Channel(high, jnp.full_like(high, 255))


def _moments(channel: Channel, flavour: Flavour) -> dict[str, Array]:
    values = channel.over.astype(jnp.float32) / channel.under.astype(jnp.float32)
    average = mean(values)
    centred = values - average
    deviation = jnp.sqrt(mean(centred * centred))
    # Rounding is no deviation.
    varied = jnp.any(values != values[0, 0])
    scaled = centred / jnp.where(varied, deviation, 1)
    if flavour == "bob":
        # From bin to bin of numpy's; rounded edges lie a bit above .075 and .925, and .175.
        low, high = channel.exceeds(3) & ~channel.exceeds(7), channel.exceeds(37)
    else:
        # MATLAB's outermost bins are open.
        low, high = ~channel.reaches(5), channel.reaches(37)
    return {
        "mean": average,
        "std": jnp.where(varied, deviation, 0),
        "skewness": jnp.where(varied, mean(scaled**3), jnp.nan),
        "low": mean(low.astype(jnp.float32)),
        "high": mean(high.astype(jnp.float32)),
    }


def _histogram(frame: UInt8[Array, "h w 3"]) -> dict[str, Array]:
    """Shares of the commonest of 32^3 colours, and how many colours make up 99 % of the pixels, in 2000."""
    red, green, blue = (frame[..., i].astype(jnp.int32) * _BINS // 256 for i in range(3))
    places = ((red * _BINS + green) * _BINS + blue).reshape(-1)
    counts = jnp.sort(jnp.zeros(_BINS**3, jnp.int32).at[places].add(1), descending=True)
    # Whole numbers: how many bins it takes until more than 99 % are counted.
    above = _cumulated(counts.reshape(-1, 128)) > int(0.99 * len(places))
    shares = counts[:COLOURS] / len(places)
    return {**{f"colour-{i}": shares[i] for i in range(COLOURS)}, "colours": jnp.argmax(above) / 2000}


def _cumulated(counts: Int[Array, "a b"]) -> Int[Array, " _"]:
    """Sums up to each entry, row by row; by products of matrices, which compile faster than a scan."""
    rows, width = counts.shape
    within = counts @ np.triu(np.ones((width, width), np.int32))
    before = np.tril(np.ones((rows, rows), np.int32), -1) @ within[:, -1:]
    return (within + before).reshape(-1)


def _blur(levels: Int[Array, "h w"], flavour: Flavour) -> Array:
    """Crete et al. (2007): the share of the differences of neighbours that a box of 9 pixels takes away; 1 is blurred.

    bob counts rising differences alone, blurs across the direction in which it differentiates, and takes pixels beyond
    the border as black.
    """
    found = []
    for image in (levels, levels.T):
        if flavour == "bob":
            steps = jnp.maximum(image[1:] - image[:-1], 0)
            box = _boxes(jnp.pad(image.T, ((_BOX // 2, _BOX // 2), (0, 0)))).T
            kept = jnp.abs(box[1:] - box[:-1])
        else:
            steps = jnp.abs(image[1:] - image[:-1])
            box = _boxes(jnp.pad(image, ((_BOX // 2, _BOX // 2), (0, 0)), mode="edge"))
            kept = jnp.abs(box[1:] - box[:-1])
        lost = jnp.maximum(_BOX * steps - kept, 0).astype(jnp.float32)
        steps = _BOX * steps.astype(jnp.float32)
        found.append(ratio(total(steps - lost), total(steps)))
    return jnp.fmax(*found)


def _boxes(image: Int[Array, "h w"]) -> Int[Array, "y w"]:
    """Sums of 9 pixels down the columns."""
    size = len(image) - _BOX + 1
    return sum((image[i : i + size] for i in range(1, _BOX)), image[:size])


def _edge_width(levels: Int[Array, "h w"], flavour: Flavour) -> Array:
    """Marziliano et al. (2002): how far grey values rise or fall without a turn on both sides of an edge; a mean."""
    height, width = levels.shape
    if min(height, width) < 3:
        return jnp.full((), jnp.nan)
    edges = _vertical_edges(levels, flavour)
    lefts, rights = _extent(levels), width - 1 - _extent(levels[:, ::-1])[:, ::-1]
    count = total(edges.astype(jnp.float32))
    widths = ratio(total(jnp.where(edges, rights - lefts, 0).astype(jnp.float32)), count)
    return jnp.where(count > 0, widths, 0) if flavour == "bob" else widths


def _vertical_edges(levels: Int[Array, "h w"], flavour: Flavour) -> Bool[Array, "h w"]:
    """Strong responses of Sobel's filter across, where they are above both neighbours across.

    Strong is more than four times the mean of the squares; bob takes the response itself, counts the border, and
    accepts maxima in the other direction too.
    """
    if flavour == "formula":
        response = sobel(levels)[1]
        strength = jnp.pad((response * response).astype(jnp.float32), 1)
        strong = strength > 4 * total(strength) / response.size
    else:
        response = jnp.abs(sobel(jnp.pad(levels, 1, mode="symmetric"))[1])
        strength = response.astype(jnp.float32)
        strong = response.astype(jnp.float32) > 4 * mean(strength)
    left = jnp.pad(strength, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    right = jnp.pad(strength, ((0, 0), (0, 1)), constant_values=-1)[:, 1:]
    across = (strength > left) & (strength > right)
    if flavour == "formula":
        return strong & across
    up = jnp.pad(strength, ((1, 0), (0, 0)), constant_values=-1)[:-1]
    down = jnp.pad(strength, ((0, 1), (0, 0)), constant_values=-1)[1:]
    # The first column is not compared with the row below.
    column = np.arange(levels.shape[1], dtype=np.int32)[None]
    return strong & (across | ((strength > up) & ((strength > down) | (column == 0))))


def _extent(levels: Int[Array, "h w"]) -> Int[Array, "h w"]:
    """The column to the left of each pixel where values stop going the way that they go from the pixel."""
    width = levels.shape[1]
    column = np.arange(width, dtype=np.int32)[None]
    rise = jnp.pad(levels[:, 1:] - levels[:, :-1], ((0, 0), (1, 0)))  # from the left neighbour
    falling = jax.lax.cummax(jnp.where((column == 0) | (rise < 0), column, 0), axis=1)
    rising = jax.lax.cummax(jnp.where((column == 0) | (rise > 0), column, 0), axis=1)
    # Where a search ends that begins at the neighbour.
    ends = jnp.where(rise[:, 1:] > 0, falling[:, :-1], rising[:, :-1])
    return jnp.pad(ends, ((0, 0), (1, 0)))


def _specularity(frame: UInt8[Array, "h w 3"]) -> dict[str, Array]:
    """Share, mean and standard deviation of pixels whose highlight is 1.5 to 4 times the mean highlight.

    The highlight is what Tan and Ikeuchi's equation (2005) takes off a pixel so that its largest chromaticity becomes
    that of the surface. Their iteration carries that value from pixel to pixel; here it is the largest in a window.
    """
    values = frame.astype(jnp.float32)
    high, whole = values.max(-1), values.sum(-1)
    dark = high < _DARK
    # 3 chroma - 1, where chroma is a pixel's largest value in its sum: 0 for grey, 2 for a pure colour.
    purity = jnp.where(dark, 0, (3 * high - whole) / jnp.maximum(whole, 1))
    surface = jax.lax.reduce_window(purity, 0.0, jax.lax.max, (_WINDOW, 1), (1, 1), "SAME")
    surface = jax.lax.reduce_window(surface, 0.0, jax.lax.max, (1, _WINDOW), (1, 1), "SAME")
    # high (3 chroma - 1) / chroma = 3 high - whole, a whole number.
    diffuse = (3 * high - whole) / jnp.maximum(surface, 1e-6)
    # Where it would take away more than the pixel has, it does not hold; grey surfaces have no chromaticity at all.
    own = (whole - diffuse) / 3
    highlight = jnp.where(dark | (3 * high == whole) | (own >= values.min(-1)), 0, jnp.clip(own, 0, 255))
    middle = mean(highlight)
    chosen = (highlight >= 1.5 * middle) & (highlight < 4 * middle)
    count = total(chosen.astype(jnp.float32))
    average = ratio(total(jnp.where(chosen, highlight, 0)), count)
    spread = jnp.sqrt(ratio(total(jnp.where(chosen, (highlight - average) ** 2, 0)), count))
    share = jnp.where(middle > 0, count / highlight.size, jnp.nan)
    return {"specular-share": share, "specular-mean": average / 150, "specular-std": spread / 150}
