"""Two runs or tables of scores beside each other."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.studies import comparison
from fas_jax.studies.comparison import Side
from tests.commands import ROOT
from tests.test_evaluation import rows, table


def side(name, scores, **provenance):
    return Side(name, scores, provenance)


def test_differences_are_those_of_one_evaluation_of_both():
    """Paired: the same draws of subjects on both sides, as for two models of one run."""
    one, other = table(model="gru", strength=2.0), table(model="lstm", strength=0.5)
    (pair,) = comparison.compare(side("a", one), side("b", other))
    (wanted,) = (each for each in evaluate(ScoreTable.concatenate([one, other])).comparisons if each.model == "gru")
    assert (pair.comparison.difference, pair.comparison.interval) == (wanted.difference, wanted.interval)
    assert pair.models == ("gru", "lstm")
    (back,) = comparison.compare(side("b", other), side("a", one))
    assert back.comparison.difference == -wanted.difference
    assert back.comparison.interval.low == pytest.approx(-wanted.interval.high)


def test_each_side_sets_its_threshold_on_its_own_validation_videos():
    one, other = table(), table(noise=1)
    half = other.rows((other.role == "test") | (np.arange(len(other)) % 2 == 0))
    (pair,) = comparison.compare(side("a", one), side("b", half))
    (alone,) = evaluate(half).figures
    assert pair.sides[1].mean["threshold"] == alone.values["threshold"]
    assert pair.sides[1].mean["hter"] == alone.values["hter"]


def test_models_of_one_name_are_paired_and_lone_ones_named():
    one = ScoreTable.concatenate([table(model="gru"), table(model="lstm")])
    other = ScoreTable.concatenate([table(model="gru", noise=3), table(model="mine")])
    sides = side("a", one), side("b", other)
    assert [pair.models for pair in comparison.compare(*sides)] == [("gru", "gru")]
    said = " ".join(comparison.caveats_of(*sides))
    assert "Only a has model lstm" in said
    assert "Only b has model mine" in said


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table(protocol="OM_to_C"), "share no protocol: a has OC_to_M; b has OM_to_C"),
        (ScoreTable.concatenate([table(model="x"), table(model="y")]), "share no model: a has gru; b has x, y"),
        (table().rows(np.arange(len(table())) != len(table()) - 1), "have a row of"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, message):
    with pytest.raises(UserError, match=r"share|row of") as error:
        comparison.compare(side("a", table()), side("b", other))
    assert message in str(error.value)


def test_what_differs_between_two_runs_is_listed():
    one = {"experiment": {"methods": {"gru": {"hidden": 20}}, "seeds": [0]}, "datasets": [], "versions": {"jax": "1"}}
    other = {"experiment": {"methods": {"gru": {"hidden": 64}}, "seeds": [0]}, "datasets": [], "versions": {"jax": "1"}}
    found = comparison.differing_settings(Side("a", table(), one), Side("b", table(), other))
    assert found.rows == [["methods.gru.hidden", "20", "64"]]
    assert not comparison.differing_settings(Side("a", table(), one), Side("b", table(), {})).rows


@pytest.mark.slow
def test_two_runs_by_the_script(tmp_path):
    for name, scores in (("one", table(strength=3.0)), ("two", table(strength=0.1))):
        (tmp_path / name).mkdir()
        scores.write_csv(tmp_path / name / "scores.csv")
        about = {"preset": "strict", "datasets": [{"dataset": "M", "synthetic": name == "two"}]}
        (tmp_path / name / "provenance.json").write_text(json.dumps(about))

    def run(*arguments):
        command = [sys.executable, str(ROOT / "scripts/compare.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    found = run(tmp_path / "one", tmp_path / "two", "--out", tmp_path / "page")
    assert found.returncode == 0, found.stderr
    assert "the first errs less in 1 of 1 protocols (1 of them" in found.stdout
    assert "two: M are rendered" in found.stdout
    page = (tmp_path / "page" / "comparison.html").read_text()
    assert "one beside two" in page
    with (tmp_path / "page" / "comparison.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["difference"]) == float(row["first_hter"]) - float(row["second_hter"])
    assert float(row["high"]) < 0
    same = run(tmp_path / "one", tmp_path / "one")
    assert same.returncode == 2
    assert "are the same" in same.stderr
    (tmp_path / "three").mkdir()
    assert "run fas-jax evaluate" in run(tmp_path / "one", tmp_path / "three").stderr


def test_equal_scores_have_no_difference():
    (pair,) = comparison.compare(side("a", rows_of_both()), side("b", rows_of_both()))
    assert (pair.comparison.difference, pair.comparison.interval.low, pair.comparison.interval.high) == (0, 0, 0)


def rows_of_both():
    return ScoreTable.concatenate([rows("validation"), rows("test")])
