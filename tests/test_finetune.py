"""Fine-tuning as a method: fitted on clips in memory, and from videos to verdicts by the scripts."""

import dataclasses
import json
import warnings

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Execution
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Desk, Failed, Job
from fas_jax.methods.data import Task
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.frame_training import frame_logits, fused
from fas_jax.models import trainable
from fas_jax.reporting.learning import read_histories
from tests.commands import DATA, done
from tests.made_up import HeldFrames
from tests.stores import clip_info
from tests.tiny_network import TINY

METHOD = Finetune(
    network="tiny",
    weights="random",
    steps=30,
    learning_rate=3e-2,
    per_class=4,
    validate_every=10,
    warm_up=2,
    average=0.5,
)
DESK = Desk("finetune", Execution(run_devices=1, checkpoint_every=1, events=False), data="made up")


def clips(count: int = 40, empty: tuple[int, ...] = (5, 33), labels=None) -> CorpusClips:
    """Bona fide frames are lighter on the left; of two datasets, and of one to three frames."""
    rng = np.random.default_rng(0)
    label = np.arange(count) // 2 % 2 if labels is None else labels
    mask = np.arange(3) < np.where(np.isin(np.arange(count), empty), 0, 1 + np.arange(count) % 3)[:, None]
    images = rng.integers(0, 160, (count, 3, 32, 32, 3))
    images[:, :, :, :16] += 70 * label[:, None, None, None, None]
    images = (images * mask[:, :, None, None, None]).astype(np.uint8)
    videos = VideoTable.of(
        Video(f"{row:02d}", "AB"[row % 2], f"s{row}", "train", int(label[row]), "print", "print", "", "")
        for row in range(count)
    )
    infos = [clip_info(int(length)) for length in mask.sum(1)]
    opened = ClipFeatures(np.zeros((count, 3, 2), np.float32), mask, infos)
    return CorpusClips(videos, np.arange(count), lambda _: opened, {}, lambda _: HeldFrames.of(images, mask))


TASK = Task(0, "A_to_B seed 0", "A_to_B", 0, "whole", np.arange(24), np.arange(24, 32), np.arange(24, 32))


def fit(method=METHOD, given=None, desk=DESK, task=TASK):
    (found,) = type(method).fit([Job(method, task)], given or clips(), desk)
    return found


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    desk = dataclasses.replace(DESK, folder=tmp_path_factory.mktemp("run"))
    return fit(desk=desk), desk


def test_it_learns_what_sets_the_classes_apart(fitted):
    detector, _ = fitted
    given, rows = clips(), np.arange(32, 40)
    found = detector.score(given.read(rows, METHOD.inputs()))
    known = ~np.isnan(found.clip)
    assert known.tolist() == [row != 33 for row in rows]
    assert found.reason[1]
    np.testing.assert_array_equal(found.clip[known] >= 0.5, given.labels[rows][known] == 1)


def test_a_finished_fitting_is_read_and_shown_and_others_are_refused(fitted, monkeypatch):
    detector, desk = fitted
    monkeypatch.setattr("fas_jax.methods.frame_training.train_network", lambda *_, **__: pytest.fail("trained again"))
    again = fit(desk=desk)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, detector.params))
    (history,) = read_histories(desk.folder)
    assert (history.model, history.run) == ("finetune", TASK.name)
    assert history.epoch.tolist() == [10, 20, 30]
    assert not list((desk.folder / "checkpoints").iterdir())
    with pytest.raises(UserError, match=r"trained with other settings \(method.learning_rate"):
        fit(dataclasses.replace(METHOD, learning_rate=1e-3), desk=desk)


def test_a_clips_score_is_the_sigmoid_of_its_mean_logit(fitted):
    detector, _ = fitted
    (item,) = METHOD.inputs()
    batch = clips().read(np.array([2, 8]), [item])
    real = batch.mask[item]
    logits = frame_logits(METHOD.objective(), detector.params, batch.data[item], real, METHOD.score_frames)
    mean = np.array([logits[row][real[row]].mean() for row in range(2)])
    np.testing.assert_allclose(fused(logits, real, "mean-logit"), 1 / (1 + np.exp(-mean)), atol=1e-12)
    np.testing.assert_allclose(detector.score(batch).clip, 1 / (1 + np.exp(-mean)), atol=1e-6)
    odds = np.array([(1 / (1 + np.exp(-logits[row][real[row]]))).mean() for row in range(2)])
    np.testing.assert_allclose(fused(logits, real, "mean"), odds, atol=1e-12)
    # Where probabilities have ended at 1, mean logits still rank.
    sure = np.array([[60.0, 50.0], [80.0, 70.0]])
    assert len(set(fused(sure, np.ones((2, 2), bool), "mean"))) == 1
    assert len(set(fused(sure / 3, np.ones((2, 2), bool), "mean-logit"))) == 2


