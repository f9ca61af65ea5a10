"""What a run's detectors would do behind the gate: the target's test videos, refusals counted as non-responses."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import plan
from fas_jax.experiment.results import stored_scores
from fas_jax.experiment.run import open_inputs, read_inputs, read_run
from fas_jax.pixels.gate.settings import Gate
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import Models, model_name, protocol_name
from fas_jax.reporting.tables import non_responses
from fas_jax.studies.gate_table import Key, of_species, refusals

REFUSED = "the gate refuses it"
_SPECIES = (
    "{count} test videos of the targets, judged with thresholds from the sources, without and with the gate. Rates in "
    "%, means over seeds. No response: videos without a decision, which is APNRR for a species of attacks and BPNRR "
    "for bona fide. Error: APCER of the species, or BPCER. The gate's refusals are non-responses; an error rate with "
    "them depends on how they count, so that all three are given: left out, as rejections (what a door does), and as "
    "errors of the system, whatever the class. What a gate takes away from APCER by refusing, it adds to APNRR."
)
_FIGURES = (
    "The figures of the same videos and thresholds with the gate. Rejecting: with every non-response as a rejection, "
    "or for AUC below all scores; the others are of the videos that the gate lets pass."
)


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


def behind_gate(scores: ScoreTable, refused: Collection[Key]) -> ScoreTable:
    """Scores without those of test videos that the gate refuses.

    Args:
        scores: Of a run, or of anything else.
        refused: Dataset and path of each.
    """
    pairs = zip(scores.dataset.tolist(), scores.video.tolist(), strict=True)
    gone = np.array([key in refused for key in pairs], bool) & np.asarray(scores.role == TEST) & scores.answered
    return dataclasses.replace(
        scores,
        score=np.where(gone, np.nan, scores.score),
        logit=np.where(gone, np.nan, scores.logit),
        reason=type(scores.reason).of(np.where(gone, REFUSED, np.asarray(scores.reason.tolist(), object)).tolist()),
    )


def species_table(
    scores: ScoreTable, refused: Collection[Key], taus: Mapping[tuple[str, int, str], float], text: str
) -> ExtraTable:
    """Rates without and with the gate, by protocol, model and PAI species.

    Args:
        scores: Test rows.
        refused: As in `behind_gate`.
        taus: Threshold by protocol, seed and model; NaN where there is none.
        text: What the table is of.
    """
    gated = behind_gate(scores, refused)
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
                rows.append([protocol_name(protocol), model_name(model), key[2], str(int(parts[0].sum())), *cells])
    header = ["protocol", "model", "species", "videos", "no response", "no response, gate", "error"]
    header += ["error, gate: left out", "error, gate: rejected", "error, gate: errors"]
    return ExtraTable("Behind the gate, by PAI species", text, Grid(header, rows))


def tabulate_target(run: Path, limits: Gate, most: int = 0, cache: Path | None = None) -> tuple[ExtraTable, ExtraTable]:
    """Leaves two tables in the run's folder, for its next report; the cache's ledger notes the reading of the targets.

    Args:
        run: Folder of a run that was evaluated.
        limits: Of the gate.
        most: Videos of a dataset and PAI species, evenly spread over its list; 0 for all.
        cache: Where the cache is now, if it was moved.

    Returns:
        Rates by PAI species, and the figures of the report, with the gate.

    Raises:
        UserError: The run has no scores of a target, its videos are not where they were, or a target is sealed.
    """
    experiment, inputs = read_run(run), read_inputs(run)
    place = cache or stored_cache(inputs)
    scores = stored_scores(run, inputs)
    test = scores.select(role=TEST)
    if not len(test):
        raise UserError(f"{run} tests on no target; add leave-one-out to evaluation.protocols")
    record_readings(experiment, plan(experiment, open_inputs(run, cache).videos), "study", place)
    wanted = set(zip(test.dataset.tolist(), test.video.tolist(), strict=True))
    found = refusals(experiment, place, limits, most, lambda video: (video.dataset, video.path) in wanted)
    if not found:
        raise UserError(f"none of the test videos of {run} is among its videos any more; the tables need them")
    seen = {(each.video.dataset, each.video.path): each.found for each in found}
    refused = {key for key, clip in seen.items() if clip is None or not clip.passed}

    def held(table: ScoreTable) -> ScoreTable:
        pairs = zip(table.dataset.tolist(), table.video.tolist(), strict=True)
        known = np.array([key in seen for key in pairs], bool)
        return table.rows(known | np.asarray(table.role != TEST))

    rule, set_by = experiment.evaluation.threshold, experiment.evaluation.threshold_from
    taus = {key: each.value for key, each in thresholds(scores, rule, set_by).items()}
    text = _SPECIES.format(count=len(seen))
    by_species = species_table(held(test), refused, taus, text)
    tested = set(test.protocol.tolist())
    behind = behind_gate(held(scores.rows(scores.protocol.isin(tuple(tested)))), refused)
    results = evaluate(behind, rule, set_by)
    _, grid = non_responses(results, Models(results.models), behind)
    figures = ExtraTable("Behind the gate", _FIGURES, grid)
    write_extra_table(run, "gate-target-1", figures)
    write_extra_table(run, "gate-target-2", by_species)
    return by_species, figures
