"""From scores to results: the threshold from validation videos, the error rates on test videos. Imports no JAX.

The threshold is that of the equal error rate on the validation rows, which belong to the sources; the target's rows are
judged once, at that threshold. Figures called `oracle` are what a threshold chosen on the target would have claimed. An
undefined figure is NaN, with a note that says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Int, Int64

from fas_jax.base.errors import UserError
from fas_jax.evaluation import breakdown, calibration, intervals, metrics, redrawing, significance
from fas_jax.evaluation.checks import (
    Subject,
    check_same_videos,
    doubts,
    few_subjects,
    few_to_redraw,
    subject_keys,
    warnings,
)
from fas_jax.evaluation.intervals import RESAMPLES
from fas_jax.evaluation.redrawing import SourceVideos
from fas_jax.evaluation.results import DEFINITIONS, Figures, Results
from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.summaries import SEED, Run, comparisons, summary
from fas_jax.evaluation.thresholds import Chosen, Rule, choose_for, source_rows

HTER_BY_ROLE = {"hter_validation": VALIDATION, "hter_cross_source": CROSS_SOURCE, "hter_shifted": SHIFTED}
"""Figures of the HTER at the threshold that rows of a role set."""

T = TypeVar("T")


def evaluate(
    scores: ScoreTable, threshold: str = "pooled", set_by: str = VALIDATION, same_validation: bool = True
) -> Results:
    """Figures of every protocol, seed and model in the table.

    Args:
        scores: `validation` rows set the threshold, `test` rows are judged by it.
        threshold: A rule, as `thresholds.Rule.parse` reads it.
        set_by: The role whose rows set the thresholds: `VALIDATION`, or where there are such rows `CROSS_SOURCE` or
            `SHIFTED`.
        same_validation: Refuses models of one protocol and seed whose thresholds come from different videos.

    Raises:
        UserError: The models were not given the same videos, or no protocol has both classes in test.
    """
    check_same_videos(scores if same_validation else scores.select(role=TEST))
    protocols = [str(name) for name in scores.distinct("protocol")]
    runs: list[Run] = []
    for protocol in protocols:
        mine = scores.select(protocol=protocol)
        of_models = [mine.select(model=model) for model in mine.distinct("model")]
        own = [of_model.select(seed=seed) for of_model in of_models for seed in of_model.distinct("seed")]
        draws = _Draws.of(own, set_by)
        runs += [_figures(rows, draws, threshold, set_by) for rows in own]
    if all(np.isnan(run.figures.values["auc"]) for run in runs):
        notes = "; ".join(dict.fromkeys(note for run in runs for note in run.figures.notes))
        raise UserError(f"nothing can be evaluated: {notes or 'there are no scores'}")
    parts = breakdown.break_down(scores, [run.figures for run in runs])
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.figures.protocol, run.figures.model), []).append(run)
    return Results(
        threshold_rule=threshold,
        set_by=set_by,
        protocols=tuple(protocols),
        models=tuple(scores.distinct("model")),
        seeds=tuple(sorted(scores.distinct("seed"))),
        figures=tuple(run.figures for run in runs),
        summaries=tuple(summary(group) for group in groups.values()),
        comparisons=comparisons(groups),
        warnings=tuple(warnings(scores)),
        groups=parts.groups,
        gaps=parts.gaps,
        worst=parts.worst,
        calibrations=tuple(calibration.calibrations(scores, set_by)),
    )


@dataclass(frozen=True)
class _Draws:
    """How often each subject of a protocol is in each resample: the same for all models, which makes them paired."""

    test: Int64[np.ndarray, "r s"]
    test_columns: Mapping[Subject, int]
    sources: Int[np.ndarray, "r v"]
    source_columns: Mapping[Subject, int]

    @classmethod
    def of(cls, runs: Sequence[ScoreTable], set_by: str) -> "_Draws":
        """For the rows of each model and seed of a protocol."""
        test = sorted({key for rows in runs for key in subject_keys(rows.select(role=TEST))})
        sources = sorted({key for rows in runs for key in subject_keys(source_rows(rows, set_by))})
        return cls(
            intervals.draw_subjects(max(1, len(test)), RESAMPLES, SEED),
            {key: column for column, key in enumerate(test)},
            redrawing.draw_within(np.array([dataset for dataset, *_ in sources], str), RESAMPLES, SEED + 1),
            {key: column for column, key in enumerate(sources)},
        )


def _figures(rows: ScoreTable, draws: _Draws, rule: str, set_by: str) -> Run:
    """Figures of one model under one protocol with one seed."""
    notes = calibration.peculiarities(rows)

    def attempt(what: str, figure: Callable[[], T], undefined: T) -> T:
        try:
            return figure()
        except metrics.MetricError as error:
            notes.append(f"{what} undefined: {error}")
            return undefined

    validation = rows.select(role=VALIDATION)
    test = rows.select(role=TEST)
    held = source_rows(rows, set_by)
    answered = test.rows(test.answered)
    if set_by == CROSS_SOURCE and not len(rows.select(role=CROSS_SOURCE)):
        set_by = VALIDATION
        notes.append("its validation videos set the threshold, because no source could be left out")
    if silent := int(np.sum(~validation.answered)):
        notes.append(f"{silent} of {len(validation)} validation videos have no score and set no threshold")

    values = dict.fromkeys(DEFINITIONS, np.nan)
    chosen = attempt("threshold", lambda: choose_for(rule, held), Chosen(np.nan))
    tau = values["threshold"] = chosen.value
    values["threshold_gap"] = chosen.width
    if chosen.gap is not None:
        width = "" if np.isnan(chosen.width) else f", {chosen.width:.1f} logits wide"
        notes.append(
            f"the threshold lies in an empty gap between {chosen.gap[0]:.4g} and {chosen.gap[1]:.4g}{width}: any other "
            "value there fits the sources as well"
        )
    notes += doubts(rule, held, tau, answered)
    species = _species(test, notes)
    seen = None if species is None else species[test.answered]
    by_species: Mapping[str, float] = {}
    # NaN is never at or above a threshold, so a non-response is a rejection here.
    accepted = test.score >= tau
    if not np.isnan(tau):
        values["validation_eer"] = attempt(
            "validation EER", lambda: metrics.rates(held.score, held.label, tau).hter, np.nan
        )
        rates = attempt("HTER", lambda: metrics.rates(answered.score, answered.label, tau, seen), None)
        if rates is not None:
            for name in ("far", "frr", "hter", "apcer", "bpcer", "acer"):
                values[name] = getattr(rates, name)
            by_species = rates.apcer_by_species
        rejecting = attempt("HTER with rejections", lambda: metrics.decision_rates(accepted, test.label, species), None)
        if rejecting is not None:
            for name in ("hter", "apcer", "bpcer"):
                values[f"{name}_rejecting"] = getattr(rejecting, name)
    values["auc"] = attempt("AUC", lambda: metrics.auc(answered.score, answered.label), np.nan)
    if not np.isnan(values["auc"]):
        lowest = np.nextafter(answered.score.min(), -np.inf)
        ranked = np.where(test.answered, test.score, lowest)
        values["auc_rejecting"] = metrics.auc(ranked, test.label)
        values |= _oracle(answered, seen)
    values["gap"] = values["hter"] - values["oracle_eer"]
    for name, role in HTER_BY_ROLE.items():
        if len(rows.select(role=role)):
            known = role == set_by
            values[name] = values["hter"] if known else _hter_by(rule, source_rows(rows, role), answered)
    for name, label in (("apnrr", 0), ("bpnrr", 1)):
        if np.any(test.label == label):
            values[name] = float(np.mean(~test.answered[test.label == label]))

    whose = _columns(answered, draws.test_columns)
    own = {label: len(np.unique(whose[answered.label == label])) for label in (0, 1)}
    undefined = np.full(RESAMPLES, np.nan)
    hter, full, auc, errors = undefined, undefined, undefined, np.full(draws.test.shape[1], np.nan)
    enough = min(own.values()) >= intervals.FEWEST_SUBJECTS
    if not enough and (few := few_subjects(answered)) != few_subjects(test):
        notes.append(f"no intervals: {few} among the videos with a score")
    if enough and not np.isnan(values["hter"]):
        hter = intervals.resampled_hter(answered.score >= tau, answered.label, whose, draws.test)
        errors = significance.subject_errors(answered.score >= tau, answered.label, whose, len(errors))
        if few := "" if Rule.parse(rule).name == "fixed" else few_to_redraw(held):
            notes.append(f"no interval in which the threshold varies: it was set by {few}")
        else:
            videos = SourceVideos.of(held, _columns(held, draws.source_columns))
            taus = redrawing.redrawn_thresholds(rule, videos, draws.sources)
            full = redrawing.hter_at(taus, answered.score, answered.label, whose, draws.test)
    if enough and not np.isnan(values["auc"]):
        auc = intervals.resampled_auc(answered.score, answered.label, whose, draws.test)
    area = intervals.auc_interval(auc, values["auc"], own[0], own[1])
    if values["auc"] < 0.5:
        cause = "it may be chance, its interval holds 0.5"
        if np.isnan(area.high):
            cause = "it may be chance, as it has no interval"
        elif area.high < 0.5:
            cause = "attacks score higher than bona fide videos"
        notes.append(
            f"AUC below 0.5: {cause}. If a higher score means attack here, negate the scores; nothing is flipped"
        )
    slack = intervals.hter_slack(values["far"], values["frr"], own[0], own[1])
    figures = Figures(
        protocol=str(rows.protocol[0]),
        seed=int(rows.seed[0]),
        model=str(rows.model[0]),
        values=values,
        apcer_by_species=by_species,
        species_counts={name: int(np.sum(answered.pai == name)) for name in by_species},
        counts=_counts(validation, test),
        hter_interval=intervals.hter_interval(hter, slack),
        full_hter_interval=intervals.hter_interval(full, slack),
        auc_interval=area,
        notes=tuple(notes),
    )
    return Run(figures, hter, full, auc, errors, own[0], own[1])


def _columns(rows: ScoreTable, columns: Mapping[Subject, int]) -> Int64[np.ndarray, " n"]:
    return np.array([columns[key] for key in subject_keys(rows)], np.int64)


def _hter_by(rule: str, held: ScoreTable, answered: ScoreTable) -> float:
    """HTER of the test videos at the threshold that these rows set; NaN where it is undefined."""
    try:
        return metrics.rates(answered.score, answered.label, choose_for(rule, held).value).hter
    except metrics.MetricError:
        return np.nan


def _oracle(answered: ScoreTable, species: np.ndarray | None) -> dict[str, float]:
    """Figures of the test videos at thresholds chosen on them."""
    scores, labels = answered.score, answered.label
    tau = metrics.eer_threshold(scores, labels)
    best = metrics.min_hter_threshold(scores, labels)
    found = {
        "oracle_threshold": tau,
        "oracle_eer": metrics.rates(scores, labels, tau).hter,
        "oracle_min_hter": metrics.rates(scores, labels, best).hter,
        "oracle_tpr_at_fpr1": metrics.tpr_at_fpr(scores, labels, 0.01),
    }
    if species is not None:
        for name, limit in (("10", 0.1), ("20", 0.05), ("100", 0.01)):
            found[f"oracle_bpcer{name}"] = metrics.bpcer_at_apcer(scores, labels, limit, species)[0]
    return found


def _species(test: ScoreTable, notes: list[str]) -> np.ndarray | None:
    unnamed = int(np.sum((test.label == 0) & (test.pai == "")))
    if unnamed:
        notes.append(f"APCER, ACER and BPCER10/20/100 undefined: {unnamed} test attacks have no PAI species")
        return None
    return np.asarray(test.pai)


def _counts(validation: ScoreTable, test: ScoreTable) -> dict[str, int]:
    found = {}
    for role, rows in ((VALIDATION, validation), (TEST, test)):
        found[f"{role}_bona_fide"] = int(np.sum(rows.label == 1))
        found[f"{role}_attacks"] = int(np.sum(rows.label == 0))
        found[f"{role}_subjects"] = len(set(subject_keys(rows)))
        found[f"{role}_non_responses"] = int(np.sum(~rows.answered))
    return found
