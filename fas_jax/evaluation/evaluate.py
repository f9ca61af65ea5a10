"""From scores to results: the threshold from validation videos, the error rates on test videos. Imports no JAX.

The threshold is that of the equal error rate on the validation rows, which belong to the sources; the target's rows are
judged once, at that threshold. Figures called `oracle` are what a threshold chosen on the target would have claimed. An
undefined figure is NaN, with a note that says why.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from fas_jax.base.errors import UserError
from fas_jax.evaluation import breakdown, intervals, metrics
from fas_jax.evaluation.intervals import RESAMPLES, Slack
from fas_jax.evaluation.results import DEFINITIONS, Comparison, Figures, Results, Summary
from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import Chosen, choose_for, source_rows

HTER_BY_ROLE = {"hter_validation": VALIDATION, "hter_cross_source": CROSS_SOURCE, "hter_shifted": SHIFTED}
"""Figures of the HTER at the threshold that rows of a role set."""
_BOOTSTRAP_SEED = 0

T = TypeVar("T")


@dataclass(frozen=True)
class _Run:
    """A model's figures, and the resamples from which intervals and comparisons are computed."""

    figures: Figures
    hter: Float64[np.ndarray, " r"]
    auc: Float64[np.ndarray, " r"]
    attack_subjects: int
    bona_fide_subjects: int


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
    _check_same_videos(scores if same_validation else scores.select(role=TEST))
    protocols = [str(name) for name in scores.distinct("protocol")]
    runs: list[_Run] = []
    for protocol in protocols:
        mine = scores.select(protocol=protocol)
        test = mine.select(role=TEST)
        subjects = {key: column for column, key in enumerate(sorted(set(_subject_keys(test))))}
        draws = intervals.draw_subjects(max(1, len(subjects)), RESAMPLES, _BOOTSTRAP_SEED)
        for model in mine.distinct("model"):
            of_model = mine.select(model=model)
            for seed in of_model.distinct("seed"):
                runs.append(_figures(of_model.select(seed=seed), subjects, draws, threshold, set_by))
    if all(np.isnan(run.figures.values["auc"]) for run in runs):
        notes = "; ".join(dict.fromkeys(note for run in runs for note in run.figures.notes))
        raise UserError(f"nothing can be evaluated: {notes or 'there are no scores'}")
    parts, worst = breakdown.break_down(scores, [run.figures for run in runs])
    groups: dict[tuple[str, str], list[_Run]] = {}
    for run in runs:
        groups.setdefault((run.figures.protocol, run.figures.model), []).append(run)
    return Results(
        threshold_rule=threshold,
        set_by=set_by,
        protocols=tuple(protocols),
        models=tuple(scores.distinct("model")),
        seeds=tuple(sorted(scores.distinct("seed"))),
        figures=tuple(run.figures for run in runs),
        summaries=tuple(_summary(group) for group in groups.values()),
        comparisons=tuple(
            _comparison(one, other)
            for (first, one), (second, other) in itertools.permutations(groups.items(), 2)
            if first[0] == second[0]
        ),
        warnings=tuple(_warnings(scores)),
        groups=parts,
        worst=worst,
    )


def _figures(
    rows: ScoreTable,
    subjects: Mapping[tuple[str, ...], int],
    draws: Int64[np.ndarray, "r s"],
    rule: str,
    set_by: str,
) -> _Run:
    """Figures of one model under one protocol with one seed."""
    notes: list[str] = []

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

    whose = np.array([subjects[key] for key in _subject_keys(answered)], np.int64)
    own = {label: len(np.unique(whose[answered.label == label])) for label in (0, 1)}
    undefined = np.full(len(draws), np.nan)
    hter, auc = undefined, undefined
    enough = min(own.values()) >= intervals.FEWEST_SUBJECTS
    if not enough and (few := _few_subjects(answered)) != _few_subjects(test):
        notes.append(f"no intervals: {few} among the videos with a score")
    if enough and not np.isnan(values["hter"]):
        hter = intervals.resampled_hter(answered.score >= tau, answered.label, whose, draws)
    if enough and not np.isnan(values["auc"]):
        auc = intervals.resampled_auc(answered.score, answered.label, whose, draws)
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
        auc_interval=area,
        notes=tuple(notes),
    )
    return _Run(figures, hter, auc, own[0], own[1])


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
        found[f"{role}_subjects"] = len(set(_subject_keys(rows)))
        found[f"{role}_non_responses"] = int(np.sum(~rows.answered))
    return found


