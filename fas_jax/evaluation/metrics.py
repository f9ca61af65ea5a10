"""Error rates of presentation-attack detection, exact on ties, in O(n log n). NumPy only.

Throughout, label 1 is bona fide and 0 an attack, a higher score means bona fide, and a presentation is accepted if
`score >= threshold`. The terms are those of ISO/IEC 30107-3; FAR, FRR and HTER are those of the literature. A missing
class, an empty set, NaN and infinite scores raise an error that names the fault; no figure falls back to 0 or 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from fas_jax.base.errors import UserError

Scores = Shaped[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]
Species = Shaped[np.ndarray, " n"]


class MetricError(UserError, ValueError):
    """A figure that is undefined for the scores at hand; the message says what is missing or wrong."""


@dataclass(frozen=True)
class Curve:
    """All distinct operating points of a set of scores, from accepting all to rejecting all."""

    thresholds: Float64[np.ndarray, " k"]
    """Rising: just below the lowest score, the midpoints between neighbouring distinct scores, just above the highest
    score."""
    accepted_attacks: Int64[np.ndarray, " k"]
    rejected_bona_fide: Int64[np.ndarray, " k"]
    attacks: int
    bona_fide: int

    @property
    def far(self) -> Float64[np.ndarray, " k"]:
        """Share of all attacks accepted, whatever their species."""
        return self.accepted_attacks / self.attacks

    @property
    def frr(self) -> Float64[np.ndarray, " k"]:
        """Share of the bona fide rejected, that is BPCER."""
        return self.rejected_bona_fide / self.bona_fide


@dataclass(frozen=True)
class Rates:
    """Error rates of a set of decisions, as shares of one."""

    far: float
    """Attacks accepted, all species pooled."""
    frr: float
    """Bona fide rejected."""
    hter: float
    """(FAR + FRR) / 2."""
    apcer: float
    """The largest of the species' APCERs (ISO/IEC 30107-3)."""
    apcer_by_species: Mapping[str, float]
    """Attacks accepted, for each PAI species."""
    bpcer: float
    """Equal to `frr`; the name that ISO/IEC 30107-3 gives it."""
    acer: float
    """(APCER + BPCER) / 2: usual in the literature, not in the standard."""


def curve(scores: Scores, labels: Labels) -> Curve:
    """All distinct operating points of `scores` [n] with `labels` [n]. Raises `MetricError`."""
    scores, labels = _checked(scores, labels)
    attacks = np.sort(scores[labels == 0])
    bona_fide = np.sort(scores[labels == 1])
    distinct = np.unique(scores)
    low, high = distinct[:-1], distinct[1:]
    # Halved before the sum, which could overflow. Two neighbouring floats have no midpoint between them, but
    # the higher one separates them just as well.
    middle = low / 2 + high / 2
    middle = np.where((middle > low) & (middle <= high), middle, high)
    ends = np.nextafter(distinct[0], -np.inf), np.nextafter(distinct[-1], np.inf)
    return Curve(
        thresholds=np.concatenate([ends[:1], middle, ends[1:]]),
        accepted_attacks=np.append(len(attacks) - np.searchsorted(attacks, distinct), 0),
        rejected_bona_fide=np.append(np.searchsorted(bona_fide, distinct), len(bona_fide)),
        attacks=len(attacks),
        bona_fide=len(bona_fide),
    )


def eer_threshold(scores: Scores, labels: Labels) -> float:
    """The threshold with the smallest |FAR - FRR|; among equals the highest, which accepts the fewest."""
    points = curve(scores, labels)
    # In whole numbers, because shares that are equal may differ as floats.
    gap = np.abs(points.accepted_attacks * points.bona_fide - points.rejected_bona_fide * points.attacks)
    return float(points.thresholds[_last_minimum(gap)])


