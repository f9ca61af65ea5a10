"""Bundles: what they hold, what they refuse, and verdicts on files."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.commands.predict import only_bundle
from fas_jax.deployment import bundle as bundles
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.bundle_folder import ABOUT, find_bundles, load_bundle, sealed
from fas_jax.deployment.decision import Decision
from fas_jax.methods.recurrent import Gru
from fas_jax.pixels.crops import resize
from tests.backbone_cases import uniform
from tests.made_up import FEATURES, METHODS, WHOLE, make_bundle, make_detector
from tests.stores import clip_info
from tests.trees import hole, noisy_frames, write_video

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made") / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return make_bundle(folder, thresholds={name: 0.3 + 0.05 * i for i, name in enumerate(METHODS)})


@pytest.fixture
def copied(bundle: Bundle, folder: Path, tmp_path: Path) -> Callable[[Edit], Path]:
    """Makes a copy of the bundle's files and changes what its bundle.json says."""
    copy = shutil.copytree(folder, tmp_path / "copy")

    def change(edit: Edit) -> Path:
        about = json.loads((copy / ABOUT).read_text())
        edit(about)
        (copy / ABOUT).write_text(json.dumps(sealed(about)))
        return copy

    return change


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.png" for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), uniform(path.name, (60, 80, 3), 0, 256).astype(np.uint8))
    return paths


def test_every_detector_has_a_threshold_and_gives_verdicts(bundle: Bundle, pictures: list[Path]) -> None:
    """Baselines too; the verdicts are those of its score."""
    assert list(bundle.detectors) == list(bundle.decisions) == list(METHODS)
    assert bundle.default == "meta"
    for name in METHODS:
        verdicts = [each.to_json() for each in bundle.judge(pictures, name)]
        threshold = bundle.decision(name).threshold
        assert len({each["score"] for each in verdicts}) == 3 or name in ("metadata", "boosted-stack")
        for path, each in zip(pictures, verdicts, strict=True):
            assert each["path"] == str(path)
            assert (each["detector"], each["threshold"]) == (name, threshold)
            assert each["decision"] == ("bona fide" if each["score"] >= threshold else "attack")
            assert each["frames"] == {"whole": [0]}
    frames = np.stack([resize(cv2.imread(str(pictures[0])), 48)])
    judged = next(bundle.judge(pictures[:1])).to_json()
    assert bundle.score({"whole": frames}).clip[0] == pytest.approx(judged["score"], abs=1e-6)


def test_scores_are_those_of_the_methods_one_after_the_other(bundle: Bundle) -> None:
    """The stack reads what the methods below it say of this clip; a short clip is padded as in training."""
    frames = uniform("frames", (2, 48, 48, 3), 0, 256).astype(np.uint8)
    below = {name: bundle.score({"whole": frames}, name=name) for name in ("lstm", "bilstm", "gru")}
    assert all(each.frame is not None and each.frame.shape == (1, 3) for each in below.values())
    meta = bundle.detectors["meta"]
    data = {item: below[item.name] for item in meta.method.inputs()}
    mask = {item: np.array([[True, True, False]]) for item in data}
    wanted = meta.score(bundles.Batch(data, mask)).clip
    np.testing.assert_allclose(bundle.score({"whole": frames}).clip, wanted, atol=1e-6)


@pytest.mark.usefixtures("unchecked_types")
def test_what_cannot_be_scored_is_refused_or_undecided(bundle: Bundle, tmp_path: Path) -> None:
    frames = np.zeros((2, 48, 48, 3), np.uint8)
    for wrong in (frames[:, :32], frames.astype(np.float32), frames[0]):
        with pytest.raises(UserError, match=r"must be uint8 \[t 48 48 3\], RGB, not"):
            bundle.score({"whole": wrong})
    with pytest.raises(UserError, match="at most 3 frames, not 4"):
        bundle.score({"whole": np.zeros((4, 48, 48, 3), np.uint8)})
    with pytest.raises(UserError, match="unknown rendition 'hole'; did you mean 'whole'"):
        bundle.score({"hole": frames})
    for nothing, info in (({}, None), ({"whole": frames[:0]}, None), ({}, clip_info(2))):
        with pytest.raises(UserError, match="no frames of rendition whole"):
            bundle.score(nothing, info, "gru")
    with pytest.raises(UserError, match="did you mean 'meta'"):
        bundle.score({"whole": frames}, name="mta")
    for name in ("colour", "metadata"):
        with pytest.raises(UserError, match="pass it as info"):
            bundle.score({"whole": frames}, name=name)
        assert np.isfinite(bundle.score({}, clip_info(2), name).clip).all()
    for name in ("lstm", "meta", "mean-feature"):
        nothing = bundle.score({}, clip_info(0, reasons={"whole": "no face in frame 7"}), name)
        assert np.isnan(nothing.clip).all()
        assert nothing.reason[0]
    (tmp_path / "text.png").write_text("no picture")
    (verdict,) = bundle.judge([tmp_path / "text.png"])
    assert verdict.decision == "no decision"
    assert verdict.reason
    assert verdict.to_json().keys() == {"path", "detector", "threshold", "decision", "reason", "seconds"}


