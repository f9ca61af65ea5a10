"""The bundle that comes with the package, and that predict uses it where nothing was trained."""

import json
from pathlib import Path

import numpy as np
import pytest

from fas_jax.commands import predict
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import CARD, SHIPPED, load_bundle
from fas_jax.deployment.verdict import Verdict
from fas_jax.experiment.configuration import load_experiment
from fas_jax.methods.base import identity
from tests.commands import ROOT, script

# Of the frames of `made_up_frames`; made once, by this very model.
GOLDEN = (0.421715, 0.152807)


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(SHIPPED)


def made_up_frames(size: int) -> np.ndarray:
    """Two clips of one frame: smooth colours, and a grid of pixels over them."""
    y, x = np.mgrid[0:size, 0:size] / size
    smooth = np.stack([0.7 - 0.3 * y, 0.5 - 0.2 * x, 0.4 + 0.2 * x * y], -1)
    grid = 0.75 + 0.25 * np.sin(np.arange(size) * 2.1)
    return np.rint(255 * np.stack([smooth, smooth * grid[:, None] * grid[:, None, None]])).astype(np.uint8)


def test_it_is_small_and_its_card_says_that_it_has_seen_no_real_attack(shipped):
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20e6
    text = (SHIPPED / CARD).read_text()
    assert "It has seen no real face and no real attack" in text
    assert shipped.rendered_share(shipped.default) == 1.0
    assert shipped.about["sources"] == ["synth-wide"]
    assert str(ROOT.parent) not in text + (SHIPPED / "bundle.json").read_text()


def test_it_is_of_the_recipe_that_anybody_can_run_again(shipped):
    recipe = load_experiment(ROOT / "configs" / "shipped.toml")
    assert {name: identity(each.method) for name, each in shipped.detectors.items()} == {
        name: identity(each) for name, each in recipe.methods.items()
    }
    assert shipped.renditions == {"face": recipe.renditions["face"]}


def test_its_scores_are_what_they_were(shipped):
    frames = made_up_frames(shipped.renditions["face"].size)
    found = [float(shipped.score({"face": frames[row : row + 1]}).clip[0]) for row in range(2)]
    assert found == pytest.approx(GOLDEN, abs=1e-4)


def test_predict_uses_it_where_nothing_was_trained_and_says_so(shipped, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "load_bundle", lambda folder: {SHIPPED: shipped}[folder])
    monkeypatch.setattr(predict, "start_workers", lambda files: None)
    monkeypatch.setattr(
        Bundle, "judge", lambda self, paths, name, *_, **how: iter([Verdict("x", name, 0.5, "attack", 0.1)])
    )
    assert predict.main((Path("x.mov"),)) == 0
    captured = capsys.readouterr()
    assert "the model that comes with the package" in captured.err
    assert "say nothing about real faces" in captured.err
    assert json.loads(captured.out)["model"] == "shipped: trained on rendered faces alone"


def test_the_help_of_predict_says_so():
    said = " ".join(script("predict", "--help").stdout.replace("│", " ").split())
    assert "the model that comes with the package decides; it was trained on rendered faces alone" in said


@pytest.mark.slow
def test_it_judges_real_bona_fide_videos(shared, tmp_path):
    """That it runs from a file to a verdict; what the verdict is, nobody tuned."""
    # In an empty folder: runs of the checkout would decide otherwise.
    done = script("predict", *sorted((shared / "data" / "videos").glob("*.mov")), cwd=tmp_path)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == 2
    assert all(0 <= each["score"] <= 1 for each in verdicts)
