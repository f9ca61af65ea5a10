"""The scripts as a user runs them, each in a process of its own."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.configuration import Experiment, experiment_to_dict
from fas_jax.reporting.extra_figures import read_extra_figures
from fas_jax.reporting.extra_tables import read_extra_tables
from tests.commands import BASELINES, NETWORKS, QUICK, TINY, done, refused, script

SCRIPTS = ("synthesize", "prepare", "extract", "train", "evaluate", "run", "predict")


@pytest.fixture(scope="module")
def finished(tiny_cache, tmp_path_factory):
    """A finished tiny run: its folder, its working folder, and what was printed."""
    place = tmp_path_factory.mktemp("tiny")
    # Reports count the readings in the cache's ledger, and other tests share the cache.
    (tiny_cache / "targets.jsonl").unlink(missing_ok=True)
    (place / "tiny.toml").write_text(f'cache = "{tiny_cache}"\n{TINY}')
    return place / "runs" / "tiny", place, done("run", "--config", "tiny.toml", cwd=place)


def options(settings: dict[str, Any]) -> Iterator[str]:
    """The dotted names of all settings."""
    for name, value in settings.items():
        yield from (f"{name}.{inner}" for inner in options(value)) if isinstance(value, dict) else (name,)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_complete(name):
    shown = done(name, "--help", COLUMNS="200")
    assert "show this help message" in shown.stdout
    if name in ("run", "train"):
        # Every setting of an experiment, with a description of its own.
        for option in options(experiment_to_dict(Experiment())):
            assert option.endswith(".kind") or f"--{option}".replace("_", "-") in shown.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_mistyped_option_is_an_error(name):
    positional = {"synthesize": ["out"], "prepare": ["root"], "extract": ["folder"], "predict": ["file"]}.get(name, [])
    failed = script(name, *positional, "--sed", "3")
    assert failed.returncode == 2
    assert "--sed" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_the_run_ends_with_the_table_and_everything_behind_it(finished):
    run, _, printed = finished
    assert "says nothing about real attacks" in printed.stdout
    assert "random (seed 0)" in printed.stdout
    for model in ("LSTM", "BiLSTM", "GRU", "Meta-learner", "mean feature", "colour", "metadata"):
        assert model in printed.stdout
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "provenance.json", "scores.csv", "results.json", "results.md", "report.md"} <= names
    assert sum(path.suffix == ".png" for path in run.iterdir()) >= 2
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["weights"] == "random (seed 0)"
    assert set(provenance["seconds"]) == {"videos", "prepare", "features", "train", "evaluate"}
    assert all(dataset["synthetic"] for dataset in provenance["datasets"])


def files(*folders):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for each in folders for path in each.iterdir()}


@pytest.mark.slow
def test_a_second_run_computes_nothing_twice_and_says_the_same(finished):
    run, place, printed = finished
    models = files(run / "models", run / "detectors" / "gru")
    scores = (run / "scores.csv").read_bytes()
    again = done("run", "--config", "tiny.toml", cwd=place)
    assert files(run / "models", run / "detectors" / "gru") == models
    assert (run / "scores.csv").read_bytes() == scores
    assert "rendering" not in again.stderr
    table = [line for line in printed.stdout.splitlines() if line.startswith("|")]
    assert table
    assert [line for line in again.stdout.splitlines() if line.startswith("|")] == table


@pytest.mark.slow
def test_evaluating_scores_needs_no_jax(finished, tmp_path):
    run, _, _ = finished
    (tmp_path / "jax.py").write_text("raise ImportError('JAX must not be imported')")
    done("evaluate", "--scores", run / "scores.csv", "--out", tmp_path / "out", PYTHONPATH=str(tmp_path))
    ours = json.loads((run / "results.json").read_text())["figures"]
    theirs = json.loads((tmp_path / "out" / "results.json").read_text())["figures"]
    assert [each["values"] for each in ours] == [each["values"] for each in theirs]


@pytest.mark.slow
def test_how_the_work_is_done_may_change_between_two_parts_of_a_run(finished):
    """What an error message proposes must be possible: allowing failures, less memory, another mapping."""
    _, place, _ = finished
    options = ["--preparation.allow-failures", "3", "--training.runs-per-program", "2", "--training.mapping", "pmap"]
    done("run", "--config", "tiny.toml", *options, cwd=place)


def stable(run):
    """The bytes of everything that a second evaluation has to make again as it was."""
    kept = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".csv", ".safetensors") and path.name not in CHANGING:
            kept[path.relative_to(run).as_posix()] = path.read_bytes()
    assert len(kept) > 20
    return kept


CHANGING = ("timings.json", "provenance.json")  # they hold seconds


@pytest.mark.slow
def test_evaluation_needs_no_videos_no_weights_and_no_fixed_place(finished, tiny_cache, tmp_path):
    """From another working directory, after the run was moved: at first from the stored inputs, then without them."""
    run, _, _ = finished
    moved = Path(shutil.copytree(run, tmp_path / "elsewhere" / "moved"))
    cache = tmp_path / "cache"
    shutil.copytree(tiny_cache / "features", cache / "features")
    before = stable(moved)
    tables = (moved / "results.md").read_text()
    for name in ("scores.csv", "scored.json", "results.json", "results.md"):
        (moved / name).unlink()
    shutil.rmtree(moved / "bundles")
    hidden = tiny_cache.with_name("hidden")
    tiny_cache.rename(hidden)
    try:
        message = refused("evaluate", "moved", cwd=moved.parent)
        assert "--cache" in message
        done("evaluate", "moved", "--cache", cache, cwd=moved.parent)
        assert stable(moved) == before
        assert (moved / "results.md").read_text() == tables
        # The stored scores do for a second time.
        shutil.rmtree(cache)
        (moved / "results.json").unlink()
        done("evaluate", moved, cwd=tmp_path)
        assert stable(moved) == before
    finally:
        hidden.rename(tiny_cache)


@pytest.mark.slow
def test_another_setting_under_the_same_name_is_refused(finished):
    _, place, _ = finished
    message = refused("run", "--config", "tiny.toml", "--methods.gru.hidden", "5", cwd=place)
    assert "methods.gru.hidden: 4 there, 5 now" in message
    assert "folds.count: 2 there, 3 now" in refused("run", "--config", "tiny.toml", "--folds.count", "3", cwd=place)


@pytest.mark.slow
def test_a_finished_run_takes_a_further_method_and_trains_only_that(finished, tmp_path):
    run, place, _ = finished
    shutil.copytree(run, tmp_path / "runs" / "tiny")
    mine = tmp_path / "runs" / "tiny"
    before = files(*(mine / "detectors").iterdir())
    models = files(mine / "models")
    text = (place / "tiny.toml").read_text()
    data = text[: text.index("[methods.")]
    (tmp_path / "more.toml").write_text(f'{data}[methods.second]\nkind = "gru"\nhidden = 3\n{QUICK}')
    printed = done("run", "--config", "more.toml", cwd=tmp_path)
    assert "holds further methods, which stay in its report: lstm" in printed.stdout
    after = files(*(mine / "detectors").iterdir())
    assert {path: after[path] for path in before} == before
    assert {path.parent.name for path in after.keys() - before.keys()} == {"second"}
    assert {path.name for path in files(mine / "models").keys() - models.keys()} == {"second-0000.safetensors"}
    old, new = (ScoreTable.read_csv(each / "scores.csv") for each in (run, mine))
    assert set(new.distinct("model")) == {*NETWORKS, *BASELINES, "second"}
    for name in (*NETWORKS, *BASELINES):
        np.testing.assert_array_equal(new.select(model=name).score, old.select(model=name).score)


@pytest.mark.slow
def test_a_run_of_an_older_version_is_refused_in_one_sentence(finished, tmp_path):
    run, _, _ = finished
    old = tmp_path / "runs" / "tiny"
    old.mkdir(parents=True)
    config = json.loads((run / "config.json").read_text())
    del config["format"]
    (old / "config.json").write_text(json.dumps(config))
    (tmp_path / "tiny.toml").write_text(TINY)
    for arguments in (("evaluate", "runs/tiny"), ("run", "--config", "tiny.toml")):
        message = refused(*arguments, cwd=tmp_path)
        assert "older version" in message
        assert "[methods.NAME]" in message
        assert len(message.splitlines()) == 1


@pytest.mark.slow
def test_predictions_equal_the_runs_own_scores(finished, tiny_cache):
    """A test video judged from its file by the bundle gets the score that the run's table has, by any detector."""
    run, place, _ = finished
    scores = ScoreTable.read_csv(run / "scores.csv").select(role="test", protocol="OCI_to_M")
    (root,) = (tiny_cache / "synthetic").glob("*/msu_mfsd")
    for model in ("", "mean-feature", "metadata", "colour"):
        own = scores.select(model=model or "meta")
        videos = [root / name for name in own.video[:3]]
        arguments = ["--detector", model] if model else []
        said = done("predict", *videos, "--bundle", run / "bundles" / "OCI_to_M", *arguments, cwd=place)
        verdicts = [json.loads(line) for line in said.stdout.splitlines()]
        np.testing.assert_allclose([each["score"] for each in verdicts], own.score[:3], atol=1e-5)
        for verdict in verdicts:
            assert verdict["decision"] == ("bona fide" if verdict["score"] >= verdict["threshold"] else "attack")
        assert "rendered" in said.stderr


