"""Confidence intervals of error rates: bootstrap over subjects, exact bounds where there are no errors.

The videos of one subject are not independent, so a resample draws subjects, each with all of its videos.
All models are resampled with the same draws, which makes differences between them paired. What is
resampled here are the test subjects, at the threshold as it is; `redrawing` adds the sources' subjects, and with them
the threshold, and the seeds.
With fewer than two subjects of a class there is no interval.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from scipy.special import betaincinv

CONFIDENCE = 0.95
RESAMPLES = 1000
# Subjects of each class that an interval takes at least: resamples of one subject all agree, whatever the error rate.
FEWEST_SUBJECTS = 2
_COLUMNS_AT_ONCE = 256


@dataclass(frozen=True)
class Interval:
    """Bounds of a confidence interval; NaN where it is undefined."""

    low: float
    high: float

    def __str__(self) -> str:
        """In per cent and in brackets, behind a blank; empty where it is undefined."""
        return self.format(".1f")

    def format(self, form: str) -> str:
        """As `str`, with the format of a bound."""
        if np.isnan(self.low) or np.isnan(self.high):
            return ""
        return f" [{100 * self.low:{form}}, {100 * self.high:{form}}]"


@dataclass(frozen=True)
class Slack:
    """How much an exact bound widens an interval of HTER, below and above, where the bootstrap has no width."""

    below: float
    above: float


def draw_subjects(count: int, resamples: int, seed: int) -> Int64[np.ndarray, "r s"]:
    """How often each of `count` subjects is in each resample."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)


def resampled_hter(
    accepted: Bool[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: Int64[np.ndarray, " n"],
    draws: Int64[np.ndarray, "r s"],
) -> Float64[np.ndarray, " r"]:
    """HTER of each resample, for decisions at a fixed threshold; NaN where a resample lacks a class.

    `subjects` [n] holds indices into the columns of `draws`.
    """
    count = draws.shape[1]

    def drawn(which: Bool[np.ndarray, " n"]) -> Shaped[np.ndarray, " r"]:
        return draws @ np.bincount(subjects[which], minlength=count)

    with np.errstate(invalid="ignore"):
        far = drawn((labels == 0) & accepted) / drawn(labels == 0)
        frr = drawn((labels == 1) & ~accepted) / drawn(labels == 1)
    return (far + frr) / 2


def resampled_auc(
    scores: Float64[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: Int64[np.ndarray, " n"],
    draws: Int64[np.ndarray, "r s"],
) -> Float64[np.ndarray, " r"]:
    """AUC of each resample; NaN where a resample lacks a class.

    For every pair of subjects it counts once how often bona fide videos of one score above attacks of the other; a
    resample is then a weighted sum of these counts.
    """
    count = draws.shape[1]
    bona_fide, whose = scores[labels == 1], subjects[labels == 1]
    attacks, attackers = scores[labels == 0], subjects[labels == 0]
    weights = draws.astype(np.float64)
    won = np.zeros(len(draws))
    for first in range(0, count, _COLUMNS_AT_ONCE):
        columns = range(first, min(first + _COLUMNS_AT_ONCE, count))
        wins = np.zeros((count, len(columns)))
        for column, subject in enumerate(columns):
            own = np.sort(attacks[attackers == subject])
            below = np.searchsorted(own, bona_fide, "left") + np.searchsorted(own, bona_fide, "right")
            wins[:, column] = np.bincount(whose, weights=below / 2, minlength=count)
        won += np.sum((weights @ wins) * weights[:, columns], axis=1)
    pairs = (weights @ np.bincount(whose, minlength=count)) * (weights @ np.bincount(attackers, minlength=count))
    with np.errstate(invalid="ignore"):
        return won / pairs


def percentile_interval(values: Float64[np.ndarray, " r"]) -> Interval:
    """The central `CONFIDENCE` of resampled values, without the undefined ones."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(np.nan, np.nan)
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def zero_error_bound(subjects: int) -> float:
    """Upper Clopper-Pearson bound (two-sided `CONFIDENCE`) on a rate of which none of `subjects` shows an error."""
    return 1.0 if subjects == 0 else 1 - ((1 - CONFIDENCE) / 2) ** (1 / subjects)


def binomial_interval(successes: int, trials: int) -> Interval:
    """Exact (Clopper-Pearson) interval of a probability from independent trials; NaN without a trial."""
    if not trials:
        return Interval(np.nan, np.nan)
    tail = (1 - CONFIDENCE) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return Interval(float(low), float(high))


def hter_slack(far: float, frr: float, attack_subjects: int, bona_fide_subjects: int) -> Slack:
    """What to add to a bootstrap interval of HTER where FAR or FRR is exactly 0 or 1.

    All resamples agree on such a rate, so that its half of HTER would have no width; it gets the width of the exact
    bound instead. The sum is conservative.
    """
    below = above = 0.0
    for rate, subjects in ((far, attack_subjects), (frr, bona_fide_subjects)):
        above += zero_error_bound(subjects) / 2 if rate == 0 else 0.0
        below += zero_error_bound(subjects) / 2 if rate == 1 else 0.0
    return Slack(below, above)


def hter_interval(values: Float64[np.ndarray, " r"], slack: Slack) -> Interval:
    """Interval of HTER from its resamples and `hter_slack`."""
    found = percentile_interval(values)
    return _within(0.0, found.low - slack.below, found.high + slack.above)


def auc_interval(
    values: Float64[np.ndarray, " r"], auc: float, attack_subjects: int, bona_fide_subjects: int
) -> Interval:
    """Interval of AUC from its resamples; where all pairs are in order (or none), an exact bound.

    All resamples agree there. The bound takes the subjects of the rarer class as independent observations.
    """
    rarer = min(attack_subjects, bona_fide_subjects)
    if rarer < FEWEST_SUBJECTS:
        return Interval(np.nan, np.nan)
    bound = zero_error_bound(rarer)
    if auc == 1:
        return Interval(1 - bound, 1.0)
    if auc == 0:
        return Interval(0.0, bound)
    return percentile_interval(values)


def difference_interval(
    one: Float64[np.ndarray, " r"], other: Float64[np.ndarray, " r"], slack_one: Slack, slack_other: Slack
) -> Interval:
    """Interval of the difference in HTER, `one` - `other`, from paired resamples."""
    found = percentile_interval(one - other)
    low = found.low - slack_one.below - slack_other.above
    high = found.high + slack_one.above + slack_other.below
    return _within(-1.0, low, high)


def _within(least: float, low: float, high: float) -> Interval:
    """The part of an interval between `least` and 1. Not by `max`, which would make a bound of NaN."""
    return Interval(float(np.clip(low, least, 1.0)), float(np.clip(high, least, 1.0)))
