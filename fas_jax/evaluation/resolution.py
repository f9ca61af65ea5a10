"""How large a difference between models so few targets could show, the target being the unit."""

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from fas_jax.evaluation.results import Results
from fas_jax.evaluation.significance import LEVEL


def smallest_difference(differences: Float64[np.ndarray, "pairs targets"]) -> float:
    """The smallest mean difference whose t-interval over the targets would exclude 0, of a typical pair of models.

    Each row holds one pair's differences of HTER, one a target; how much they vary between targets decides. The median
    over the pairs; NaN with fewer than two targets, or where no pair has a difference on every target.
    """
    pairs, count = differences.shape
    whole = differences[~np.isnan(differences).any(1)]
    if count < 2 or not len(whole):
        return float("nan")
    quantile = stdtrit(count - 1, 1 - LEVEL / 2)
    return float(np.median(quantile * whole.std(axis=1, ddof=1) / np.sqrt(count)))


def hter_differences(results: Results) -> Float64[np.ndarray, "pairs targets"]:
    """Differences of mean HTER of all pairs of models, by protocol; NaN where undefined."""
    hter = np.full((len(results.models), len(results.protocols)), np.nan)
    for each in results.summaries:
        hter[results.models.index(each.model), results.protocols.index(each.protocol)] = each.mean["hter"]
    first, second = np.triu_indices(len(hter), 1)
    return hter[first] - hter[second]
