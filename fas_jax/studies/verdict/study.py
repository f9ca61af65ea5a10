"""The study of a run's verdict: its parts in order, and the files that it writes into the run's folder."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fas_jax.base.locks import locked
from fas_jax.base.record import ClipInfo
from fas_jax.deployment.bundle_folder import ABOUT, load_bundle
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.metrics import MetricError, auc
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.experiment.run import IN_USE
from fas_jax.methods.base import Detector, Failed
from fas_jax.methods.registry import score_inputs
from fas_jax.methods.verdict_fitting import VerdictDetector
from fas_jax.protocols.presets import is_synthetic
from fas_jax.reporting.extra_tables import ExtraTable, remove_extra_tables, write_extra_table
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.naming import protocol_name
from fas_jax.studies.verdict import page
from fas_jax.studies.verdict.cascade import Point, cascade
from fas_jax.studies.verdict.costs import costs_of
from fas_jax.studies.verdict.helping import (
    Errors,
    areas_of,
    best_on_sources,
    error_correlations,
    errors_of,
    paired_tests,
)
from fas_jax.studies.verdict.variants import (
    AVAILABILITY,
    MEAN,
    Opened,
    beside,
    fitted,
    leave_one_out,
    open_verdict,
    scored,
    scored_by_availability,
)

_AUDIT = (
    "Availability alone: a verdict that knows which experts have a score, but no score. If its AUC interval does not "
    "hold 0.5, the verdict could recognise the class or the dataset by the experts that have a score. Classes not "
    "balanced: the share of bona fide clips in each pattern of availability serves as the score. If its AUC interval "
    "does not hold 0.5, availability gives the class away in these data, and only the balance of classes keeps this "
    "from the verdict. Within leaves: the AUC of the tree's leaves, in each of which all clips have the same score, "
    "and the AUC with the experts' mean logit, which orders the clips of a leaf."
)


def study(run: Path, name: str = "", cache: Path | None = None, seed: int = 0) -> tuple[list[str], list[ExtraTable]]:
    """Writes `RUN/verdict` and tables for the run's next report, from stored scores only.

    Args:
        run: Folder of a run that has been evaluated.
        name: The verdict's method; the first verdict of the run if empty.
        cache: The cache's folder, if it was moved.
        seed: Seed of resamples and sign patterns.

    Returns:
        Caveats and the results of the tests, as sentences, and the tables.

    Raises:
        UserError: As `open_verdict`, or another process is at work in the run's folder.
    """
    with locked(run, IN_USE):
        return _study(run, name, cache, seed)


def _study(run: Path, name: str, cache: Path | None, seed: int) -> tuple[list[str], list[ExtraTable]]:
    opened = open_verdict(run, name, cache)
    method, rule = opened.method, opened.experiment.evaluation.threshold
    # Whatever sets the run's own thresholds: verdicts that are fitted here score validation and test videos alone.
    own_role = VALIDATION
    variants = beside(method) | leave_one_out(method)
    again = {each: scored(opened, each, fitted(opened, variant)) for each, variant in variants.items()}
    detectors = fitted(opened, method)
    names = [*opened.experts, *(each for each, other in opened.experiment.methods.items() if score_inputs(other))]
    errors = {each: errors_of(opened.scores, each, rule, own_role) for each in dict.fromkeys(names)}
    areas = {each: areas_of(opened.scores, each) for each in errors}
    errors |= {each: errors_of(table, each, rule, own_role) for each, table in again.items()}
    areas |= {each: areas_of(table, each) for each, table in again.items()}
    distinct = {each: _distinct(opened.scores.select(model=each)) for each in names}
    distinct |= {each: _distinct(table) for each, table in again.items()}

    chosen = best_on_sources(opened.scores, opened.experts, rule, own_role)
    best = {protocol: errors[expert][protocol] for protocol, expert in chosen.items()}
    mine = errors[opened.name]
    helped = paired_tests(mine, {page.BEST: best, MEAN: errors[MEAN]}, seed)
    without: Mapping[str, Mapping[str, Errors]] = {each: errors[each] for each in leave_one_out(method)}
    tables = [
        page.model_table(errors, areas, distinct),
        page.test_table("Does the verdict help?", helped, chosen),
        _audit_table(opened, rule, detectors),
    ]
    if without:
        tables.append(page.test_table("The verdict without one expert", paired_tests(mine, without, seed), {}))
    shown = [*opened.experts, opened.name]
    figures = {"Correlation of errors": page.correlation_figure(shown, error_correlations([errors[n] for n in shown]))}
    said = page.said_of(helped)
    points: Sequence[Point] = ()
    if bundles := sorted((run / "bundles").glob(f"*/{ABOUT}")):
        bundle = load_bundle(bundles[0].parent)
        costs = costs_of(bundle, opened.experts, _example(opened, bundle.renditions))
        points, skipped = cascade(opened, detectors, costs, rule) if costs else ((), {})
        said += [f"The cascade's figures leave out {each}: {why}." for each, why in skipped.items()]
        if points:
            tables += [page.cost_table(costs), page.cascade_table(points)]
            figures |= page.cascade_figures(points)
        if lacking := [each for each in opened.experts if each not in costs]:
            said.append(f"The cascade never asks {', '.join(lacking)}: bundle {bundles[0].parent.name} lacks it.")
    if not points:
        said.append("There is no cascade: it takes a bundle with the experts, and a target.")
    rendered = any(is_synthetic(str(each)) for each in opened.clips.videos.dataset.present())
    caveats = [page.RENDERED] if rendered else []
    page.write_page(run / "verdict", f"Verdict {opened.name} of {run.name}", said, tables, figures, caveats)
    remove_extra_tables(run, "3-verdict-")  # an earlier study may have left more of them
    for number, table in enumerate(tables):
        write_extra_table(run, f"3-verdict-{number}", table)
    return [*caveats, *said], tables


def _example(opened: Opened, renditions: Iterable[str]) -> dict[str, ClipInfo]:
    """What decoding found of one clip, by rendition: the first that has frames of all, or else the first."""
    facts = {each: opened.clips.facts(each) for each in renditions}
    rows = range(min(map(len, facts.values()), default=0))
    whole = (row for row in rows if all(len(_frames(each, infos[row])) for each, infos in facts.items()))
    row = next(whole, 0)
    return {each: infos[row] for each, infos in facts.items()}


def _frames(rendition: str, info: ClipInfo) -> Sequence[int]:
    return info.renditions[rendition].frame_indices if rendition in info.renditions else ()


def _distinct(rows: ScoreTable) -> dict[str, str]:
    """By protocol, the number of distinct scores of test videos, of how many with a score."""
    found = {}
    for protocol in rows.select(role=TEST).distinct("protocol"):
        test = rows.select(role=TEST, protocol=protocol)
        answered = test.rows(test.answered)
        # Logits tell scores apart that are rounded to the same probability.
        value = np.where(np.isnan(answered.logit), answered.score, answered.logit)
        found[str(protocol)] = f"{len(np.unique(value))} of {len(value)}"
    return found


def _audit_table(opened: Opened, rule: str, detectors: Sequence[Detector | Failed]) -> ExtraTable:
    alone = scored(opened, AVAILABILITY, fitted(opened, opened.method, available=True), available=True)
    results = evaluate(ScoreTable.concatenate([alone, scored_by_availability(opened)]), rule)
    rows = []
    for each in results.summaries:
        inside = each.auc_interval
        holds = "undefined" if np.isnan(inside.low) else "yes" if inside.low <= 0.5 <= inside.high else "NO"
        rows.append([protocol_name(each.protocol), each.model, f"AUC {100 * each.mean['auc']:.1f} %{inside}", holds])
    test = opened.scores.select(model=opened.name, role=TEST)
    flat = scored(opened, "leaves", [_flattened(each) for each in detectors])
    for protocol in test.distinct("protocol"):
        figures = []
        for table in (flat.select(role=TEST, protocol=protocol), test.select(protocol=protocol)):
            own = table.rows(table.answered)
            try:
                figures.append(f"{100 * auc(own.score, own.label):.1f} %")
            except MetricError:
                figures.append("undefined")
        rows.append(
            [protocol_name(str(protocol)), "within leaves", f"AUC {figures[0]}, with the mean logit {figures[1]}", ""]
        )
    return ExtraTable("Audit of the verdict", _AUDIT, Grid(["protocol", "control", "found", "holds 0.5"], rows))


def _flattened(detector: Detector | Failed) -> Detector | Failed:
    """The same detector with leaves whose clips are tied; detectors without leaves stay as they are."""
    if not isinstance(detector, VerdictDetector):
        return detector
    params = {name: _tied(each) if isinstance(each, Mapping) else each for name, each in detector.params.items()}
    return dataclasses.replace(detector, params=params)


def _tied(model: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    if "low" not in model:
        return model
    middle = (model["low"] + model["high"]) / 2
    return {**model, "low": middle, "high": middle}
