"""What an epoch chosen on the target would have claimed: from kept snapshots, or from a second training."""

import json

import jax
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.settings import Evaluation, Execution
from fas_jax.evaluation import metrics
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.thresholds import threshold_by
from fas_jax.experiment import planning, scoring
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.epochs import Answers, Reached, judge
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.inputs import describe_inputs
from fas_jax.experiment.run import open_run, write_inputs
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.recurrent import Gru
from fas_jax.methods.stack import LstmStack
from fas_jax.protocols.assignment import Assignment
from fas_jax.protocols.presets import make_protocol
from fas_jax.reporting import tables
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.reporting.naming import Models
from fas_jax.studies import oracle
from tests import stores
from tests.synthetic_stores import make_stores

QUICK = {
    "learning_rate": 2e-2, "batch_size": 16, "max_epochs": 6, "validate_every": 2, "patience": 4, "monitor": "loss"
}  # fmt: skip
METHODS = {
    "small": Gru(hidden=4, fusion="last", **QUICK),
    "over": LstmStack(over=("small",), hidden=3, **QUICK),
    "mean": MeanFeature(),
}
EPOCHS = ("small", "over")
RULES = ("pooled", "balanced")


def trained(place, name, **changes):
    """A trained run's folder, and its scores."""
    given = {"methods": METHODS, "evaluation": Evaluation(targets=("M",), threshold="balanced")}
    own = stores.experiment(name=name, runs=str(place / "runs"), **{**given, **changes})
    folder, own = open_run(own)
    corpus = Corpus.of({"whole": make_stores(place / "stores")})
    plans = planning.plan(own, corpus.videos)
    write_inputs(folder, corpus, describe_inputs(own, [], corpus, plans))
    fitted = fit_methods(own, plans, corpus, folder)
    return folder, scoring.score(own, plans, corpus, fitted)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.safetensors") if "snapshots" not in path.parts}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run with snapshots."""
    return trained(tmp_path_factory.mktemp("kept"), "kept", training=Execution(snapshots=True, events=False))


@pytest.fixture(scope="module")
def table(kept):
    return oracle.watch_target(kept[0])


def test_snapshots_are_scored_without_training(kept, monkeypatch):
    """The chosen epoch's figures are the report's own, and the choices on the target claim no more than they can."""
    folder, scores = kept
    before = contents(folder)
    monkeypatch.setattr(oracle, "fit_selected", lambda *_: pytest.fail("trained"))
    table = oracle.watch_target(folder)
    assert contents(folder) == before
    figures = {each.model: each.values for each in evaluate(scores, "balanced").figures}
    found = json.loads((folder / "oracle.json").read_text())
    assert {each["method"] for each in found} == set(EPOCHS)
    for name in EPOCHS:
        own = [each for each in found if each["method"] == name]
        assert [each["epoch"] for each in own] == [2, 4, 6]
        (chosen,) = (each for each in own if each["chosen"])
        assert [chosen[each] for each in ("hter", "target_eer", "auc")] == pytest.approx(
            [figures[name][each] for each in ("hter", "oracle_eer", "auc")], abs=1e-9
        )
        assert len({each["auc"] for each in own}) > 1
    assert len(table.grid.rows) == len(EPOCHS)
    for row in table.grid.rows:
        honest, epoch, both, gap = map(float, row[2:])
        assert honest >= epoch
        assert gap == pytest.approx(honest - both, abs=0.011)
    assert "balanced threshold" in table.text
    (shown,) = read_extra_tables(folder)
    assert shown.grid.rows == table.grid.rows


def test_the_thresholds_follow_the_setting():
    """Of a large source and a small one, which is shifted: the rules part, and each is the report's own."""
    generator = np.random.default_rng(0)
    datasets = np.repeat(["large", "small"], [600, 60])
    labels = np.arange(660) % 2
    values = generator.normal(size=660) + labels + 2 * (datasets == "small")
    validation = Answers(values, labels, datasets)
    truth = np.arange(400) % 2
    test = Answers(generator.normal(size=400) + truth, truth, np.full(400, "target"))
    found = [judge(validation, test, rule)["hter"] for rule in RULES]
    taus = [threshold_by(rule, values, labels, datasets) for rule in RULES]
    assert found == [metrics.rates(test.scores, test.labels, tau).hter for tau in taus]
    assert found[0] != found[1]