@pytest.mark.slow
def test_explanations_and_attacks_join_the_report(finished, tiny_cache, tmp_path):
    run, _, _ = finished
    copy = shutil.copytree(run, tmp_path / "copy")
    cached = ["--cache", tiny_cache]
    done("explanations", copy, "--method", "gru", *cached, "--videos", 2, "--by", "guided", cwd=tmp_path)
    few = ["--clips", 2, "--strengths", 2, "--kinds", "fgsm"]
    for method in ("mean-feature", *NETWORKS):
        attacked = script("attack", copy, "--method", method, *cached, *few, cwd=tmp_path)
        if attacked.returncode == 0:
            break
        # Networks that are trained for a few steps may accept every attack as it is.
        assert "there is nothing that an attack could change" in attacked.stderr
    figures = {each.title for each in read_extra_figures(copy)}
    wanted = f"Adversarial frames against {method}, OCI_to_M"
    assert figures >= {"Explanations of gru, OCI_to_M (guided)", wanted}
    assert wanted in {each.title for each in read_extra_tables(copy)}
    assert "name a detector that reads frames" in refused("explanations", copy, "--method", "colour", cwd=tmp_path)


@pytest.mark.slow
def test_where_several_bundles_could_be_meant_predict_lists_them(finished):
    run, place, _ = finished
    message = refused("predict", "x.mov", cwd=place)
    for folder in (run / "bundles").iterdir():
        assert not folder.is_dir() or str(folder.relative_to(place)) in message
    assert "--bundle" in message


