"""Which methods a run holds after a command that names others, or fewer."""

import dataclasses
from functools import partial

import pytest

from fas_jax.base.errors import UserError
from fas_jax.experiment import dry_run, planning
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.results import run_scores
from fas_jax.experiment.run import TASKS, open_run, read_inputs, read_run, write_inputs
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
    (folder / TASKS).mkdir()
    with pytest.raises(UserError, match=r"the tasks of a job array train metadata in .*fas-jax collect"):
        open_run(named(own, "colour"))
    assert [*read_run(folder).methods] == ["mean", "colour", "metadata"]


def test_a_dry_run_counts_what_is_asked_for_and_not_there(broken_off, monkeypatch):
    own, train = broken_off
    monkeypatch.setattr(dry_run, "check", lambda _: None)
    monkeypatch.setattr(dry_run, "expected", lambda _: train.args[:2])
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in dry_run.describe(named(own, *METHODS))}
    assert told["mean"] == "4 fittings, without steps"  # two folds for each of the two targets
    assert told["metadata"] == told["average"] == "2 fittings, without steps"
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in dry_run.describe(named(own, "colour"))}
    assert told["colour"] == "trained already"
    assert told["of the run's further methods, these stay in the report"] == "mean"
    assert told["of the run's further methods, these are not trained to the end, and leave it"] == "metadata"
