"""The scripts as a user runs them, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fas_jax.base.settings import Experiment, to_dict

ROOT = Path(__file__).parents[1]
SCRIPTS = ("synthesize", "prepare", "extract", "train", "evaluate", "run", "predict")

# A whole experiment, as small as it goes: three datasets, few subjects, tiny videos and models.
TINY = """
name = "tiny"
[data]
synthesize = true
[synthesis]
subjects = 9
videos_per_subject = 4
frames = 12
scale = 0.05
[preparation]
videos_per_shard = 16
[renditions.whole]
segment = 6
size = 64
[features]
backbone = "densenet121"
weights = "random"
batch_size = 16
[models]
lstm = 4
bilstm = 4
gru = 4
meta = 4
[training]
learning_rate = 1e-2
max_epochs = 4
validate_every = 2
patience = 4
monitor = "loss"
[stacking]
folds = 2
max_epochs = 4
[evaluation]
targets = ["M", "I"]
validation_fraction = 0.3
"""


def script(name: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=500,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run: its folder, its working folder, and what was printed."""
    place = tmp_path_factory.mktemp("tiny")
    (place / "tiny.toml").write_text(TINY)
    done = script("run", "--config", "tiny.toml", cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "runs" / "tiny", place, done


def options(settings: dict[str, Any]) -> Iterator[str]:
    """The dotted names of all settings."""
    for name, value in settings.items():
        yield from (f"{name}.{inner}" for inner in options(value)) if isinstance(value, dict) else (name,)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_complete(name):
    shown = script(name, "--help", COLUMNS="200")
    assert shown.returncode == 0
    assert "show this help message" in shown.stdout
    if name in ("run", "train"):
        # Every setting of an experiment, with a description of its own.
        for option in options(to_dict(Experiment())):
            assert f"--{option}".replace("_", "-") in shown.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_mistyped_option_is_an_error(name):
    positional = {"synthesize": ["out"], "prepare": ["root"], "extract": ["folder"], "predict": ["file"]}.get(name, [])
    failed = script(name, *positional, "--sed", "3")
    assert failed.returncode == 2
    assert "--sed" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_run_ends_with_the_table_and_everything_behind_it(finished):
    run, _, done = finished
    assert "says nothing about real attacks" in done.stdout
    assert "random (seed 0)" in done.stdout
    for model in ("LSTM", "BiLSTM", "GRU", "Meta-learner", "mean feature", "colour", "metadata"):
        assert model in done.stdout
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "provenance.json", "scores.csv", "results.json", "results.md", "report.md"} <= names
    assert sum(path.suffix == ".png" for path in run.iterdir()) >= 2
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["weights"] == "random (seed 0)"
    assert set(provenance["seconds"]) == {"videos", "prepare", "features", "train", "evaluate"}
    assert all(dataset["synthetic"] for dataset in provenance["datasets"])


def test_a_second_run_computes_nothing_twice_and_says_the_same(finished):
    run, place, done = finished
    models = {path: path.stat().st_mtime_ns for path in (run / "models").iterdir()}
    scores = (run / "scores.csv").read_bytes()
    again = script("run", "--config", "tiny.toml", cwd=place)
    assert again.returncode == 0, again.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in (run / "models").iterdir()} == models
    assert (run / "scores.csv").read_bytes() == scores
    assert "rendering" not in again.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert table
    assert [line for line in again.stdout.splitlines() if line.startswith("|")] == table


def test_evaluate_makes_the_same_report_from_the_trained_run(finished):
    run, place, _ = finished
    before = (run / "results.json").read_bytes()
    again = script("evaluate", "runs/tiny", cwd=place)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (run / "results.json").read_bytes() == before


def test_evaluating_scores_needs_no_jax(finished, tmp_path):
    run, place, _ = finished
    (tmp_path / "jax.py").write_text("raise ImportError('JAX must not be imported')")
    done = script(
        "evaluate", "--scores", run / "scores.csv", "--out", tmp_path / "out", PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours = json.loads((run / "results.json").read_text())["figures"]
    theirs = json.loads((tmp_path / "out" / "results.json").read_text())["figures"]
    assert [each["values"] for each in ours] == [each["values"] for each in theirs]


def test_how_the_work_is_done_may_change_between_two_parts_of_a_run(finished):
    """What an error message proposes must be possible: allowing failures, less memory, another mapping."""
    _, place, _ = finished
    options = ["--preparation.allow-failures", "3", "--training.runs-per-program", "2", "--training.mapping", "pmap"]
    again = script("run", "--config", "tiny.toml", *options, cwd=place)
    assert again.returncode == 0, again.stderr[-3000:]


def test_a_run_moved_elsewhere_is_refused_and_leaves_nothing(finished, tmp_path):
    run, _, _ = finished
    refused = script("evaluate", run, cwd=tmp_path)
    assert refused.returncode == 2
    assert "was made as" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_another_setting_under_the_same_name_is_refused(finished):
    _, place, _ = finished
    refused = script("run", "--config", "tiny.toml", "--models.gru", "5", cwd=place)
    assert refused.returncode == 2
    assert "models.gru: 4 there, 5 now" in refused.stderr


def test_predictions_equal_the_runs_own_scores(finished):
    """A test video judged from its file by the bundle gets the score that the run's table has."""
    from fas_jax.evaluation.scores import ScoreTable

    run, place, _ = finished
    scores = ScoreTable.read_csv(run / "scores.csv").select(role="test", model="meta", protocol="OCI_to_M")
    (root,) = (place / "cache" / "synthetic").glob("*/msu_mfsd")
    videos = [root / name for name in scores.video[:3]]
    done = script("predict", *videos, "--bundle", run / "bundles" / "OCI_to_M", cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_allclose([v["score"] for v in verdicts], scores.score[:3], atol=1e-5)
    for verdict in verdicts:
        assert verdict["decision"] == ("bona fide" if verdict["score"] >= verdict["threshold"] else "attack")
    assert "rendered" in done.stderr


def test_what_cannot_be_scored_is_never_accepted(finished, tmp_path):
    run, place, _ = finished
    (tmp_path / "text.avi").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.mov")
    files = [tmp_path / "text.avi", tmp_path / "empty.mp4", tmp_path / "missing.mov", tmp_path, tmp_path / "pipe.mov"]
    done = script("predict", *files, cwd=place)
    assert done.returncode == 1
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["decision"] for verdict in verdicts] == ["no decision"] * 5
    assert all(verdict["reason"] and "score" not in verdict for verdict in verdicts)


def test_a_damaged_bundle_is_refused(finished, tmp_path):
    import shutil

    run, place, _ = finished
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundles" / "OCI_to_M", bundle)
    content = bytearray((bundle / "heads.safetensors").read_bytes())
    content[-1] ^= 1
    (bundle / "heads.safetensors").write_bytes(content)
    done = script("predict", "x.mov", "--bundle", bundle, cwd=place)
    assert done.returncode == 2
    assert "heads.safetensors is missing or damaged" in done.stderr


def test_weights_have_to_be_asked_for(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('weights = "random"\n', ""))
    done = script("run", "--config", "tiny.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "weights" in done.stderr


def test_no_data_is_told(tmp_path):
    (tmp_path / "none.toml").write_text('name = "none"')
    done = script("run", "--config", "none.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "--data.synthesize" in done.stderr
    missing = script("run", "--config", "none.toml", "--data.oulu-npu", "nowhere", "--data.msu-mfsd", "x", cwd=tmp_path)
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr
