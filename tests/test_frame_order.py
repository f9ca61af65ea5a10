"""The order of frames by their names, as frame extractors, trackers and other projects write them."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.datasets.frame_order import in_order_of_frames
from fas_jax.datasets.manifest import read_manifest

IN_ORDER = {
    "plain": ["9.png", "10.png", "100.png"],
    "padded and not, in folders": ["v2/f1.png", "v2/f9.png", "v2/f010.png"],
    "hash": ["frame0000_9f3a77.jpg", "frame0001_02bc61.jpg", "frame0002_77de18.jpg", "frame0003_31aa05.jpg"],
    "hash of digits": ["frame0000_939377.jpg", "frame0001_022261.jpg", "frame0002_771118.jpg"],
    "hash before": ["9f3a77-0000.jpg", "02bc61-0001.jpg", "77de18-0002.jpg", "123456-0003.jpg"],
    "hash between": ["cam1_9f3_00.jpg", "cam1_abc_01.jpg", "cam1_12_02.jpg"],
    "confidence": ["00000_conf0.97.jpg", "00010_conf0.88.jpg", "00020_conf0.99.jpg", "00030_conf1.jpg"],
    "bare confidence": ["0_0.97.jpg", "5_0.88.jpg", "10_0.99.jpg"],
    "score in percent": ["1_score_97.jpg", "2_score_88.jpg", "3_score_99.jpg"],
    "size": ["1_640x480.jpg", "2_320x240.jpg", "3_200x100.jpg"],
    "time": ["00-00-00.960.png", "00-00-01.000.png", "00-00-01.040.png", "00-01-00.000.png", "01-00-00.000.png"],
    "time without fraction": ["x_0:00:58.png", "x_0:00:59.png", "x_0:01:00.png"],
    "seconds": ["0.5.png", "1.25.png", "10.0.png"],
    "number and time": ["1_t0040.png", "2_t0080.png", "10_t0120.png"],
    "WMCA": ["31.01.18_035_01_000_0_01_00.jpg", "31.01.18_035_01_000_0_01_01.jpg", "31.01.18_035_01_000_0_01_10.jpg"],
    "CeFA": ["3_499_1_1_1_00.jpg", "3_499_1_1_1_01.jpg"],
    "FLIP": ["17_HR_1_frame0.png", "17_HR_1_frame1.png"],
    "CASIA-SURF": ["real.rssdk_color_91.jpg", "real.rssdk_color_101.jpg"],
    "words that differ": ["left_1.png", "right_2.png", "left_3.png"],
    "one": ["portrait.png"],
}


@pytest.mark.parametrize("names", IN_ORDER.values(), ids=IN_ORDER)
def test_the_number_that_counts(names: list[str]) -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        assert in_order_of_frames(shuffled) == names


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.png", "b.png"], r"frame a\.png has no number"),
        (["f1.png", "cover.png"], r"frame cover\.png has no number"),
        (["f1.png", "f1.jpg"], r"f1\.jpg and f1\.png have the same number \(1\)"),
        (["f1.png", "f01.png", "f2.png"], "the same number"),
        (["a1.png", "b2.png"], "no number at the same place"),
        (["face_conf0.97.png", "face_conf0.98.png"], "no number"),
        # A burst of a phone whose seconds and milliseconds both repeat.
        (["120001_040.png", "120001_080.png", "120002_040.png"], "the same number"),
        (["1_31.png", "2_17.png", "3_90.png"], r"in 1_31\.png by '1' or '31'"),
        (["0.9.png", "0.10.png", "1.1.png", "1.1.jpg"], "the same number"),
    ],
)
def test_what_is_refused(names: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        in_order_of_frames(names)


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True),
    st.sampled_from(["{}", "{:07}", "f{}", "frame_{:07}", "a-3_{}", "7_{:07}_x", "{}_conf0.5", "v2f{}", "{}_640x480"]),
)
def test_numbers_are_compared_as_numbers(numbers: list[int], form: str) -> None:
    names = [f"{form.format(number)}.png" for number in numbers]
    assert in_order_of_frames(names) == [f"{form.format(number)}.png" for number in sorted(numbers)]


@given(st.lists(st.integers(0, 99), min_size=2, max_size=10, unique=True), st.data())
def test_a_second_number_never_changes_the_order_in_silence(numbers: list[int], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.integers(0, 99), min_size=len(numbers), max_size=len(numbers)))
    names = {number: f"{number}_{other}.png" for number, other in zip(numbers, others, strict=True)}
    by_first = [names[number] for number in sorted(numbers)]
    agree = sorted(range(len(numbers)), key=numbers.__getitem__) == sorted(range(len(others)), key=others.__getitem__)
    if len(set(others)) < len(others) or agree:
        assert in_order_of_frames(names.values()) == by_first
    else:
        with pytest.raises(ValueError, match="by several numbers"):
            in_order_of_frames(names.values())


def test_folders_that_were_read_in_another_order(shared: Path) -> None:
    for case in ("hash", "score"):
        (listing,) = read_manifest(shared / "cases/frame-names" / case / "m.csv")
        for source in listing.sources.values():
            assert list(source.frames) == sorted(source.frames)  # All of these are padded.
