"""The threshold chosen anew on redrawn source subjects, for many resamples at once. NumPy only.

Counts of a resample are weighted counts of the same videos, so that all resamples share one sorting of the scores. A
resample costs some ten passes over the videos that set the threshold: 1000 resamples of 2000 videos take about 0.2 s.
The thresholds are those that `thresholds.choose` gives for the redrawn videos; a test compares the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, Shaped

from fas_jax.base.logits import midway
from fas_jax.evaluation.metrics import most_within
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.evaluation.thresholds import Rule

# Numbers in an array of one block of resamples.
_CELLS = 1 << 19


def draw_within(strata: Shaped[np.ndarray, " s"], resamples: int, seed: int) -> Int[np.ndarray, "r s"]:
    """How often each subject is in each resample, where every stratum keeps its number of subjects."""
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(strata)), np.int32)
    for name in np.unique(strata):
        mine = np.flatnonzero(strata == name)
        drawn[:, mine] = generator.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=resamples)
    return drawn


def draw_seeds(count: int, resamples: int, seed: int) -> Float64[np.ndarray, "r s"]:
    """The weight of each of `count` seeds in each resample; a single one weighs 1 in all.

    A resample draws `count` - 1 seeds: the mean of so many varies as the mean of all does, while `count` draws would
    vary less by a factor of (`count` - 1) / `count`, which is much for two or three seeds.
    """
    if count == 1:
        return np.ones((resamples, 1))
    drawn = np.random.default_rng(seed).multinomial(count - 1, np.full(count, 1 / count), size=resamples)
    return drawn / (count - 1)


@dataclass(frozen=True)
class SourceVideos:
    """The videos that set the threshold of one model under one protocol with one seed, sorted by score."""

    scores: Float64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    domains: Shaped[np.ndarray, " n"]
    species: Shaped[np.ndarray, " n"] | None
    """PAI species; None where an attack has none, so that an APCER is of all attacks together."""
    subjects: Int64[np.ndarray, " n"]
    """Columns of the draws."""

    @classmethod
    def of(cls, rows: ScoreTable, subjects: Int64[np.ndarray, " n"]) -> "SourceVideos":
        """The videos of these rows, all of which have a score; `subjects` [n] are columns of the draws."""
        order = np.argsort(rows.score, kind="stable")
        species = np.asarray(rows.pai)
        named = not np.any((rows.label == 0) & (species == ""))
        return cls(
            scores=rows.score[order].astype(np.float64),
            labels=rows.label[order].astype(np.int64),
            domains=np.asarray(rows.dataset)[order],
            species=species[order] if named else None,
            subjects=subjects[order],
        )


def redrawn_thresholds(rule: str, videos: SourceVideos, draws: Int[np.ndarray, "r s"]) -> Float64[np.ndarray, " r"]:
    """The threshold of a rule in each resample; NaN where the rule gives none for the resample.

    Args:
        rule: As `Rule.parse` reads it.
        videos: Whose subjects are redrawn.
        draws: How often each subject is in each resample, as `draw_within` gives it.
    """
    found = Rule.parse(rule)
    if found.name == "fixed":
        return np.full(len(draws), found.numbers[0])
    if not len(videos.scores):
        return np.full(len(draws), np.nan)
    step = max(1, _CELLS // len(videos.scores))
    blocks = [_block(found, videos, draws[first : first + step]) for first in range(0, len(draws), step)]
    return np.concatenate(blocks)


def hter_at(
    thresholds: Float64[np.ndarray, " r"],
    scores: Float64[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: Int64[np.ndarray, " n"],
    draws: Int[np.ndarray, "r s"],
) -> Float64[np.ndarray, " r"]:
    """HTER of each resample at its own threshold; NaN without a threshold, or where the resample lacks a class.

    `subjects` [n] holds indices into the columns of `draws`.
    """
    rates = []
    for label in (0, 1):
        mine = labels == label
        own, whose = scores[mine], subjects[mine]
        step = max(1, _CELLS // max(1, len(own)))
        wrong = np.zeros(len(draws))
        for first in range(0, len(draws), step):
            block = slice(first, first + step)
            accepted = own >= thresholds[block, None]
            wrong[block] = np.einsum("rn,rn->r", draws[block][:, whose], accepted == (label == 0))
        with np.errstate(invalid="ignore"):
            rates.append(wrong / (draws @ np.bincount(whose, minlength=draws.shape[1])))
    return np.where(np.isnan(thresholds), np.nan, (rates[0] + rates[1]) / 2)


@dataclass(frozen=True)
class _Counts:
    """Cumulated counts of a block of resamples over the k distinct scores, at k + 1 candidates.

    Candidate j accepts all videos whose score is at least the j-th distinct one; the last accepts none.
    """

    distinct: Float64[np.ndarray, " k"]
    attacks: Float64[np.ndarray, "r c"]
    """How many attacks each candidate rejects; the last column is how many there are."""
    bona_fide: Float64[np.ndarray, "r c"]
    """Likewise of the bona fide videos."""
    present: Bool[np.ndarray, "r k"]
    """Whether a video with this score is in the resample."""
    rejected: Callable[[Bool[np.ndarray, " n"]], Float64[np.ndarray, "r c"]]
    """Likewise of the videos that a mask picks."""


def _block(rule: Rule, videos: SourceVideos, draws: Int[np.ndarray, "r s"]) -> Float64[np.ndarray, " r"]:
    distinct, starts = np.unique(videos.scores, return_index=True)
    weights = draws[:, videos.subjects].astype(np.float64)

    def rejected(mine: Bool[np.ndarray, " n"]) -> Float64[np.ndarray, "r c"]:
        sums = np.add.reduceat(np.where(mine, weights, 0.0), starts, axis=1)
        return np.concatenate([np.zeros((len(draws), 1)), np.cumsum(sums, axis=1)], axis=1)

    attacks, bona_fide = rejected(videos.labels == 0), rejected(videos.labels == 1)
    counts = _Counts(distinct, attacks, bona_fide, np.diff(attacks + bona_fide, axis=1) > 0, rejected)
    with np.errstate(invalid="ignore", divide="ignore"):
        chosen = _RULES[rule.name](rule, videos, counts)
    defined = (attacks[:, -1] > 0) & (bona_fide[:, -1] > 0) & (chosen >= 0)
    values = _between(counts, np.where(defined, chosen, 0))
    # Where a resample's classes are apart, the middle of the gap in logits, as `choose` has it.
    highest = distinct[_last(np.diff(attacks, axis=1) > 0)]
    lowest = distinct[_first(np.diff(bona_fide, axis=1) > 0)]
    apart = (highest < values) & (values <= lowest) & (highest >= 0) & (lowest <= 1)
    middle = midway(highest, lowest)
    values = np.where(apart & (highest < middle) & (middle <= lowest), middle, values)
    return np.where(defined, values, np.nan)


_Rule = Callable[[Rule, SourceVideos, _Counts], Int64[np.ndarray, " r"]]


def _pooled(rule: Rule, videos: SourceVideos, counts: _Counts) -> Int64[np.ndarray, " r"]:
    attacks, bona_fide = counts.attacks, counts.bona_fide
    gap = np.abs((attacks[:, -1:] - attacks) * bona_fide[:, -1:] - bona_fide * attacks[:, -1:])
    return _last_within(gap, np.zeros(len(gap)))


def _cost(rule: Rule, videos: SourceVideos, counts: _Counts) -> Int64[np.ndarray, " r"]:
    attacks, bona_fide = counts.attacks, counts.bona_fide
    accepted, rejected = rule.numbers
    far, frr = (attacks[:, -1:] - attacks) / attacks[:, -1:], bona_fide / bona_fide[:, -1:]
    return _last_within(accepted * far + rejected * frr, np.full(len(far), 1e-12 * (accepted + rejected)))


def _balanced(rule: Rule, videos: SourceVideos, counts: _Counts) -> Int64[np.ndarray, " r"]:
    gap, domains = np.zeros_like(counts.attacks), np.zeros(len(counts.attacks))
    lacking = np.zeros(len(counts.attacks), bool)
    for name in np.unique(videos.domains):
        mine = videos.domains == name
        own, theirs = (counts.rejected(mine & (videos.labels == label)) for label in (0, 1))
        empty = (own[:, -1] == 0) & (theirs[:, -1] == 0)
        lacking |= ~empty & ((own[:, -1] == 0) | (theirs[:, -1] == 0))
        gap += np.where(empty[:, None], 0.0, 1 - own / own[:, -1:] - theirs / theirs[:, -1:])
        domains += ~empty
    found = _last_within(np.abs(gap) / domains[:, None], np.full(len(gap), 1e-12))
    return np.where(lacking, -1, found)


def _apcer(rule: Rule, videos: SourceVideos, counts: _Counts) -> Int64[np.ndarray, " r"]:
    (limit,) = rule.numbers
    attack = videos.labels == 0
    species = np.where(attack, "" if videos.species is None else videos.species, "")
    allowed = np.ones(counts.attacks.shape, bool)
    for name in np.unique(species[attack]):
        own = counts.rejected(attack & (species == name))
        total = own[:, -1].astype(np.int64)
        most = np.zeros(total.max(initial=0) + 1)
        for count in np.unique(total[total > 0]).tolist():
            most[count] = most_within(limit, count)
        allowed &= own[:, -1:] - own <= most[total][:, None]
    # The first candidate that every species allows accepts from some score on; that score has to be a video's.
    last = np.ones((len(counts.attacks), 1), bool)
    return _first(allowed & np.concatenate([counts.present, last], axis=1))


_RULES: Mapping[str, _Rule] = {"pooled": _pooled, "balanced": _balanced, "apcer": _apcer, "cost": _cost}


def _between(counts: _Counts, chosen: Int64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
    """The value of a candidate: midway between the scores of the resample on its two sides."""
    distinct, count = counts.distinct, len(counts.distinct)
    below = counts.present & (np.arange(count) < chosen[:, None])
    previous = distinct[_last(below)]
    lowest, highest = ~below.any(axis=1), chosen == count
    high = distinct[np.minimum(chosen, count - 1)]
    middle = previous / 2 + high / 2
    middle = np.where((middle > previous) & (middle <= high), middle, high)
    middle = np.where(highest, np.nextafter(previous, np.inf), middle)
    return np.where(lowest, np.nextafter(high, -np.inf), middle)


def _last_within(values: Float64[np.ndarray, "r c"], margin: Float64[np.ndarray, " r"]) -> Int64[np.ndarray, " r"]:
    """The last candidate whose value exceeds the smallest by no more than the margin."""
    return _last(values <= values.min(axis=1, keepdims=True) + margin[:, None])


def _first(which: Bool[np.ndarray, "r c"]) -> Int64[np.ndarray, " r"]:
    return np.argmax(which, axis=1)


def _last(which: Bool[np.ndarray, "r c"]) -> Int64[np.ndarray, " r"]:
    return which.shape[1] - 1 - np.argmax(which[:, ::-1], axis=1)
