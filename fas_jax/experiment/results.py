"""From a trained run to its report and bundles, by what the run has stored.

The first evaluation reads the stored inputs; later ones read the stored scores. Neither needs the videos or the file of
weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, read_json, sha256_file, write_json
from fas_jax.base.locks import locked
from fas_jax.datasets.prepared import Prepared
from fas_jax.deployment.bundle_folder import write_bundle
from fas_jax.deployment.decision import Decision
from fas_jax.evaluation.conformal import bands
from fas_jax.evaluation.evaluate import Results, evaluate
from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, TEST, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.experiment.configuration import Experiment, experiment_to_dict
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.fitting import Fitted, cross_source_folder, detector_data, within_sources
from fas_jax.experiment.inputs import kept_backbone
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import ORACLE, Plan, cross_source_plans, plan
from fas_jax.experiment.rules import leave_rules
from fas_jax.experiment.run import (
    IN_USE,
    SHIFTED_STORES,
    Seconds,
    open_inputs,
    read_inputs,
    read_left,
    read_run,
    read_run_attributes,
)
from fas_jax.experiment.scoring import score, score_cross_source, score_shifted
from fas_jax.methods.base import Failed, identity
from fas_jax.protocols.names import used_preset
from fas_jax.reporting.extra_figures import read_extra_figures
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.reporting.learning import read_histories, without_left
from fas_jax.reporting.page import Extras
from fas_jax.reporting.report import Evaluated, write_report
from fas_jax.reporting.thumbnails import read_thumbnails
from fas_jax.runtime import devices

SCORES, SCORED = "scores.csv", "scored.json"


def report(folder: Path, cache: Path | None = None) -> Path:
    """Scores validation and test videos, where that has not been done, and writes the report and the bundles.

    Args:
        folder: Of a trained run, wherever it was moved to.
        cache: Where the cache with the run's inputs is now, if it was moved.

    Raises:
        UserError: The run is not trained, its inputs are not there, or another process is at work in its folder.
    """
    evaluate_run(folder, cache)
    return Path(folder)


def evaluate_run(folder: Path, cache: Path | None = None) -> Evaluated:
    """As `report`; gives what the report is of."""
    devices.check()
    folder = Path(folder)
    experiment, inputs = read_run(folder), read_inputs(folder)
    with locked(folder, IN_USE):
        return _report(folder, experiment, inputs, cache)


def _report(folder: Path, experiment: Experiment, inputs: dict[str, Any], cache: Path | None) -> Evaluated:
    seconds = Seconds(folder)
    with seconds.stage("evaluate"):
        # Added to the stored scores: another attribute is no reason to score anything again.
        scores = with_attributes(folder, run_scores(experiment, folder, inputs, cache))
        rule = experiment.evaluation.threshold
        judged = with_target(scores)
        # A run that trains detectors to deploy alone has a report, too: it says that there is no estimate.
        set_by = experiment.evaluation.threshold_from
        results = evaluate(judged, rule, set_by) if len(judged) else Results.empty(rule, set_by)
        fitted = stored_detectors(experiment, folder, inputs)
        _write_bundles(experiment, folder, inputs, scores, fitted)
        leave_rules(folder, fitted, inputs["plans"])
    read_before = read_json(folder / SCORED).get("read_before", [])
    provenance = _provenance(experiment, inputs, seconds.known, read_before)
    write_report(folder, results, scores, provenance, _extras(experiment, folder, inputs, results))
    return Evaluated(results, scores, provenance)


def run_scores(experiment: Experiment, folder: Path, inputs: dict[str, Any], cache: Path | None = None) -> ScoreTable:
    """Every validation and test video's score, as it is stored in the run; made and stored where it is not."""
    if (known := _known_scores(folder, inputs)) is not None:
        return known
    note, path = folder / SCORED, folder / SCORES
    corpus = open_inputs(folder, cache)
    plans = plan(experiment, corpus.videos)
    fitted = stored_detectors(experiment, folder, inputs)
    read = record_readings(experiment, plans, "test", cache or stored_cache(inputs))
    scores = score(experiment, plans, corpus, fitted)
    if experiment.evaluation.threshold_from == CROSS_SOURCE:
        scores = ScoreTable.concatenate([scores, _cross_source(experiment, plans, corpus, folder)])
    if experiment.evaluation.threshold_from == SHIFTED:
        shifted = open_inputs(folder, cache, SHIFTED_STORES)
        scores = ScoreTable.concatenate([scores, score_shifted(experiment, plans, corpus, shifted, fitted)])
    scores.write_csv(path)
    write_json(
        note,
        {
            "key": _scored_key(folder, inputs),
            "sha256": sha256_file(path),
            "read_before": [asdict(each) for each in read],
        },
    )
    # As the file has them: the first evaluation and later ones agree.
    return ScoreTable.read_csv(path)


def stored_scores(folder: Path, inputs: dict[str, Any]) -> ScoreTable:
    """The scores that the run keeps of the detectors that it has now; reads no input.

    Raises:
        UserError: It keeps none of them.
    """
    found = _known_scores(folder, inputs)
    if found is None:
        raise UserError(f"{folder} has no scores of the detectors that it holds; run fas-jax evaluate {folder} first")
    return found


def _known_scores(folder: Path, inputs: dict[str, Any]) -> ScoreTable | None:
    note, path = folder / SCORED, folder / SCORES
    if not (note.exists() and path.exists()):
        return None
    known = read_json(note)
    if known["key"] != _scored_key(folder, inputs) or known["sha256"] != sha256_file(path):
        return None
    return ScoreTable.read_csv(path)


