"""The network with a recurrent layer that trains with it: what a score depends on, and what it learns."""

import dataclasses
import json
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.data import Batch
from fas_jax.methods.end2end import End2End
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frame_training import initial
from fas_jax.methods.sequence_scoring import SequenceDetector
from fas_jax.models.trainable import Mode
from fas_jax.training.sequences import SequenceClassification
from tests.commands import DATA, done, script
from tests.made_up import HeldFrames
from tests.stores import clip_info
from tests.test_finetune import DESK, fit
from tests.tiny_network import TINY
from tests.trees import moving_frames, write_video

METHOD = End2End(network="tiny", weights="random", hidden=6, score_frames=8)
(ITEM,) = METHOD.inputs()
VARIANTS = {
    "gru": METHOD,
    "lstm on frames": dataclasses.replace(METHOD, cell="lstm", differences="frames", counted="last"),
    "bilstm on features": dataclasses.replace(METHOD, cell="bilstm", differences="features"),
}


@lru_cache
def detector(variant: str, burst: int = 1) -> SequenceDetector:
    """With drawn weights, whose scores spread."""
    method = VARIANTS[variant]
    objective = method.objective()
    params = initial(objective, *TINY.init(3), 3)
    head = jax.tree.map(lambda leaf: 4 * np.asarray(leaf), params["head"])
    return method.detector(params | {"head": head}, Made(burst=burst))


def frames(count: int, length: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, length, 16, 16, 3), np.uint8)


def scored(variant: str, images: np.ndarray, lengths: list[int], burst: int = 1):
    real = np.arange(images.shape[1]) < np.array(lengths)[:, None]
    return detector(variant, burst).score(
        Batch({ITEM: images * real[..., None, None, None].astype(np.uint8)}, {ITEM: real})
    )


