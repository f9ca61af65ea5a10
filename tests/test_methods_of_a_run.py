"""Which methods a run holds after a command that names others, or fewer."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name
from fas_jax.base.parameters import save_tree
from fas_jax.evaluation.evaluate import Results
from fas_jax.evaluation.scores import VALIDATION
from fas_jax.experiment import dry_run, planning, results
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.out_of_fold import out_of_fold_file
from fas_jax.experiment.results import run_scores
from fas_jax.experiment.run import (
    LEFT,
    open_run,
    read_inputs,
    read_left,
    read_run,
    run_folder,
    task_folder,
    write_inputs,
)
from fas_jax.methods.base import Failed
from fas_jax.methods.logistic import Colour, MeanFeature, Metadata
from fas_jax.methods.verdicts import MeanStack
from tests import stores
from tests.synthetic_stores import make_stores

METHODS = {
    "mean": MeanFeature(),
    "colour": Colour(),
    "metadata": Metadata(),
    "average": MeanStack(over=("mean", "colour")),
}


def named(given, *names):
    return dataclasses.replace(given, methods={name: METHODS[name] for name in names})


@pytest.fixture
def broken_off(tmp_path):
    """An experiment of three methods, of which two were trained when it was stopped, and what trains it on."""
    own = named(stores.experiment(name="run", runs=str(tmp_path / "runs")), "mean", "colour", "metadata")
    corpus = Corpus.of({"whole": make_stores(tmp_path / "cache" / "features")})
    plans = planning.plan(own, corpus.videos)

    trained = partial(_train, plans, corpus.videos, corpus)
    trained(own, ["mean", "colour"])
    return own, trained


def _train(plans, videos, corpus, asked, only=None):
    folder, joined = open_run(asked)
    write_inputs(folder, corpus, describe_inputs(joined, [], corpus, plans))
    fit_methods(joined, plans, corpus, folder, only=only)
    return folder, joined


def test_fewer_methods_are_trained_alone_and_what_is_trained_stays(broken_off, capsys):
    own, train = broken_off
    folder, joined = train(named(own, "colour"))
    assert [*joined.methods] == [*read_run(folder).methods] == ["mean", "colour"]
    assert {path.name for path in (folder / "detectors").iterdir()} == {"mean", "colour"}
    printed = capsys.readouterr().out
    assert f"{folder} holds further methods, which stay in its report: mean\n" in printed
    assert f"{folder} also holds metadata, not asked for and not trained to the end" in printed
    # All that the run holds can be scored.
    scores = run_scores(read_run(folder), folder, read_inputs(folder))
    assert set(scores.distinct("model")) == {"mean", "colour"}
    # Named again, it joins again.
    folder, joined = train(named(own, "metadata"))
    assert [*joined.methods] == ["mean", "colour", "metadata"]
    assert (folder / "detectors" / "metadata").exists()


def test_a_method_that_joins_and_is_broken_off_leaves_again(broken_off):
    own, train = broken_off
    train(own)
    more = named(own, *METHODS)
    assert "average" in read_run(train(more, ["mean"])[0]).methods  # stopped before it
    folder, joined = train(named(own, "metadata"))
    assert [*joined.methods] == ["mean", "colour", "metadata"]


def test_what_the_tasks_of_a_job_array_train_is_not_left_out(broken_off):
    own, train = broken_off
    folder, _ = train(own, ["mean"])
    task_folder(folder, "metadata").mkdir(parents=True)
    with pytest.raises(UserError, match=r"the tasks of a job array train metadata in .*fas-jax collect"):
        open_run(named(own, "mean"))
    assert [*read_run(folder).methods] == ["mean", "colour", "metadata"]
    # Whose tasks have been collected, the others are not theirs.
    task_folder(folder, "metadata").rename(task_folder(folder, "mean"))
    assert [*open_run(named(own, "mean"))[1].methods] == ["mean", "colour"]


def test_a_run_knows_who_has_left_it(broken_off):
    own, train = broken_off
    folder, _ = train(named(own, "colour"))
    assert read_left(folder) == ["metadata"]
    open_run(named(own, "colour"))
    assert read_left(folder) == ["metadata"]
    open_run(named(own, "metadata"))
    assert read_left(folder) == []
    open_run(named(own, "mean"))
    assert read_left(folder) == ["metadata"]


def test_the_curves_of_a_method_that_left_are_not_in_the_report(tmp_path):
    (tmp_path / LEFT).write_text('["gru-wide", "net"]')
    parts = ("epoch", "train_loss", "validation_loss", "validation_accuracy")
    tree = {"history": {part: np.ones((1, 1) if part != "epoch" else 1, np.float32) for part in parts}}
    tree["best_epoch"] = np.ones(1, np.int32)
    for name in ("gru", "gru-wide", "gru-wide-folds", "patches-low", "patches-high", "net", "net-2", "foreign"):
        save_tree(tmp_path / "models" / f"{name}-0000.safetensors", tree, {"model": name, "runs": [{"name": "A"}]})
    own = dataclasses.replace(stores.experiment(), methods={"gru": Colour(), "patches": Colour(), "net-2": Colour()})
    found = results._extras(own, tmp_path, {"prepared": []}, Results.empty("eer", VALIDATION)).histories
    assert [each.model for each in found] == ["foreign", "gru", "net-2", "patches-high", "patches-low"]


def test_a_dry_run_counts_what_is_asked_for_and_not_there(broken_off, monkeypatch):
    own, train = broken_off
    monkeypatch.setattr(dry_run, "check", lambda _: None)
    monkeypatch.setattr(dry_run, "expected", lambda _: train.args[:2])
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in dry_run.describe(named(own, *METHODS))}
    assert told["mean"] == "4 fittings, without steps"  # two folds for each of the two targets
    assert told["metadata"] == told["average"] == "2 fittings, without steps"
    # A task has fitted one of them, and another has scored its folds.
    one = train.args[0][0].name
    task = task_folder(run_folder(own), "metadata") / plain_name(one)
    DetectorStore(task, "metadata", METHODS["metadata"], {one: ""}).save(one, Failed("for the test"))
    scores = out_of_fold_file(task_folder(run_folder(own), "mean") / plain_name(one), "mean", "subject")
    scores.parent.mkdir(parents=True)
    scores.write_bytes(b"")
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in dry_run.describe(named(own, *METHODS))}
    assert told["metadata"] == "1 fittings, without steps"
    assert told["mean"] == "2 fittings, without steps"
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in dry_run.describe(named(own, "colour"))}
    assert told["colour"] == "trained already"
    assert told["of the run's further methods, these stay in the report"] == "mean"
    assert told["of the run's further methods, these are not trained to the end, and leave it"] == "metadata"
