"""Renditions with native pixels, and the stores of their measures."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.experiment import stages
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.features import measured
from fas_jax.features.extraction import extract
from fas_jax.features.quality import measures
from fas_jax.pixels.crops import native
from tests.made_up import make_bundle

NATIVE = {"native": Rendition(size=0, max_frames=2)}
SIZES = [(31, 46), (64, 33), (31, 46)] * 4


def pattern(number: int) -> np.ndarray:
    """A checkerboard of single pixels, which any resampling would turn grey."""
    height, width = SIZES[number]
    board = 200 * (np.indices((height, width)).sum(0) % 2) + number
    return np.repeat(board[..., None], 3, 2).astype(np.uint8)


def stand_in(frames: np.ndarray, flavour: str = "formula") -> np.ndarray:
    """In place of the measures, whose programs take seconds to compile: something else of each frame."""
    found = np.zeros((len(frames), len(measures.names("formula"))), np.float32)
    found[:, 0] = frames.reshape(len(frames), -1).mean(1)
    found[:, 1] = frames.shape[1]
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("native")
    lines = ["video,label,subject,split"]
    for number in range(len(SIZES)):
        cv2.imwrite(str(folder / f"{number}.png"), pattern(number)[..., ::-1])
        lines.append(f"{number}.png,{('attack', 'bonafide')[number % 2]},s{number},{('train', 'test')[number % 4 > 1]}")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    (listing,) = read_manifest(folder / "mine.csv")
    return prepare_listing(listing, folder / "out", Preparation(workers=1, videos_per_shard=5), NATIVE)


def test_nothing_is_resampled_on_the_way(prepared: Prepared) -> None:
    found = 0
    for shard in prepared.shards:
        clips = FrameClips(prepared, [shard], "native")
        for row, (video, info) in enumerate(prepared.clips(shard)):
            (frame,) = clips.frames(row, range(len(info.renditions["native"].frame_indices)))
            np.testing.assert_array_equal(frame, pattern(int(video.path.removesuffix(".png"))))
            found += 1
    assert found == len(SIZES)


def test_stores_hold_the_measures_of_every_frame(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def counted(frames: np.ndarray, flavour: str) -> np.ndarray:
        calls.append(frames.shape)
        return stand_in(frames)

    monkeypatch.setattr(measured, "measure", counted)
    settings = Features(backbone="no such network")  # which has no part in it
    store = extract(prepared, "native", tmp_path, settings)
    table = store.load()
    assert table.features.shape == (len(SIZES), 1, 145)
    for video, (row,) in zip(table.videos, table.features, strict=True):
        np.testing.assert_array_equal(row, stand_in(pattern(int(video.path.removesuffix(".png")))[None])[0])
    # Frames of one size go together, and what is done is not done again.
    assert len(calls) < len(SIZES)
    calls.clear()
    assert extract(prepared, "native", tmp_path, settings).fingerprint == store.fingerprint
    assert not calls
    # What an interruption left is made up for, and no more.
    (store.path / store.units[0].name).unlink()
    assert extract(prepared, "native", tmp_path, settings).fingerprint == store.fingerprint
    assert 0 < sum(shape[0] for shape in calls) <= 5


def test_a_frame_too_small_is_named(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(frames: np.ndarray, flavour: str) -> np.ndarray:
        raise UserError("a frame of 2x2 pixels is too small")

    monkeypatch.setattr(measured, "measure", refuse)
    with pytest.raises(UserError, match=r"array_record-.*: a frame of 2x2 pixels is too small"):
        extract(prepared, "native", tmp_path, Features())


def test_faces_are_cut_to_one_of_some_sides() -> None:
    image = np.arange(150 * 150 * 3, dtype=np.uint32).reshape(150, 150, 3).astype(np.uint8)
    found = native(image, face=True)
    assert found.shape == (128, 128, 3)
    np.testing.assert_array_equal(found, image[11:139, 11:139, ::-1])
    assert native(image[:100, :100], face=True).shape == (96, 96, 3)
    assert native(image[:100, :70], face=False).shape == (100, 70, 3)
    assert native(image[:2, :2], face=True).shape == (2, 2, 3)


@pytest.mark.usefixtures("unchecked_types")
def test_a_bundle_measures_what_it_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fas_jax.deployment import bundle as bundles
    from fas_jax.methods.quality import Quality

    monkeypatch.setattr(
        bundles, "measures_of", lambda frames: np.array([[f.mean()] * 1280 for f in frames], np.float32)
    )
    bundle = make_bundle(tmp_path / "b", {"q": Quality()}, renditions=NATIVE)
    several = [np.full((9, 7, 3), 90, np.uint8), np.full((20, 20, 3), 10, np.uint8)]
    score = bundle.score({"native": several}).logit
    np.testing.assert_array_equal(score, bundle.score({"native": several[::-1]}).logit)
    assert score != bundle.score({"native": several[:1]}).logit
    assert bundle.score({"native": np.stack([several[0]] * 2)}).logit == bundle.score({"native": several[:1]}).logit
    with pytest.raises(UserError, match=r"must be uint8 \[t h w 3\], or a list of \[h w 3\]"):
        bundle.score({"native": [each.astype(float) for each in several]})


@pytest.mark.parametrize(
    ("method", "size", "said"),
    [
        ({"kind": "quality"}, 224, "reads measures of native pixels, which rendition native does not keep"),
        ({"kind": "finetune", "rendition": "native"}, 0, "reads frames of one size, and rendition native keeps native"),
    ],
)
def test_methods_are_given_the_renditions_that_they_read(method: dict, size: int, said: str) -> None:
    table = {"renditions": {"native": {"size": size}}, "methods": {"m": method}}
    experiment = experiment_from_dict(table, "test")
    with pytest.raises(UserError, match=said):
        stages._check_inputs(dataclasses.replace(experiment))