@pytest.mark.parametrize(
    "variant", [pytest.param(each, marks=[pytest.mark.slow] * (each != "bilstm on features")) for each in VARIANTS]
)
@given(
    lengths=st.lists(st.sampled_from([2, 5]), min_size=1, max_size=3),
    garbage=st.integers(0, 255),
    others=st.integers(0, 2),
    seed=st.integers(0, 5),
)
@settings(max_examples=6)
def test_neither_padding_nor_the_clips_beside_it_change_a_score(variant, lengths, garbage, others, seed):
    own = frames(len(lengths), seed=seed)
    plain = scored(variant, own, lengths)
    more = np.concatenate([frames(others, seed=9), own])
    real = np.arange(6) < np.array([6] * others + lengths)[:, None]
    more = np.where(real[..., None, None, None], more, np.uint8(garbage))
    found = detector(variant).score(Batch({ITEM: more}, {ITEM: real}))
    np.testing.assert_allclose(found.clip[others:], plain.clip, atol=1e-6)
    for row, length in enumerate(lengths):
        shorter = scored(variant, own[row : row + 1, :length], [length])
        np.testing.assert_allclose(shorter.clip, plain.clip[row], atol=1e-6)
        np.testing.assert_allclose(shorter.frame[0], plain.frame[row, :length], atol=1e-6)
        np.testing.assert_allclose(found.frame[others + row, :length], plain.frame[row, :length], atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_causal_cells_score_does_not_depend_on_later_frames(variant):
    images = frames(1)
    changed = images.copy()
    changed[:, 4:] = frames(1, seed=1)[:, 4:]
    first, second = (scored(variant, each, [6]).frame[0] for each in (images, changed))
    assert np.abs(first[4:] - second[4:]).max() > 1e-4
    causal = VARIANTS[variant].cell != "bilstm"
    assert (np.abs(first[:4] - second[:4]).max() < 1e-7) == causal


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_state_crosses_a_bursts_border(variant):
    images = frames(2)
    whole = scored(variant, images, [6, 6], burst=3)
    parts = [scored(variant, images[:, at : at + 3], [3, 3], burst=3).frame for at in (0, 3)]
    np.testing.assert_allclose(whole.frame, np.concatenate(parts, 1), atol=1e-6)
    assert np.abs(whole.frame - scored(variant, images, [6, 6]).frame).max() > 1e-4
    # A clip that lacks its last bursts, as if it never had them.
    short = scored(variant, images, [6, 3], burst=3)
    np.testing.assert_allclose(short.clip[1], scored(variant, images[1:, :3], [3], burst=3).clip[0], atol=1e-6)


def test_differences_see_what_changes_and_nothing_else():
    images = np.minimum(frames(1), 200)
    for variant, same in (("gru", False), ("lstm on frames", True)):
        one, other = (scored(variant, each, [6]).frame for each in (images, images + np.uint8(40)))
        assert (np.abs(one - other).max() < 1e-6) == same
    # The first frame of a clip has no difference, and says nothing of it.
    still = scored("lstm on frames", np.repeat(images[:, :1], 6, 1), [6]).frame[0]
    moving = scored("lstm on frames", images, [6]).frame[0]
    assert moving[0] == pytest.approx(still[0], abs=1e-6)
    lone = scored("lstm on frames", images, [1])
    assert np.isnan(lone.clip[0])
    assert lone.reason == ["it has 1 frame, and a difference needs 2"]


def test_a_score_is_that_of_the_logits_that_count():
    def odds(found):
        return np.log(found / (1 - found))

    images = frames(2)
    every = odds(scored("bilstm on features", images, [6, 4]).frame.astype(float))
    wanted = [every[0, 1:].mean(), every[1, 1:4].mean()]
    np.testing.assert_allclose(odds(scored("bilstm on features", images, [6, 4]).clip), wanted, atol=1e-4)
    last = scored("lstm on frames", images, [6, 4])
    np.testing.assert_allclose(last.clip, [last.frame[0, 5], last.frame[1, 3]], atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("burst", [1, 3])
def test_the_exported_function_gives_the_same(variant, burst):
    own, images = detector(variant, burst), frames(2)
    real = np.arange(6) < np.array([6, 3])[:, None]
    clip, frame = jax.jit(own.apply())(own.params, {ITEM: jnp.asarray(images)}, {ITEM: jnp.asarray(real)})
    wanted = scored(variant, images, [6, 3], burst)
    np.testing.assert_allclose(clip, wanted.clip, atol=1e-5)
    np.testing.assert_allclose(np.where(real, frame, 0), np.where(real, wanted.frame, 0), atol=1e-5)


class Scoring(SequenceClassification):
    """Trains on what the network makes of frames when it scores: batch statistics would make them depend on others."""

    def training(self, axis: str) -> Mode:
        return self.scoring


@pytest.mark.parametrize("counted", ["frames", "last"])
def test_the_loss_is_the_mean_over_sequences_of_what_counts(counted):
    objective = Scoring(TINY, cell="lstm", hidden=4, differences="features", counted=counted, smoothing=0.1)
    backbone, stats = TINY.init(0)
    params = {"backbone": backbone, "head": objective.head(0)}
    mask = np.arange(4) < np.array([4, 2, 1])[:, None]
    batch = {"frames": frames(3, 4), "mask": mask, "labels": np.array([1, 0, 1], np.int32), "slots": np.arange(3)}
    found, _ = jax.jit(lambda *given: objective.loss(*given, "data"))(
        params, stats, batch, jax.random.key(0), np.int32(0)
    )
    margin = np.asarray(jax.jit(objective.sequence_log_odds)(params, stats, batch["frames"], mask), float)
    margin *= np.array([1, -1, 1])[:, None]
    losses = 0.95 * np.logaddexp(0, -margin) + 0.05 * np.logaddexp(0, margin)
    # Of the third sequence, which has one frame, nothing counts.
    wanted = [losses[0, 1:].mean() if counted == "frames" else losses[0, 3], losses[1, 1], 0]
    np.testing.assert_allclose(found, np.mean(wanted), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"take": "random"}, r'methods.net: a end2end reads sequences; set take to "clip:4" or "burst", not "random"'),
        ({"cell": "bilstm", "counted": "last"}, "a BiLSTM has read nothing from behind"),
        ({"differences": "frames", "take": "clip:1"}, "a clip of one frame has no difference"),
    ],
)
def test_sequences_that_cannot_be_read_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(METHOD, **change).check("net")


def directed(burst: int = 1, count: int = 40, bar: bool = True) -> CorpusClips:
    """Clips of two bursts, whose frames are the same two in another order.

    A bar moves to the right in bona fide ones and to the left in attacks; or the whole frame grows lighter or darker.
    """
    rng = np.random.default_rng(0)
    label = np.arange(count) // 2 % 2
    images = np.full((count, 4, 32, 32, 3), 60)
    for row in range(count):
        for pair in range(2):
            start = int(rng.integers(4, 20))
            for place, step in enumerate((0, 6) if label[row] else (6, 0)):
                if bar:
                    images[row, 2 * pair + place, :, start + step : start + step + 6] = 220
                else:
                    images[row, 2 * pair + place] += 5 * (start + step)
    images = (images + rng.integers(0, 20, images.shape)).astype(np.uint8)
    mask = np.ones((count, 4), bool)
    videos = VideoTable.of(
        Video(f"{row:02d}", "AB"[row % 2], f"s{row}", "train", int(label[row]), "print", "print", "", "")
        for row in range(count)
    )
    opened = ClipFeatures(np.zeros((count, 4, 2), np.float32), mask, [clip_info(4)] * count)
    return CorpusClips(videos, np.arange(count), lambda _: opened, {}, lambda _: HeldFrames.of(images, mask, burst))


