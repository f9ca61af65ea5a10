"""Patch networks: the router, the pooling of tiles, what trains which network, and what cannot be answered."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Execution, Synthesis
from fas_jax.base.video_table import VideoTable
from fas_jax.deployment.export import write_serving
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Desk, Failed, Job, identity
from fas_jax.methods.data import Batch, Task
from fas_jax.methods.patches import Patches
from fas_jax.methods.patches_fitting import PatchesDetector, pool_frames, route
from fas_jax.models import trainable
from fas_jax.models.trainable import Mode
from fas_jax.pixels.tiles import cut_tiles
from fas_jax.synthetic.plan import planned_videos
from fas_jax.synthetic.recording import record
from tests.made_up import HeldFrames, make_bundle, make_detector, take
from tests.stores import clip_info

METHOD = Patches(
    network="tiny",
    high_network="tiny",
    steps=30,
    learning_rate=3e-2,
    per_class=4,
    validate_every=10,
    warm_up=2,
    average=0.5,
    score_frames=16,
)
DESK = Desk("patches", Execution(run_devices=1, checkpoint_every=1, events=False), data="made up")
TASK = Task(0, "A_to_B seed 0", "A_to_B", 0, "whole", np.arange(48), np.arange(48, 64), np.arange(48, 64))
SMALL, LARGE = 100.0, 400.0


def facts(sizes: list[float], tiles: int) -> ClipInfo:
    """A clip of frames with so many tiles each, whose faces have these longer sides; 0 for no face."""
    indices = tuple(10 * number for number, _ in enumerate(sizes) for _ in range(tiles))
    boxes = tuple(value for size in sizes for _ in range(tiles) for value in (5.0, 7.0, size * 0.8, size))
    return dataclasses.replace(clip_info(0), renditions={"tiles": RenditionInfo(indices, (), boxes)})


def clips(count: int = 72, large: bool = True) -> CorpusClips:
    """Bona fide tiles are lighter than attacks in small faces, and darker in large ones."""
    rng = np.random.default_rng(0)
    label, big = np.arange(count) % 2, (np.arange(count) // 2 % 2).astype(bool)
    images = rng.integers(0, 150, (count, 6, 16, 16, 3)) + 90 * (label != big)[:, None, None, None, None]
    mask = np.ones((count, 6), bool)
    infos = [facts([LARGE if big[row] and large else SMALL] * 2, 3) for row in range(count)]
    videos = VideoTable.of(
        Video(f"{row:02d}", "AB"[row // 4 % 2], f"s{row}", "train", int(label[row]), "print", "print", "", "")
        for row in range(count)
    )
    opened = ClipFeatures(np.zeros((count, 6, 1), np.float32), mask, infos)
    images = images.clip(0, 255).astype(np.uint8)
    return CorpusClips(videos, np.arange(count), lambda _: opened, {}, lambda _: HeldFrames.of(images, mask))


def fit(given: CorpusClips, method: Patches = METHOD, desk: Desk = DESK) -> PatchesDetector:
    (found,) = Patches.fit([Job(method, TASK)], given, desk)
    assert isinstance(found, PatchesDetector)
    return found


@pytest.fixture(scope="module")
def fitted() -> PatchesDetector:
    return fit(clips())


def test_each_network_learns_from_the_faces_that_it_reads(fitted: PatchesDetector) -> None:
    """What tells attacks is reversed between small faces and large ones: one network for both could not tell."""
    given, rows = clips(), np.arange(64, 72)
    batch = given.read(rows, METHOD.inputs())
    np.testing.assert_array_equal(fitted.score(batch).clip >= 0.5, given.labels[rows] == 1)
    exchanged = PatchesDetector(METHOD, {"low": fitted.parts["high"], "high": fitted.parts["low"]})
    np.testing.assert_array_equal(exchanged.score(batch).clip >= 0.5, given.labels[rows] == 0)


def test_without_sources_for_large_faces_the_high_network_does_not_answer(tmp_path: Path) -> None:
    found = fit(clips(large=False), desk=dataclasses.replace(DESK, folder=tmp_path))
    reason = found.parts["high"]
    assert isinstance(reason, str)
    assert "validation clips hold no bona fide and no attack video" in reason
    batch = clips().read(np.arange(4), METHOD.inputs())
    scores = found.score(batch)
    assert np.isnan(scores.clip).tolist() == [False, False, True, True]
    said = "its largest face has 400 pixels; the networks for this size were not trained: high (run A_to_B"
    assert scores.reason[2].startswith(said)
    # As it is stored, and as it comes back.
    save_tree(tmp_path / "d.safetensors", jax.tree.map(np.asarray, found.params), {"about": found.about})
    params, about = load_tree(tmp_path / "d.safetensors")
    again = METHOD.rebuild(params, about["about"])
    np.testing.assert_array_equal(again.score(batch).clip, scores.clip)
    with pytest.raises(UserError, match="the parameters of a patches are not those of its networks"):
        METHOD.rebuild(params, {"low": about["about"]["low"]})


def test_if_no_network_has_sources_the_job_fails_and_says_why() -> None:
    method = dataclasses.replace(METHOD, per_class=40)
    (found,) = Patches.fit([Job(method, TASK)], clips(), dataclasses.replace(DESK, quiet=True))
    assert isinstance(found, Failed)
    assert "no low network: patches-low: a step draws 40 bona fide clips" in found.reason
    assert "no high network: patches-high" in found.reason
    with pytest.raises(UserError, match="low_from, low_to and high_from say which faces"):
        Patches.fit([Job(method, TASK)], clips(), DESK)


def test_one_scene_at_two_resolutions_goes_to_different_networks() -> None:
    settings = Synthesis(subjects=3, videos_per_subject=2, frames=1)
    video = next(each for each in planned_videos("oulu_npu", settings) if each.bona_fide)
    rendition = Rendition(size=64, tiles=4, crop="annotation")
    detector = make_detector(METHOD)
    answered, sides = {}, {}
    for scale in (0.25, 1.0):
        recording = record(video, dataclasses.replace(settings, scale=scale), None)
        box = tuple(recording.boxes[0].tolist())
        tiles = cut_tiles(next(recording.frames), box, rendition)
        info = dataclasses.replace(
            clip_info(0), renditions={"tiles": RenditionInfo((0,) * len(tiles), (), box * len(tiles))}
        )
        batch = Batch(
            dict(zip(METHOD.inputs(), (tiles[None], [info]), strict=True)),
            {METHOD.inputs()[0]: np.ones((1, len(tiles)), bool)},
        )
        logits = detector.tile_logits(batch)  # type: ignore[attr-defined]
        answered[scale] = [name for name, each in logits.items() if np.isfinite(each).all()]
        assert all(np.isfinite(each).all() or np.isnan(each).all() for each in logits.values())
        sides[scale] = max(box[2:])
    assert sides[1.0] / sides[0.25] == pytest.approx(4, rel=0.02)  # the same scene
    assert answered == {0.25: ["low"], 1.0: ["high"]}


def test_the_router_reads_the_size_of_the_face() -> None:
    sizes = np.array([31, 32, 191, 192, 288, 289, 5000, np.nan])
    found = route(sizes, Patches())
    assert found["low"].tolist() == [False, True, True, True, True, False, False, False]
    assert found["high"].tolist() == [False, False, False, True, True, True, True, False]


def batch_of(sizes: list[list[float]], tiles: int = 3) -> Batch:
    """A batch of clips of two frames whose faces have these sizes."""
    inputs = METHOD.inputs()
    images = np.random.default_rng(1).integers(0, 255, (len(sizes), 2 * tiles, 16, 16, 3)).astype(np.uint8)
    return Batch(
        {inputs[0]: images, inputs[1]: [facts(own, tiles) for own in sizes]},
        {inputs[0]: np.ones(images.shape[:2], bool)},
    )


def test_frames_are_scored_by_their_networks_and_averaged() -> None:
    detector = make_detector(METHOD)
    batch = batch_of([[SMALL, 240.0], [LARGE, 0.0]])
    logits = detector.tile_logits(batch)  # type: ignore[attr-defined]
    both = (logits["low"][0, 3:].mean() + logits["high"][0, 3:].mean()) / 2
    wanted = [(logits["low"][0, :3].mean() + both) / 2, logits["high"][1, :3].mean()]
    np.testing.assert_allclose(detector.score(batch).clip, 1 / (1 + np.exp(-np.array(wanted))), rtol=1e-12)
    # Alone, and behind others: the same bits.
    np.testing.assert_array_equal(detector.score(take(batch, [1, 0])).clip, detector.score(batch).clip[[1, 0]])
    assert detector.apply() is None


def test_what_no_network_reads_has_a_reason() -> None:
    found = make_detector(METHOD).score(batch_of([[20.0, 25.0], [0.0, 0.0], [SMALL, 20.0]]))
    assert np.isnan(found.clip).tolist() == [True, True, False]
    assert list(found.reason) == [
        "its largest face has 25 pixels, and patches read faces from 32",
        "no face was found in its frames, so that no network could be chosen by its size",
        "",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=20), st.floats(0, 1), st.booleans()
)
def test_tiles_are_pooled_frame_by_frame(tiles: list[tuple[int, float]], at: float, mean: bool) -> None:
    indices = np.array([*sorted(index for index, _ in tiles), -1])
    logits = np.array([value for _, value in tiles] + [99.0])
    found = pool_frames(logits, indices, "mean" if mean else "quantile", at)
    for value, index in zip(found, sorted({index for index, _ in tiles}), strict=True):
        own = sorted(logits[indices == index])
        place = at * (len(own) - 1)
        low = int(place)
        between = own[low] + (place - low) * (own[min(low + 1, len(own) - 1)] - own[low])
        assert value == pytest.approx(np.mean(own) if mean else between, abs=1e-9)


def test_a_low_quantile_lets_one_suspicious_tile_decide() -> None:
    tiles, one = np.array([3.0, 3.0, -5.0, 3.0]), np.zeros(4, int)
    assert pool_frames(tiles, one, "quantile", 0.1)[0] < 0 < pool_frames(tiles, one, "mean", 0.1)[0]


def test_the_networks_have_no_layer_that_depends_on_a_tiles_size() -> None:
    rng = np.random.default_rng(0)
    for name in ("patch_low", "patch_high"):
        network = trainable.get(name)
        params, stats = jax.tree.map(jnp.asarray, network.init(0))
        tile = jnp.asarray(rng.integers(0, 255, (1, 64, 64, 3)).astype(np.uint8))
        small, large = (
            np.asarray(network.feature_map(params, stats, part, Mode())[0]) for part in (tile[:, :32, :32], tile)
        )
        assert large.shape == (1, 8, 8, network.dimension)
        # Away from the borders, places see the same pixels, whatever is around them.
        np.testing.assert_allclose(small[:, :2, :2], large[:, :2, :2], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low_to": 100, "high_from": 150}, "faces between low_to = 100 and high_from = 150 pixels would have no"),
        ({"low_from": 300}, "low_from 300 must be below low_to 288"),
        ({"augment": dataclasses.replace(METHOD.augment, rotation=5.0)}, "augment.rotation resamples pixels"),
        ({"high_network": "patch_hihg"}, "patch_high"),
        ({"weights": "package"}, "no package has weights of patch_low"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        dataclasses.replace(Patches(), **settings).check("patches")  # type: ignore[arg-type]


def test_which_faces_a_network_reads_is_part_of_what_it_is() -> None:
    """Or a run would take up a network that was trained on other faces."""
    before = Patches()
    assert before.reads() == {"low": (32, 288), "high": (192, float("inf"))}
    for setting, name in (("low_from", "low"), ("low_to", "low"), ("high_from", "high")):
        after = dataclasses.replace(before, **{setting: getattr(before, setting) + 1})
        changed = {each for each, own in after.networks().items() if identity(own) != identity(before.networks()[each])}
        assert changed == {name}


def test_an_export_is_refused_in_words(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", {"patches": METHOD}, renditions={"tiles": Rendition(size=32, tiles=3)})
    with pytest.raises(UserError, match=r"detector patches .* cannot be exported"):
        write_serving(bundle, tmp_path / "out")