def test_a_loss_that_is_no_number_fails_the_job_and_is_said(tmp_path):
    method = dataclasses.replace(METHOD, learning_rate=1e38, optimiser="sgd", steps=20)
    desk = dataclasses.replace(DESK, folder=tmp_path, quiet=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = fit(method, desk=desk)
    assert isinstance(found, Failed)
    assert "no longer finite in step" in found.reason
    assert fit(method, desk=desk) == found
    with pytest.raises(
        UserError, match=r"A_to_B seed 0: its loss or gradient was no longer finite.*lower its learning_rate"
    ):
        fit(method, desk=dataclasses.replace(desk, quiet=False))


@pytest.mark.parametrize(
    ("change", "task", "said"),
    [
        ({"per_class": 30}, TASK, r"finetune, A_to_B seed 0: a step draws 30 bona fide clips, and there are 1\d of"),
        (
            {"balanced": "domain", "per_class": 2},
            dataclasses.replace(TASK, train=np.array([0, 2, 3, 4, 6, 8, 10, 12])),
            r"there is no attack B clip",
        ),
        ({}, dataclasses.replace(TASK, validation=np.array([24, 25])), "validation clips hold no bona fide video"),
    ],
)
def test_clips_that_do_not_do_are_named(change, task, said):
    with pytest.raises(UserError, match=said):
        fit(dataclasses.replace(METHOD, **change), task=task)


def test_clips_without_frames_are_refused_and_not_replaced_by_others():
    with pytest.raises(UserError, match="features of whole here and no frames"):
        fit(given=dataclasses.replace(clips(), opened_frames=None))


def test_weights_are_read_under_their_published_names_and_refused_if_they_fit_in_part(tmp_path):
    tensors = TINY.export_weights(*TINY.init(7))
    save_file(tensors, tmp_path / "good.safetensors")
    method = dataclasses.replace(
        METHOD, weights=str(tmp_path / "good.safetensors"), backbone_rate=0.0, steps=1, validate_every=1
    )
    method.check("finetune")
    kept = TINY.export_weights(*(fit(method).params[part] for part in ("backbone", "stats")))
    for name, value in kept.items():
        # But for the rounding of the average.
        assert np.allclose(value, tensors[name], rtol=1e-5) == ("running" not in name)
    del tensors["wide.weight"]
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"part.safetensors: weights do not fit tiny: tensor 'wide.weight' is missing"):
        fit(dataclasses.replace(method, weights=str(tmp_path / "part.safetensors")))


def test_a_finished_fitting_reads_no_weights_but_knows_their_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    save_file(TINY.export_weights(*TINY.init(7)), path)
    method = dataclasses.replace(METHOD, weights=str(path), steps=1, validate_every=1)
    desk = dataclasses.replace(DESK, folder=tmp_path)
    first = fit(method, desk=desk)
    monkeypatch.setattr("fas_jax.methods.frame_weights.read_weights", lambda _: pytest.fail("read again"))
    again = fit(method, desk=desk)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, first.params))
    assert again.about == first.about
    save_file(TINY.export_weights(*TINY.init(8)), path)
    with pytest.raises(UserError, match=r"trained with other settings \(weights: "):
        fit(method, desk=desk)
    path.unlink()
    with pytest.raises(UserError, match=r"weights .*weights.safetensors cannot be read: No such file"):
        fit(method, desk=desk)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "resnet-18"}, "did you mean 'resnet18'"),
        ({"network": "resnet18", "weights": "package"}, "methods.net: no package has weights of resnet18"),
        ({"weights": "nowhere.pth"}, "methods.net: weights nowhere.pth do not exist"),
    ],
)
def test_what_cannot_be_had_is_refused_before_work(change, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(METHOD, **change).check("net")


def test_the_recipe_is_the_prototypes():
    method = Finetune()
    assert trainable.get(method.network).name == "efficientnet_lite0"
    assert (method.optimiser, method.learning_rate, method.per_class, method.label_smoothing) == (
        "adamw",
        1e-4,
        8,
        0.05,
    )
    assert 200 <= method.steps <= 400


TRAINED = """
[methods.net]
kind = "finetune"
network = "resnet18"
weights = "random"
steps = 4
validate_every = 2
warm_up = 0
per_class = 3
"""


@pytest.mark.slow
def test_the_scripts_train_score_bundle_and_predict_it(tiny_cache, tmp_path):
    (tmp_path / "tiny.toml").write_text(DATA.replace('["M", "I"]', '["M"]') + TRAINED)
    printed = done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=tmp_path).stdout
    assert "the devices waited for frames in" in printed
    run = tmp_path / "runs" / "tiny"
    scores = ScoreTable.read_csv(run / "scores.csv")
    assert set(scores.distinct("model")) == {"net"}
    assert np.isfinite(scores.select(model="net").score).all()
    assert "net" in (run / "report.md").read_text()
    own = scores.select(model="net", role="test")
    (root,) = (tiny_cache / "synthetic").glob("*/msu_mfsd")
    videos = [root / name for name in own.video[:3]]
    bundle = "runs/tiny/bundles/OCI_to_M"
    said = done("predict", *videos, "--bundle", bundle, "--detector", "net", cwd=tmp_path).stdout
    verdicts = [json.loads(line) for line in said.splitlines()]
    np.testing.assert_allclose([each["score"] for each in verdicts], own.score[:3], atol=1e-5)
    # Trained again, everything is there already.
    again = done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=tmp_path).stdout
    assert "the devices waited" not in again
    done("export", "--bundle", bundle, "--out", tmp_path / "served", "--detector", "net", cwd=tmp_path)
