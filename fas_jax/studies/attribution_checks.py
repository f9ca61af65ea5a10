"""Whether maps of what decides say anything: rank correlations, deletion curves, and hits on a known mask."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8
from scipy.stats import rankdata

CELLS = 16
"""Squares in each direction that deletion takes away one after the other."""


def rank_correlation(one: Float[np.ndarray, "t h w"], other: Float[np.ndarray, "t h w"]) -> float:
    """Spearman's correlation of two maps' cells; NaN where one of them is constant."""
    ranks = [rankdata(cell_means(each)) for each in (one, other)]
    if any(np.ptp(each) == 0 for each in ranks):
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])


def cell_means(maps: Float[np.ndarray, "t h w"]) -> Float64[np.ndarray, "t k"]:
    """Means over the squares of each frame, row by row."""
    count, height, width = maps.shape
    rows, columns = (np.arange(length) * CELLS // length for length in (height, width))
    number = rows[:, None] * CELLS + columns[None]
    sums = np.stack([np.bincount(number.ravel(), each.ravel().astype(np.float64), CELLS**2) for each in maps])
    return sums / np.bincount(number.ravel(), minlength=CELLS**2)[None]


def deletion_curve(
    logit: Callable[[UInt8[np.ndarray, "t h w 3"]], float],
    frames: UInt8[np.ndarray, "t h w 3"],
    order: Int[np.ndarray, "t k"],
    steps: int = 8,
) -> Float64[np.ndarray, " steps"]:
    """A clip's logit while squares of its frames take the frame's mean colour, in an order: none at first, all at last.

    Args:
        logit: Of a clip.
        frames: Of the clip.
        order: For each frame, its squares in the order in which they go.
        steps: Points of the curve after the first.

    Returns:
        `steps` + 1 logits.
    """
    height, width = frames.shape[1:3]
    rows, columns = (np.arange(length) * CELLS // length for length in (height, width))
    number = rows[:, None] * CELLS + columns[None]
    mean = np.rint(frames.mean((1, 2), keepdims=True)).astype(np.uint8)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    values = []
    for step in range(steps + 1):
        gone = rank[:, number] < step * CELLS**2 / steps
        values.append(logit(np.where(gone[..., None], mean, frames)))
    return np.array(values)


def most_important_first(maps: Float[np.ndarray, "t h w"]) -> Int[np.ndarray, "t k"]:
    """The squares of each frame, the one with the largest mean first."""
    return np.argsort(-cell_means(maps), axis=1, kind="stable")


def hit_rate(maps: Float[np.ndarray, "t h w"], mask: Bool[np.ndarray, "t h w"], share: float = 0.1) -> float:
    """Share of the most important pixels of each frame that lie in a mask, mean over frames; chance is the mask's own.

    Args:
        maps: Of a clip.
        mask: Where the instrument is.
        share: Of a frame's pixels that count as the most important.
    """
    count = max(1, round(share * maps[0].size))
    flat, inside = maps.reshape(len(maps), -1), mask.reshape(len(maps), -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    return float(np.take_along_axis(inside, best, axis=1).mean())


def separation(maps: Float[np.ndarray, "t h w"], mask: Bool[np.ndarray, "t h w"]) -> float:
    """Chance that a pixel of the mask matters more than one outside of it: the area under the ROC, mean over frames.

    NaN where no frame has pixels of both kinds.
    """
    found = []
    for values, inside in zip(maps.reshape(len(maps), -1), mask.reshape(len(maps), -1), strict=True):
        many, few = int(inside.sum()), int((~inside).sum())
        if many and few:
            found.append((rankdata(values)[inside].sum() - many * (many + 1) / 2) / (many * few))
    return float(np.mean(found)) if found else np.nan
