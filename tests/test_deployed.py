"""Detectors trained on everything: what the report says of them, with and without a leave-one-out estimate."""

import shutil

import numpy as np
import pytest

from fas_jax.base.parameters import save_tree
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.evaluation import metrics
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import BACKBONE, describe_inputs
from fas_jax.experiment.planning import plan
from fas_jax.experiment.results import report
from fas_jax.experiment.run import open_run, write_inputs
from fas_jax.methods.logistic import Colour, MeanFeature
from fas_jax.reporting.deployed import deployment_section
from fas_jax.reporting.naming import Models
from fas_jax.reporting.report import write_report
from tests import stores

pytestmark = pytest.mark.usefixtures("no_pictures")
METHODS = {name: {"kind": name, "version": 1} for name in ("gru", "mean-feature")}
TARGETS = {"CI_to_M": "M", "CM_to_I": "I", "IM_to_C": "C"}


def videos(dataset, role):
    return [
        Video(f"{role}/{n}.avi", dataset, f"{role}{n % 5}", "test", n % 2, ("print", "bonafide")[n % 2], "x", "", "")
        for n in range(20)
    ]


def rows(protocol, role, datasets, seed=0):
    parts = []
    for model, strength in (("gru", 2.0), ("mean-feature", 1.0)):
        listed = [video for dataset in datasets for video in videos(dataset, role)]
        labels = np.array([video.label for video in listed])
        generator = np.random.default_rng([seed, *f"{protocol}{role}{model}".encode()])
        parts.append(
            ScoreTable.from_videos(protocol, seed, role, model, listed, generator.normal(strength * labels, 1.0))
        )
    return ScoreTable.concatenate(parts)


def assignment(protocol, target):
    counts = {"bona_fide": 10, "attacks": 12, "subjects": 5}
    sources = sorted({"M", "I", "C"} - {target})
    train = dict.fromkeys(sources, counts)
    return {
        "protocol": protocol,
        "seed": 0,
        "train": train,
        "validation": train,
        "test": {target: counts} if target else {},
    }


def deployed(seeds=(0,)):
    return [rows("deploy", VALIDATION, "MIC", seed) for seed in seeds]


def about(targets=TARGETS, preset="strict"):
    listed = [assignment("deploy", ""), *(assignment(name, target) for name, target in targets.items())]
    datasets = [{"dataset": name, "synthetic": False, "complete": True} for name in "MIC"]
    return {"preset": preset, "datasets": datasets, "methods": METHODS, "assignments": listed}


def left_out(targets=TARGETS):
    return [
        rows(name, role, "MIC".replace(target, "") if role == VALIDATION else target)
        for name, target in targets.items()
        for role in (VALIDATION, TEST)
    ]


def cells(folder, heading="## Deployment"):
    part = (folder / "results.md").read_text().split(heading)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]


def test_the_leave_one_out_estimate_stands_beside_the_thresholds(tmp_path):
    tested = ScoreTable.concatenate(left_out())
    scores = ScoreTable.concatenate([*deployed(), tested])
    results = evaluate(tested)
    write_report(tmp_path, results, scores, about())
    header, _, *shown = cells(tmp_path)
    assert header == [
        "model", "seed", "threshold", "validation EER %", "leave-one-out HTER %", "leave-one-out AUC %",
    ]  # fmt: skip
    assert [row[0] for row in shown] == ["GRU", "baseline: mean feature"]
    for row, model in zip(shown, METHODS, strict=True):
        own = scores.select(protocol="deploy", model=model)
        tau = metrics.eer_threshold(own.score, own.label)
        wrong = [np.mean((own.score >= tau)[own.label == 0]), np.mean((own.score < tau)[own.label == 1])]
        assert float(row[2]) == pytest.approx(tau, rel=1e-3)
        assert float(row[3]) == pytest.approx(100 * np.mean(wrong), rel=1e-3)
        for cell, figure in zip(row[4:], ("hter", "auc"), strict=True):
            values = [100 * each.mean[figure] for each in results.summaries if each.model == model]
            assert len(values) == 3
            assert cell == f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    text = (tmp_path / "report.html").read_text()
    for words in (
        "Trained on all datasets at hand: C (10 bona fide, 12 attacks, 5 subjects)",
        "bundles/deploy",
        "C&amp;I to M",
    ):
        assert words in text
    # The main table is of what is tested; the stored scores are all of them.
    assert "deploy" not in (tmp_path / "results.csv").read_text()
    assert len(ScoreTable.read_csv(tmp_path / "scores.csv")) == len(scores)