def test_a_verdict_tells_of_damaged_frames(bundle: Bundle, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noisy_frames(60), bf="0")
    (verdict,) = bundle.judge([path])
    assert "damaged_frames" not in verdict.to_json()
    hole(path, 50)
    (verdict,) = bundle.judge([path])
    assert verdict.to_json()["damaged_frames"] == verdict.damaged_frames == 1
    assert np.isfinite(verdict.score)


def test_thresholds_are_compared_in_float64(pictures: list[Path], tmp_path: Path) -> None:
    """All scores are 0.5; a threshold that float32 rounds to 0.5 must still reject them."""
    above = float(np.nextafter(0.5, 1))
    assert np.float32(above) == np.float32(0.5)
    methods = {"gru": Gru(hidden=3), "other": Gru(hidden=3), "third": Gru(hidden=3)}
    thresholds = {"gru": above, "other": 0.5, "third": 0.4}
    made = make_bundle(tmp_path / "bundle", methods, thresholds, params=np.zeros_like)
    verdicts = {name: next(made.judge(pictures[:1], name)) for name in methods}
    assert {each.score for each in verdicts.values()} == {0.5}
    assert [each.decision for each in verdicts.values()] == ["attack", "bona fide", "bona fide"]
    assert not Decision(above).accepts(np.float32(0.5))
    assert Decision(0.5).accepts(np.float32(0.5))
    assert not Decision(0.5).accepts(np.nan)
    assert not Decision(np.nan).accepts(0.5)


def test_no_bundle_and_other_formats_are_refused(copied, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no bundle"):
        load_bundle(tmp_path / "nothing")
    for edit in (lambda about: about.update(format=1), lambda about: about.pop("format")):
        with pytest.raises(UserError, match="not 3; make it again"):
            load_bundle(copied(edit))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda about: about["inputs"]["renditions"]["whole"]["key"].update(segment=16), "rendition whole .*segment"),
        (lambda about: about["inputs"]["renditions"]["whole"]["key"].update(new=1), "rendition whole .*new was 1"),
        (lambda about: about["inputs"]["features"].update(version=-1), "features .*version was -1"),
        (lambda about: about["inputs"]["features"].update(preprocessing="none"), "features .*preprocessing"),
        (
            lambda about: about["detectors"]["gru"]["identity"].update(version=0),
            "detector gru .*version was 0 and is 1",
        ),
        (
            lambda about: about["detectors"]["meta"]["identity"].update(hidden=7),
            "detector meta .*hidden was 7 and is 6",
        ),
    ],
)
def test_inputs_and_methods_that_this_version_makes_otherwise_are_refused(copied, edit, message) -> None:
    with pytest.raises(UserError, match=f"{message}.*train again with it"):
        load_bundle(copied(edit))


def test_a_method_that_is_not_installed_is_named_with_its_package(copied) -> None:
    def edit(about) -> None:
        about["detectors"]["gru"]["method"]["kind"] = "tcn"
        about["detectors"]["gru"]["package"] = "tcn-head"

    with pytest.raises(
        UserError, match="detector gru is of kind 'tcn' of the package tcn-head, which is not installed"
    ):
        load_bundle(copied(edit))


def test_a_bundle_that_can_judge_nothing_is_refused(copied) -> None:
    def edit(about) -> None:
        for row in about["detectors"].values():
            row["threshold"] = None

    with pytest.raises(UserError, match="no detector with a threshold"):
        load_bundle(copied(edit))


def test_a_changed_threshold_is_refused(copied) -> None:
    """It is still JSON, and every digit makes a valid one."""
    path = copied(lambda about: None) / ABOUT
    whole = path.read_text()
    changed = whole.replace('"threshold": 0.', '"threshold": -0.', 1)
    assert json.loads(changed).keys() == json.loads(whole).keys()
    for content in (changed, whole.replace('"sha256"', '"sha257"'), "[]", "null", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(UserError, match=r"damaged|not readable JSON"):
            load_bundle(path.parent)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="is no bundle"):
        load_bundle(path.parent)


