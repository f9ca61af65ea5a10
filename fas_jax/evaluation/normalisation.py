"""Thresholds that move with a stream of unlabelled videos of the target. NumPy only.

To centre the target's logits by their median, and the sources' by theirs, is to move the sources' threshold by the
difference of the medians; so is every normalisation here written as a threshold for logits that stay as they are. No
label of the stream is used. A median follows the share of attacks in the stream as much as the shift of the target.
"""

import numpy as np
from jaxtyping import Float64

from fas_jax.base.errors import unknown_name
from fas_jax.evaluation.metrics import MetricError

BOUND = 0.05
"""By how much a stream without attacks may raise BPCER above that of the sources' threshold."""
_CONFIDENCE = 0.95
MEDIAN, DEVIATION, GUARDED = "median", "mean and deviation", "guarded median"
NORMALISATIONS = {
    MEDIAN: "logits minus their median",
    DEVIATION: "logits minus their mean, divided by their standard deviation",
    GUARDED: "as median, but the threshold rises only as far as the stream shows, with 95 % confidence, that at most "
    f"{100 * BOUND:g} % of such videos, or as many as before, are rejected; fewer than 59 videos raise nothing",
}

Logits = Float64[np.ndarray, " _"]


def moved_threshold(normalisation: str, threshold: float, source: Logits, stream: Logits) -> float:
    """The threshold for the target's logits.

    Args:
        normalisation: One of `NORMALISATIONS`.
        threshold: For the sources' logits.
        source: Logits of the source videos that set it.
        stream: Logits of unlabelled videos of the target.

    Raises:
        MetricError: A side is empty, or its scores are all equal.
    """
    if normalisation not in NORMALISATIONS:
        raise unknown_name("normalisation", normalisation, NORMALISATIONS)
    for logits, whose in ((source, "the source videos'"), (stream, "the unlabelled videos'")):
        if not len(logits):
            raise MetricError(f"there are no scores among {whose.removesuffix(chr(39))}")
        if np.ptp(logits) == 0:
            raise MetricError(f"{whose} scores are all equal, so that nothing can be normalised by them")
    if normalisation == DEVIATION:
        return float(stream.mean() + (threshold - source.mean()) * stream.std() / source.std())
    centred = float(threshold + np.median(stream) - np.median(source))
    if normalisation == MEDIAN:
        return centred
    most = most_rejected(len(stream))
    # Rejected are logits below the threshold: below the k-th of the sorted stream lie at most k.
    allowed = float(np.sort(stream)[most]) if most >= 0 else -np.inf
    return min(centred, max(threshold, allowed))


def most_rejected(count: int) -> int:
    """The most rejected of `count` videos that show, with 95 % confidence, a rate of at most `BOUND`.

    By the exact (Clopper-Pearson) bound; -1 where not even none of them would.
    """
    rejected = np.arange(int(BOUND * count) + 2)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 2)))])
    ways = factorials[count] - factorials[rejected] - factorials[np.maximum(count - rejected, 0)]
    # In logarithms: the chance of none among many thousands is no float.
    chances = np.exp(ways + rejected * np.log(BOUND) + (count - rejected) * np.log(1 - BOUND))
    return int(np.searchsorted(np.cumsum(chances), 1 - _CONFIDENCE, side="right")) - 1
