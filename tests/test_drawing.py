"""Samplers: pure functions of seed and step, balanced as they say, every clip as often as the others."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.training.drawing import make_sampler


def table(*kinds: tuple[str, int, int], species=lambda number: "print") -> VideoTable:
    """So many clips of a dataset and label each, every clip of a subject of its own."""
    rows = [(dataset, label, number) for dataset, label, count in kinds for number in range(count)]
    return VideoTable.of(
        Video(f"{i:03d}", dataset, f"s{label}-{number}", "train", label, species(number), "print", "", "")
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
        ((("A", 1, 5), ("B", 1, 5)), "none", 2, r"net: there is no attack clip.*other sources"),
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


# Of 13 attacks of A, one is a mask and three are replays; B has prints alone.
MIXED = table(
    ("A", 1, 5),
    ("A", 0, 13),
    ("B", 1, 4),
    ("B", 0, 7),
    species=lambda n: {12: "mask"}.get(n, "replay" if n > 8 else "print"),
)


def kinds_of(rows) -> list[tuple[str, int, str]]:
    return [(MIXED.dataset[row], int(MIXED.label[row]), MIXED.pai[row]) for row in np.asarray(rows).tolist()]


@pytest.mark.parametrize("balanced", ["class", "domain"])
def test_every_third_step_has_as_many_attacks_of_each_species(balanced):
    plain = sampler(balanced, 3, videos=MIXED)
    rare = make_sampler(balanced, 3, np.arange(len(MIXED)), MIXED, 0, "net", 3)
    assert rare.size == plain.size
    usual = 0
    for step in range(30):
        found = rare.draw(step)
        np.testing.assert_array_equal(found, rare.draw(step))
        kinds = kinds_of(found)
        assert [label for _, label, _ in kinds] == [label for _, label, _ in kinds_of(plain.draw(step))]
        if step % 3 == 2:
            counts = Counter(
                species for dataset, label, species in kinds if not label and (dataset, balanced) != ("B", "domain")
            )
            assert counts == {"mask": 1, "print": 1, "replay": 1}
        else:
            # Between these, pools go on as if there were no other steps.
            attacks = [row for row in found.tolist() if not MIXED.label[row]]
            assert attacks == [
                own if balanced == "class" or MIXED.dataset[own] == "A" else attacks[place]
                for place, own in enumerate(row for row in plain.draw(usual).tolist() if not MIXED.label[row])
            ]
            usual += 1
        # What has one species alone does not notice.
        alone = [
            place
            for place, (dataset, label, _) in enumerate(kinds)
            if label or (dataset == "B" and balanced == "domain")
        ]
        np.testing.assert_array_equal(found[alone], plain.draw(step)[alone])


def test_within_rare_steps_the_clips_of_a_species_are_seen_equally_often():
    rare = make_sampler("class", 2, np.arange(len(MIXED)), MIXED, 0, "net", 2)
    seen = np.bincount(np.concatenate([rare.draw(step) for step in range(1, 1200, 2)]), minlength=len(MIXED))
    attacks = np.flatnonzero(MIXED.label == 0)
    for name, each in (("mask", 400), ("replay", 400), ("print", 400)):
        own = seen[[row for row in attacks.tolist() if MIXED.pai[row] == name]]
        assert own.sum() == each
        assert own.max() - own.min() <= 1


def test_species_are_not_told_apart_where_nothing_is_balanced():
    with pytest.raises(UserError, match=r'net: rare_every draws attacks by species; set balanced = "class"'):
        make_sampler("none", 2, np.arange(len(MIXED)), MIXED, 0, "net", 2)
