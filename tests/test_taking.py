"""Which frames of a clip a step sees, and that a sequence's frames are changed alike."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.methods.finetune import Finetune
from fas_jax.pixels.augmentation import Augmentation, augment, augment_alike
from fas_jax.training.batches import FrameBatches, codes_of
from fas_jax.training.drawing import make_sampler
from fas_jax.training.taking import Take
from tests.made_up import HeldFrames

NONE = Augmentation(flip=0, crop=0, light=0, colour=0, blur=0, noise=0, jpeg=0)
ALL = Augmentation(rotation=20, blur=1, noise=1, jpeg=1, cut_out=1)


def drawn(text: str, count: int, burst: int = 1) -> set[tuple[int, ...]]:
    """All that is drawn of a clip in 400 steps."""
    take = Take.parse(text, "net")
    return {tuple(take.numbers(count, burst, np.random.default_rng(seed))) for seed in range(400)}


@pytest.mark.parametrize(
    ("text", "count", "burst", "wanted"),
    [
        ("random", 3, 1, {(0,), (1,), (2,)}),
        ("frame:2", 7, 1, {(2,)}),
        ("frame:6", 3, 1, {(2,)}),
        ("every:3", 7, 1, {(0,), (3,), (6,)}),
        ("every:3", 6, 1, {(0,), (3,)}),
        ("every:9", 3, 1, {(0,)}),
        ("clip:3", 5, 1, {(0, 1, 2), (1, 2, 3), (2, 3, 4)}),
        ("clip:3", 2, 1, {(0, 1)}),
        ("clip:3", 8, 4, {(0, 1, 2), (1, 2, 3), (4, 5, 6), (5, 6, 7)}),
        ("clip:4", 8, 4, {(0, 1, 2, 3), (4, 5, 6, 7)}),
        ("burst", 9, 3, {(0, 1, 2), (3, 4, 5), (6, 7, 8)}),
        ("random", 4, 2, {(0,), (1,), (2,), (3,)}),
    ],
)
def test_what_is_taken(text, count, burst, wanted):
    assert drawn(text, count, burst) == wanted


@given(st.integers(1, 6), st.integers(2, 6), st.integers(1, 5), st.integers(0, 99))
def test_no_sequence_crosses_a_bursts_border(length, burst, bursts, seed):
    take = Take("clip", min(length, burst))
    found = take.numbers(burst * bursts, burst, np.random.default_rng(seed))
    assert len(found) == take.length(burst, "net")
    assert found == list(range(found[0], found[0] + len(found)))
    assert len({number // burst for number in found}) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("brust", "net: unknown way to take frames 'brust'; did you mean 'burst'"),
        ("clip", r"net: write clip:N with a number N of 1 or more, not 'clip'"),
        ("every:0", "write every:N with a number N of 1 or more"),
        ("frame:-1", "write frame:N with a number N of 0 or more"),
        ("random:2", "net: random has no number; write 'random'"),
    ],
)
def test_what_cannot_be_read_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        Take.parse(text, "net")


def test_bursts_that_are_not_there_are_refused():
    with pytest.raises(UserError, match=r'net: take = "burst" needs a rendition of bursts'):
        Take("burst").length(1, "net")
    with pytest.raises(UserError, match=r'net: take = "clip:5" is longer than the bursts of its rendition.*4'):
        Take("clip", 5).length(4, "net")
    with pytest.raises(UserError, match=r'methods.net: a finetune reads single frames; set take to "random"'):
        Finetune(weights="random", take="clip:3").check("net")
    with pytest.raises(UserError, match=r"methods.net.take: unknown way"):
        Finetune(weights="random", take="all").check("net")
    with pytest.raises(UserError, match=r"methods.net: rare_every draws attacks by species"):
        Finetune(weights="random", rare_every=3, balanced="none").check("net")


def clips(burst: int = 1) -> tuple[HeldFrames, VideoTable]:
    """Eight clips of 4 frames, of which the second clip has two; every pixel says which clip and frame it is of."""
    values = 10 * np.arange(8)[:, None] + np.arange(4)
    images = np.broadcast_to(values[:, :, None, None, None], (8, 4, 16, 16, 3)).astype(np.uint8)
    mask = np.ones((8, 4), bool)
    mask[1, 2:] = False
    videos = VideoTable.of(
        Video(f"{row}", "A", f"s{row}", "train", row % 2, "print", "print", "", "") for row in range(8)
    )
    return HeldFrames.of(images, mask, burst), videos


def batches(text: str, augmentation: Augmentation = NONE, burst: int = 1, seed: int = 0) -> FrameBatches:
    frames, videos = clips(burst)
    sampler = make_sampler("class", 4, np.arange(8), videos, seed, "net")
    return FrameBatches(
        frames, sampler, augmentation, seed, codes_of(videos, np.arange(len(videos))), Take.parse(text, "net")
    )


def test_a_batch_of_sequences_repeats_the_last_frame_where_a_clip_is_short():
    own = batches("clip:3")
    for step in range(8):
        batch, rows = own(step), own.sampler.draw(step)
        assert batch["frames"].shape == (8, 3, 16, 16, 3)
        for frames, mask, row in zip(batch["frames"], batch["mask"], rows.tolist(), strict=True):
            values = frames[:, 0, 0, 0].astype(int) - 10 * row
            assert mask.tolist() == [True, True, row != 1]
            assert np.diff(values).tolist() == ([1, 0] if row == 1 else [1, 1])
            assert 0 <= values[0] <= values[-1] <= 3


def test_a_batch_of_bursts_is_a_pure_function_of_seed_and_step():
    found = [batches("burst", ALL, 2, seed)(step) for seed, step in ((0, 3), (0, 3), (1, 3), (0, 4))]
    assert found[0]["frames"].shape == (8, 2, 16, 16, 3)
    assert found[0]["mask"].all()
    same = [all(np.array_equal(found[0][name], each[name]) for name in each) for each in found]
    assert same == [True, True, False, False]
    # A slot's frames depend on no other slot: each has its own generator.
    one = batches("random", ALL)
    assert one(3)["frames"].shape == (8, 16, 16, 3)
    assert "mask" not in one(3)


def test_all_frames_of_a_sequence_are_changed_alike():
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (24, 24, 3), np.uint8)
    for seed in range(8):
        first, *others = augment_alike([still] * 3, np.random.default_rng(seed), ALL)
        assert not np.array_equal(first, still)
        for other in others:
            np.testing.assert_array_equal(other, first)
    # Contrast turns about the clip's mean: a step of light stays a step, whatever the frames' own means are.
    plain = dataclasses.replace(NONE, light=0.3)
    dark, light = (np.full((8, 8, 3), value, np.uint8) for value in (100, 140))
    rises = [
        int(b[0, 0, 0]) - int(a[0, 0, 0])
        for a, b in (augment_alike([dark, light], np.random.default_rng(seed), plain) for seed in range(8))
    ]
    assert all(27 <= rise <= 53 for rise in rises)
    assert len(set(rises)) > 3


def test_one_frame_is_changed_as_it_would_be_alone():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    (found,) = augment_alike([image], np.random.default_rng(5), ALL)
    np.testing.assert_array_equal(found, augment(image, np.random.default_rng(5), ALL))
