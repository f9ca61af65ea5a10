"""How a threshold follows from scores of source videos: rules by name, and whose scores they read. NumPy only.

The rules:

- `pooled`: the equal error rate of all videos together.
- `balanced`: the equal error rate with every dataset weighing the same.
- `apcer:R`: the lowest threshold at which no PAI species has an APCER above R, a promise made on the sources.
- `cost:A,B`: the smallest A * FAR + B * FRR; A is the cost of an accepted attack, B that of a rejected bona fide.
- `fixed:T`: T, whatever the scores say.

Where a rule's threshold separates the classes of those scores, it lies anywhere in the gap between them. It is then put
into the middle of the gap in logits, where the scores are probabilities.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.logits import midway, nearest_logit
from fas_jax.evaluation import metrics
from fas_jax.evaluation.metrics import Labels, MetricError, Scores, Species
from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, VALIDATION, ScoreTable

RULES = {
    "pooled": "equal error rate of {videos}, pooled, so that large datasets weigh more",
    "balanced": "equal error rate of {videos}, every source dataset weighing the same",
    "apcer": "the lowest at which no PAI species among {videos} has an APCER above {0:g}",
    "cost": "the smallest {0:g} FAR + {1:g} FRR on {videos}",
    "fixed": "{0:g}, fixed beforehand; no video sets it",
}
_COUNTS = {"pooled": 0, "balanced": 0, "apcer": 1, "cost": 2, "fixed": 1}


@dataclass(frozen=True)
class Rule:
    """A rule and its numbers."""

    name: str
    numbers: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Reads `pooled`, `balanced`, `apcer:0.01`, `cost:10,1` or `fixed:0.5`.

        Raises:
            UserError: No such rule, or not the numbers that it needs.
        """
        name, _, rest = text.partition(":")
        if name not in RULES:
            raise unknown_name("threshold rule", name, RULES)
        try:
            numbers = tuple(float(part) for part in rest.split(",")) if rest else ()
        except ValueError:
            numbers = (np.nan,)
        wanted = {"apcer": "apcer:0.01, a rate between 0 and 1", "fixed": "fixed:0.5"}.get(name, name)
        wanted = "cost:10,1, two costs above 0" if name == "cost" else wanted
        if len(numbers) != _COUNTS[name] or not np.isfinite(numbers).all():
            raise UserError(f"threshold rule {text!r} must be written as {wanted}")
        if (name == "apcer" and not 0 < numbers[0] < 1) or (name == "cost" and min(numbers) <= 0):
            raise UserError(f"threshold rule {text!r} must be written as {wanted}")
        return cls(name, numbers)

    def describe(self, role: str) -> str:
        """The rule in words, for scores of this role."""
        videos = {
            VALIDATION: "the sources' validation videos",
            CROSS_SOURCE: "source videos scored by detectors that have not seen their dataset",
            SHIFTED: "the sources' validation videos, their frames shifted in light, colour, blur, resolution, noise "
            "and compression",
        }[role]
        return RULES[self.name].format(*self.numbers, videos=videos)


class Chosen(NamedTuple):
    """A threshold, and what is known of it."""

    value: float
    """Scores at or above it are accepted as bona fide."""
    gap: tuple[float, float] | None = None
    """The highest attack and the lowest bona fide, where the threshold separates the classes."""

    @property
    def width(self) -> float:
        """Of the gap in logits; NaN where the classes overlap or the scores are no probabilities."""
        if self.gap is None or not 0 <= self.gap[0] <= self.gap[1] <= 1:
            return np.nan
        low, high = nearest_logit(self.gap)
        return float(high - low)


def choose(rule: str, scores: Scores, labels: Labels, domains: Species, species: Species | None = None) -> Chosen:
    """The threshold of a rule.

    Args:
        rule: As `Rule.parse` reads it.
        scores: [n], finite.
        labels: [n], 1 bona fide and 0 attack.
        domains: [n], dataset of each.
        species: [n], PAI species of the attacks, over which an APCER is a maximum; without it they are pooled.

    Raises:
        MetricError: A class or a dataset's class is missing, or a score is not finite; never for `fixed`.
    """
    found = Rule.parse(rule)
    if found.name == "fixed":
        return Chosen(found.numbers[0])
    if found.name == "pooled":
        value = metrics.eer_threshold(scores, labels)
    elif found.name == "balanced":
        value = metrics.balanced_eer_threshold(scores, labels, domains)
    elif found.name == "apcer":
        value = metrics.bpcer_at_apcer(scores, labels, found.numbers[0], species)[1]
    else:
        value = metrics.min_cost_threshold(scores, labels, *found.numbers)
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    low, high = float(scores[labels == 0].max()), float(scores[labels == 1].min())
    if not low < value <= high:
        return Chosen(value)
    if low >= 0 and high <= 1:
        middle = midway(low, high)
        # Rounding must not put it onto the attack.
        value = float(middle) if low < middle <= high else value
    return Chosen(value, (low, high))


def threshold_by(rule: str, scores: Scores, labels: Labels, domains: Species, species: Species | None = None) -> float:
    """The value of what `choose` gives."""
    return choose(rule, scores, labels, domains, species).value


def source_rows(rows: ScoreTable, role: str) -> ScoreTable:
    """The rows with a decision that set the threshold of one model under one protocol with one seed.

    Args:
        rows: All of that model, protocol and seed.
        role: `VALIDATION`, `SHIFTED`, or `CROSS_SOURCE`, which falls back to validation where a protocol has one
            source.
    """
    own = rows.select(role=role)
    if role == CROSS_SOURCE and not len(own):
        own = rows.select(role=VALIDATION)
    return own.rows(own.answered)


def choose_for(rule: str, rows: ScoreTable) -> Chosen:
    """The threshold of a rule by these rows of one model. Raises `MetricError`."""
    species = np.asarray(rows.pai)
    named = None if np.any((rows.label == 0) & (species == "")) else species
    return choose(rule, rows.score, rows.label, np.asarray(rows.dataset), named)


class Threshold(NamedTuple):
    """What source videos say of one model; NaN where they lack a class or have no scores."""

    value: float
    """Scores at or above it are accepted as bona fide."""
    eer: float
    """(FAR + FRR) / 2 of those videos there."""


def thresholds(scores: ScoreTable, rule: str, role: str = VALIDATION) -> dict[tuple[str, int, str], Threshold]:
    """The threshold of every protocol, seed and model in the table that has validation videos."""
    found = {}
    sources = scores.rows(scores.role.isin((VALIDATION, CROSS_SOURCE, SHIFTED)))
    for protocol in sources.distinct("protocol"):
        for seed in sources.select(protocol=protocol).distinct("seed"):
            of_seed = sources.select(protocol=protocol, seed=seed)
            for model in of_seed.distinct("model"):
                own = source_rows(of_seed.select(model=model), role)
                try:
                    tau = choose_for(rule, own).value
                except MetricError:
                    tau = np.nan
                try:
                    eer = metrics.rates(own.score, own.label, tau).hter if not np.isnan(tau) else np.nan
                except MetricError:
                    eer = np.nan
                found[str(protocol), int(seed), str(model)] = Threshold(float(tau), float(eer))
    return found
