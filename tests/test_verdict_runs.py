"""Verdicts in runs: whose scores they learn from, failed experts, the rules of the report, and the study."""

import dataclasses
import json

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.settings import Evaluation
from fas_jax.experiment import planning
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.out_of_fold import out_of_fold_file
from fas_jax.experiment.results import run_scores, stored_detectors
from fas_jax.experiment.rules import leave_rules
from fas_jax.experiment.run import open_run, read_inputs, read_run, write_inputs
from fas_jax.methods.base import Failed
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.logistic import Colour, MeanFeature, Metadata
from fas_jax.methods.verdicts import MeanStack, Tree
from fas_jax.reporting.extra_tables import ExtraTable, read_extra_tables, write_extra_table
from fas_jax.reporting.grid import Grid
from fas_jax.studies.verdict import page
from fas_jax.studies.verdict.cascade import RISKS, Cost, cascade
from fas_jax.studies.verdict.helping import errors_of
from fas_jax.studies.verdict.study import study
from fas_jax.studies.verdict.variants import fitted as fitted_again
from fas_jax.studies.verdict.variants import open_verdict
from tests import stores
from tests.synthetic_stores import make_stores

EXPERTS = ("mean", "colour", "metadata")
BELOW = {"mean": MeanFeature(), "colour": Colour(), "metadata": Metadata()}
VERDICTS = {
    "verdict": Tree(over=EXPERTS, depth=2),
    "by-source": Tree(over=EXPERTS, depth=2, folds_by="source"),
    "average": MeanStack(over=EXPERTS),
}


