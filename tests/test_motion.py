"""The method on motion: what residual motion is, what a score depends on, and the controls of what it learns."""

import json
from functools import lru_cache

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Job
from fas_jax.methods.data import Batch, Task
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frame_training import initial
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.motion import Motion
from fas_jax.methods.motion_scoring import MotionDetector
from fas_jax.models import trainable
from fas_jax.models.backbones.weights import package_file, read_weights
from fas_jax.models.residual_motion import coherence, residual_flow
from fas_jax.training.motion import maps
from tests.commands import DATA, done, script
from tests.made_up import HeldFrames
from tests.moving_faces import FRAMES, SIDE, clips, moved, repeated, shuffled
from tests.stores import clip_info
from tests.test_finetune import DESK

METHOD = Motion(hidden=6)
(ITEM,) = METHOD.inputs()
flow = jax.jit(residual_flow, static_argnums=2)


def texture(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Smooth random grey levels, float32."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return 120 + 30 * smooth / smooth.std()


def warped(image: np.ndarray, shift_x: np.ndarray | float, shift_y: np.ndarray | float) -> np.ndarray:
    """The image whose places have moved by this."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    places = [
        (each - np.float32(1) * shift).astype(np.float32) for each, shift in ((columns, shift_x), (rows, shift_y))
    ]
    return cv2.remap(image, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def coloured(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[None, ..., None], 3, -1)


def test_affine_motion_and_another_exposure_leave_no_residual():
    image = texture()
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    affine = 2.5 + 0.03 * columns - 0.04 * rows, -1.5 + 0.05 * columns + 0.02 * rows
    later = 1.1 * warped(image, *affine) - 8
    found = np.asarray(flow(coloured(image), coloured(later), 8))[0]
    assert np.abs(found[1:-1, 1:-1]).max() < 0.1
    assert np.abs(affine).mean() > 1.5


def test_what_moves_within_is_found_beside_the_motion_of_the_whole():
    image = texture()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    lid = np.exp(-(((columns - 20) / 7) ** 2) - ((rows - 28) / 7) ** 2)
    found = np.asarray(flow(coloured(image), coloured(warped(image, 1.2, 0.7 + 0.6 * lid)), 8))[0]
    strongest = np.unravel_index(np.argmax(found[..., 1]), found.shape[:2])
    assert strongest in {(3, 2), (2, 2), (3, 3)}
    assert 0.25 < found[strongest][1] < 0.65
    assert np.abs(found[5:, 5:]).max() < 0.12


def test_coherence_is_that_of_an_independent_definition():
    flows = np.random.default_rng(0).normal(0, 0.1, (2, 7, 4, 3, 2)).astype(np.float32)
    flows[:, 0] = 0
    found = np.asarray(coherence(jnp.asarray(flows)))
    at = flows.cumsum(1).astype(float)
    for place in np.ndindex(2, 7, 4, 3, 3):
        clip, time, row, column, number = place
        scale, product, energy, noise = number + 1, 0.0, 0.0, 0.0
        for t in range(2 * scale, time + 1):
            for r in range(max(0, row - 1), min(4, row + 2)):
                for c in range(max(0, column - 1), min(3, column + 2)):
                    now = at[clip, t, r, c] - at[clip, t - scale, r, c]
                    before = at[clip, t - scale, r, c] - at[clip, t - 2 * scale, r, c]
                    product, energy = product + 2 * now @ before, energy + now @ now + before @ before
                    noise += 4 * 0.05**2
        # The floor is noise, whose correlation is -1/2.
        wanted = (product - noise / 2) / (energy + noise) + 0.5 if noise else 0
        assert found[place] == pytest.approx(wanted, abs=1e-5)


def test_noise_is_0_and_what_goes_on_is_not_and_nothing_is_0():
    rng = np.random.default_rng(0)
    still = rng.normal(0, 0.2, (1, 40, 8, 8, 2))
    flows = np.diff(still, axis=1, prepend=still[:, :1]).astype(np.float32)
    assert np.abs(np.asarray(coherence(jnp.asarray(flows)))[0, -1].mean((0, 1))).max() < 0.05
    going = flows + np.float32(0.3)
    assert np.asarray(coherence(jnp.asarray(going)))[0, -1].mean() > 0.5
    assert np.all(np.asarray(coherence(jnp.asarray(np.zeros_like(flows)))) == 0)


@pytest.mark.parametrize("frames", [np.zeros((1, 4, 32, 32, 3), np.uint8), np.full((1, 4, 37, 41, 3), 255, np.uint8)])
def test_constant_frames_and_odd_sizes_show_no_motion(frames):
    found = np.asarray(jax.jit(maps, static_argnums=1)(jnp.asarray(frames), 8))
    assert found.shape[2:4] == (frames.shape[2] // 8, frames.shape[3] // 8)
    np.testing.assert_array_equal(found, 0)


@lru_cache
def detector(burst: int = 3) -> MotionDetector:
    """With drawn weights, whose scores spread."""
    objective = METHOD.objective()
    params = initial(objective, *objective.network.init(3), 3)
    return METHOD.detector(
        params | {"head": jax.tree.map(lambda leaf: 4 * np.asarray(leaf), params["head"])}, Made(burst=burst)
    )


def scored(images: np.ndarray, lengths: list[int], burst: int = 3):
    real = np.arange(images.shape[1]) < np.array(lengths)[:, None]
    return detector(burst).score(Batch({ITEM: images}, {ITEM: real}))


def noise(count: int, length: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, length, 32, 32, 3), np.uint8)


def test_no_state_crosses_a_bursts_border():
    images = noise(2)
    whole = scored(images, [6, 6])
    parts = [scored(images[:, at : at + 3], [3, 3]).frame for at in (0, 3)]
    np.testing.assert_allclose(whole.frame, np.concatenate(parts, 1), atol=1e-6)
    odds = np.log(whole.frame / (1 - whole.frame)).astype(float)
    wanted = odds[:, [2, 5]].mean(1)  # the last frame of each burst has seen it
    np.testing.assert_allclose(np.log(whole.clip / (1 - whole.clip)), wanted, atol=1e-4)
    other = scored(noise(2, seed=1)[:, :3], [3, 3]).clip
    assert np.abs(other - parts[0][:, 2]).max() > 1e-4


def test_what_shows_no_motion_has_no_score_and_a_reason():
    found = scored(noise(3), [1, 0, 6])
    np.testing.assert_array_equal(np.isnan(found.clip), [True, True, False])
    assert found.reason[0] == "a single frame shows no motion; a burst has 3 or more"
    apart = scored(noise(1), [6], burst=1)
    assert np.isnan(apart.clip[0])
    assert apart.reason == ["a single frame shows no motion, and its rendition has no bursts of 3 or more"]
    own = detector(1)
    clip, _ = jax.jit(own.apply())(own.params, {ITEM: jnp.asarray(noise(1))}, {ITEM: jnp.ones((1, 6), bool)})
    assert np.isnan(clip[0])


@pytest.mark.parametrize("burst", [1, 2])
def test_a_rendition_without_bursts_is_refused(burst):
    table = {
        "methods": {"moving": {"kind": "motion", "rendition": "face"}},
        "renditions": {"face": {"size": 64, "burst": burst}},
    }
    with pytest.raises(UserError, match=r"methods.moving is a motion, .* rendition face has burst = .*set burst = 8"):
        experiment_from_dict(table, "x.toml").check()


# Controls, on rendered faces.


@pytest.mark.slow
def test_coherence_tells_live_faces_from_moved_stills_and_their_order_is_what_tells():
    images, live = clips(32, 1), np.arange(32) % 2

    def by_coherence(given: np.ndarray) -> float:
        found = jax.jit(maps, static_argnums=1)(given, 8)
        return float(roc_auc_score(live, np.asarray(found)[:, -1, ..., 1].mean((1, 2))))

    assert by_coherence(images) > 0.8
    assert 0.3 < by_coherence(shuffled(images)) < 0.7


COUNT, TRAIN, VALIDATE = 160, np.arange(72), np.arange(72, 100)
TEST = np.arange(100, COUNT)
TASK = Task(0, "moving seed 0", "moving", 0, "whole", TRAIN, VALIDATE, VALIDATE)


def corpus(images: np.ndarray, features: np.ndarray | None = None) -> CorpusClips:
    count, length = images.shape[:2]
    mask = np.ones((count, length), bool)
    videos = VideoTable.of(
        Video(f"{row:03d}", "A", f"s{row // 2}", "train", row % 2, "print", "print", "", "") for row in range(count)
    )
    opened = ClipFeatures(
        np.zeros((count, length, 2), np.float32) if features is None else features, mask, [clip_info(length)] * count
    )
    return CorpusClips(videos, np.arange(count), lambda _: opened, {}, lambda _: HeldFrames.of(images, mask, FRAMES))


SHORT = Motion(steps=50, validate_every=25, warm_up=5, per_class=6, average=0.9)
SCRIPTED = """
[renditions.burst]
segment = 6
size = 32
burst = 4
bursts = 2
[methods.moving]
kind = "motion"
hidden = 4
steps = 4
validate_every = 2
warm_up = 0
per_class = 3
"""


def appearance(images: np.ndarray) -> np.ndarray:
    """Features of a published network, of every fourth frame."""
    network = trainable.get("efficientnet_lite0")
    read = network.import_weights(read_weights(package_file(*network.package))[0])
    params, stats = jax.tree.map(jnp.asarray, read)
    run = jax.jit(lambda frames: network.apply(params, stats, frames, trainable.Mode())[0])
    return np.stack([np.asarray(run(clip[::4])) for clip in images])


def fitted(method, given: CorpusClips):
    (found,) = type(method).fit([Job(method, TASK)], given, DESK)
    return found


def told(own, given: CorpusClips) -> float:
    """AUC over the test clips."""
    found = own.score(given.read(TEST, own.method.inputs()))
    return float(roc_auc_score(given.labels[TEST], found.clip))


@pytest.mark.slow
def test_it_learns_how_faces_move_and_not_what_they_look_like():
    images = clips(COUNT, 2)
    own = fitted(SHORT, corpus(images))
    assert told(own, corpus(images)) > 0.9
    # What is left tells how much of a face moves, in no order: too little to accept any.
    assert 0.3 < told(own, corpus(shuffled(images))) < 0.8
    for still in (shuffled(images), repeated(images), moved(images)):
        # Whether the picture is of a live face does not matter.
        found = own.score(corpus(still).read(TEST, SHORT.inputs())).clip
        assert (found < 0.5).mean() > 0.9
    thin = corpus(images[:, ::FRAMES], appearance(images[:, ::2]))
    assert 0.3 < told(fitted(MeanFeature(), thin), thin) < 0.7


@pytest.mark.slow
def test_the_scripts_train_score_bundle_predict_and_export_it(tmp_path):
    (tmp_path / "tiny.toml").write_text(DATA.replace('["M", "I"]', '["M"]') + SCRIPTED)
    done("run", "--config", "tiny.toml", cwd=tmp_path)
    scores = ScoreTable.read_csv(tmp_path / "runs" / "tiny" / "scores.csv").select(model="moving", role="test")
    assert np.isfinite(scores.score).all()
    (root,) = (tmp_path / "cache" / "synthetic").glob("*/msu_mfsd")
    bundle = "runs/tiny/bundles/OCI_to_M"
    videos = [root / name for name in scores.video[:2]]
    said = done("predict", *videos, "--bundle", bundle, "--detector", "moving", cwd=tmp_path).stdout
    verdicts = [json.loads(line) for line in said.splitlines()]
    np.testing.assert_allclose([each["score"] for each in verdicts], scores.score[:2], atol=1e-5)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((64, 64, 3), 90, np.uint8))
    undecided = script("predict", photo, "--bundle", bundle, "--detector", "moving", cwd=tmp_path)
    (verdict,) = map(json.loads, undecided.stdout.splitlines())
    assert verdict["decision"] == "no decision"
    assert "fewer than a burst" in verdict["reason"]
    done("export", "--bundle", bundle, "--out", tmp_path / "served", "--detector", "moving", cwd=tmp_path)