def _summary(runs: Sequence[_Run]) -> Summary:
    figures = [run.figures for run in runs]
    values = {name: np.array([each.values[name] for each in figures]) for name in DEFINITIONS}
    mean = {name: float(np.mean(column)) for name, column in values.items()}
    several = len(runs) > 1
    std = {name: float(np.std(column, ddof=1)) if several else np.nan for name, column in values.items()}
    first = runs[0]
    return Summary(
        protocol=first.figures.protocol,
        model=first.figures.model,
        seeds=tuple(each.seed for each in figures),
        mean=mean,
        std=std,
        hter_interval=intervals.hter_interval(_mean_hter(runs), _mean_slack(runs)),
        auc_interval=intervals.auc_interval(
            np.mean([run.auc for run in runs], axis=0), mean["auc"], first.attack_subjects, first.bona_fide_subjects
        ),
    )


def _comparison(runs: Sequence[_Run], others: Sequence[_Run]) -> Comparison:
    means = [float(np.mean([run.figures.values["hter"] for run in group])) for group in (runs, others)]
    return Comparison(
        protocol=runs[0].figures.protocol,
        model=runs[0].figures.model,
        other=others[0].figures.model,
        difference=means[0] - means[1],
        interval=intervals.difference_interval(
            _mean_hter(runs), _mean_hter(others), _mean_slack(runs), _mean_slack(others)
        ),
    )


def _mean_hter(runs: Sequence[_Run]) -> Float64[np.ndarray, " r"]:
    return np.mean([run.hter for run in runs], axis=0)


def _mean_slack(runs: Sequence[_Run]) -> Slack:
    far, frr = (float(np.mean([run.figures.values[name] for run in runs])) for name in ("far", "frr"))
    return intervals.hter_slack(far, frr, runs[0].attack_subjects, runs[0].bona_fide_subjects)


def _subject_keys(rows: ScoreTable) -> list[tuple[str, ...]]:
    """(dataset, subject), or the video itself where the subject is not known."""
    columns = zip(rows.dataset.tolist(), rows.subject.tolist(), rows.video.tolist(), strict=True)
    return [(dataset, subject) if subject else (dataset, "", video) for dataset, subject, video in columns]


def _few_subjects(rows: ScoreTable) -> str:
    """Which classes have too few subjects for an interval, such as `1 subject of bona fide videos`; empty if none."""
    found = {
        name: len(set(_subject_keys(rows.rows(rows.label == label))))
        for name, label in (("bona fide videos", 1), ("attacks", 0))
    }
    return " and ".join(
        f"{count} subject{'' if count == 1 else 's'} of {name}"
        for name, count in found.items()
        if count < intervals.FEWEST_SUBJECTS
    )


def _check_same_videos(scores: ScoreTable) -> None:
    """Raises `UserError` unless all models of a protocol, and for test all seeds, have rows of the same videos."""
    first: dict[tuple[Any, ...], tuple[str, set[tuple[str, str]]]] = {}
    groups: dict[tuple[str, int, str, str], set[tuple[str, str]]] = {}
    columns = (scores.protocol, scores.seed, scores.role, scores.model, scores.dataset, scores.video)
    for protocol, seed, role, model, *video in zip(*(column.tolist() for column in columns), strict=True):
        groups.setdefault((protocol, seed, role, model), set()).add((video[0], video[1]))
    for (protocol, seed, role, model), videos in groups.items():
        who = f"model {model} (seed {seed})"
        key = (protocol, role) if role == TEST else (protocol, role, seed)
        other, expected = first.setdefault(key, (who, videos))
        for has, lacks, difference in ((other, who, expected - videos), (who, other, videos - expected)):
            if difference:
                dataset, name = min(difference)
                raise UserError(
                    f"scores: protocol {protocol}, {role}: {len(difference)} videos have a row of {has} but none of "
                    f"{lacks}, the first {dataset} {name}; a video without a decision is a row without a score"
                )


def _warnings(scores: ScoreTable) -> list[str]:
    found = []
    for protocol in scores.distinct("protocol"):
        rows = scores.select(protocol=protocol)
        validation, test = rows.select(role=VALIDATION), rows.select(role=TEST)
        videos = [set(zip(part.dataset.tolist(), part.video.tolist(), strict=True)) for part in (validation, test)]
        if shared := videos[0] & videos[1]:
            found.append(
                f"{protocol}: {len(shared)} videos are in both validation and test: the threshold has seen them"
            )
        subjects = [{key for key in _subject_keys(part) if len(key) == 2} for part in (validation, test)]
        if both := subjects[0] & subjects[1]:
            found.append(f"{protocol}: {len(both)} subjects are in both validation and test")
        if few := _few_subjects(test):
            found.append(
                f"{protocol}: no intervals, and nothing is called better: the test videos have {few}, and resampling "
                f"takes at least {intervals.FEWEST_SUBJECTS} of each class"
            )
        if np.any(test.subject == ""):
            found.append(f"{protocol}: the subjects of test videos are not known; intervals treat each video as one")
    return found