def fitted(place, methods, **evaluation):
    own = stores.experiment(
        name="run", runs=str(place / "runs"), methods=methods, evaluation=Evaluation(targets=("M",), **evaluation)
    )
    folder, own = open_run(own)
    corpus = Corpus.of({"whole": make_stores(place / "cache" / "features")})
    plans = planning.plan(own, corpus.videos)
    write_inputs(folder, corpus, describe_inputs(own, [], corpus, plans))
    return folder, corpus, plans, fit_methods(own, plans, corpus, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained and scored run's folder, with its corpus and plan."""
    folder, corpus, plans, _ = fitted(tmp_path_factory.mktemp("verdict"), {**BELOW, **VERDICTS})
    run_scores(read_run(folder), folder, read_inputs(folder))
    return folder, corpus, plans


def test_scores_to_learn_from_come_from_detectors_without_the_subject_or_without_the_source(run):
    """The latter are those of the mean's own fitting on the other sources, made here a second time."""
    folder, corpus, (plan,) = run
    clips = corpus.open(planning.source_videos([plan]))
    by = {kind: ClipScores.load(out_of_fold_file(folder, "mean", kind)) for kind in ("subject", "source")}
    train, validation = clips.find(plan.assignment.train), clips.find(plan.assignment.validation)
    for kept in by.values():
        assert np.isfinite(kept.logit[0, np.concatenate([train, validation])]).all()
    np.testing.assert_array_equal(*(kept.logit[0, validation] for kept in by.values()))
    assert not np.isclose(*(kept.logit[0, train] for kept in by.values())).any()
    for _, inner in planning.cross_source_plans([plan], corpus.videos):
        own = clips.find(inner.assignment.train)
        (detector,) = MeanFeature.fit([_job(clips, own, inner)], clips, _desk())
        held = np.setdiff1d(train, own)
        found = detector.score(clips.read(held, MeanFeature().inputs()))
        np.testing.assert_allclose(by["source"].logit[0, held], found.logits(), atol=1e-9)


def _job(clips, rows, plan):
    from fas_jax.methods.base import Job
    from fas_jax.methods.data import WHOLE, Task

    validation = clips.find(plan.assignment.validation)
    return Job(MeanFeature(), Task(0, "again", plan.protocol.name, 0, WHOLE, rows, validation, validation))


def _desk():
    from fas_jax.base.settings import Execution
    from fas_jax.methods.base import Desk

    return Desk("again", Execution())


def test_a_stored_verdict_scores_as_the_fitted_one(run):
    folder, *_ = run
    table = run_scores(read_run(folder), folder, read_inputs(folder))
    mean, average = (table.select(model=name, role="test") for name in ("mean", "average"))
    others = [table.select(model=name, role="test").logit for name in EXPERTS]
    assert np.isfinite(mean.score).all()
    if all(np.isfinite(each).all() for each in others):
        np.testing.assert_allclose(average.logit, np.mean(others, axis=0), atol=1e-5)
    assert np.isfinite(table.select(model="verdict").score).all()


def test_the_verdict_goes_on_without_an_expert_whose_training_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(Colour, "fit", classmethod(lambda cls, jobs, clips, desk: [Failed("on purpose") for _ in jobs]))
    folder, *_, found = fitted(tmp_path, {**BELOW, "verdict": VERDICTS["verdict"]})
    assert isinstance(found.detectors["colour"][0], Failed)
    (verdict,) = found.detectors["verdict"]
    assert verdict.about["without"] == {"colour": "its training failed: on purpose"}
    table = run_scores(read_run(folder), folder, read_inputs(folder))
    assert np.isfinite(table.select(model="verdict", role="test").score).all()
    assert np.isnan(table.select(model="colour", role="test").score).all()
    leave_rules(folder, stored_detectors(read_run(folder), folder, read_inputs(folder)), read_inputs(folder)["plans"])
    text = (folder / "rules" / "verdict.txt").read_text()
    assert "Without colour: its training failed: on purpose" in text
    assert "With mean, metadata (" in text
    (shown,) = read_extra_tables(folder)
    assert shown.title == "Rules of verdict"


def test_with_one_source_nothing_is_left_out_and_the_verdict_says_so(tmp_path):
    methods = {**BELOW, "by-source": VERDICTS["by-source"]}
    *_, found = fitted(tmp_path, methods, protocols=("C_to_M",))
    (verdict,) = found.detectors["by-source"]
    assert isinstance(verdict, Failed)
    assert "no source can be left out" in verdict.reason


@pytest.mark.slow
def test_a_verdict_by_source_joins_a_run_that_has_one_by_subject(tmp_path):
    """Each trains folds of its own, beside the detectors that are there."""
    corpus = Corpus.of({"whole": make_stores(tmp_path / "cache" / "features")})
    gru = dataclasses.replace(stores.methods()["gru"], max_epochs=4)
    added = [{}, {"by-subject": MeanStack(over=("gru",))}, {"by-source": MeanStack(over=("gru",), folds_by="source")}]
    methods, seen = {"gru": gru}, []
    for more in added:
        methods |= more
        own = stores.experiment(
            name="run", runs=str(tmp_path / "runs"), methods=dict(methods), evaluation=Evaluation(targets=("M",))
        )
        folder, own = open_run(own)
        plans = planning.plan(own, corpus.videos)
        write_inputs(folder, corpus, describe_inputs(own, [], corpus, plans))
        found = fit_methods(own, plans, corpus, folder)
        assert not any(isinstance(each, Failed) for own in found.detectors.values() for each in own)
        seen.append({path.stem.rpartition("-")[0] for path in (folder / "models").glob("gru*")})
    assert seen == [{"gru"}, {"gru", "gru-folds"}, {"gru", "gru-folds", "gru-folds-by-source"}]


def test_the_study_compares_tests_and_audits(run):
    folder, *_ = run
    write_extra_table(folder, "3-verdict-99", ExtraTable("Of an earlier study", "", Grid([], [])))
    said, tables = study(folder, "verdict")
    assert len(read_extra_tables(folder)) == len(tables)
    assert said[0].startswith("Rendered videos: these tables only show")
    assert said[-1].startswith("There is no cascade")
    by_title = {table.title: table.grid for table in tables}
    models = {row[1] for row in by_title["Experts and verdicts"].rows}
    assert models >= {*EXPERTS, *VERDICTS, "mean of the experts", "logistic regression", "boosted trees"}
    assert models >= {f"without {name}" for name in EXPERTS}
    helped = by_title["Does the verdict help?"].rows
    assert [row[1] for row in helped] == ["best expert on the sources (mean)", "mean of the experts"]
    # The mean that is fitted again is the run's own: the same experts, nothing to fit.
    hters = {row[1]: row[2] for row in by_title["Experts and verdicts"].rows}
    assert hters["mean of the experts"] == hters["average"]
    alone = by_title["Audit of the verdict"].rows[0]
    assert alone[1] == "availability alone"
    assert alone[3] == "yes"
    assert by_title["Audit of the verdict"].rows[1][1] == "availability, classes not balanced"
    stored = json.loads((folder / "verdict" / "verdict.json").read_text())
    assert [each["title"] for each in stored["tables"]] == list(by_title)
    assert (folder / "verdict" / "correlation-of-errors.png").exists()
    assert dataclasses.is_dataclass(read_extra_tables(folder)[0])


def test_the_study_refuses_out_of_fold_scores_of_other_folds_or_data(run):
    folder, *_ = run
    path = out_of_fold_file(folder, "colour", "subject")
    kept = path.read_bytes()
    ClipScores.load(path).save(path, {"key": "of other folds"})
    with pytest.raises(UserError, match="lacks the out-of-fold scores of colour, or has those of other folds"):
        open_verdict(folder, "verdict")
    path.write_bytes(kept)
    assert open_verdict(folder, "verdict").experts == EXPERTS


def test_the_study_refuses_scores_of_other_detectors(run):
    folder, *_ = run
    note = folder / "scored.json"
    kept = note.read_text()
    write_json(note, {**json.loads(kept), "key": "of other detectors"})
    with pytest.raises(UserError, match="no scores of the detectors that it holds"):
        open_verdict(folder, "verdict")
    note.write_text(kept)


def test_a_cascade_with_all_experts_is_the_verdict_and_a_bolder_one_asks_fewer(run):
    folder, *_ = run
    opened = open_verdict(folder, "verdict")
    costs = {name: Cost(10.0**place, np.nan) for place, name in enumerate(EXPERTS)}
    points, skipped = cascade(opened, fitted_again(opened, opened.method), costs, "pooled")
    assert not skipped
    whole, *curve = points
    assert [each.risk for each in curve] == list(RISKS)
    assert (whole.asked, whole.milliseconds) == (3, 111)
    verdict = errors_of(opened.scores, "verdict", "pooled", "validation")
    (errors,) = verdict.values()
    assert whole.hter == pytest.approx(errors.hter)
    asked = [each.asked for each in curve]
    assert (np.diff(asked) <= 0).all()
    assert asked[-1] < 3
    assert np.isnan(whole.flops)
    (name,) = (each.name for each in opened.plans)
    without = cascade(opened, [Failed("on purpose")], costs, "pooled")
    assert without == ([], {name: "the verdict's fitting failed: on purpose"})
    assert list(page.cascade_figures(points)) == ["Cascade, milliseconds"]
    counted = [dataclasses.replace(each, flops=1e9 * each.asked) for each in points]
    assert list(page.cascade_figures(counted)) == ["Cascade, milliseconds", "Cascade, FLOPs"]
