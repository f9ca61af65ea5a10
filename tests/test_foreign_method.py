"""A method of another package, from its entry point to its verdicts, with no line of this package changed."""

import importlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.declarations import check_ranges
from fas_jax.base.record import Video
from fas_jax.base.settings import Execution
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Desk, Job
from fas_jax.methods.data import Task
from tests.commands import DATA, QUICK, done, refused
from tests.stores import clip_info

# Whole runs and many processes: too long for the default suite.
pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parent / "packages" / "tcn_head"
MOST_LINES = 150
METHODS = f"""
[methods.tcn]
kind = "tcn"
channels = 4
{QUICK}
[methods.tcn.search]
channels = [2, 3]
[methods.over]
kind = "lstm-stack"
over = ["tcn"]
hidden = 3
{QUICK}
[methods.mean-feature]
kind = "mean-feature"
[search]
trials = 2
folds = 2
protocols = ["OCI_to_M"]
methods = ["tcn"]
"""


def install(package: Path, place: Path) -> Path:
    """Puts a package into a folder as pip would, without a network and whatever builds packages here."""
    about = tomllib.loads((package / "pyproject.toml").read_text())
    project = about["project"]
    for name in about["tool"]["setuptools"]["py-modules"]:
        place.mkdir(exist_ok=True)
        shutil.copy(package / f"{name}.py", place)
    folder = place / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(PACKAGE, tmp_path_factory.mktemp("packages") / "site")


@pytest.fixture(scope="module")
def finished(installed, tiny_cache, tmp_path_factory):
    """A working folder with a finished run, and what was printed."""
    place = tmp_path_factory.mktemp("foreign")
    (place / "tiny.toml").write_text(DATA + METHODS)
    printed = done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=place, PYTHONPATH=str(installed)).stdout
    return place, printed