@pytest.mark.parametrize("name", ["backbone.safetensors", "detectors/gru.safetensors"])
def test_damaged_and_missing_files_are_refused(copied, name) -> None:
    folder = copied(lambda about: None)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).unlink()  # backbones are links
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is missing or damaged"):
        load_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing or damaged"):
        load_bundle(folder)


def test_what_a_bundle_says_of_itself_is_refused_if_it_was_changed(copied) -> None:
    """A digit of a threshold among it; nothing that is damaged ends in another error."""
    folder = copied(lambda about: None)
    whole = (folder / ABOUT).read_bytes()
    rng = np.random.default_rng(0)
    digit = whole.index(b'"threshold": 0.') + len(b'"threshold": 0.')
    # Another digit of a threshold, and any bits anywhere.
    changes = {digit: 1, **{int(place): int(rng.integers(1, 256)) for place in rng.integers(0, len(whole), 100)}}
    for place, mask in changes.items():
        content = bytearray(whole)
        content[place] ^= mask
        (folder / ABOUT).write_bytes(content)
        try:
            same = json.loads(content) == json.loads(whole)
        except ValueError:
            same = False
        # Blanks between words may be others.
        if not same:
            with pytest.raises(UserError):
                load_bundle(folder)
    for content in (b"", b"[]", b"3", b"null", b'{"format": 3}', b'{"format": 3, "threshold": NaN}', whole[:-40]):
        (folder / ABOUT).write_bytes(content)
        with pytest.raises(UserError):
            load_bundle(folder)
    (folder / ABOUT).write_bytes(whole)
    assert load_bundle(folder).decisions


def test_files_outside_of_the_bundle_are_not_read(copied) -> None:
    with pytest.raises(UserError, match="leads out of"):
        load_bundle(copied(lambda about: about["detectors"]["gru"].update(file="../gru.safetensors")))


def test_crops_by_annotation_cannot_be_made_of_other_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="face crops from the datasets' annotations"):
        make_bundle(tmp_path / "bundle", {"gru": Gru(hidden=3)}, renditions={"whole": Rendition(crop="annotation")})


def test_only_the_renditions_that_a_detector_reads_are_made(tmp_path: Path, pictures: list[Path]) -> None:
    renditions = {**WHOLE, "near": Rendition(size=32), "unread": Rendition(crop="detector", face_model="nowhere.onnx")}
    methods = {"one": Gru(hidden=3), "two": Gru(hidden=3, rendition="near")}
    made = make_bundle(tmp_path / "bundle", methods, renditions=renditions)
    assert set(made.renditions) == {"whole", "near"}
    assert set(made.renditions_for("two")) == {"near"}
    (verdict,) = made.judge(pictures[:1], "two")
    assert verdict.to_json()["frames"] == {"near": [0]}
    assert np.isfinite(verdict.score)


def test_bundles_beside_each_other_share_a_backbone_only_if_it_is_the_same(tmp_path: Path) -> None:
    other = dataclasses.replace(FEATURES, backbone="densenet121")
    methods = {"gru": Gru(hidden=3)}
    for i, features in enumerate((FEATURES, FEATURES, other)):
        make_bundle(tmp_path / str(i), methods, features=features)
    first, second, third = (tmp_path / str(i) / "backbone.safetensors" for i in range(3))
    assert first.samefile(second)
    assert not first.samefile(third)
    load_bundle(tmp_path / "0")


def test_where_several_bundles_could_be_meant_they_are_listed(tmp_path: Path) -> None:
    assert only_bundle(tmp_path) is None
    paths = [tmp_path / run / "bundles" / name for run, name in (("b", "OC_to_M"), ("a", "MI_to_O"))]
    for path in paths:
        path.mkdir(parents=True)
        (path / ABOUT).write_text("{}")
        found = find_bundles(tmp_path)
        assert set(found) <= set(paths)
        if len(found) == 1:
            assert only_bundle(tmp_path) == path
    with pytest.raises(UserError) as error:
        only_bundle(tmp_path)
    assert [str(path) in str(error.value) for path in paths] == [True, True]


def test_parameters_are_stored_as_they_are(bundle: Bundle) -> None:
    for i, (name, method) in enumerate(METHODS.items()):
        drawn = make_detector(method, bundle.backbone.dimension, i)
        jax.tree.map(np.testing.assert_array_equal, drawn.params, bundle.detectors[name].params)
