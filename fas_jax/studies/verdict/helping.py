"""Whether a verdict has fewer errors than one of its experts: paired tests over test subjects. Imports no JAX.

A video without a score counts as rejected, for every model: a verdict that answers where an expert cannot is judged on
the same videos. Thresholds come from the sources. Errors of a subject are means over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fas_jax.evaluation.checks import Subject, subject_keys
from fas_jax.evaluation.intervals import RESAMPLES, Interval, draw_subjects, percentile_interval
from fas_jax.evaluation.metrics import MetricError, auc
from fas_jax.evaluation.scores import CROSS_SOURCE, TEST, ScoreTable
from fas_jax.evaluation.significance import LEVEL, holm, sign_flip_p, smallest_p, subject_errors
from fas_jax.evaluation.thresholds import thresholds

POOLED = "all protocols"
_POWER = 0.8
# Standard deviations at which a two-sided test at LEVEL finds a difference with the probability _POWER.
_DEVIATIONS = 1.959964 + 0.841621


@dataclass(frozen=True)
class Errors:
    """What each test subject adds to the HTER of a model under a protocol, which is their sum; means over seeds."""

    by_subject: Mapping[Subject, float]
    wrong: Float64[np.ndarray, " v"]
    """Of each test video, the share of seeds in which it was decided wrongly; in the order of the table. NaN without a
    threshold."""

    @property
    def hter(self) -> float:
        """NaN where a class is missing or there is no threshold."""
        return float(sum(self.by_subject.values()))


@dataclass(frozen=True)
class Paired:
    """A paired test of a model against a reference."""

    protocol: str
    reference: str
    difference: float
    """HTER of the model minus that of the reference, as a share; below 0 the model has fewer errors."""
    interval: Interval
    p: float
    corrected: float
    smallest: float
    """The smallest difference that the test would have found in 4 of 5 repetitions; NaN where it could find none."""
    subjects: int


def errors_of(scores: ScoreTable, model: str, rule: str, set_by: str) -> dict[str, Errors]:
    """By protocol with a target, the errors of a model."""
    known = thresholds(scores.select(model=model), rule, set_by)
    found = {}
    for protocol in scores.select(model=model, role=TEST).distinct("protocol"):
        test = scores.select(model=model, role=TEST, protocol=protocol)
        sums: dict[Subject, list[float]] = {}
        wrong = []
        for seed in test.distinct("seed"):
            rows = test.select(seed=seed)
            tau = known.get((str(protocol), int(seed), model))
            # NaN is never at or above a threshold, so that a video without a score is rejected.
            accepted = rows.score >= (np.nan if tau is None else tau.value)
            keys = subject_keys(rows)
            names = sorted(set(keys))
            column = {key: number for number, key in enumerate(names)}
            errors = subject_errors(accepted, rows.label, np.array([column[key] for key in keys]), len(names))
            decided = np.where(accepted == (rows.label == 0), 1.0, 0.0)
            if tau is None or np.isnan(tau.value):
                errors, decided = np.full(len(names), np.nan), np.full(len(rows), np.nan)
            for key, value in zip(names, errors.tolist(), strict=True):
                sums.setdefault(key, []).append(value)
            wrong.append(decided)
        by_subject = {key: float(np.mean(values)) for key, values in sums.items()}
        found[str(protocol)] = Errors(by_subject, np.mean(wrong, axis=0))
    return found


def areas_of(scores: ScoreTable, model: str) -> dict[str, float]:
    """By protocol with a target, the AUC of a model on the test videos that it has scored, as a mean over seeds.

    NaN where a class has no score.
    """
    found: dict[str, float] = {}
    test = scores.select(model=model, role=TEST)
    for protocol in test.distinct("protocol"):
        figures = []
        own = test.select(protocol=protocol)
        for seed in own.distinct("seed"):
            rows = own.select(seed=seed)
            heard = rows.rows(rows.answered)
            try:
                figures.append(auc(heard.score, heard.label))
            except MetricError:
                figures.append(np.nan)
        found[str(protocol)] = float(np.mean(figures))
    return found


def best_on_sources(scores: ScoreTable, experts: Sequence[str], rule: str, set_by: str) -> dict[str, str]:
    """By protocol, the expert with the lowest HTER on videos of the sources; of equals the one with the highest AUC.

    If the table has them, these are videos scored by detectors that have not seen their dataset, and validation videos
    otherwise. A video without a score counts as rejected. An expert whose figure is undefined is never the best.
    """
    found = {}
    sources = scores.rows(scores.role != TEST)
    for protocol in scores.select(role=TEST).distinct("protocol"):
        own = sources.select(protocol=protocol)
        role = CROSS_SOURCE if len(own.select(role=CROSS_SOURCE)) else "validation"
        ranked = []
        for name in experts:
            rows = own.select(model=name)
            known = thresholds(rows, rule, set_by)
            figures = []
            for (_, seed, _), tau in known.items():
                figures.append(_figures(rows.select(seed=seed, role=role), tau.value))
            hter, negative = np.mean(np.array(figures), axis=0) if figures else (np.nan, np.nan)
            if np.isfinite(hter):
                ranked.append((round(float(hter), 12), round(float(negative), 12), name))
        if ranked:
            found[str(protocol)] = min(ranked)[2]
    return found


def paired_tests(
    model: Mapping[str, Errors], references: Mapping[str, Mapping[str, Errors]], seed: int
) -> list[Paired]:
    """The model against each reference, by protocol and pooled; p-values are corrected over all of them after Holm.

    Args:
        model: Its errors by protocol.
        references: By name, errors by protocol.
        seed: Seed of resamples and sign patterns.
    """
    found = []
    for name, errors in references.items():
        parts = {each: _difference(model[each], errors[each]) for each in model if each in errors}
        if len(parts) > 1:
            whole: dict[Subject, float] = {}
            for own in parts.values():
                for key, value in own.items():
                    # A subject that is tested under several protocols stays one.
                    whole[key] = whole.get(key, 0.0) + value / len(parts)
            parts[POOLED] = whole
        found += [_test(protocol, name, np.array(list(own.values())), seed) for protocol, own in parts.items()]
    corrected = holm(np.array([each.p for each in found]))
    return [Paired(**{**vars(each), "corrected": float(p)}) for each, p in zip(found, corrected, strict=True)]


def error_correlations(errors: Sequence[Mapping[str, Errors]]) -> Float64[np.ndarray, "m m"]:
    """Correlations of the models' errors over test videos, averaged over protocols; NaN if a model makes no errors."""
    found = []
    for protocol in errors[0]:
        wrong = np.stack([each[protocol].wrong for each in errors])
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(np.atleast_2d(np.corrcoef(wrong)))
    table = np.array(found)
    count = np.isfinite(table).sum(0)
    return np.where(count > 0, np.where(np.isfinite(table), table, 0).sum(0) / np.maximum(count, 1), np.nan)


