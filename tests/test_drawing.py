"""Samplers: pure functions of seed and step, balanced as they say, every clip as often as the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.training.drawing import make_sampler


def table(*kinds: tuple[str, int, int]) -> VideoTable:
    """So many clips of a dataset and label each, every clip of a subject of its own."""
    rows = [(dataset, label, number) for dataset, label, count in kinds for number in range(count)]
    return VideoTable.of(
        Video(f"{i:03d}", dataset, f"s{label}-{number}", "train", label, "print", "print", "", "")
        for i, (dataset, label, number) in enumerate(rows)
    )


VIDEOS = table(("A", 1, 5), ("A", 0, 11), ("B", 1, 4), ("B", 0, 7))


def sampler(balanced, share, seed=0, videos=VIDEOS, rows=None):
    return make_sampler(balanced, share, np.arange(len(videos)) if rows is None else rows, videos, seed, "net")


@pytest.mark.parametrize(("balanced", "size"), [("class", 6), ("domain", 12), ("none", 6)])
@given(steps=st.lists(st.integers(0, 300), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_a_step_is_a_pure_function_of_seed_and_number(balanced, size, steps, seed):
    one, other = sampler(balanced, 3, seed), sampler(balanced, 3, seed)
    assert one.size == size
    found = [one.draw(step) for step in steps]
    again = [other.draw(step) for step in reversed(steps)][::-1]
    for left, right in zip(found, again, strict=True):
        assert left.shape == (size,)
        np.testing.assert_array_equal(left, right)
    drawn = [sampler(balanced, 3, each).draw(steps[0]).tolist() for each in range(8)]
    assert len({tuple(each) for each in drawn}) > 4


@pytest.mark.parametrize("balanced", ["class", "domain", "none"])
def test_every_clip_of_a_pool_is_seen_as_often_as_the_others(balanced):
    own = sampler(balanced, 2)
    seen = np.bincount(np.concatenate([own.draw(step) for step in range(385)]), minlength=len(VIDEOS))
    for pool in own.pools:
        counts = seen[pool.rows]
        assert counts.max() - counts.min() <= 1
        assert counts.sum() == 385 * own.share
    orders = {tuple(own.draw(step).tolist()) for step in range(100)}
    assert len(orders) > 90


def test_equal_parts_of_a_batch_are_balanced_too():
    batch = sampler("domain", 4).draw(3)
    for part in np.split(batch, 4):
        kinds = {(VIDEOS.dataset[int(row)], int(VIDEOS.label[row])) for row in part}
        assert kinds == {("A", 1), ("A", 0), ("B", 1), ("B", 0)}
    labels = VIDEOS.label[sampler("class", 4).draw(3)]
    assert all(part.sum() == 1 for part in np.split(labels, 4))


def test_only_the_clips_that_are_given_are_drawn():
    rows = np.array([0, 1, 6, 7, 9])
    drawn = np.concatenate([sampler("class", 2, rows=rows).draw(step) for step in range(20)])
    assert set(drawn.tolist()) == set(rows.tolist())


@pytest.mark.parametrize(
    ("kinds", "balanced", "share", "said"),
    [
        ((("A", 1, 5), ("A", 0, 5), ("B", 0, 5)), "domain", 2, r"net: there is no bona fide B clip.*\"class\""),
        ((("A", 1, 5), ("A", 0, 5), ("B", 1, 5)), "domain", 2, r"net: there is no attack B clip"),
        ((("A", 1, 5),), "class", 2, r"net: there is no attack clip.*other sources"),
        (
            (("A", 1, 3), ("A", 0, 5)),
            "class",
            4,
            r"draws 4 bona fide clips, and there are 3 of 3 subjects; set per_class to 3 or less",
        ),
        ((("A", 1, 5), ("A", 0, 5)), "none", 6, r"draws 12 training clips, and there are 10.*per_class to 5 or less"),
    ],
)
def test_what_cannot_be_balanced_is_named(kinds, balanced, share, said):
    with pytest.raises(UserError, match=said):
        sampler(balanced, share, videos=table(*kinds))
