"""What a run's detectors would do behind the gate: the target's test videos, refusals counted as non-responses."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from fas_jax.base.errors import UserError
from fas_jax.base.locks import locked
from fas_jax.base.record import ATTACK
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import plan
from fas_jax.experiment.results import stored_scores
from fas_jax.experiment.run import IN_USE, open_inputs, read_inputs, read_run
from fas_jax.pixels.gate.settings import Gate
from fas_jax.reporting.extra_tables import ExtraTable, remove_extra_tables, write_extra_table
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import Models, model_name, protocol_name
from fas_jax.reporting.tables import non_responses
from fas_jax.studies.gate_table import Key, listed, of_species, refusals

REFUSED = "the gate refuses it"
NOT_DECODED = "it was not decoded for the gate"
_SPECIES = (
    "{count} of the {all} test videos of the targets{sample}, judged with thresholds from the sources, without and "
    "with the gate. Rates in %, means over seeds. No response: videos without a decision, which is APNRR for a species "
    "of attacks and BPNRR for bona fide. Error: APCER of the species, or BPCER. Videos that the gate refuses, or that "
    "were not decoded for it, are non-responses with the gate; an error rate with them depends on how they count, so "
    "that all three are given: left out, as rejections (what a door does), and as errors of the system, whatever the "
    "class. What a gate takes away from APCER by refusing, it adds to APNRR."
)
_SAMPLE = " (a sample: at most {most} of each dataset and PAI species)"
_FIGURES = (
    "The figures of the same {count} videos and thresholds, without and with the gate. Rejecting: with every "
    "non-response as a rejection, or for AUC below all scores; the others are of the videos that have a decision."
)
_TABLES = "gate-target"


class Rates(NamedTuple):
    """Of some videos, as shares; NaN where undefined."""

    silent: float
    """Without a decision."""
    of_answered: float
    """Errors among those with a decision."""
    rejecting: float
    """Errors where no decision is a rejection."""
    as_errors: float
    """Errors where no decision is one."""


def rates(accepted: Bool[np.ndarray, " n"], answered: Bool[np.ndarray, " n"], label: int) -> Rates:
    """The error rates of videos of one class.

    Args:
        accepted: Which have a score at or above the threshold.
        answered: Which have a decision.
        label: Of all of them: 1 bona fide, 0 attack.
    """
    passed = accepted & answered
    wrong = passed if label == ATTACK else ~passed
    return Rates(
        float(np.mean(~answered)),
        float(np.mean(wrong[answered])) if answered.any() else np.nan,
        float(np.mean(wrong)),
        float(np.mean(wrong | ~answered)),
    )


def behind_gate(scores: ScoreTable, silent: Mapping[Key, str]) -> ScoreTable:
    """Scores without those of test videos that the gate does not let pass.

    Args:
        scores: Of a run, or of anything else.
        silent: By dataset and path of such a video, the reason: `REFUSED` or `NOT_DECODED`.
    """
    pairs = zip(scores.dataset.tolist(), scores.video.tolist(), strict=True)
    why = np.array([silent.get(key, "") for key in pairs], object)
    gone = (why != "") & np.asarray(scores.role == TEST) & scores.answered
    return dataclasses.replace(
        scores,
        score=np.where(gone, np.nan, scores.score),
        logit=np.where(gone, np.nan, scores.logit),
        reason=type(scores.reason).of(np.where(gone, why, np.asarray(scores.reason.tolist(), object)).tolist()),
    )


def species_table(
    scores: ScoreTable, silent: Mapping[Key, str], taus: Mapping[tuple[str, int, str], float], text: str
) -> ExtraTable:
    """Rates without and with the gate, by protocol, model and PAI species.

    Args:
        scores: Test rows.
        silent: As in `behind_gate`.
        taus: Threshold by protocol, seed and model; NaN where there is none.
        text: What the table is of.
    """
    gated = behind_gate(scores, silent)
    pairs = zip(scores.dataset.tolist(), scores.video.tolist(), strict=True)
    unseen = np.array([silent.get(pair) == NOT_DECODED for pair in pairs], bool)
    tau = np.array(
        [taus[key] for key in zip(scores.protocol.tolist(), scores.seed.tolist(), scores.model.tolist(), strict=True)]
    )
    with np.errstate(invalid="ignore"):
        accepted = scores.score >= tau
    species = [of_species(*each) for each in zip(scores.label.tolist(), scores.pai.tolist(), strict=True)]
    keys = list(zip(scores.protocol.tolist(), scores.model.tolist(), species, strict=True))
    seeds, rows = scores.seed, []
    for protocol in scores.distinct("protocol"):
        for model in scores.distinct("model"):
            own = {key for key in keys if key[:2] == (protocol, model)}
            for key in sorted(own, key=lambda each: (each[2] != "bona fide", each[2])):
                mine = np.array([each == key for each in keys])
                label = int(scores.label[mine][0])
                parts = [mine & (seeds == seed) for seed in np.unique(seeds[mine])]
                made = [
                    [rates(accepted[part], table.answered[part], label) for part in parts] for table in (scores, gated)
                ]
                before, after = (np.mean(each, axis=0) for each in made)
                undefined = np.isnan(tau[mine]).any()
                shown = [before[0], after[0], *(np.nan if undefined else rate for rate in (before[2], *after[1:]))]
                cells = [UNDEFINED if np.isnan(rate) else f"{100 * rate:.1f}" for rate in shown]
                counts = str(int(parts[0].sum())), str(int(unseen[parts[0]].sum()))
                rows.append([protocol_name(protocol), model_name(model), key[2], *counts, *cells])
    header = ["protocol", "model", "species", "videos", "not decoded", "no response", "no response, gate", "error"]
    header += ["error, gate: left out", "error, gate: rejected", "error, gate: errors"]
    return ExtraTable("Behind the gate, by PAI species", text, Grid(header, rows))


def figures_table(scores: ScoreTable, gated: ScoreTable, rule: str, set_by: str, text: str) -> ExtraTable:
    """The figures of every protocol and model, without and with the gate.

    Where nothing can be evaluated any more, as where the gate refuses all attacks, they are undefined, and the text
    says why.

    Args:
        scores: Rows that set the thresholds, and test rows.
        gated: The same, from `behind_gate`.
        rule: Of the threshold.
        set_by: The role whose rows set it.
        text: What the table is of.
    """
    rows: dict[tuple[str, str], list[list[str]]] = {}
    header: list[str] = []
    for gate, table in (("without", scores), ("with", gated)):
        try:
            results = evaluate(table, rule, set_by)
        except UserError as error:
            text += f" {gate.capitalize()} the gate there are none: {error}."
            continue
        _, grid = non_responses(results, Models(results.models), table)
        header = [*grid.header[:2], "gate", *grid.header[2:]]
        for row in grid.rows:
            rows.setdefault((row[0], row[1]), []).append([*row[:2], gate, *row[2:]])
    if not rows:
        header = ["protocol", "model", "gate", "HTER"]
        rows = {
            (protocol_name(protocol), model_name(model)): []
            for protocol in scores.distinct("protocol")
            for model in scores.distinct("model")
        }
    for names, own in rows.items():
        for gate in ("without", "with"):
            if all(row[2] != gate for row in own):
                own.append([*names, gate, *[UNDEFINED] * (len(header) - 3)])
    return ExtraTable("Behind the gate", text, Grid(header, [row for own in rows.values() for row in own]))


def tabulate_target(run: Path, limits: Gate, most: int = 0, cache: Path | None = None) -> tuple[ExtraTable, ExtraTable]:
    """Leaves two tables in the run's folder, for its next report; the cache's ledger notes the reading of the targets.

    Args:
        run: Folder of a run that was evaluated.
        limits: Of the gate.
        most: Videos of a dataset and PAI species, evenly spread over its list; 0 for all.
        cache: Where the cache is now, if it was moved.

    Returns:
        Rates by PAI species, and the figures of the report, without and with the gate.

    Raises:
        UserError: The run has no scores of a target, its videos are not where they were, a target is sealed, or another
            process is at work in the run's folder.
    """
    experiment, inputs = read_run(run), read_inputs(run)
    with locked(run, IN_USE):
        return _tabulate(run, experiment, inputs, limits, most, cache)


def _tabulate(
    run: Path, experiment: Experiment, inputs: dict[str, Any], limits: Gate, most: int, cache: Path | None
) -> tuple[ExtraTable, ExtraTable]:
    place = cache or stored_cache(inputs)
    scores = stored_scores(run, inputs)
    test = scores.select(role=TEST)
    if not len(test):
        raise UserError(f"{run} tests on no target; add leave-one-out to evaluation.protocols")
    rule, set_by = experiment.evaluation.threshold, experiment.evaluation.threshold_from
    taus = {key: each.value for key, each in thresholds(scores, rule, set_by).items()}
    wanted = set(zip(test.dataset.tolist(), test.video.tolist(), strict=True))
    plans = plan(experiment, open_inputs(run, cache).videos)
    chosen = listed(experiment, place, most, lambda video: (video.dataset, video.path) in wanted)
    if not chosen:
        raise UserError(f"none of the test videos of {run} is among its videos any more; the tables need them")
    # Only now: what cannot be read must not cost a reading.
    record_readings(experiment, plans, "study", place)
    found = {(each.video.dataset, each.video.path): each.found for each in refusals(experiment, limits, chosen)}
    silent = {
        key: NOT_DECODED if clip is None else REFUSED for key, clip in found.items() if not (clip and clip.passed)
    }

    def held(table: ScoreTable) -> ScoreTable:
        pairs = zip(table.dataset.tolist(), table.video.tolist(), strict=True)
        known = np.array([key in found for key in pairs], bool)
        return table.rows(known | np.asarray(table.role != TEST))

    sample = _SAMPLE.format(most=most) if most else ""
    text = _SPECIES.format(count=len(found), all=len(wanted), sample=sample)
    by_species = species_table(held(test), silent, taus, text)
    remove_extra_tables(run, _TABLES)
    # By name, as the report orders them. This one is defined whatever the gate refuses.
    write_extra_table(run, f"{_TABLES}-1", by_species)
    tested = tuple(set(test.protocol.tolist()))
    own = held(scores.rows(scores.protocol.isin(tested)))
    figures = figures_table(own, behind_gate(own, silent), rule, set_by, _FIGURES.format(count=len(found)))
    write_extra_table(run, f"{_TABLES}-2", figures)
    return by_species, figures
