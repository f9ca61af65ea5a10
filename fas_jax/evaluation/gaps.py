"""The gap between the worst and the best group of an attribute, and how sure it is. NumPy only.

Which group is worst and which is best is read off the same videos as their gap, and the largest of many differences is
large by chance alone. The interval of a gap therefore holds for all pairs of groups at once: it is as wide, in standard
errors, as the largest deviation among all pairs in 95 % of the resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from fas_jax.evaluation import intervals
from fas_jax.evaluation.intervals import CONFIDENCE, Interval
from fas_jax.evaluation.results import Gap

FEWEST_IN_GROUP = 5
"""Subjects of a class below which a group of an attribute has no figure: resamples of fewer say too little."""
RATES = {"far": (0,), "frr": (1,), "hter": (0, 1)}
"""The classes whose errors a rate is the mean of."""
_RESAMPLES = 500
_SEED = 0


@dataclass(frozen=True)
class _Errors:
    """Of one class."""

    wrong: Int64[np.ndarray, "s g"]
    """Videos that are decided wrongly, by subject and group."""
    videos: Int64[np.ndarray, "s g"]

    @property
    def subjects(self) -> Int64[np.ndarray, " g"]:
        return np.count_nonzero(self.videos, axis=0)

    def rates(self, draws: Int[np.ndarray, "r s"]) -> Float64[np.ndarray, "r g"]:
        with np.errstate(invalid="ignore"):
            return (draws @ self.wrong) / (draws @ self.videos)


def find_gaps(
    wrong: Bool[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: Sequence[str],
    groups: Sequence[str],
    about: Mapping[str, str],
) -> list[Gap]:
    """The gaps of one attribute in FAR, FRR and HTER, each over the groups with enough subjects.

    Args:
        wrong: [n], where a video with a decision is decided wrongly.
        labels: [n].
        subjects: The subject of each video.
        groups: The group of each video; empty where it is not given, which is no group.
        about: `protocol`, `model` and `dimension` of the gaps.
    """
    names, group = np.unique(np.array(groups, str), return_inverse=True)
    people, whose = np.unique(np.array(subjects, str), return_inverse=True)

    def count(which: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, "s g"]:
        joint = whose[which] * len(names) + group[which]
        return np.bincount(joint, minlength=len(people) * len(names)).reshape(len(people), len(names))

    classes = {label: _Errors(count(wrong & (labels == label)), count(labels == label)) for label in (0, 1)}
    draws = intervals.draw_subjects(max(1, len(people)), _RESAMPLES, _SEED)
    return [
        _gap([classes[label] for label in counted], names, draws, {**about, "rate": rate})
        for rate, counted in RATES.items()
        if all(classes[label].videos[:, names != ""].any() for label in counted)
    ]


def _gap(parts: Sequence[_Errors], names: np.ndarray, draws: Int64[np.ndarray, "r s"], about: Mapping[str, str]) -> Gap:
    fewest = np.min([part.subjects for part in parts], axis=0)
    kept = np.flatnonzero((fewest >= FEWEST_IN_GROUP) & (names != ""))
    if len(kept) < 2:
        reason = f"fewer than two groups with {FEWEST_IN_GROUP} subjects"
        return Gap(**about, worst="", best="", difference=np.nan, interval=Interval(np.nan, np.nan), reason=reason)
    parts = [_Errors(part.wrong[:, kept], part.videos[:, kept]) for part in parts]
    once = np.ones((1, draws.shape[1]), np.int64)
    observed = [part.rates(once)[0] for part in parts]
    rates = np.mean(observed, axis=0)
    worst, best = int(np.argmax(rates)), int(np.argmin(rates))
    resampled = np.mean([part.rates(draws) for part in parts], axis=0)
    below = above = _half_width(resampled - rates, worst, best)
    # Where a group errs never or always, all of its resamples agree; an exact bound stands for their width.
    for part, own in zip(parts, observed, strict=True):
        high, low = (intervals.zero_error_bound(int(part.subjects[at])) / len(parts) for at in (worst, best))
        above += high * (own[worst] == 0) + low * (own[best] == 1)
        below += high * (own[worst] == 1) + low * (own[best] == 0)
    difference = float(rates[worst] - rates[best])
    interval = Interval(max(-1.0, difference - below), min(1.0, difference + above))
    worst_name, best_name = (str(names[kept[at]]) for at in (worst, best))
    return Gap(**about, worst=worst_name, best=best_name, difference=difference, interval=interval, reason="")


def _half_width(deviations: Float64[np.ndarray, "r g"], worst: int, best: int) -> float:
    """Of an interval for the difference of two groups that holds for all pairs at once."""
    largest = np.zeros(len(deviations))
    for one in range(deviations.shape[1] - 1):
        apart = deviations[:, one, None] - deviations[:, one + 1 :]
        errors = np.nanstd(apart, axis=0)
        varied = np.abs(apart[:, errors > 0]) / errors[errors > 0]
        # A resample that lacks a group says nothing of its pairs.
        largest = np.fmax(largest, np.fmax.reduce(varied, axis=1, initial=0.0))
    return float(np.quantile(largest, CONFIDENCE) * np.nanstd(deviations[:, worst] - deviations[:, best]))
