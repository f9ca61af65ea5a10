"""A cascade of a verdict's experts: the cheapest is asked first, the next one only while the verdict is undecided.

After each expert, the verdict over those that were asked accepts above one threshold, rejects at or below another, and
asks the next expert between them. Both thresholds come from validation videos of the sources: the risk of a stage is
the largest share of the bona fide videos that it may wrongly reject, and of the attacks that it may wrongly accept. The
last stage decides at the verdict's own threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.evaluation.thresholds import choose_for
from fas_jax.methods.base import Detector, Failed
from fas_jax.studies.verdict.variants import Opened, batch_of, expert_logits

RISKS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Cost:
    """The cost of one expert for one clip, with the features that it reads."""

    milliseconds: float
    flops: float
    """By XLA's analysis of its program; NaN if it is not one program of a fixed size."""


@dataclass(frozen=True)
class Point:
    """A cascade at one risk; means over protocols and seeds."""

    risk: float
    """NaN for all experts at once."""
    hter: float
    milliseconds: float
    flops: float
    asked: float
    """Experts asked, on average over test videos."""


def stages(logits: Float[np.ndarray, "n k"], order: Sequence[int]) -> list[Float[np.ndarray, "n k"]]:
    """The experts' logits as each stage sees them: NaN for those that were not asked yet."""
    found = []
    for count in range(1, len(order) + 1):
        seen = np.full(logits.shape, np.nan)
        seen[:, list(order[:count])] = logits[:, list(order[:count])]
        found.append(seen)
    return found


def stage_thresholds(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], risk: float
) -> tuple[float, float]:
    """(low, high): a score at or below `low` is rejected, and one above `high` accepted, in this stage.

    All but a share `risk` of the bona fide scores lie above `low`, and all but such a share of the attacks' scores lie
    at or below `high`. If the two cross, the stage decides on every clip, at their middle. Without a score of each
    class, the stage decides on none: (-inf, inf).
    """
    known = ~np.isnan(scores)
    bona_fide, attacks = (np.sort(scores[known & (labels == label)]) for label in (1, 0))
    if not len(bona_fide) or not len(attacks):
        return -np.inf, np.inf
    low = np.nextafter(bona_fide[int(risk * len(bona_fide))], -np.inf)
    high = attacks[len(attacks) - 1 - int(risk * len(attacks))]
    if low >= high:
        return float((low + high) / 2), float((low + high) / 2)
    return float(low), float(high)


def decide(
    scores: Sequence[Float[np.ndarray, " n"]], limits: Sequence[tuple[float, float]], last: float
) -> tuple[Bool[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Whether each clip is accepted, and how many stages were asked; a NaN is undecided, and never accepted."""
    count = len(scores[0])
    accepted, asked = np.zeros(count, bool), np.full(count, len(scores))
    open_ = np.ones(count, bool)
    for number, (values, (low, high)) in enumerate(zip(scores[:-1], limits, strict=True), 1):
        taken, refused = open_ & (values > high), open_ & (values <= low)
        accepted |= taken
        asked[taken | refused] = number
        open_ &= ~(taken | refused)
    accepted |= open_ & (scores[-1] >= last)
    return accepted, asked


def cascade(
    opened: Opened, detectors: Sequence[Detector | Failed], costs: Mapping[str, Cost], rule: str
) -> tuple[list[Point], dict[str, str]]:
    """Points of the curve, the first with all experts asked at once; and by plan with a target, why it has no part.

    Args:
        opened: The run.
        detectors: The verdict's detectors, one for each plan.
        costs: The experts to ask, cheapest first; others are never asked.
        rule: The rule that sets the verdict's own threshold.
    """
    names = sorted(costs, key=lambda name: costs[name].milliseconds)
    order = [opened.experts.index(name) for name in names]
    spent = {
        each: np.concatenate([[0.0], np.cumsum([getattr(costs[name], each) for name in names])])
        for each in ("milliseconds", "flops")
    }
    rows: dict[float, list[list[float]]] = {}
    skipped: dict[str, str] = {}
    for own, detector in zip(opened.plans, detectors, strict=True):
        if isinstance(detector, Failed):
            skipped[own.name] = f"the verdict's fitting failed: {detector.reason}"
            continue
        sides = []
        for role in (VALIDATION, TEST):
            like, logits, reasons = expert_logits(opened, own, role)
            if not len(like):
                break
            found = [
                detector.score(batch_of(detector.method, opened.experts, seen, reasons)).clip
                for seen in stages(logits, order)
            ]
            sides.append((like, found))
        if len(sides) < 2:
            continue  # a protocol without a target
        (validation, before), (test, after) = sides
        known = ~np.isnan(before[-1])
        try:
            last = choose_for(rule, validation.rows(known).scored_by(opened.name, before[-1][known])).value
        except MetricError as error:
            skipped[own.name] = f"it has no threshold: {error}"
            continue
        for risk in (np.nan, *RISKS):
            limits = [
                (-np.inf, np.inf) if np.isnan(risk) else stage_thresholds(each, validation.label, risk)
                for each in before[:-1]
            ]
            accepted, asked = decide(after, limits, last)
            rates = [float(np.mean(accepted[test.label == label] == (label == 0))) for label in (0, 1)]
            costs_of = [float(spent[each][asked].mean()) for each in ("milliseconds", "flops")]
            rows.setdefault(risk, []).append([float(np.mean(rates)), *costs_of, float(asked.mean())])
    every = rows.values()
    return [Point(risk, *np.mean(own, axis=0).tolist()) for risk, own in zip(rows, every, strict=True)], skipped