def test_it_is_one_short_file():
    (module,) = PACKAGE.glob("*.py")
    lines = [line for line in module.read_text().splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES


def test_it_is_trained_and_reported(finished):
    place, printed = finished
    run = place / "runs" / "tiny"
    assert "| tcn |" in printed
    assert "| over |" in printed
    scores = ScoreTable.read_csv(run / "scores.csv")
    assert set(scores.distinct("model")) == {"tcn", "over", "mean-feature"}
    for model in ("tcn", "over"):
        assert np.isfinite(scores.select(model=model).score).all()
    # It learned on the sources; that its scores are not those of a fresh network is enough here.
    assert scores.select(model="tcn").score.std() > 1e-3
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["methods"]["tcn"]["kind"] == "tcn"
    assert "channels" in provenance["methods"]["tcn"]


def test_predict_gives_a_video_the_runs_own_score(finished, installed, tiny_cache):
    place, _ = finished
    scores = ScoreTable.read_csv(place / "runs" / "tiny" / "scores.csv").select(role="test", protocol="OCI_to_M")
    (root,) = (tiny_cache / "synthetic").glob("*/msu_mfsd")
    for model in ("tcn", "over"):
        own = scores.select(model=model)
        videos = [root / name for name in own.video[:3]]
        arguments = ["--bundle", "runs/tiny/bundles/OCI_to_M", "--detector", model]
        said = done("predict", *videos, *arguments, cwd=place, PYTHONPATH=str(installed)).stdout
        verdicts = [json.loads(line) for line in said.splitlines()]
        np.testing.assert_allclose([each["score"] for each in verdicts], own.score[:3], atol=1e-5)


def test_it_is_exported_as_a_program_of_its_own(finished, installed, tmp_path):
    place, _ = finished
    arguments = ["--bundle", "runs/tiny/bundles/OCI_to_M", "--out", tmp_path / "served", "--detector", "over"]
    done("export", *arguments, cwd=place, PYTHONPATH=str(installed))
    about = json.loads((tmp_path / "served" / "serving.json").read_text())
    assert {each["kind"] for each in about["methods"].values()} == {"tcn", "lstm-stack"}
    assert about["fusion"] == {"tcn": "mean", "over": "mean"}


def test_its_settings_are_searched(finished, installed, tiny_cache):
    place, _ = finished
    done("search", "--config", "tiny.toml", "--cache", tiny_cache, cwd=place, PYTHONPATH=str(installed))
    folder = place / "runs" / "tiny" / "search" / "OCI_to_M"
    assert "tcn" in (folder / "search.md").read_text()
    best = tomllib.loads((folder / "best.toml").read_text())
    assert {table["channels"] for table in best["methods"].values() if table["kind"] == "tcn"} <= {2, 3}


def test_its_options_are_those_of_any_method(finished, installed):
    place, _ = finished
    shown = done("train", "--config", "tiny.toml", "--help", cwd=place, PYTHONPATH=str(installed)).stdout
    assert "--methods.tcn.channels" in shown
    said = refused("train", "--config", "tiny.toml", "--methods.tcn.chanels", "3", cwd=place, PYTHONPATH=str(installed))
    assert "--methods.tcn.channels" in said
    said = refused("train", "--config", "tiny.toml", "--methods.tcn.taps", "4", cwd=place, PYTHONPATH=str(installed))
    assert "methods.tcn.taps must be odd, not 4" in said


def test_without_the_package_its_bundle_and_its_run_are_refused_by_name(finished):
    place, _ = finished
    said = refused("predict", "x.mov", "--bundle", "runs/tiny/bundles/OCI_to_M", cwd=place)
    assert "'tcn'" in said
    assert "tcn-head" in said
    assert "'tcn'" in refused("evaluate", "runs/tiny", cwd=place)
    assert "'tcn'" in refused("train", "--config", "tiny.toml", cwd=place)


@pytest.mark.parametrize(
    ("content", "said"),
    [("import something_that_is_not_there", "ModuleNotFoundError"), ("Tcn = object", "no subclass")],
)
def test_a_package_that_cannot_be_imported_is_named_before_any_work_begins(tmp_path, content, said):
    package = shutil.copytree(PACKAGE, tmp_path / "broken")
    (package / "tcn_head.py").write_text(content)
    site = install(package, tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    (work / "tiny.toml").write_text(DATA + METHODS)
    message = refused("run", "--config", "tiny.toml", cwd=work, PYTHONPATH=str(site))
    assert re.search(r"'tcn' of tcn-head.*" + said, message)
    assert [path.name for path in work.iterdir()] == ["tiny.toml"]
    # A kind that nobody names is not imported.
    (work / "other.toml").write_text(DATA + '[methods.gru]\nkind = "gru"\n')
    done("run", "--config", "other.toml", "--help", cwd=work, PYTHONPATH=str(site))


def test_two_packages_with_one_kind_are_both_named(tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "other")
    about = (package / "pyproject.toml").read_text()
    (package / "pyproject.toml").write_text(about.replace('"tcn-head"', '"tcn-tail"').replace("tcn =", "lstm ="))
    site = install(package, tmp_path / "site")
    (tmp_path / "tiny.toml").write_text(DATA)
    message = refused("run", "--config", "tiny.toml", cwd=tmp_path, PYTHONPATH=str(site))
    assert "method kind 'lstm' is defined by fas_jax and by tcn-tail" in message


def blocks(language):
    page = Path(__file__).parents[1] / "docs" / "add-a-method.md"
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_about_methods_quotes_it():
    code = (PACKAGE / "tcn_head.py").read_text()
    quoted = [block for block in blocks("python") if "class Centroid" not in block]
    assert len(quoted) == 3
    assert all(block in code for block in quoted)
    assert all(block.strip() in (PACKAGE / "pyproject.toml").read_text() for block in blocks("toml"))


def test_the_pages_method_that_is_no_head_is_one(tmp_path, monkeypatch):
    (example,) = (block for block in blocks("python") if "class Centroid" in block)
    (tmp_path / "centroid_example.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("centroid_example").Centroid
    method = kind(sharpness=2.0)
    rng = np.random.default_rng(0)
    (item,) = method.inputs()
    mask = np.arange(3) < np.array([3, 1, 2, 0] * 10)[:, None]
    labels = np.arange(40) // 4 % 2
    features = rng.normal(size=(40, 3, 4)) + 2 * labels[:, None, None]
    clips = CorpusClips(
        VideoTable.of(
            Video(f"{row:02d}", "X", f"s{row}", "train", int(label), "print", "print", "", "")
            for row, label in enumerate(labels)
        ),
        np.arange(40),
        lambda _: ClipFeatures(features, mask, [clip_info(int(length)) for length in mask.sum(1)]),
    )
    task = Task(0, "task", "A_to_B", 0, "whole", np.arange(20), np.arange(20, 24), np.arange(20, 24))
    (detector,) = kind.fit([Job(method, task)], clips, Desk("centroid", Execution()))
    found = detector.score(clips.read(np.arange(20, 40), [item]))
    np.testing.assert_array_equal(np.isnan(found.clip), ~mask[20:].any(1))
    known = mask[20:].any(1)
    assert ((found.clip[known] > 0.5) == labels[20:][known]).mean() > 0.9
    again = method.rebuild(detector.params, detector.about).score(clips.read(np.arange(20, 40), [item]))
    np.testing.assert_array_equal(again.clip, found.clip)
    check_ranges(method)
