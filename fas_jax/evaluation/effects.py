"""Which hyper-parameters mattered in a random search: rank statistics beside what chance reaches. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

_PERMUTATIONS = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Effect:
    """The association between a hyper-parameter and the scores of the settings."""

    size: float
    """For numbers, Spearman's rank correlation (-1 to 1); for names, the correlation ratio (eta) of the ranks (0 to 1).
    NaN where all values or all scores are equal."""
    noise: float
    """The 95th percentile of |size| over random assignments of the same scores to the same values."""
    signed: bool
    """Whether the values are numbers, so that the sign of `size` gives the direction."""

    @property
    def clear(self) -> bool:
        """Whether |size| exceeds what chance reaches one time in twenty."""
        return bool(abs(self.size) > self.noise)

    def __str__(self) -> str:
        if np.isnan(self.size):
            return "undefined"
        return f"{self.size:+.2f}" if self.signed else f"{self.size:.2f}"


def rank_effect(values: Sequence[Any], scores: Float[np.ndarray, " n"]) -> Effect:
    """The effect of `values` (numbers or names) on finite `scores`, over one entry a setting.

    It uses ranks, because scales of hyper-parameters and distributions of scores are arbitrary. It takes one
    hyper-parameter at a time, which a random search allows: draws are independent, so that the effect of the others is
    noise and not bias.
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
    """The least difference between two settings' means over k folds that counts as one: two standard errors.

    The noise is the residual after each setting's and each fold's mean is subtracted, because a fold that is hard for
    all settings tells nothing about one. NaN with fewer than two settings or folds. It ignores that folds share
    training videos.
    """
    count, folds = scores.shape
    if count < 2 or folds < 2:
        return np.nan
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    variance = (rest**2).sum() / ((count - 1) * (folds - 1))
    return float(2 * np.sqrt(2 * variance / folds))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks about their mean; equal values share theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[index]
    return ranks - ranks.mean()
