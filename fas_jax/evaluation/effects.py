"""What mattered in a random search: rank statistics with the level that chance alone reaches. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

_PERMUTATIONS = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """How a hyper-parameter and the scores of the settings go together; between 0 and 1 but for a sign."""

    size: float
    """Of numbers, Spearman's rank correlation; of names, the correlation ratio (eta) of the ranks. NaN where all values
    or all scores are the same."""
    noise: float
    """What its size stays below in 95 % of random assignments of the same scores to the same values."""
    signed: bool
    """Whether it is of numbers, so that its sign says which way it goes."""

    @property
    def clear(self) -> bool:
        """Whether it is more than chance gives one time in twenty."""
        return bool(abs(self.size) > self.noise)

    def __str__(self) -> str:
        if np.isnan(self.size):
            return "undefined"
        return f"{self.size:+.2f}" if self.signed else f"{self.size:.2f}"


def rank_effect(values: Sequence[Any], scores: Float[np.ndarray, " n"]) -> Effect:
    """The effect of `values` (numbers or names) on finite `scores`, over one entry a setting.

    Ranks, because scales of hyper-parameters and distributions of scores are arbitrary; one at a time, which a random
    search allows: its draws are independent of each other, so that what the others do is noise and not bias.
    """
    ranks = _ranks(np.asarray(scores, np.float64))
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(ranks)), (_PERMUTATIONS, 1)), axis=1)
    signed = all(isinstance(value, int | float) for value in values)
    if signed:
        own = _ranks(np.asarray(values, np.float64))
        scale = np.linalg.norm(own) * np.linalg.norm(ranks)
        drawn, size = ranks[order] @ own, ranks @ own
    else:
        _, groups = np.unique(np.asarray(values, str), return_inverse=True)
        member = np.eye(groups.max() + 1)[groups] / np.sqrt(np.bincount(groups))
        scale = np.linalg.norm(ranks) * (member.shape[1] > 1)
        drawn, size = (np.linalg.norm(each @ member, axis=-1) for each in (ranks[order], ranks))
    if not scale > 0:
        return Effect(np.nan, np.nan, signed)
    return Effect(float(size / scale), float(np.quantile(np.abs(drawn), _LEVEL) / scale), signed)


def fold_noise(scores: Float[np.ndarray, "n k"]) -> float:
    """How far apart two settings' means over k folds have to be to say that they differ: two standard errors.

    What is left when each setting's and each fold's mean is taken away is noise: a fold that is hard for all says
    nothing of a setting. NaN with fewer than two settings or folds. Folds share training videos, which this ignores.
    """
    count, folds = scores.shape
    if count < 2 or folds < 2:
        return np.nan
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    variance = (rest**2).sum() / ((count - 1) * (folds - 1))
    return float(2 * np.sqrt(2 * variance / folds))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks about their mean; equal values share theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return ranks - ranks.mean()
