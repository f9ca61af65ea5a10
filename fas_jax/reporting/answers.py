"""Three answers in the report: coverage on sources and target, and what uncertain clips cost. Imports no JAX."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fas_jax.evaluation.conformal import ALPHA, CLASSES, Answers, Coverage, needed_clips, three_answers
from fas_jax.evaluation.intervals import CONFIDENCE, Interval, binomial_interval
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import Models, protocol_name, summaries
from fas_jax.reporting.tables import with_interval

TITLE = "Three answers"
_TEXT = (
    "Bona fide, attack or uncertain, by conformal prediction from the source videos that set the threshold, for each "
    "class by itself. At an error rate of {rate:g} % a clip's set of possible classes should lack its class in at "
    "most {rate:g} % of clips of either class, if they are drawn as the source videos were. Source coverage: share of "
    "source videos whose set holds their class, each by a band that other subjects set, with exact "
    f"{100 * CONFIDENCE:g} % binomial intervals, which take the videos of a subject as independent. Target coverage "
    "below it is the cost of the change of domain, which no band from sources can know. A video is accepted only if "
    "its set is bona fide alone and its score reaches the threshold: APCER (worst PAI species) and BPCER count "
    "uncertain videos, and those without a decision, as not accepted. Figures in %, means over seeds, with the "
    "interval for one seed's number of videos. n/a: too few source videos of a class, {needed} of which are needed."
)


def answers_section(scores: ScoreTable, results: Results, models: Models, alpha: float = ALPHA) -> ExtraTable | None:
    """Coverage, uncertain videos and error rates with three answers; None where nothing is tested.

    Args:
        scores: All rows of the run.
        results: Of the protocols that have a target.
        models: Of the run.
        alpha: The error rate.
    """
    if not results.protocols:
        return None
    judged = scores.rows(scores.protocol.isin(results.protocols))
    found = three_answers(judged, results.threshold_rule, results.set_by, alpha)
    rows, told = [], dict[str, list[str]]()
    for summary in summaries(results):
        own = [each for each in found if (each.protocol, each.model) == (summary.protocol, summary.model)]
        name = f"{protocol_name(summary.protocol)}, {models.name(summary.model)}"
        for note in dict.fromkeys(note for each in own for note in each.notes):
            told.setdefault(note, []).append(name)
        rows.append([protocol_name(summary.protocol), models.name(summary.model), *_cells(own)])
    header = [f"{where} coverage, {name}" for where in ("source", "target") for name in CLASSES.values()]
    header += [f"uncertain, {name}" for name in CLASSES.values()]
    header += ["APCER", "BPCER", "APCER, two answers", "BPCER, two answers"]
    for row, summary in zip(rows, summaries(results), strict=True):
        row += [_percent([summary.mean[f"{name}_rejecting"]]) for name in ("apcer", "bpcer")]
    text = _TEXT.format(rate=100 * alpha, needed=needed_clips(alpha))
    text += "".join(f" {note[0].upper()}{note[1:]}: {_names(names)}." for note, names in told.items())
    return ExtraTable(TITLE, text, Grid(["protocol", "model", *header], rows))


def alpha_of(provenance: Mapping[str, Any]) -> float:
    """The error rate of a run's settings, or of the scores' provenance; `ALPHA` where neither says one."""
    evaluation = (provenance.get("experiment") or {}).get("evaluation") or {}
    return float(provenance.get("alpha", evaluation.get("alpha", ALPHA)))


def _cells(own: Sequence[Answers]) -> list[str]:
    cells = [covered([each.source[name] for each in own]) for name in CLASSES.values()]
    cells += [covered([each.target[name] for each in own]) for name in CLASSES.values()]
    cells += [_percent([each.uncertain[name] for each in own]) for name in CLASSES.values()]
    return [*cells, _percent([each.apcer for each in own]), _percent([each.bpcer for each in own])]


def covered(found: Sequence[Coverage]) -> str:
    """The coverage of a class in per cent, as the mean over seeds, with the interval for one seed's number of clips.

    "n/a" where a seed has no clip that a band could cover or not.
    """
    if not found or not all(each.clips for each in found):
        return "n/a"
    clips = round(np.mean([each.clips for each in found]))
    share = float(np.mean([each.share for each in found]))
    return with_interval(share, np.nan, binomial_interval(round(share * clips), clips))


def _percent(values: Iterable[float]) -> str:
    mean = float(np.mean(list(values)))
    return UNDEFINED if np.isnan(mean) else with_interval(mean, np.nan, Interval(np.nan, np.nan))


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