TRAINED = {
    "network": "tiny",
    "weights": "random",
    "steps": 60,
    "learning_rate": 1e-2,
    "per_class": 6,
    "validate_every": 20,
    "warm_up": 2,
    "average": 0.5,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "augment": dataclasses.replace(METHOD.augment, flip=0, crop=0, light=0.1, colour=0, blur=0, noise=0, jpeg=0),
}


def test_it_is_fitted_on_bursts_and_remembers_them(tmp_path):
    method = dataclasses.replace(METHOD, **TRAINED, take="burst", differences="frames")
    method = dataclasses.replace(method, steps=2, validate_every=1)
    desk = dataclasses.replace(DESK, folder=tmp_path)
    given = directed(2)
    own = fit(method, given, desk)
    assert own.about == {"weights": "", "domains": 2, "burst": 2}
    again = fit(method, given, desk)
    rebuilt = method.rebuild(own.params, own.about)
    batch = given.read(np.arange(4), method.inputs())
    for other in (again, rebuilt):
        np.testing.assert_array_equal(other.score(batch).clip, own.score(batch).clip)
    with pytest.raises(UserError, match=r'net|end2end.*take = "clip:3" is longer than the bursts'):
        fit(dataclasses.replace(method, take="clip:3"), given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bar", "change"),
    [
        (True, {"differences": "frames", "take": "burst"}),
        # The tiny network's features do not say where the bar is.
        (False, {"differences": "features", "take": "burst", "cell": "lstm", "counted": "last"}),
    ],
    ids=["frames", "features"],
)
def test_it_learns_the_order_of_frames_which_single_frames_do_not_tell(bar, change):
    given, rows = directed(2, bar=bar), np.arange(24, 40)
    labels = given.labels[rows]
    method = dataclasses.replace(METHOD, **TRAINED, **change)
    found = fit(dataclasses.replace(method, steps=200), given).score(given.read(rows, method.inputs())).clip
    assert np.mean((found >= 0.5) == (labels == 1)) >= 0.9
    plain = Finetune(**TRAINED)
    blind = fit(plain, given).score(given.read(rows, plain.inputs())).clip
    assert np.mean((blind >= 0.5) == (labels == 1)) <= 0.75


SCRIPTED = """
[renditions.burst]
segment = 6
size = 32
burst = 3
bursts = 2
[methods.motion]
kind = "end2end"
rendition = "burst"
take = "burst"
differences = "frames"
network = "resnet18"
weights = "random"
hidden = 4
steps = 4
validate_every = 2
warm_up = 0
per_class = 3
"""


@pytest.mark.slow
def test_the_scripts_train_score_bundle_predict_and_export_it_on_bursts(tiny_cache, tmp_path):
    (tmp_path / "tiny.toml").write_text(DATA.replace('["M", "I"]', '["M"]') + SCRIPTED)
    done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=tmp_path)
    scores = ScoreTable.read_csv(tmp_path / "runs" / "tiny" / "scores.csv").select(model="motion", role="test")
    assert np.isfinite(scores.score).all()
    (root,) = (tiny_cache / "synthetic").glob("*/msu_mfsd")
    bundle = "runs/tiny/bundles/OCI_to_M"
    videos = [root / name for name in scores.video[:3]]
    said = done("predict", *videos, "--bundle", bundle, "--detector", "motion", cwd=tmp_path).stdout
    verdicts = [json.loads(line) for line in said.splitlines()]
    np.testing.assert_allclose([each["score"] for each in verdicts], scores.score[:3], atol=1e-5)
    for each in verdicts:
        assert set(np.diff(np.reshape(each["frames"]["burst"], (-1, 3))).flatten()) == {1}
    short = write_video(tmp_path / "short.avi", moving_frames(2), codec="mjpeg")
    undecided = script("predict", short, "--bundle", bundle, "--detector", "motion", cwd=tmp_path)
    assert undecided.returncode == 1  # as a file got no decision
    (verdict,) = map(json.loads, undecided.stdout.splitlines())
    assert verdict["decision"] == "no decision"
    assert "its 2 frames are fewer than a burst of 3" in verdict["reason"]
    done("export", "--bundle", bundle, "--out", tmp_path / "served", "--detector", "motion", cwd=tmp_path)