def test_a_run_without_snapshots_is_trained_again_and_left_as_it_was(table, tmp_path):
    folder, _ = trained(tmp_path, "plain", training=Execution(events=False))
    before = contents(folder)
    again = oracle.watch_target(folder)
    assert again.grid.rows == table.grid.rows
    assert not (folder / "oracle").exists()
    assert contents(folder) == before


def test_snapshots_that_lack_the_chosen_epoch_are_not_enough(kept, table, monkeypatch):
    folder, _ = kept
    found = json.loads((folder / "oracle.json").read_text())
    (epoch,) = (each["epoch"] for each in found if each["chosen"] and each["method"] == "small")
    (path,) = (folder / "snapshots").glob(f"small/*-{epoch:06d}.safetensors")
    content = path.read_bytes()
    path.unlink()

    def begun(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(oracle, "fit_selected", begun)
    with pytest.raises(KeyboardInterrupt):
        oracle.watch_target(folder)
    path.write_bytes(content)
    assert oracle.watch_target(folder).grid.rows == table.grid.rows


def test_a_second_training_that_ends_elsewhere_is_an_error(tmp_path):
    folder, _ = trained(tmp_path, "moved", methods={"small": METHODS["small"]})
    (path,) = (folder / "detectors").rglob("*.safetensors")
    params, about = load_tree(path)
    save_tree(path, jax.tree.map(lambda leaf: np.nextafter(leaf, np.float32(9)), params), about)
    with pytest.raises(UserError, match="a second time gave other parameters"):
        oracle.watch_target(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"mean": MeanFeature()}}, "no method of .* is fitted in epochs"),
        (
            {"methods": {"mean": MeanFeature(), "small": Gru(hidden=3, **{**QUICK, "max_epochs": 2})},
             "evaluation": Evaluation(protocols=("deploy",))},
            "no protocol of .* tests on a target",
        ),
    ],
)  # fmt: skip
def test_there_must_be_something_to_choose(changes, message, tmp_path):
    folder, _ = trained(tmp_path, "none", **changes)
    with pytest.raises(UserError, match=message):
        oracle.watch_target(folder)


def test_undefined_figures_are_said_to_be():
    nothing = Reached("small", "OCI_to_M seed 0", 2, True, np.nan, np.nan, np.nan)
    protocol = make_protocol("strict", "OCI", "M")
    empty = np.zeros(0, np.int64)
    plan = planning.Plan(protocol, 0, Assignment(protocol, empty, empty, empty))
    (row,) = oracle.oracle_table([nothing], [plan], "pooled").grid.rows
    assert row[2:] == ["undefined"] * 4


def test_the_reports_bridge_gets_the_best_epoch_on_the_target(kept, table):
    """Beside the oracle's threshold, and never above it; models without epochs have none."""
    folder, scores = kept
    found = json.loads((folder / "oracle.json").read_text())
    best = {name: min(each["target_eer"] for each in found if each["method"] == name) for name in EPOCHS}
    results = evaluate(scores, "balanced")
    models = Models.of(results, {})
    grid = tables.oracle_table(results, models, read_extra_tables(folder))
    place = grid.header.index("oracle EER of the best epoch (both on the target)")
    assert grid.header[place - 1] == "oracle EER (on the target)"
    shown = {row[1]: (row[place - 1], row[place]) for row in grid.rows}
    for name, value in best.items():
        assert shown[name][1] == f"{100 * value:.2f}"
        assert float(shown[name][1]) <= float(shown[name][0])
    assert shown["mean"][1] == "—"
    assert len(tables.oracle_table(results, models).header) == len(grid.header) - 1


def test_a_run_that_chose_on_the_target_is_not_asked(tmp_path):
    chosen = Evaluation(targets=("M",), selection="oracle")
    folder, _ = trained(tmp_path, "chosen", evaluation=chosen, methods={"small": METHODS["small"]})
    with pytest.raises(UserError, match="chosen its epochs on the target already"):
        oracle.watch_target(folder)
