"""Batches of frames from prepared records: the same for any number of threads and workers, and what they hold."""

from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.frames import StoredFrames
from fas_jax.datasets.loading import FrameClips, made_ahead
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.pixels.augmentation import Augmentation
from fas_jax.training.batches import FrameBatches, codes_of
from fas_jax.training.drawing import make_sampler
from tests.trees import msu_mfsd

PLAIN = Augmentation(flip=0, crop=0, light=0, colour=0, blur=0, noise=0, jpeg=0)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredFrames, VideoTable]:
    """16 clips, of 1 to 3 frames as far as the mask says."""
    root = msu_mfsd(tmp_path_factory.mktemp("msu"), frames=24)
    settings = Preparation(videos_per_shard=3, workers=1, allow_partial=True)
    place = tmp_path_factory.mktemp("prepared")
    prepared = prepare_dataset(root, place, settings, {"whole": Rendition(segment=10, size=32)})
    videos = VideoTable.of(video for shard in prepared.shards for video, _ in prepared.clips(shard))
    count = len(videos)
    mask = np.arange(3) < (1 + np.arange(count) % 3)[:, None]
    clips = FrameClips(prepared, prepared.shards, "whole")
    return StoredFrames((clips,), np.zeros(count, np.int32), np.arange(count, dtype=np.int32), mask, 32), videos


def batches(stored, augmentation: Augmentation = Augmentation(), seed: int = 0) -> FrameBatches:  # noqa: B008, frozen
    frames, videos = stored
    sampler = make_sampler("class", 2, np.arange(len(videos)), videos, seed, "net")
    return FrameBatches(frames, sampler, augmentation, seed, codes_of(videos, np.arange(len(videos))))


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_frames_are_those_of_the_record(stored):
    frames, _ = stored
    (clips,) = frames.parts
    for row in (0, 4, 11):
        sequence, count = clips[row]["sequence"], int(frames.mask[row].sum())
        block = frames[np.array([row])][0]
        np.testing.assert_array_equal(block[:count], sequence[:count])
        assert not block[count:].any()
        np.testing.assert_array_equal(frames.frame(row, count - 1), sequence[count - 1])


def test_a_batch_holds_one_real_frame_of_each_clip_and_what_is_known_of_it(stored):
    frames, videos = stored
    own = batches(stored, PLAIN)
    numbers = set()
    for step in range(12):
        batch = own(step)
        rows = own.sampler.draw(step)
        assert batch["frames"].shape == (4, 32, 32, 3)
        np.testing.assert_array_equal(batch["labels"], videos.label[rows])
        np.testing.assert_array_equal(batch["slots"], np.arange(4))
        for image, row in zip(batch["frames"], rows.tolist(), strict=True):
            every = frames[np.array([row])][0]
            (at,) = np.flatnonzero([np.array_equal(image, each) for each in every])[:1]
            assert frames.mask[row, at]
            numbers.add(int(at))
    assert numbers == {0, 1, 2}


def test_codes_number_domains_subjects_and_species(stored):
    _, videos = stored
    codes = codes_of(videos, np.arange(len(videos)))
    assert set(codes) == {"labels", "domains", "subjects", "species"}
    assert not codes["domains"].any()
    assert len(np.unique(codes["subjects"])) == len(videos.subject.present())
    for code in np.unique(codes["species"]):
        assert len(set(np.asarray(videos.pai)[codes["species"] == code])) == 1


def test_the_batch_of_a_step_is_the_same_for_any_number_of_threads(stored):
    own = batches(stored)
    wanted = [own(step) for step in range(3, 11)]
    for threads in (1, 5):
        for one, other in zip(made_ahead(own, range(3, 11), threads), wanted, strict=True):
            assert_equal(one, other)
    assert not np.array_equal(wanted[0]["frames"], wanted[1]["frames"])
    assert not np.array_equal(batches(stored, seed=1)(3)["frames"], wanted[0]["frames"])
    assert list(made_ahead(own, range(3, 3))) == []


@pytest.mark.slow
def test_the_batch_of_a_step_is_the_same_for_any_number_of_workers(stored):
    own = batches(stored)
    found = list(made_ahead(own, range(2, 9), 2, processes=2))
    for step, batch in zip(range(2, 9), found, strict=True):
        assert_equal(batch, own(step))


def test_what_fails_is_raised_in_its_place(stored):
    def make(number: int) -> int:
        if number == 3:
            raise UserError("clip 3 is damaged")
        return number

    found = []
    with pytest.raises(UserError, match="clip 3 is damaged"):
        found.extend(made_ahead(make, range(6), 2))


def test_a_frame_of_another_size_is_named(stored):
    frames, _ = stored
    other = StoredFrames(frames.parts, frames.part, frames.place, frames.mask, 48)
    with pytest.raises(UserError, match=r"holds a frame of 32x32 pixels in place of 48x48; prepare again"):
        other.frame(0, 0)
    with pytest.raises(UserError, match="prepare again"):
        other[np.array([1, 2])]


def test_a_damaged_record_is_named(stored, monkeypatch: pytest.MonkeyPatch):
    frames, _ = stored
    monkeypatch.setattr(
        "fas_jax.datasets.loading.unpack_frame", lambda _: (_ for _ in ()).throw(ValueError("no image"))
    )
    folder = frames.parts[0].where
    with pytest.raises(UserError, match=r"is damaged at clip 2 \(no image\); delete .*preparation\.json"):
        frames.frame(2, 0)
    assert isinstance(folder, Path)
