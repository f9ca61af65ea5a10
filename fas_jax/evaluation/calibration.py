"""How far scores are probabilities on the target, as they are and after calibration on the sources. NumPy only.

A calibration is fitted on the source videos that set the threshold, and judged on test videos; it moves no score of the
table. Two are fitted: a temperature, which divides all logits, and isotonic regression, which may be any rising
function. Source videos whose classes are separated perfectly (EER 0) leave no calibration to learn: any steeper
function fits them better, so that nothing is fitted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from fas_jax.base.logits import nearest_logit, sigmoid
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import source_rows

RAW, TEMPERATURE, ISOTONIC = KINDS = ("none", "temperature", "isotonic")
BINS = 15
"""Of the expected calibration error, of equal width in P(bona fide)."""
_CERTAIN = 36.0
"""Logits beyond this are counted as this; the probability in float64 is then 1 but for its last bits."""
_SLACK = 1e-3
"""By how much a score may differ from that of its logit."""

Logits = Float64[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]


@dataclass(frozen=True)
class Quality:
    """How far probabilities are right."""

    ece: float
    """Expected calibration error: mean over videos of |share of bona fide - mean probability| of the video's bin."""
    brier: float
    """Mean squared difference of probability and label."""
    log_loss: float
    """Mean of -log of the probability of the right class."""
    bins: tuple[tuple[float, float, int], ...]
    """Mean probability, share of bona fide, and number of videos of each bin that holds any."""


@dataclass(frozen=True)
class Calibration:
    """The test videos' scores of one model under one protocol with one seed, by kind of calibration."""

    protocol: str
    seed: int
    model: str
    temperature: float
    """NaN where none was fitted; infinite where no probability but 0.5 is better than a temperature."""
    quality: dict[str, Quality]
    """By kind; a kind that could not be fitted is not there."""
    notes: tuple[str, ...]
    """Why a kind is not there."""


def calibrations(scores: ScoreTable, set_by: str = VALIDATION) -> Iterator[Calibration]:
    """What calibration on the sources does to every protocol's, seed's and model's test videos.

    Args:
        scores: As `evaluate` takes them.
        set_by: The role whose rows set the threshold.
    """
    for protocol in scores.distinct("protocol"):
        mine = scores.select(protocol=protocol)
        for model in mine.distinct("model"):
            of_model = mine.select(model=model)
            for seed in of_model.distinct("seed"):
                rows = of_model.select(seed=seed)
                temperature, found, notes = _calibrate(source_rows(rows, set_by), rows.select(role=TEST))
                yield Calibration(str(protocol), int(seed), str(model), temperature, found, tuple(notes))


def _calibrate(held: ScoreTable, test: ScoreTable) -> tuple[float, dict[str, Quality], list[str]]:
    test = test.rows(test.answered)
    try:
        before = logits_of(test)
        found = {RAW: quality(before, test.label)}
    except MetricError as error:
        return np.nan, {}, [f"no calibration: {error}"]
    try:
        source = logits_of(held)
        _check_source(source, held.label)
        found[ISOTONIC] = quality(fit_isotonic(source, held.label)(before), test.label)
        temperature = fit_temperature(source, held.label)
        found[TEMPERATURE] = quality(before / temperature, test.label)
    except MetricError as error:
        kind = "temperature" if ISOTONIC in found else "calibration"
        return np.nan, found, [f"no {kind} fitted: {error}"]
    return temperature, found, []


def _check_source(logits: Logits, labels: Labels) -> None:
    for label, name in ((1, "bona fide videos"), (0, "attacks")):
        if not np.any(labels == label):
            raise MetricError(f"the source videos that set the threshold hold no {name}")
    if np.ptp(logits) == 0:
        raise MetricError("all scores of the source videos are equal and tell nothing apart")
    if logits[labels == 0].max() < logits[labels == 1].min():
        raise MetricError(
            "the source videos' classes are separated perfectly (EER 0), so that there is no calibration left to learn"
        )


