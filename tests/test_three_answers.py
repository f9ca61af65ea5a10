"""Three answers of a bundle: asked for, stored, never accepting what two answers reject, and refused without a band."""

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.commands import predict
from fas_jax.deployment.bundle_folder import ABOUT, load_bundle, sealed
from fas_jax.deployment.vetoes import with_uncertain
from fas_jax.evaluation.conformal import Band
from fas_jax.library.bundles import Bundle
from fas_jax.methods.recurrent import Gru
from tests.made_up import make_bundle

# Every score is 0.5.
BANDS = {
    "bona-fide": Band(0.05, 0.4, 0.3, 50, 50),
    "below-threshold": Band(0.05, 0.4, 0.3, 50, 50),
    "attack": Band(0.05, 0.7, 0.6, 50, 50),
    "both": Band(0.05, 0.4, 0.6, 50, 50),
    "neither": Band(0.05, 0.6, 0.4, 50, 50),
    "few": Band(0.05, -math.inf, math.inf, 5, 18),
}
WANTED = {
    "bona-fide": ("bona fide", ""),
    "below-threshold": ("uncertain", "below the threshold"),
    "attack": ("attack", ""),
    "both": ("uncertain", "fits both classes at an error rate of 5 %"),
    "neither": ("uncertain", "fits neither class"),
    "few": ("uncertain", "fits both classes"),
    "none": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    methods = {name: Gru(hidden=3) for name in WANTED}
    thresholds = {name: 0.9 if name == "below-threshold" else 0.2 for name in WANTED}
    make_bundle(folder, methods, thresholds, params=np.zeros_like, bands=BANDS)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    return path


def test_a_bundle_gives_three_answers_where_they_are_asked_for(folder: Path, picture: Path) -> None:
    bundle = load_bundle(folder)
    assert {name: each.band for name, each in bundle.decisions.items() if each.band} == BANDS
    frames = np.stack([cv2.imread(str(picture))])
    for name, wanted in WANTED.items():
        (two,) = bundle.judge([picture], name)
        assert two.decision == ("attack" if name == "below-threshold" else "bona fide")
        assert not {"alpha", "reason"} & two.to_json().keys()
        if wanted is None:
            with pytest.raises(UserError, match="no band for three answers of detector none"):
                next(bundle.judge([picture], name, uncertain=True))
            continue
        (three,) = bundle.judge([picture], name, uncertain=True)
        in_memory = bundle.judge_frames(frames, channels="BGR", name=name, uncertain=True)
        for each in (three, in_memory):
            assert each.decision == wanted[0]
            assert wanted[1] in each.reason
            assert bool(each.reason) == (each.decision == "uncertain")
            assert each.to_json()["alpha"] == 0.05
            assert each.to_json()["score"] == two.score
            assert each.reason in str(each)


def test_no_score_stays_no_decision(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (verdict,) = load_bundle(folder).judge([tmp_path / "text.png"], "bona-fide", uncertain=True)
    assert verdict.decision == "no decision"
    assert math.isnan(verdict.alpha)
    assert with_uncertain(verdict, BANDS["bona-fide"]) is verdict


def test_predict_prints_them_and_warns_of_too_few_source_clips(folder: Path, picture: Path, capsys) -> None:
    assert predict.main((picture,), folder, "few", uncertain=True) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["decision"] == "uncertain"
    assert "need 19 source clips of each class; there are 5 bona fide clips" in printed.err
    assert predict.main((picture,), folder, "few") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["decision"] == "bona fide"
    assert "source clips" not in printed.err
    predict.main((picture,), folder, "both", words=True, uncertain=True)
    assert "uncertain by both" in capsys.readouterr().out
    shown = Bundle(load_bundle(folder), folder).judge_files([picture], "few", uncertain=True)
    assert "uncertain" in str(shown)
    assert "need 19 source clips" in str(shown)


def test_a_damaged_band_is_refused(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / ABOUT).read_text())
    about["detectors"]["both"]["band"]["attack_to"] = "high"
    for path in folder.rglob("*.safetensors"):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / ABOUT).write_text(json.dumps(sealed(about)))
    with pytest.raises(UserError, match="both holds no band"):
        load_bundle(tmp_path)


def test_a_verdict_of_nan_is_never_accepted(folder: Path, picture: Path) -> None:
    (verdict,) = load_bundle(folder).judge([picture], "bona-fide")
    for score in (math.nan, -math.inf):
        odd = with_uncertain(dataclasses.replace(verdict, score=score), BANDS["bona-fide"])
        assert odd.decision != "bona fide"
