"""Exported programs, run in a fresh process that cannot import the project."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fas_jax.methods.stacking import META, Ensemble, build_architectures
from fas_jax.methods.stacking import fuse as host_fuse

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation, Experiment, Features, Models, Rendition
from fas_jax.deployment.bundle import Bundle, load_bundle, write_bundle
from fas_jax.deployment.export import RUNNER, SCORE, WEIGHTS, fuse, scorer, write_serving
from fas_jax.features.extraction import frame_features
from fas_jax.models import backbones
from tests.backbone_cases import uniform

EXPERIMENT = Experiment(
    renditions={"whole": Rendition(size=48, max_frames=3)},
    features=Features(backbone="efficientnet_lite0", weights="random", batch_size=4),
    models=Models(lstm=5, bilstm=4, gru=3, meta=6),
)
# Frames of each clip; the batch is none that was exported.
LENGTHS = (3, 1, 2, 3, 1)


def make_bundle(folder: Path, experiment: Experiment = EXPERIMENT) -> Bundle:
    backbone = backbones.get(experiment.features.backbone)
    combine = experiment.stacking.combine
    architectures = build_architectures(experiment.models, backbone.dimension, combine)
    params = {
        name: jax.tree.map(lambda leaf: leaf[None] * 3, architecture.init(jax.random.key(i)))
        for i, (name, architecture) in enumerate(architectures.items())
    }
    about = {"protocol": "test", "seed": 0, "thresholds": dict.fromkeys(architectures, 0.5)}
    about |= {"backbone": backbone.name, "weights": "random (seed 0)"}
    write_bundle(folder, experiment, Ensemble(architectures, params, combine), backbone.init(0), about)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def clips() -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(3) < np.array(LENGTHS)[:, None]
    frames = uniform("clips", (len(LENGTHS), 3, 48, 48, 3), 0, 256).astype(np.uint8)
    return frames * mask[..., None, None, None], mask


def run(folder: Path, frames: np.ndarray, mask: np.ndarray, out: Path) -> dict[str, np.ndarray]:
    np.savez(out / "clips.npz", frames=frames, mask=mask)
    # The project is made impossible to import, wherever it may be installed.
    alone = (
        "import runpy, sys; sys.modules['fas_jax'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", alone, str(folder / RUNNER), str(out / "clips.npz"), str(out / "out.npz")]
    done = subprocess.run(
        command, env=environment | {"JAX_PLATFORMS": "cpu"}, cwd=out, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(out / "out.npz") as found:
        return dict(found)


@pytest.mark.slow
def test_the_exported_programs_score_as_the_bundle_does(bundle: Bundle, tmp_path: Path) -> None:
    about = write_serving(bundle, tmp_path / "served")
    # The weights are arguments: neither program holds them as constants.
    assert about["bytes"][SCORE] < about["bytes"][WEIGHTS] / 5
    frames, mask = clips()
    # The last clip is the second again, with other pixels where there is no frame.
    noisy = np.where(mask[1][:, None, None, None], frames[1], 200).astype(np.uint8)
    found = run(tmp_path / "served", np.stack([*frames, noisy]), np.stack([*mask, mask[1]]), tmp_path)
    assert found["score"][-1] == found["score"][1]
    found = {name: values[: len(frames)] for name, values in found.items()}
    wanted = [bundle.score(clip[:length])[META] for clip, length in zip(frames, LENGTHS, strict=True)]
    np.testing.assert_allclose(found["score"], wanted, atol=2e-5)
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


def test_bundles_beside_each_other_share_a_backbone_only_if_it_is_the_same(tmp_path: Path) -> None:
    other = dataclasses.replace(EXPERIMENT, features=dataclasses.replace(EXPERIMENT.features, backbone="densenet121"))
    bundles = [
        make_bundle(tmp_path / str(i), experiment) for i, experiment in enumerate((EXPERIMENT, EXPERIMENT, other))
    ]
    assert [list(bundle.backbone_params) == list(bundles[0].backbone_params) for bundle in bundles] == [
        True,
        True,
        False,
    ]
    first, second, third = (tmp_path / str(i) / "backbone.safetensors" for i in range(3))
    assert first.samefile(second)
    assert not first.samefile(third)
    load_bundle(tmp_path / "0")


@pytest.mark.parametrize("model", ["bilstm"])
def test_base_models_can_be_served(bundle: Bundle, model: str) -> None:
    frames, mask = clips()
    weights = {"backbone": bundle.backbone_params, "heads": jax.tree.map(lambda x: x[0], bundle.ensemble.params)}
    found = jax.jit(scorer(bundle, model))(weights, jnp.asarray(frames[:2]), jnp.asarray(mask[:2]))
    wanted = [bundle.score(clip[:length])[model] for clip, length in zip(frames[:2], LENGTHS, strict=False)]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("fusion", ["mean", "last", "median", "minimum"])
def test_fusion_is_that_of_the_evaluation(fusion: str) -> None:
    mask = np.arange(4) < np.array([1, 2, 3, 4])[:, None]
    values = uniform(fusion, (4, 4), 0, 1)
    found = fuse(jnp.asarray(values), jnp.asarray(mask), fusion)
    np.testing.assert_allclose(found, host_fuse(values, mask, fusion), rtol=1e-6)
    assert np.isnan(fuse(jnp.asarray(values), jnp.zeros((4, 4), bool), fusion)).all()


@pytest.mark.slow
def test_other_settings_can_be_exported_too(tmp_path: Path) -> None:
    experiment = dataclasses.replace(
        EXPERIMENT,
        renditions={"whole": Rendition(size=48, max_frames=0)},
        features=dataclasses.replace(EXPERIMENT.features, precision="bfloat16", backbone="densenet121"),
        evaluation=Evaluation(fusion="median"),
    )
    bundle = make_bundle(tmp_path / "bundle", experiment)
    write_serving(bundle, tmp_path / "served")
    frames, mask = clips()
    found = run(tmp_path / "served", frames, mask, tmp_path)
    wanted = [bundle.score(clip[:length])[META] for clip, length in zip(frames, LENGTHS, strict=True)]
    np.testing.assert_allclose(found["score"], wanted, atol=5e-3)


def test_mistakes_are_told(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'meta'"):
        write_serving(bundle, tmp_path / "served", "mta")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_serving(bundle, tmp_path / "own")
    assert (tmp_path / "own" / "thesis.txt").read_text() == "mine"
