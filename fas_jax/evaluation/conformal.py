"""Three answers by conformal prediction: bona fide, attack, or uncertain. NumPy only.

A band is fitted on source scores that trained nothing (split-conformal prediction), for each class by itself
(Mondrian). At an error rate alpha, a clip's set of possible classes holds its true class with a probability of at least
1 - alpha, for bona fide clips and for attacks alike, if the clip is drawn as the source clips were. A set of one class
is an answer; a set of both, or of none, is uncertain. Uncertain clips are not accepted.

The bound of a class is the quantile ceil((n + 1) (1 - alpha)) / n of its n scores, which is exact for any n. If n is
below `needed_clips(alpha)`, that quantile does not exist, every score stays possible, and `Band.shortage` says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.evaluation.checks import subject_keys
from fas_jax.evaluation.intervals import Interval, binomial_interval
from fas_jax.evaluation.metrics import Labels, MetricError, Scores, most_within
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import source_rows, thresholds

ALPHA = 0.05
"""The error rate where none is given."""
UNCERTAIN: Literal["uncertain"] = "uncertain"
CLASSES = {1: "bona fide", 0: "attack"}

Answer = Literal["bona fide", "attack", "uncertain"]
Which = Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class Band:
    """From a score to the classes that are possible at an error rate."""

    alpha: float
    """Largest share of the clips of either class whose set lacks their class."""
    bona_fide_from: float
    """Scores at or above it may be bona fide; minus infinity if the sources had too few bona fide clips."""
    attack_to: float
    """Scores at or below it may be attacks; infinity if the sources had too few attacks."""
    bona_fide: int
    """Source clips that set the bounds."""
    attacks: int

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise MetricError(f"the error rate alpha must lie between 0 and 1, not {self.alpha}")
        if math.isnan(self.bona_fide_from) or math.isnan(self.attack_to):
            raise MetricError("the bounds of a band must be numbers")

    def possible(self, scores: Scores) -> tuple[Which, Which]:
        """Whether each score [n] may be bona fide, and whether it may be an attack; neither for NaN."""
        scores = np.asarray(scores, np.float64)
        return scores >= self.bona_fide_from, scores <= self.attack_to

    def accepts(self, scores: Scores, threshold: float) -> Which:
        """Whether each score [n] is answered with bona fide; never for NaN, and never below the threshold."""
        scores = np.asarray(scores, np.float64)
        return (scores >= self.bona_fide_from) & (scores > self.attack_to) & (scores >= threshold)

    def rejects(self, scores: Scores) -> Which:
        """Whether each score [n] is answered with attack; never for NaN."""
        scores = np.asarray(scores, np.float64)
        return (scores < self.bona_fide_from) & (scores <= self.attack_to)

    def answer(self, score: float, threshold: float) -> Answer:
        """The answer to one score. One of NaN is uncertain."""
        one = np.array([score], np.float64)
        if self.accepts(one, threshold)[0]:
            return "bona fide"
        return "attack" if self.rejects(one)[0] else UNCERTAIN

    def reason(self, score: float, threshold: float) -> str:
        """Why a score is uncertain, as part of a sentence; empty if it is not."""
        if self.answer(score, threshold) != UNCERTAIN:
            return ""
        bona_fide, attack = (bool(each[0]) for each in self.possible(np.array([score])))
        rate = f"at an error rate of {100 * self.alpha:g} %"
        if bona_fide and attack:
            return f"the score fits both classes {rate}"
        if bona_fide:
            return f"the score fits bona fide clips alone {rate}, but lies below the threshold"
        return f"the score fits neither class {rate}"

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads back; a bound that does not exist is null."""
        bounds = {"bona_fide_from": self.bona_fide_from, "attack_to": self.attack_to}
        known = {name: value if math.isfinite(value) else None for name, value in bounds.items()}
        return {"alpha": self.alpha, **known, "bona_fide": self.bona_fide, "attacks": self.attacks}

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Band":
        """The band that `to_json` wrote. Raises `UserError`, which begins with `where`, for anything else."""
        try:
            low, high = content["bona_fide_from"], content["attack_to"]
            return cls(
                float(content["alpha"]),
                -math.inf if low is None else float(low),
                math.inf if high is None else float(high),
                int(content["bona_fide"]),
                int(content["attacks"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where} holds no band for three answers that this version reads ({error!r})") from error

    @property
    def shortage(self) -> str:
        """What the source clips are too few for, in a sentence; empty if they suffice."""
        needed = needed_clips(self.alpha)
        found = [
            f"{count} {name} (so that {effect})"
            for count, name, effect in (
                (self.bona_fide, "bona fide clips", "no clip can be called an attack"),
                (self.attacks, "attacks", "no clip can be accepted"),
            )
            if count < needed
        ]
        if not found:
            return ""
        return (
            f"three answers at an error rate of {100 * self.alpha:g} % need {needed} source clips of each class; there "
            f"are {' and '.join(found)}"
        )


def needed_clips(alpha: float) -> int:
    """The fewest source clips of a class that give a bound: the smallest n with alpha (n + 1) >= 1."""
    count = max(0, math.ceil(1 / alpha) - 2)
    while most_within(alpha, count + 1) < 1:
        count += 1
    return count


def fit_band(scores: Scores, labels: Labels, alpha: float = ALPHA) -> Band:
    """The band of an error rate.

    Args:
        scores: [n], finite; higher means bona fide.
        labels: [n], 1 bona fide and 0 attack. A class may be missing; it is always possible then.
        alpha: Above 0 and below 1.

    Raises:
        MetricError: A score is not finite, or alpha is out of its range.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if not 0 < alpha < 1:
        raise MetricError(f"the error rate alpha must lie between 0 and 1, not {alpha}")
    if not np.isfinite(scores).all():
        raise MetricError(f"{int(np.sum(~np.isfinite(scores)))} of {len(scores)} scores are not finite")
    bona_fide, attacks = scores[labels == 1], scores[labels == 0]
    # Attacks are high where they are strange, bona fide clips are low.
    return Band(alpha, -_bound(-bona_fide, alpha), _bound(attacks, alpha), len(bona_fide), len(attacks))


def _bound(strangeness: Float64[np.ndarray, " n"], alpha: float) -> float:
    """The quantile ceil((n + 1) (1 - alpha)) / n, free of the rounding of that product; infinite if there is none."""
    beyond = most_within(alpha, len(strangeness) + 1)
    return float(np.sort(strangeness)[-beyond]) if beyond else math.inf


@dataclass(frozen=True)
class Coverage:
    """How many clips of a class have a set that holds it."""

    covered: int
    clips: int

    @property
    def share(self) -> float:
        """NaN where there is no clip."""
        return self.covered / self.clips if self.clips else math.nan

    @property
    def interval(self) -> Interval:
        """95 %, exact (Clopper-Pearson), with clips as independent draws; NaN where there is none."""
        return binomial_interval(self.covered, self.clips)


@dataclass(frozen=True)
class Answers:
    """Three answers of one model under one protocol with one seed."""

    protocol: str
    seed: int
    model: str
    band: Band
    threshold: float
    source: Mapping[str, Coverage]
    """By class, of source clips, each judged by a band that other subjects set. A class without a bound has no clip."""
    target: Mapping[str, Coverage]
    """By class, of the test clips with a score."""
    uncertain: Mapping[str, float]
    """By class, the share of test clips with a score that are uncertain; NaN where there is none."""
    apcer: float
    """Of the test clips, with uncertain clips and those without a decision as not accepted; NaN where undefined."""
    bpcer: float
    """Likewise, the share of bona fide test clips that are not accepted."""
    notes: tuple[str, ...]
    """Why something is undefined, or worth little."""


def bands(scores: ScoreTable, alpha: float = ALPHA, set_by: str = VALIDATION) -> dict[tuple[str, int, str], Band]:
    """The band of every protocol, seed and model, from the source scores that set its threshold.

    Args:
        scores: As `evaluate` takes them. No test row is read.
        alpha: As `fit_band` takes it.
        set_by: The role whose rows set the threshold.
    """
    found = {}
    for protocol in scores.distinct("protocol"):
        for model in scores.select(protocol=protocol).distinct("model"):
            of_model = scores.select(protocol=protocol, model=model)
            for seed in of_model.distinct("seed"):
                held = source_rows(of_model.select(seed=seed), set_by)
                found[str(protocol), int(seed), str(model)] = fit_band(held.score, held.label, alpha)
    return found


def held_out_coverage(held: ScoreTable, alpha: float = ALPHA) -> dict[str, Coverage]:
    """By class, the coverage of source clips, each by the band of all other subjects (cross-conformal by subject).

    Clips whose class has no bound there are not counted, because they would be covered whatever their score.

    Args:
        held: Source rows with a score.
        alpha: As `fit_band` takes it.
    """
    keys = subject_keys(held)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    whose = np.array([numbers[key] for key in keys], np.int64)
    covered, clips = dict.fromkeys(CLASSES, 0), dict.fromkeys(CLASSES, 0)
    for number in numbers.values():
        own = whose == number
        band = fit_band(held.score[~own], held.label[~own], alpha)
        for label, inside, bound in zip(
            CLASSES, band.possible(held.score), (band.bona_fide_from, band.attack_to), strict=True
        ):
            mine = own & (held.label == label)
            if math.isfinite(bound):
                clips[label] += int(mine.sum())
                covered[label] += int((mine & inside).sum())
    return {name: Coverage(covered[label], clips[label]) for label, name in CLASSES.items()}


def coverage(band: Band, scores: Scores, labels: Labels) -> dict[str, Coverage]:
    """By class, the coverage of scores [n] with labels [n]."""
    labels = np.asarray(labels)
    return {
        name: Coverage(int(np.sum(inside & (labels == label))), int(np.sum(labels == label)))
        for (label, name), inside in zip(CLASSES.items(), band.possible(scores), strict=True)
    }


def three_answers(scores: ScoreTable, rule: str, set_by: str = VALIDATION, alpha: float = ALPHA) -> tuple[Answers, ...]:
    """What three answers mean for every protocol, seed and model that is tested; bands read source rows alone.

    Args:
        scores: As `evaluate` takes them.
        rule: Of the threshold.
        set_by: The role whose rows set threshold and band.
        alpha: As `fit_band` takes it.
    """
    known = thresholds(scores, rule, set_by)
    found = []
    for (protocol, seed, model), band in bands(scores, alpha, set_by).items():
        rows = scores.select(protocol=protocol, seed=seed, model=model)
        test = rows.select(role=TEST)
        if not len(test):
            continue
        tau = known[protocol, seed, model].value if (protocol, seed, model) in known else np.nan
        found.append(_answers(rows, test, band, float(tau), source_rows(rows, set_by)))
    return tuple(found)


def _answers(rows: ScoreTable, test: ScoreTable, band: Band, tau: float, held: ScoreTable) -> Answers:
    notes = [band.shortage] if band.shortage else []
    answered = test.rows(test.answered)
    accepted, rejected = band.accepts(answered.score, tau), band.rejects(answered.score)
    unsure = {}
    for label, name in CLASSES.items():
        own = answered.label == label
        unsure[name] = float(np.mean(~(accepted | rejected)[own])) if own.any() else np.nan
    apcer = bpcer = np.nan
    species = None if np.any((test.label == 0) & (test.pai == "")) else np.asarray(test.pai)
    if species is None:
        notes.append("no APCER with three answers: test attacks have no PAI species")
    try:
        if np.isnan(tau):
            raise MetricError("there is no threshold")
        rates = metrics.decision_rates(band.accepts(test.score, tau), test.label, species)
        apcer, bpcer = rates.apcer, rates.bpcer
    except MetricError as error:
        notes.append(f"no rates with three answers: {error}")
    return Answers(
        str(rows.protocol[0]),
        int(rows.seed[0]),
        str(rows.model[0]),
        band,
        tau,
        held_out_coverage(held, band.alpha),
        coverage(band, answered.score, answered.label),
        unsure,
        float(apcer),
        float(bpcer),
        tuple(notes),
    )