def balanced_eer_threshold(scores: Scores, labels: Labels, domains: Shaped[np.ndarray, " n"]) -> float:
    """The EER threshold with every domain weighing the same: FAR and FRR are means of the domains' own.

    The largest domain dominates a pooled EER. A domain that lacks one of the classes is an error.
    Differences below 1e-12 count as equal, because means of shares are not whole numbers.
    """
    scores, labels = _checked(scores, labels)
    domains = np.asarray(domains)
    points = curve(scores, labels)
    # A threshold accepts scores at or above it, as in `curve`.
    gap = np.zeros(len(points.thresholds))
    names = np.unique(domains)
    for name in names:
        mine = domains == name
        try:
            _checked(scores[mine], labels[mine])
        except MetricError as error:
            raise MetricError(f"domain {str(name)!r}: {error}") from error
        attacks = np.sort(scores[mine & (labels == 0)])
        bona_fide = np.sort(scores[mine & (labels == 1)])
        gap += 1 - np.searchsorted(attacks, points.thresholds) / len(attacks)
        gap -= np.searchsorted(bona_fide, points.thresholds) / len(bona_fide)
    gap = np.abs(gap) / len(names)
    return float(points.thresholds[np.flatnonzero(gap <= gap.min() + 1e-12)[-1]])


def min_cost_threshold(scores: Scores, labels: Labels, accepted_attack: float, rejected_bona_fide: float) -> float:
    """The threshold with the smallest `accepted_attack` * FAR + `rejected_bona_fide` * FRR; among equals the highest.

    Differences below 1e-12 of the costs count as equal.
    """
    points = curve(scores, labels)
    total = accepted_attack * points.far + rejected_bona_fide * points.frr
    margin = 1e-12 * (accepted_attack + rejected_bona_fide)
    return float(points.thresholds[np.flatnonzero(total <= total.min() + margin)[-1]])


def min_hter_threshold(scores: Scores, labels: Labels) -> float:
    """The threshold with the smallest HTER; among equals the highest."""
    points = curve(scores, labels)
    total = points.accepted_attacks * points.bona_fide + points.rejected_bona_fide * points.attacks
    return float(points.thresholds[_last_minimum(total)])


def auc(scores: Scores, labels: Labels) -> float:
    """Area under the ROC curve: the share of (bona fide, attack) pairs in order; a tie counts half."""
    points = curve(scores, labels)
    bona_fide_here = np.diff(points.rejected_bona_fide)
    attacks_here = -np.diff(points.accepted_attacks)
    attacks_below = points.attacks - points.accepted_attacks[:-1]
    twice_won = int(np.sum(bona_fide_here * (2 * attacks_below + attacks_here)))
    return twice_won / (2 * points.attacks * points.bona_fide)


def roc(scores: Scores, labels: Labels) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """FAR [k] and 1 - FRR [k] (false and true positive rate), both rising from 0 to 1."""
    points = curve(scores, labels)
    return points.far[::-1], 1 - points.frr[::-1]


def bpcer_at_apcer(scores: Scores, labels: Labels, limit: float, species: Species | None = None) -> tuple[float, float]:
    """BPCER and threshold of the lowest threshold at which APCER <= `limit`.

    BPCER10, BPCER20 and BPCER100 have limits of 0.1, 0.05 and 0.01. APCER is the maximum over the `species`
    [n] of the attacks (those of bona fide are not read); without `species` the attacks are pooled, and
    1 - BPCER is then the TPR at a FPR of `limit`.
    """
    if not 0 <= limit <= 1:
        raise MetricError(f"the limit on APCER must lie between 0 and 1, not {limit}")
    scores, labels = _checked(scores, labels)
    groups = [labels == 0] if species is None else list(_by_species(labels, species).values())
    # The threshold must lie above the highest attack that may not pass, in every species.
    barrier = -np.inf
    for mine in groups:
        falling = np.sort(scores[mine])[::-1]
        passing = most_within(limit, len(falling))
        if passing < len(falling):
            barrier = max(barrier, falling[passing])
    points = curve(scores, labels)
    # The first candidate above the barrier; the last one, above all scores, always is.
    index = int(np.searchsorted(points.thresholds, barrier, side="right"))
    return float(points.frr[index]), float(points.thresholds[index])


