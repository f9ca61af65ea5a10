import dataclasses
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.loading import FrameClips, prefetched, shard_frames
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared
from tests.trees import decoded, moving_frames, msu_mfsd, write_video

SETTINGS = Preparation(videos_per_shard=3, workers=1, allow_partial=True)
RENDITION = Rendition(segment=10, size=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return msu_mfsd(tmp_path_factory.mktemp("msu"), frames=24)


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """8 training clips of 3 frames in shards of 3, 3 and 2, one of them a failure; 8 test clips."""
    broken = root / "scene01/real/real_client002_laptop_SD_scene01.mov"
    broken.write_bytes(b"")
    settings = dataclasses.replace(SETTINGS, allow_failures=1)
    return prepare_dataset(root, tmp_path_factory.mktemp("prepared"), settings, {"whole": RENDITION})


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_frames_of_a_shard_in_order_in_one_shape(root: Path, prepared: Prepared, batch_size: int) -> None:
    for shard in prepared.shards:
        batches = list(shard_frames(prepared, shard, batch_size, "whole"))
        assert {batch.frames.shape for batch in batches} == {(batch_size, 32, 32, 3)}
        assert all(batch.valid == batch_size for batch in batches[:-1])
        assert 0 < batches[-1].valid <= batch_size
        assert not batches[-1].frames[batches[-1].valid :].any()
        frames = np.concatenate([batch.frames[: batch.valid] for batch in batches])
        clips = prepared.clips(shard)
        assert len(clips) == shard.clips
        expected = [decoded(root / video.path, RENDITION) for video, _ in clips]
        assert [info for _, info in clips] == [info for info, _, _ in expected]
        np.testing.assert_array_equal(frames, np.concatenate([frames for _, _, frames in expected]))


def test_batches_of_frames_are_not_written_again(prepared: Prepared) -> None:
    """A consumer may copy a batch to its device while the next one is filled."""
    stream = shard_frames(prepared, prepared.shards[0], 2, "whole")
    first = next(stream)
    copy = first.frames.copy()
    list(stream)
    np.testing.assert_array_equal(first.frames, copy)


def test_an_abandoned_stream_of_frames_ends(prepared: Prepared) -> None:
    stream = shard_frames(prepared, prepared.shards[0], 2, "whole")
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_unknown_rendition_and_size(prepared: Prepared) -> None:
    with pytest.raises(UserError, match="unknown rendition 'hole'; did you mean 'whole'"):
        list(shard_frames(prepared, prepared.shards[0], 2, "hole"))
    with pytest.raises(UserError, match=r"unknown rendition 'face'.*Known: 'whole'"):
        FrameClips(prepared, prepared.shards, "face")
    with pytest.raises(ValueError, match="batch_size"):
        list(shard_frames(prepared, prepared.shards[0], 0, "whole"))


def test_a_damaged_shard_is_told_or_unharmed(prepared: Prepared, tmp_path: Path) -> None:
    copy, shard = dataclasses.replace(prepared, directory=tmp_path), prepared.shards[0]
    wanted = [batch.frames for batch in shard_frames(prepared, shard, 2, "whole")]
    told = []
    for place in np.linspace(0, 1, 9):
        content = bytearray(prepared.path(shard).read_bytes())
        start = int(place * (len(content) - 64))
        content[start : start + 64] = bytes(255 - value for value in content[start : start + 64])
        copy.path(shard).write_bytes(content)
        try:
            # Most of so small a file is padding.
            np.testing.assert_array_equal([batch.frames for batch in shard_frames(copy, shard, 2, "whole")], wanted)
        except UserError as error:
            told.append(str(error))
    assert told
    assert all(re.search(r"is damaged \(.*\); delete .*preparation\.json", text) for text in told)


def test_single_clips_are_read_by_their_position(root: Path, prepared: Prepared) -> None:
    clips = FrameClips(prepared, [shard for shard in prepared.shards if shard.split == "train"], "whole")
    videos = [
        video for video in scan(root).videos if video.split == "train" and "real_client002_laptop" not in video.path
    ]
    assert len(clips) == len(videos) == prepared.splits["train"] == 7
    for index, video in enumerate(videos):
        clip = clips[index]
        np.testing.assert_array_equal(clip["sequence"], decoded(root / video.path, RENDITION)[2])
        assert (clip["label"], clip["index"]) == (video.label, index)


def test_a_clip_without_a_rendition_has_no_frame_of_it(tmp_path: Path) -> None:
    """Two videos, of which one has a face annotation: both have whole frames, one has crops."""
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.avi", moving_frames(4), codec="mjpeg")
    (tmp_path / "own.csv").write_text(
        "video,label,subject,split,x,y,w,h\na.avi,bonafide,s,test,8,8,24,24\nb.avi,attack,s,test,,,,\n"
    )
    (listing,) = read_manifest(tmp_path / "own.csv")
    renditions = {"whole": RENDITION, "crop": Rendition(segment=1, max_frames=3, crop="annotation", size=16)}
    prepared = prepare_listing(listing, tmp_path / "out", Preparation(workers=1), renditions)
    (shard,) = prepared.shards
    lengths = {
        name: [len(clip["sequence"]) for clip in _all(FrameClips(prepared, [shard], name))] for name in renditions
    }
    assert lengths == {"whole": [1, 1], "crop": [3, 0]}
    assert FrameClips(prepared, [shard], "crop")[1]["sequence"].shape == (0, 16, 16, 3)
    (batch,) = shard_frames(prepared, shard, 8, "crop")
    assert (batch.valid, batch.frames.shape) == (3, (8, 16, 16, 3))
    assert list(prepared.not_made()) == [
        ("crop", listing.videos[1], "no face annotation belongs to it; use crop = 'detector' or 'whole'")
    ]


def _all(clips: FrameClips) -> list[dict[str, Any]]:
    return [clips[index] for index in range(len(clips))]


def test_prefetching_keeps_the_order_stays_ahead_and_ends() -> None:
    made: list[int] = []
    closed = threading.Event()

    def numbers():
        try:
            for i in range(1000):
                made.append(i)
                yield i
        finally:
            closed.set()

    assert list(prefetched((i for i in range(50)), 3)) == list(range(50))
    ahead = prefetched(numbers(), 3)
    assert [next(ahead) for _ in range(5)] == list(range(5))
    # Three wait in the queue and one in the thread's hand, at most.
    assert len(made) <= 5 + 4
    ahead.close()
    assert closed.is_set()
    assert len(made) <= 5 + 5


def test_what_prefetching_meets_is_raised_in_its_place() -> None:
    def failing():
        yield 1
        raise KeyError("here")

    ahead = prefetched(failing(), 2)
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="here"):
        next(ahead)


def test_a_shard_with_frames_of_two_sizes_is_refused(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([(32, 32, 3), (32, 48, 3)])
    monkeypatch.setattr("fas_jax.datasets.loading.unpack_frame", lambda _: np.zeros(next(sizes, (32, 48, 3)), np.uint8))
    with pytest.raises(UserError, match=r"(48x32 and 32x32|32x32 and 48x32) pixels"):
        list(shard_frames(prepared, prepared.shards[0], 4, "whole"))
