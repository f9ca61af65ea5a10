"""Detectors that were trained on everything at hand: nothing is left to test them on. Imports no JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import Models, dataset_name, protocol_name
from fas_jax.reporting.notes import NO_ESTIMATE

_VALIDATION = (
    "Thresholds and equal error rates are those of validation videos, cut out of the same datasets by subject; they "
    "are no estimate for videos of another origin."
)


def deployment_section(
    scores: ScoreTable, results: Results, models: Models, provenance: Mapping[str, Any]
) -> ExtraTable | None:
    """What is known of detectors that no protocol tests; None where all are tested.

    Beside their threshold and the equal error rate of validation stands the leave-one-out estimate: the mean over the
    run's protocols that train on all of their datasets but one and test on that one.

    Args:
        scores: All rows of the run.
        results: Of the protocols that have a target.
        models: Of the run.
        provenance: With `assignments`, for the datasets of each protocol, where they are known.
    """
    untested = [name for name in scores.distinct("protocol") if not len(scores.select(protocol=name, role=TEST))]
    if not untested:
        return None
    # There is one such protocol, `deploy`; its videos are those of all datasets at hand.
    (protocol,) = untested
    rows = scores.select(protocol=protocol, role=VALIDATION)
    sources = {str(name) for name in rows.distinct("dataset")}
    estimates = _leave_one_out(sources, results, provenance.get("assignments") or ())
    found = thresholds(rows, results.threshold_rule, results.set_by)
    seeds = rows.distinct("seed")
    grid = []
    for model in rows.distinct("model"):
        for seed in seeds:
            own = found[protocol, int(seed), str(model)]
            cells = [models.name(str(model)), str(seed), *(_figure(value) for value in (own.value, 100 * own.eer))]
            if estimates:
                cells += [_spread(results, estimates, str(model), name) for name in ("hter", "auc")]
            grid.append(cells)
    header = ["model", "seed", "threshold", "validation EER %"]
    header += ["leave-one-out HTER %", "leave-one-out AUC %"] if estimates else []
    told = [
        _trained(protocol, sources, provenance.get("assignments") or ()),
        _VALIDATION,
        _estimated(estimates, sources),
    ]
    return ExtraTable("Deployment", " ".join(told), Grid(header, grid))


def _leave_one_out(sources: set[str], results: Results, assignments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Protocols that train on all of these datasets but one and test on that one, by the one."""
    found = {}
    for each in assignments:
        tested = set(each["test"])
        if each["protocol"] in results.protocols and len(tested) == 1 and set(each["train"]) == sources - tested:
            found[min(tested)] = str(each["protocol"])
    return found


def _trained(protocol: str, sources: set[str], assignments: Sequence[Mapping[str, Any]]) -> str:
    about = next((each for each in assignments if each["protocol"] == protocol), None)
    parts = sorted(dataset_name(name) for name in sources)
    if about:
        counts = about["train"]
        parts = [
            f"{dataset_name(name)} ({counts[name]['bona_fide']} bona fide, {counts[name]['attacks']} attacks, "
            f"{counts[name]['subjects']} subjects)"
            for name in sorted(counts)
        ]
    return f"Trained on all datasets at hand: {', '.join(parts)}. For use: `bundles/{protocol}` (one for each seed)."


def _estimated(estimates: Mapping[str, str], sources: set[str]) -> str:
    if not estimates:
        return NO_ESTIMATE
    text = (
        "Leave-one-out: mean, lowest and highest over the protocols of this run that leave out one of these datasets "
        f"and test on it ({', '.join(protocol_name(each) for each in estimates.values())}); their detectors have "
        "trained on one dataset less."
    )
    if missing := sorted(sources - estimates.keys()):
        text += f" No protocol leaves out {', '.join(missing)}: the mean is without."
    return text


def _spread(results: Results, estimates: Mapping[str, str], model: str, figure: str) -> str:
    found = [results.summary(protocol, model) for protocol in estimates.values()]
    values = 100 * np.array([each.mean[figure] if each else np.nan for each in found])
    if np.isnan(values).any():
        return UNDEFINED
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"


def _figure(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:.4g}"
