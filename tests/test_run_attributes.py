"""Attributes of a run's videos: added to scores that are stored, without scoring anything again."""

import numpy as np

from fas_jax.base.files import read_json, sha256_file, write_json
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.results import SCORED, SCORES, with_attributes
from fas_jax.experiment.run import read_run_attributes, write_run_attributes
from tests.test_evaluation import table


def test_stored_scores_take_other_attributes(tmp_path):
    scores = table()
    scores.write_csv(tmp_path / SCORES)
    write_json(tmp_path / SCORED, {"key": "k", "sha256": sha256_file(tmp_path / SCORES), "read_before": [1]})
    before = read_json(tmp_path / SCORED)
    # A run of before there were attributes.
    assert read_run_attributes(tmp_path) == {}
    assert with_attributes(tmp_path, scores).attributes == {}
    assert read_json(tmp_path / SCORED) == before
    write_run_attributes(tmp_path, {"M": {"skin": {"0/0.avi": "VI"}}, "O": {}})
    found = with_attributes(tmp_path, scores)
    assert (
        found.attribute("skin").tolist()
        == np.where((scores.dataset == "M") & (scores.video == "0/0.avi"), "VI", "").tolist()
    )
    stored = ScoreTable.read_csv(tmp_path / SCORES)
    assert stored.attribute("skin").tolist() == found.attribute("skin").tolist()
    assert stored.score.tobytes() == scores.score.tobytes()
    # The note still vouches for the file, so that nothing is scored again.
    assert read_json(tmp_path / SCORED) == {**before, "sha256": sha256_file(tmp_path / SCORES)}
    write_run_attributes(tmp_path, {"M": {}})
    assert with_attributes(tmp_path, stored).attributes == {}
    assert ScoreTable.read_csv(tmp_path / SCORES).attributes == {}