@pytest.mark.slow
def test_what_cannot_be_scored_is_never_accepted(finished, tmp_path):
    run, place, _ = finished
    (tmp_path / "text.avi").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.mov")
    files = [tmp_path / "text.avi", tmp_path / "empty.mp4", tmp_path / "missing.mov", tmp_path, tmp_path / "pipe.mov"]
    said = script("predict", *files, "--bundle", run / "bundles" / "OCI_to_M", cwd=place)
    assert said.returncode == 1
    verdicts = [json.loads(line) for line in said.stdout.splitlines()]
    assert [verdict["decision"] for verdict in verdicts] == ["no decision"] * 5
    assert all(verdict["reason"] and "score" not in verdict for verdict in verdicts)


@pytest.mark.slow
def test_a_damaged_bundle_is_refused(finished, tmp_path):
    run, place, _ = finished
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundles" / "OCI_to_M", bundle)
    path = bundle / "detectors" / "gru.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "gru.safetensors is missing or damaged" in refused("predict", "x.mov", "--bundle", bundle, cwd=place)


@pytest.mark.slow
def test_weights_have_to_be_asked_for(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('weights = "random"\n', ""))
    assert "weights" in refused("run", "--config", "tiny.toml", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
def test_methods_that_cannot_be_are_refused_before_anything_is_rendered(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    for option, message in (
        (["--methods.meta.over", "lstm", "meta"], "in a circle"),
        (["--methods.meta.over", "colour"], "which scores clips alone"),
        (["--methods.gru.rendition", "hole"], "did you mean 'whole'"),
        (["--methods.gru.max-epochs", "0"], "methods.gru.max_epochs must be at least 1"),
        (["--seeds", "1", "1"], "each once"),
    ):
        assert message in refused("run", "--config", "tiny.toml", *option, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
def test_no_data_is_told(tmp_path):
    (tmp_path / "none.toml").write_text('name = "none"')
    assert "--data.synthesize" in refused("run", "--config", "none.toml", cwd=tmp_path)
    folders = ["--data.oulu-npu", "nowhere", "--data.msu-mfsd", "x"]
    assert "nowhere" in refused("run", "--config", "none.toml", *folders, cwd=tmp_path)
