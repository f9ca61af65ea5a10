"""Validation by device or session: nothing is on both sides, and what cannot be cut is refused by name."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.assignment import assign_all
from tests.populations import population, video

SIZES = {"M": (2, 0, 2), "C": (4, 2, 2), "I": (5, 0, 2)}


def recorded(devices, sizes=SIZES, by="device"):
    """Every video of a population once on each of its dataset's devices."""
    return [
        dataclasses.replace(each, path=f"{name}/{each.path}", **{by: name})
        for each in population(**sizes)
        for name in devices.get(each.dataset, ("only",))
    ]


def cut(videos, seed=0, **changes):
    chosen = {"protocols": ("C+I_to_M",), "validation_by": "device", **changes}
    ((_, found),) = assign_all(Evaluation(**chosen), (seed,), videos)
    return VideoTable.of(videos), found


@settings(max_examples=25, deadline=None)
@given(
    counts=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    seed=st.integers(0, 99),
    fraction=st.sampled_from([0.1, 0.3, 0.6]),
    by=st.sampled_from(["device", "session"]),
    turned=st.randoms(use_true_random=False),
)
def test_neither_a_subject_nor_a_condition_is_on_both_sides(counts, seed, fraction, by, turned):
    names = {dataset: [f"d{number}" for number in range(count)] for dataset, count in zip("CI", counts, strict=True)}
    videos = recorded(names, by=by)
    table, found = cut(videos, seed, validation_by=by, validation_fraction=fraction)
    for dataset, devices in names.items():
        sides = []
        for rows in (found.train, found.validation):
            mine = rows[table.dataset[rows] == dataset]
            assert set(table.label[mine].tolist()) == {0, 1}
            sides.append([set(np.asarray(getattr(table, each)[mine]).tolist()) for each in ("subject", by)])
        (subjects, theirs), (held, held_devices) = sides
        assert not subjects & held
        assert not theirs & held_devices
        # All devices of the dataset are on one side or the other, as large a share as was asked for.
        assert theirs | held_devices == set(devices)
        assert len(held_devices) == min(max(1, round(fraction * len(devices))), len(devices) - 1)
    # The cut by subject is that of every other run, the test videos are all there, and order says nothing.
    _, usual = cut(videos, seed, validation_by="subject", validation_fraction=fraction)
    assert set(found.validation) <= set(usual.validation)
    assert set(found.train) <= set(usual.train)
    assert list(found.test) == list(usual.test)
    shuffled = list(videos)
    turned.shuffle(shuffled)
    other, again = cut(shuffled, seed, validation_by=by, validation_fraction=fraction)
    for part in ("train", "validation", "test"):
        one, two = getattr(found, part), getattr(again, part)
        assert [table.path[row] for row in one] == [other.path[row] for row in two]


def test_classes_that_were_recorded_apart_are_held_out_by_two_devices():
    devices = {"I": ("a", "b")}
    videos = recorded(devices)
    for number in range(4):
        for label in (0, 1):
            for name in ("x", "y"):
                own = video("C", f"s{number}", "train", label)
                videos.append(dataclasses.replace(own, path=f"{name}-{own.path}", device=f"{label}{name}"))
    videos = [each for each in videos if each.dataset != "C" or each.device != "only"]
    table, found = cut(videos)
    held = set(np.asarray(table.device[found.validation[table.dataset[found.validation] == "C"]]).tolist())
    assert len(held) == 2
    assert {name[0] for name in held} == {"0", "1"}


@pytest.mark.parametrize(
    ("videos", "changes", "message"),
    [
        (recorded({"C": ("a", "b")}), {}, "all videos of I for training have the device 'only'"),
        (recorded({"C": ("a", ""), "I": ("a", "b")}), {}, "18 of 36 videos of C for training name no device"),
        (recorded({"C": ("a", "b"), "I": ("a", "b")}), {"validation_by": "session"}, "videos of C .* name no session"),
        (
            [each for each in recorded({"C": ("a", "b"), "I": ("a", "b")}) if each.dataset != "C"
             or (each.device == "a") == (each.label == 1)],
            {},
            "the 2 devices of C cannot be cut",
        ),
        (recorded({"C": ("a", "b"), "I": ("a", "b")}), {"preset": "ssdg2020"}, "preset ssdg2020 names"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_named(videos, changes, message):
    with pytest.raises(UserError, match=message):
        cut(videos, **changes)
