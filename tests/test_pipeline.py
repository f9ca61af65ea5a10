import dataclasses
import re
import threading
from itertools import islice
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.loading import ClipSource, clip_batches, clip_source, prefetched, shard_clips, shard_frames
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.datasets.prepared import Prepared
from fas_jax.pixels.video import decode_clip
from tests.trees import msu_mfsd

SETTINGS = Preparation(segment=10, frame_size=32, videos_per_shard=3, workers=1, allow_partial=True)


class Features:
    """Clips of features in memory: row k of clip i is 1000 i + k."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        number = index.__index__()
        rows = 1000 * number + np.arange(self.lengths[number], dtype=np.float32)
        return {"sequence": np.stack([rows, -rows], axis=1), "label": number % 2, "index": number}


SOURCE = Features([3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 2])


def run(source: ClipSource, **options: Any) -> list[dict[str, np.ndarray]]:
    defaults: dict[str, Any] = {"batch_size": 4, "max_frames": 7, "seed": 0, "epochs": 1}
    return list(clip_batches(source, **(defaults | options)))


def assert_equal(first: list[dict[str, np.ndarray]], second: list[dict[str, np.ndarray]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=30),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(0, 99)),
    st.integers(1, 3),
)
def test_every_clip_once_an_epoch_whole_and_masked(
    lengths: list[int], batch_size: int, seed: int | None, epochs: int
) -> None:
    source = Features(lengths)
    batches = run(source, batch_size=batch_size, max_frames=6, seed=seed, epochs=epochs)
    per_epoch = -(-len(lengths) // batch_size)
    assert len(batches) == epochs * per_epoch
    for epoch in range(epochs):
        seen = []
        for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch]:
            assert batch["sequence"].shape == (batch_size, 6, 2)
            assert batch["sequence"].dtype == np.float32
            assert batch["mask"].shape == (batch_size, 6)
            np.testing.assert_array_equal(batch["valid"], batch["index"] >= 0)
            np.testing.assert_array_equal(batch["valid"], batch["mask"].any(axis=1))
            assert not batch["sequence"][~batch["mask"]].any()
            assert not batch["label"][~batch["valid"]].any()
            for row in np.flatnonzero(batch["valid"]):
                clip = source[batch["index"][row]]
                np.testing.assert_array_equal(batch["sequence"][row][batch["mask"][row]], clip["sequence"])
                assert batch["mask"][row].sum() == lengths[clip["index"]]
                assert batch["label"][row] == clip["label"]
                seen.append(clip["index"])
        assert sorted(seen) == list(range(len(lengths)))
        if seed is None:
            assert seen == sorted(seen)


def test_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    first = run(SOURCE, epochs=3)
    assert_equal(first, run(SOURCE, epochs=3))
    assert_equal(first, run(SOURCE, epochs=3, threads=3))
    order = np.concatenate([batch["index"] for batch in first]).reshape(3, 12)
    assert len({tuple(epoch) for epoch in order}) == 3
    others = [np.concatenate([batch["index"] for batch in run(SOURCE, seed=seed)]) for seed in range(1, 4)]
    assert all((other != order[0]).any() for other in others)


def test_endless_epochs_continue_like_counted_ones() -> None:
    endless = list(islice(clip_batches(SOURCE, batch_size=4, max_frames=6, seed=5, epochs=None), 9))
    assert_equal(endless, run(SOURCE, max_frames=6, seed=5, epochs=3))


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("seed", [None, 3])
def test_restored_at_every_step_it_goes_on_exactly(threads: int, seed: int | None) -> None:
    options: dict[str, Any] = {"batch_size": 4, "max_frames": 7, "seed": seed, "epochs": 3, "threads": threads}
    unbroken = list(clip_batches(SOURCE, **options))
    for step in range(len(unbroken) + 1):
        iterator = clip_batches(SOURCE, **options)
        before = list(islice(iterator, step))
        state = iterator.get_state()
        iterator.close()
        restored = clip_batches(SOURCE, **options)
        restored.set_state(state)
        assert_equal(before + list(restored), unbroken)


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_global_batches_do_not_depend_on_the_number_of_processes(processes: int) -> None:
    options: dict[str, Any] = {"batch_size": 6, "epochs": 2}
    alone = run(SOURCE, **options)
    shares = [run(SOURCE, **options, process_index=i, process_count=processes) for i in range(processes)]
    joined = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert_equal(joined, alone)


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="multiple of process_count"):
        run(SOURCE, batch_size=4, process_count=3)
    with pytest.raises(ValueError, match="process_index"):
        run(SOURCE, process_index=1)
    with pytest.raises(ValueError, match="no clip"):
        run(Features([]))
    with pytest.raises(ValueError, match="has 6 frames; expected 1 to 5"):
        run(SOURCE, max_frames=5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return msu_mfsd(tmp_path_factory.mktemp("msu"), frames=24)


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """8 training clips of 3 frames in shards of 3, 3 and 2, one of them a failure; 8 test clips."""
    broken = root / "scene01/real/real_client002_laptop_SD_scene01.mov"
    broken.write_bytes(b"")
    settings = Preparation(**{**vars(SETTINGS), "allow_failures": 1})
    return prepare_dataset(root, tmp_path_factory.mktemp("prepared"), settings)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_frames_of_a_shard_in_order_in_one_shape(root: Path, prepared: Prepared, batch_size: int) -> None:
    for shard in prepared.shards:
        batches = list(shard_frames(prepared, shard, batch_size))
        assert {batch.frames.shape for batch in batches} == {(batch_size, 32, 32, 3)}
        assert all(batch.valid == batch_size for batch in batches[:-1])
        assert 0 < batches[-1].valid <= batch_size
        assert not batches[-1].frames[batches[-1].valid :].any()
        frames = np.concatenate([batch.frames[: batch.valid] for batch in batches])
        clips = shard_clips(prepared, shard)
        assert len(clips) == shard.clips
        expected = [decode_clip(root / video.path, SETTINGS) for video, _ in clips]
        assert [info for _, info in clips] == [info for info, _ in expected]
        np.testing.assert_array_equal(frames, np.concatenate([frames for _, frames in expected]))


def test_batches_of_frames_are_not_written_again(prepared: Prepared) -> None:
    """A consumer may copy a batch to its device while the next one is filled."""
    stream = shard_frames(prepared, prepared.shards[0], 2)
    first = next(stream)
    copy = first.frames.copy()
    list(stream)
    np.testing.assert_array_equal(first.frames, copy)


def test_an_abandoned_stream_of_frames_ends(prepared: Prepared) -> None:
    stream = shard_frames(prepared, prepared.shards[0], 2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_unknown_rendition_and_size(prepared: Prepared) -> None:
    with pytest.raises(UserError, match="no rendition 'face'; it holds whole"):
        list(shard_frames(prepared, prepared.shards[0], 2, rendition="face"))
    with pytest.raises(ValueError, match="batch_size"):
        list(shard_frames(prepared, prepared.shards[0], 0))
    with pytest.raises(ValueError, match="no split 'dev'; it has train, test"):
        clip_source(prepared, "dev")


def test_a_damaged_shard_is_told_or_unharmed(prepared: Prepared, tmp_path: Path) -> None:
    copy, shard = dataclasses.replace(prepared, directory=tmp_path), prepared.shards[0]
    wanted = [batch.frames for batch in shard_frames(prepared, shard, 2)]
    told = []
    for place in np.linspace(0, 1, 9):
        content = bytearray(prepared.path(shard).read_bytes())
        start = int(place * (len(content) - 64))
        content[start : start + 64] = bytes(255 - value for value in content[start : start + 64])
        copy.path(shard).write_bytes(content)
        try:
            # Most of so small a file is padding.
            np.testing.assert_array_equal([batch.frames for batch in shard_frames(copy, shard, 2)], wanted)
        except UserError as error:
            told.append(str(error))
    assert told
    assert all(re.search(r"is damaged \(.*\); delete .*preparation\.json", text) for text in told)


def test_clips_of_frames_stream_as_batches(root: Path, prepared: Prepared) -> None:
    source = clip_source(prepared, "train")
    videos = [
        video for video in scan(root).videos if video.split == "train" and "real_client002_laptop" not in video.path
    ]
    assert len(source) == len(videos) == prepared.splits["train"] == 7
    for index, video in enumerate(videos):
        clip = source[index]
        np.testing.assert_array_equal(clip["sequence"], decode_clip(root / video.path, SETTINGS)[1])
        assert (clip["label"], clip["index"]) == (video.label, index)
    (batch, last) = run(source, max_frames=7, threads=2)
    assert batch["sequence"].shape == (4, 7, 32, 32, 3)
    assert batch["sequence"].dtype == np.uint8
    assert last["valid"].tolist() == [True, True, True, False]
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(batch["sequence"][row, :3], source[index]["sequence"])


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
        list(shard_frames(prepared, prepared.shards[0], 4))