def _figures(judged: ScoreTable, threshold: float) -> tuple[float, float]:
    """HTER of one model's videos, and its AUC with the sign turned; NaN where they are undefined."""
    accepted, heard = judged.score >= threshold, judged.rows(judged.answered)
    try:
        area = auc(heard.score, heard.label)
    except MetricError:  # an answer to videos of one class, or to none
        return np.nan, np.nan
    rates = [float(np.mean(accepted[judged.label == label] == (label == 0))) for label in (0, 1)]
    return (float(np.mean(rates)) if np.isfinite(threshold) else np.nan), -area


def _difference(one: Errors, other: Errors) -> dict[Subject, float]:
    return {key: value - other.by_subject[key] for key, value in one.by_subject.items()}


def _test(protocol: str, reference: str, differences: Float64[np.ndarray, " s"], seed: int) -> Paired:
    count = len(differences)
    (p,) = sign_flip_p(differences[None], seed)
    interval = Interval(np.nan, np.nan)
    smallest = np.nan
    if count > 1 and np.isfinite(differences).all():
        interval = percentile_interval(draw_subjects(count, RESAMPLES, seed) @ differences)
        spread = np.sqrt(count) * differences.std(ddof=1)
        # Where no subject differs, its spread says nothing; a test whose p-value cannot be small finds nothing.
        smallest = _DEVIATIONS * spread if spread > 0 and smallest_p(count) < LEVEL else np.nan
    return Paired(protocol, reference, float(differences.sum()), interval, float(p), np.nan, float(smallest), count)