def test_a_dataset_that_no_protocol_leaves_out_is_named(tmp_path):
    targets = {name: target for name, target in TARGETS.items() if target != "C"}
    tested = ScoreTable.concatenate(left_out(targets))
    write_report(tmp_path, evaluate(tested), ScoreTable.concatenate([*deployed(), tested]), about(targets))
    assert "No protocol leaves out C: the mean is without." in (tmp_path / "results.md").read_text()


def test_other_protocols_are_no_estimate():
    """One source and one target of three datasets: the detector has trained on less than all but one."""
    tested = ScoreTable.concatenate([rows("C_to_M", VALIDATION, "C"), rows("C_to_M", TEST, "M")])
    provenance = about({})
    provenance["assignments"].append({**assignment("C_to_M", "M"), "train": {"C": {}}})
    scores = ScoreTable.concatenate([*deployed(), tested])
    found = deployment_section(scores, evaluate(tested), Models(tuple(METHODS)), provenance)
    assert "There is no estimate of the error on an unknown dataset" in found.text
    assert found.grid.header == ["model", "seed", "threshold", "validation EER %"]


def test_a_run_with_deploy_alone_has_a_report(tmp_path):
    scores = ScoreTable.concatenate(deployed(seeds=(0, 1)))
    write_report(tmp_path, Results.empty("pooled"), scores, about({}, "deploy"))
    for name in ("results.md", "report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "There is no estimate of the error on an unknown dataset" in text
        assert "--evaluation.protocols deploy leave-one-out" in text
        for absent in ("Cross-dataset table", "Strict beside oracle", "ROC curves", "ROC and DET"):
            assert absent not in text
    _, _, *shown = cells(tmp_path)
    assert [row[:2] for row in shown] == [
        ["GRU", "0"],
        ["GRU", "1"],
        ["baseline: mean feature", "0"],
        ["baseline: mean feature", "1"],
    ]
    assert "GRU" in (tmp_path / "results.tex").read_text()
    assert (tmp_path / "pad" / "deploy-gru-seed0-validation.csv").exists()


def test_writing_a_report_leaves_the_stored_scores_as_they_are(tmp_path):
    scores = ScoreTable.concatenate(deployed())
    scores.write_csv(tmp_path / "scores.csv")
    before = (tmp_path / "scores.csv").read_bytes()
    read = ScoreTable.read_csv(tmp_path / "scores.csv")
    write_report(tmp_path, Results.empty("pooled"), read, about({}, "deploy"))
    assert (tmp_path / "scores.csv").read_bytes() == before


def test_thresholds_are_those_of_the_evaluation():
    scores = ScoreTable.concatenate(left_out())
    for rule in ("pooled", "balanced"):
        found = thresholds(scores, rule)
        figures = evaluate(scores, rule).figures
        assert len(found) == len(figures) == 6
        for each in figures:
            own = found[each.protocol, each.seed, each.model]
            assert own.value == each.values["threshold"]
            assert own.eer == each.values["validation_eer"]
    one_class = scores.rows(scores.label == 1)
    assert all(np.isnan(each.value) and np.isnan(each.eer) for each in thresholds(one_class, "pooled").values())


@pytest.mark.parametrize("protocols", [("deploy",), ("deploy", "leave-one-out")])
def test_a_run_goes_from_its_stored_inputs_to_a_report_and_bundles(protocols, tmp_path):
    methods = {"mean-feature": MeanFeature(), "colour": Colour()}
    settings = Experiment(methods=methods, evaluation=Evaluation(protocols=protocols), runs=str(tmp_path / "runs"))
    folder, settings = open_run(settings)
    corpus = Corpus.of({"whole": stores.make_stores(tmp_path / "stores")})
    plans = plan(settings, corpus.videos)
    write_inputs(folder, corpus, describe_inputs(settings, [], corpus, plans))
    fit_methods(settings, plans, corpus, folder)
    save_tree(
        folder / BACKBONE,
        {"w": np.ones(2, np.float32)},
        {"backbone": "efficientnet_lite0", "weights": "n", "weights_sha256": ""},
    )
    report(folder)
    assert (folder / "bundles" / "deploy" / "bundle.json").exists()
    text = (folder / "results.md").read_text()
    assert "Trained on all datasets at hand: synth-C (20 bona fide, 20 attacks, 10 subjects)" in text
    assert ("leave-one-out HTER %" in text) == ("leave-one-out" in protocols)
    assert ("no estimate of the error" in text) == (protocols == ("deploy",))
    assert "exercises the pipeline and says nothing about real attacks" in text
    assert "| baseline: colour | colour | colour | facts of whole |" in (folder / "report.md").read_text()
    # Later reports are made from the stored scores: the inputs are not needed again.
    before = (folder / "results.json").read_bytes(), text
    shutil.rmtree(tmp_path / "stores")
    report(folder)
    assert ((folder / "results.json").read_bytes(), (folder / "results.md").read_text()) == before