def tpr_at_fpr(scores: Scores, labels: Labels, limit: float = 0.01) -> float:
    """The largest share of bona fide accepted where at most `limit` of all attacks are (species pooled)."""
    return 1 - bpcer_at_apcer(scores, labels, limit)[0]


def rates(scores: Scores, labels: Labels, threshold: float, species: Species | None = None) -> Rates:
    """Error rates of accepting `scores` [n] at or above `threshold`; see `decision_rates` for `species`."""
    scores, labels = _checked(scores, labels)
    return decision_rates(scores >= threshold, labels, species)


def decision_rates(accepted: Bool[np.ndarray, " n"], labels: Labels, species: Species | None = None) -> Rates:
    """Error rates of decisions, `True` for accepted.

    A non-response counts as a rejection if it is given as `False`. `species` [n] names the PAI species of every attack
    (those of bona fide are not read); without it APCER and ACER are NaN, as they are then undefined.
    """
    accepted = np.asarray(accepted, bool)
    labels = _checked_labels(labels, len(accepted))
    far = float(np.mean(accepted[labels == 0]))
    frr = float(np.mean(~accepted[labels == 1]))
    by_species = {} if species is None else {
        name: float(np.mean(accepted[mine])) for name, mine in _by_species(labels, species).items()
    }  # fmt: skip
    apcer = max(by_species.values(), default=np.nan)
    return Rates(
        far=far,
        frr=frr,
        hter=(far + frr) / 2,
        apcer=apcer,
        apcer_by_species=by_species,
        bpcer=frr,
        acer=(apcer + frr) / 2,
    )


def _by_species(labels: Labels, species: Species) -> dict[str, Bool[np.ndarray, " n"]]:
    species = np.asarray(species)
    if species.shape != labels.shape:
        raise MetricError(f"{labels.shape[0]} labels, but PAI species of shape {species.shape}")
    names = [str(name) for name in np.unique(species[labels == 0])]
    if "" in names:
        count = int(np.sum((labels == 0) & (species == "")))
        raise MetricError(f"{count} attacks have no PAI species, which APCER is a maximum over")
    return {name: (labels == 0) & (species == name) for name in names}


def _checked(scores: Scores, labels: Labels) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1:
        raise MetricError(f"scores must have one axis, not shape {scores.shape}")
    labels = _checked_labels(labels, len(scores))
    for what, wrong in (("NaN", np.isnan(scores)), ("infinite", np.isinf(scores))):
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise MetricError(f"{int(wrong.sum())} of {len(scores)} scores are {what}, the first at index {index}")
    return scores, labels


def _checked_labels(labels: Labels, count: int) -> Int64[np.ndarray, " n"]:
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise MetricError(f"{count} scores, but labels of shape {labels.shape}")
    if count == 0:
        raise MetricError("there are no scores")
    if not np.all((labels == 0) | (labels == 1)):
        wrong = labels[(labels != 0) & (labels != 1)][0]
        raise MetricError(f"labels must be 1 (bona fide) or 0 (attack), not {wrong!r}")
    labels = labels.astype(np.int64)
    for what, label in (("bona fide presentation", 1), ("attack", 0)):
        if not np.any(labels == label):
            raise MetricError(f"there is no {what} among the {count} scores")
    return labels


def _last_minimum(values: Int64[np.ndarray, " k"]) -> int:
    return len(values) - 1 - int(np.argmin(values[::-1]))


def most_within(limit: float, count: int) -> int:
    """The largest k with k / count <= limit, free of the rounding of limit * count."""
    most = int(limit * count)
    while most < count and (most + 1) / count <= limit:
        most += 1
    while most / count > limit:
        most -= 1
    return most