def logits_of(rows: ScoreTable) -> Logits:
    """Logits of scores that are probabilities: the model's own where it gives them, or else those of its scores.

    Logits are cut off at 36. A score of exactly 0 or 1 without a finite logit counts as 6e-8 from it, as near as
    float32 comes.

    Raises:
        MetricError: There is no score, one is missing or does not lie between 0 and 1, or logits are of other scores.
    """
    if not len(rows):
        raise MetricError("no video has a score")
    if not np.all((rows.score >= 0) & (rows.score <= 1)):
        raise MetricError("scores that do not lie between 0 and 1 are no probabilities")
    found = np.where(np.isfinite(rows.logit), rows.logit, nearest_logit(rows.score))
    if np.any(np.abs(sigmoid(found) - rows.score) > _SLACK):
        raise MetricError("the column logit is not log(score / (1 - score)) of the column score")
    return np.clip(found, -_CERTAIN, _CERTAIN)


def peculiarities(rows: ScoreTable) -> list[str]:
    """What has to be known of the scores of one model: all are equal, or some are certain to the last bit."""
    found = []
    for role in (VALIDATION, TEST):
        own = rows.select(role=role)
        own = own.rows(own.answered)
        if len(own) > 1 and np.ptp(own.score) == 0:
            found.append(f"all {len(own)} {role} scores are equal ({own.score[0]:.4g}): they tell no videos apart")
        certain = np.isinf(own.logit) | (np.isnan(own.logit) & np.isin(own.score, (0, 1)))
        # Beyond 0 and 1 a score is no probability, and 0 and 1 are numbers like others.
        if (count := int(certain.sum())) and np.all((own.score >= 0) & (own.score <= 1)):
            found.append(
                f"{count} of {len(own)} {role} scores are exactly 0 or 1 and have no finite logit: no threshold "
                "separates equal scores, and where logits are needed they count as 6e-8 from 0 or 1"
            )
    return found


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature at which the logits divided by it have the lowest log loss; infinite where none helps.

    Raises:
        MetricError: Every logit lies on its label's side of 0, so that a lower temperature is always better.
    """
    towards = np.where(np.asarray(labels) == 1, logits, -logits)
    if np.all(towards >= 0):
        raise MetricError(
            "no source video scores on the wrong side of 0.5: a lower temperature would always fit better"
        )

    def slope(inverse: float) -> float:
        """Of the log loss, which is convex in the inverse temperature; rises with it."""
        return -float(np.mean(towards * sigmoid(-inverse * towards)))

    if slope(0.0) >= 0:
        return np.inf
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


@dataclass(frozen=True)
class Isotonic:
    """A rising function of logits, linear between its knots and constant beyond them."""

    knots: Float64[np.ndarray, " k"]
    shares: Float64[np.ndarray, " k"]
    """P(bona fide) at the knots."""

    def __call__(self, logits: Logits) -> Logits:
        """Logits of calibrated probabilities; 0 and 1 are counted as 6e-8 from them."""
        return nearest_logit(np.interp(logits, self.knots, self.shares))


def fit_isotonic(logits: Logits, labels: Labels) -> Isotonic:
    """The rising function of the logits that is nearest to the labels in squares, by pooling adjacent violators."""
    knots, place = np.unique(logits, return_inverse=True)
    counts = np.bincount(place).astype(np.float64)
    sums = np.bincount(place, weights=np.asarray(labels, np.float64))
    # Blocks of neighbouring knots: sum of labels, number of videos, number of knots.
    blocks: list[tuple[float, float, int]] = []
    for total, count in zip(sums.tolist(), counts.tolist(), strict=True):
        block = (total, count, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    shares = np.repeat([total / count for total, count, _ in blocks], [width for _, _, width in blocks])
    return Isotonic(knots, shares)


def quality(logits: Logits, labels: Labels) -> Quality:
    """How far the probabilities of these logits are right."""
    labels = np.asarray(labels, np.float64)
    probabilities = sigmoid(logits)
    place: Int64[np.ndarray, " n"] = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    bins = []
    for each in range(BINS):
        own = place == each
        if own.any():
            bins.append((float(probabilities[own].mean()), float(labels[own].mean()), int(own.sum())))
    return Quality(
        ece=sum(count * abs(share - mean) for mean, share, count in bins) / len(labels),
        brier=float(np.mean((probabilities - labels) ** 2)),
        log_loss=float(np.mean(np.logaddexp(0, np.where(labels == 1, -logits, logits)))),
        bins=tuple(bins),
    )
