"""Exported programs, run in a fresh process that cannot import the project."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.export import ABOUT, RUNNER, SCORE, STEP, WEIGHTS, scorer, serving_weights, write_serving
from fas_jax.deployment.streaming import Session
from fas_jax.features.extraction import frame_features
from fas_jax.methods.recurrent import BiLstm, Gru, Lstm
from fas_jax.methods.stack import LstmStack
from tests.backbone_cases import uniform
from tests.made_up import FEATURES, WHOLE, make_bundle
from tests.tiny_backbone import TINY_FEATURES
from tests.trees import moving_frames

# Frames of each clip; the batch is none that was exported.
LENGTHS = (3, 1, 2, 3, 1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def clips() -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(3) < np.array(LENGTHS)[:, None]
    frames = uniform("clips", (len(LENGTHS), 3, 48, 48, 3), 0, 256).astype(np.uint8)
    return frames * mask[..., None, None, None], mask


def scores_of(bundle: Bundle, name: str, count: int = len(LENGTHS)) -> list[float]:
    frames, _ = clips()
    return [
        bundle.score({"whole": clip[:length]}, name=name).clip[0]
        for clip, length in zip(frames[:count], LENGTHS, strict=False)
    ]


def run(folder: Path, frames: np.ndarray, mask: np.ndarray, out: Path, *options: str) -> dict[str, np.ndarray]:
    np.savez(out / "clips.npz", frames=frames, mask=mask)
    # The project is made impossible to import, wherever it may be installed.
    alone = (
        "import runpy, sys; sys.modules['fas_jax'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", alone, str(folder / RUNNER), *options]
    command += [str(out / "clips.npz"), str(out / "out.npz")]
    done = subprocess.run(
        command, env=environment | {"JAX_PLATFORMS": "cpu"}, cwd=out, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(out / "out.npz") as found:
        return dict(found)


@pytest.mark.slow
def test_the_exported_programs_score_as_the_bundle_does(bundle: Bundle, tmp_path: Path) -> None:
    about = write_serving(bundle, tmp_path / "served")
    assert 'set position = "first"' in about["no_step"]
    # The weights are arguments: neither program holds them as constants.
    assert about["bytes"][SCORE] < about["bytes"][WEIGHTS] / 5
    frames, mask = clips()
    # The last clip is the second again, with other pixels where there is no frame.
    noisy = np.where(mask[1][:, None, None, None], frames[1], 200).astype(np.uint8)
    found = run(tmp_path / "served", np.stack([*frames, noisy]), np.stack([*mask, mask[1]]), tmp_path)
    assert found["score"][-1] == found["score"][1]
    found = {name: values[: len(frames)] for name, values in found.items()}
    np.testing.assert_allclose(found["score"], scores_of(bundle, "meta"), atol=2e-5)
    assert found["score"].std() > 1e-3
    assert np.array_equal(found["bona_fide"], found["score"] >= 0.5)
    for clip, length, features in zip(frames, LENGTHS, found["features"], strict=True):
        exact = frame_features(bundle.backbone, bundle.backbone_params, clip[:length], 4, store_dtype="float32")
        np.testing.assert_allclose(features[:length], exact, rtol=1e-4, atol=1e-4)
    with pytest.raises(
        AssertionError, match=r"error: frames must be uint8 \[b 3 48 48 3\], not uint8 \[5, 3, 32, 32, 3\]"
    ):
        run(tmp_path / "served", frames[:, :, :32, :32], mask, tmp_path)
    (tmp_path / "served" / WEIGHTS).write_bytes((tmp_path / "served" / WEIGHTS).read_bytes()[:-1] + b"x")
    with pytest.raises(AssertionError, match="is damaged; export again"):
        run(tmp_path / "served", frames, mask, tmp_path)


CAUSAL = {"whole": Rendition(seconds=0.4, position="first", max_frames=4, cap="first", size=48)}


@pytest.mark.slow
def test_the_exported_step_scores_as_a_session_does(tmp_path: Path) -> None:
    methods = {"gru": Gru(hidden=3), "bilstm": BiLstm(hidden=3)}
    made = make_bundle(tmp_path / "bundle", methods, renditions=CAUSAL, features=TINY_FEATURES)
    frames = moving_frames(40, shape=(48, 48, 3))
    sessions = {name: Session(made, name) for name in methods}
    wanted = {
        name: [each.score for i, f in enumerate(frames) if (each := sessions[name].push(f, i / 25))] for name in methods
    }
    kept = np.stack([frames[number] for number in (0, 10, 20, 30)])
    # What has to see the clip as a whole remembers its frames' features.
    about = write_serving(made, tmp_path / "window", "bilstm")
    assert (about["window"], [each["shape"] for each in about["carry"]]) == (4, [[], [4, 12]])
    program = jax.export.deserialize(bytearray((tmp_path / "window" / STEP).read_bytes()))
    carry = [np.zeros(each["shape"], each["dtype"]) for each in about["carry"]]
    for frame, score in zip(kept, wanted["bilstm"], strict=True):
        carry, found = program.call(serving_weights(made, "bilstm"), carry, frame)
        assert float(found) == pytest.approx(score, abs=1e-5)
    about = write_serving(made, tmp_path / "served", "gru")
    assert about["window"] == 0
    found = run(tmp_path / "served", kept, np.ones(4, bool), tmp_path, "--step")
    np.testing.assert_allclose(found["score"], wanted["gru"], atol=1e-5)
    assert np.array_equal(found["bona_fide"], found["score"].astype(float) >= 0.5)
    assert np.ptp(found["score"]) > 1e-3


@pytest.mark.parametrize("name", ["bilstm", "mean-feature"])
def test_other_detectors_can_be_exported(bundle: Bundle, name: str) -> None:
    frames, mask = clips()
    score = jax.jit(scorer(bundle, name))
    found = score(serving_weights(bundle, name), jnp.asarray(frames[:2]), jnp.asarray(mask[:2]))
    np.testing.assert_allclose(found, scores_of(bundle, name, 2), atol=2e-5)
    empty = score(serving_weights(bundle, name), jnp.asarray(frames[:2]), jnp.zeros_like(mask[:2]))
    assert np.isnan(empty).all()


@pytest.mark.slow
def test_thresholds_are_compared_in_float64_there_too(tmp_path: Path) -> None:
    """All scores are 0.5; a threshold that float32 rounds to 0.5 must still reject them."""
    above = float(np.nextafter(0.5, 1))
    thresholds = {"gru": above, "other": 0.5}
    methods = {"gru": Gru(hidden=3), "other": Gru(hidden=3)}
    made = make_bundle(tmp_path / "bundle", methods, thresholds, params=np.zeros_like)
    write_serving(made, tmp_path / "served", "gru")
    frames, mask = clips()
    found = run(tmp_path / "served", frames, mask, tmp_path)
    np.testing.assert_array_equal(found["score"], np.full(len(LENGTHS), 0.5, np.float32))
    assert not found["bona_fide"].any()
    # The same program with the other threshold accepts them: the comparison decides, and nothing else.
    about = json.loads((tmp_path / "served" / ABOUT).read_text())
    assert about["threshold"] == above
    for given in ((), ("only.npz",), ("gone.npz", "out.npz"), (RUNNER, "out.npz")):
        command = [sys.executable, RUNNER, *given]
        told = subprocess.run(command, cwd=tmp_path / "served", capture_output=True, text=True, check=False)
        assert told.returncode == 1
        assert "Traceback" not in told.stderr
        assert ("CLIPS.npz OUT.npz" if len(given) < 2 else f"error: {given[0]} holds no frames") in told.stderr
    (tmp_path / "served" / ABOUT).write_text(json.dumps({**about, "threshold": 0.5}))
    assert run(tmp_path / "served", frames, mask, tmp_path)["bona_fide"].all()


@pytest.mark.slow
def test_other_settings_can_be_exported_too(tmp_path: Path) -> None:
    made = make_bundle(
        tmp_path / "bundle",
        {"lstm": Lstm(hidden=5, fusion="minimum"), "meta": LstmStack(over=("lstm",), hidden=4, fusion="median")},
        renditions={"whole": Rendition(size=48, max_frames=0)},
        features=dataclasses.replace(FEATURES, precision="bfloat16", backbone="densenet121"),
    )
    about = write_serving(made, tmp_path / "served")
    assert about["fusion"] == {"lstm": "minimum", "meta": "median"}
    assert about["rendition"]["name"] == "whole"
    frames, mask = clips()
    found = run(tmp_path / "served", frames, mask, tmp_path)
    np.testing.assert_allclose(found["score"], scores_of(made, "meta"), atol=5e-3)


def test_mistakes_are_told(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'meta'"):
        write_serving(bundle, tmp_path / "served", "mta")
    for name in ("metadata", "colour"):
        with pytest.raises(UserError, match=f"detector {name} .* cannot be exported"):
            write_serving(bundle, tmp_path / "served", name)
    assert not (tmp_path / "served").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_serving(bundle, tmp_path / "own")
    assert (tmp_path / "own" / "thesis.txt").read_text() == "mine"
    write_serving(bundle, tmp_path / "served", "gru")
    (tmp_path / "served" / "notes.txt").write_text("mine")
    write_serving(bundle, tmp_path / "served", "gru")
    (tmp_path / "served" / RUNNER).write_text("changed by hand")
    with pytest.raises(UserError, match=r"run\.py was changed after it was written"):
        write_serving(bundle, tmp_path / "served", "gru")
    assert (tmp_path / "served" / RUNNER).read_text() == "changed by hand"
    assert (tmp_path / "served" / "notes.txt").read_text() == "mine"


def test_a_detector_of_several_renditions_is_refused(tmp_path: Path) -> None:
    methods = {
        "one": Gru(hidden=3),
        "two": Gru(hidden=3, rendition="near"),
        "both": LstmStack(over=("one", "two"), hidden=3),
    }
    made = make_bundle(tmp_path / "bundle", methods, renditions={**WHOLE, "near": Rendition(size=32, max_frames=3)})
    with pytest.raises(UserError, match=r"detector both reads 2 renditions \(whole, near\); this needs exactly one"):
        write_serving(made, tmp_path / "served", "both")