def with_attributes(folder: Path, scores: ScoreTable) -> ScoreTable:
    """The stored scores with the attributes of the run's videos, stored so where they have changed."""
    described = scores.with_attributes(read_run_attributes(folder))
    if described.attributes.keys() != scores.attributes.keys() or any(
        column.tolist() != scores.attributes[name].tolist() for name, column in described.attributes.items()
    ):
        described.write_csv(folder / SCORES)
        note = read_json(folder / SCORED)
        write_json(folder / SCORED, {**note, "sha256": sha256_file(folder / SCORES)})
    return described


def _cross_source(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, folder: Path) -> ScoreTable:
    inner = cross_source_plans(plans, corpus.videos)
    if not inner:
        return ScoreTable.empty()
    own = [each for _, each in inner]
    place = cross_source_folder(folder)
    experiment = within_sources(experiment)
    known = {"plans": [each.name for each in own], "detectors": detector_data(experiment, own, corpus)}
    return score_cross_source(experiment, plans, inner, corpus, stored_detectors(experiment, place, known))


def with_target(scores: ScoreTable) -> ScoreTable:
    """The rows of protocols that test on a target; `deploy` has none."""
    return scores.rows(scores.protocol.isin(tuple(scores.select(role=TEST).distinct("protocol"))))


def _scored_key(folder: Path, inputs: dict[str, Any]) -> str:
    """Of everything that the scores depend on: the detectors' files and the inputs."""
    places = (folder, cross_source_folder(folder))
    files = sorted(path for place in places for path in (place / "detectors").rglob("*.safetensors"))
    hashes = [[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files]
    further = [inputs[SHIFTED_STORES]] if SHIFTED_STORES in inputs else []
    return fingerprint([hashes, inputs["stores"], inputs["assignments"], *further])


def stored_detectors(experiment: Experiment, folder: Path, inputs: Mapping[str, Any]) -> Fitted:
    """The detectors of a trained run, with what `read_inputs` found.

    Raises:
        UserError: One is missing or damaged, or was fitted otherwise.
    """
    found = {}
    for name, method in experiment.methods.items():
        store = DetectorStore(folder, name, method, inputs["detectors"][name])
        found[name] = [store.load(each) for each in inputs["plans"]]
    return Fitted(found)


def _write_bundles(
    experiment: Experiment, folder: Path, inputs: dict[str, Any], scores: ScoreTable, fitted: Fitted
) -> None:
    """One bundle for each plan: its detectors with their thresholds."""
    known = thresholds(scores, experiment.evaluation.threshold, experiment.evaluation.threshold_from)
    uncertain = bands(scores, experiment.evaluation.alpha, experiment.evaluation.threshold_from)
    backbone, origin = kept_backbone(folder)
    for number, (name, about) in enumerate(zip(inputs["plans"], inputs["assignments"], strict=True)):
        every = fitted.of_plan(number)
        own = {each: found for each, found in every.items() if not isinstance(found, Failed)}
        failed = {each: found.reason for each, found in every.items() if isinstance(found, Failed)}
        decisions = {
            each: Decision(tau.value, uncertain.get((about["protocol"], about["seed"], each)))
            for each in own
            # A detector without a threshold cannot be asked for a decision.
            if (tau := known.get((about["protocol"], about["seed"], each))) and math.isfinite(tau.value)
        }
        seed = f"-seed{about['seed']}" if len(experiment.seeds) > 1 else ""
        write_bundle(
            folder / "bundles" / f"{about['protocol']}{seed}",
            detectors=own,
            decisions=decisions,
            preparation=experiment.preparation,
            renditions=experiment.renditions,
            features=experiment.features,
            backbone=backbone,
            origin=origin,
            about={
                "protocol": about["protocol"],
                "seed": about["seed"],
                "sources": sorted(about["train"]),
                **({"rendered": inputs["rendered"]} if "rendered" in inputs else {}),
                **({"failed": failed} if failed else {}),
                "lineage": {
                    "run": experiment.name,
                    "plan": name,
                    "data": {each["dataset"]: each["prepared"] for each in inputs["datasets"]},
                    "versions": inputs["versions"],
                    "parent": None,
                    "selection": experiment.evaluation.selection,
                },
            },
        )


def _provenance(
    experiment: Experiment,
    inputs: dict[str, Any],
    seconds: dict[str, float],
    read_before: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the figures were made from and with, JSON-able."""
    oracle = experiment.evaluation.selection == ORACLE
    kept = ("datasets", "materials", "assignments", "backbone", "weights", "weights_sha256", "versions", "made_with")
    return {
        "name": experiment.name,
        "preset": used_preset(experiment.evaluation),
        "experiment": experiment_to_dict(experiment),
        **{name: inputs[name] for name in (*kept, "rendered") if name in inputs},
        "read_before": read_before,
        "on_target": [name for name, method in experiment.methods.items() if oracle and method.epochs],
        "devices": devices.describe(),
        "methods": {name: identity(method) for name, method in experiment.methods.items()},
        "reads": {
            name: [[item.kind, item.name] for item in method.inputs()] for name, method in experiment.methods.items()
        },
        "settings_from": {name: each.settings_from for name, each in experiment.methods.items() if each.settings_from},
        "seconds": seconds,
    }


def _extras(experiment: Experiment, folder: Path, inputs: dict[str, Any], results: Results) -> Extras:
    """Learning curves, frames of the worst-scored videos, and the tables that other commands left in the run."""
    wanted = {(each.dataset, each.video) for each in results.worst}
    # Pictures only: a report without the prepared frames is whole.
    prepared = [Prepared.open(path) for name in inputs["prepared"] if (path := Path(name)).exists()]
    return Extras(
        without_left(read_histories(folder), experiment.methods, read_left(folder)),
        read_thumbnails(prepared, wanted),
        read_extra_tables(folder),
        read_extra_figures(folder),
    )
