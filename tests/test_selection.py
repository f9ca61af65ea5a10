"""Which frames are kept and which are searched: by number and by time, from images and from videos alike."""

import dataclasses
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.pixels import renditions as renditions_module
from fas_jax.pixels import selection
from fas_jax.pixels.detection import Face
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.selection import fill, fill_in_order, indices_by_time, kept_indices, kept_of, spread, told_times
from fas_jax.pixels.video import DecodeError, decode_file, decode_images
from tests.trees import decoded, moving_frames, read_video, write_video


def filled(count: int, most: int, good: set[int]) -> tuple[list[int], list[list[int]]]:
    """The candidates that are kept where just the good ones can be, and the rounds in which they were offered."""
    kept: list[int] = []
    rounds = []

    def offer(numbers: Sequence[int]) -> dict[int, bool]:
        rounds.append(list(numbers))
        kept.extend(number for number in numbers if number in good)
        return {number: number in good for number in numbers}

    fill(count, most, offer)
    return sorted(kept), rounds


def test_a_candidate_that_cannot_be_kept_is_replaced_by_its_nearest_neighbour() -> None:
    assert spread(range(13), 4) == [0, 4, 8, 12]
    assert filled(13, 4, set(range(13))) == ([0, 4, 8, 12], [[0, 4, 8, 12]])
    # Of two neighbours as near, the earlier; and two places never take the same.
    assert filled(13, 4, set(range(13)) - {8}) == ([0, 4, 7, 12], [[0, 4, 8, 12], [7]])
    assert filled(13, 4, {0, 4, 9, 12}) == ([0, 4, 9, 12], [[0, 4, 8, 12], [7], [9]])
    assert filled(5, 2, {2}) == ([2], [[0, 4], [1, 3], [2]])
    assert filled(3, 0, {1}) == ([1], [[0, 1, 2]])


@given(st.integers(1, 40), st.integers(0, 9), st.data())
def test_no_more_are_searched_than_needed_and_none_that_serves_is_missed(count: int, most: int, data: Any) -> None:
    good = data.draw(st.sets(st.integers(0, count - 1)))
    kept, rounds = filled(count, most, good)
    offered = [number for each in rounds for number in each]
    assert len(offered) == len(set(offered))
    assert len(kept) == min(len(good), most or count)
    assert set(spread(range(count), most)) & good <= set(kept)
    if not set(spread(range(count), most)) - good:
        assert len(rounds) == 1


@given(st.integers(1, 40), st.integers(0, 9), st.data())
def test_in_order_the_first_that_can_be_kept_are_kept(count: int, most: int, data: Any) -> None:
    good = data.draw(st.sets(st.integers(0, count - 1)))
    kept: list[int] = []
    offered: list[int] = []

    def offer(numbers: Sequence[int]) -> dict[int, bool]:
        offered.extend(numbers)
        kept.extend(number for number in numbers if number in good)
        return {number: number in good for number in numbers}

    fill_in_order(count, most, offer)
    assert kept == sorted(good)[: most or None]
    # One after the other, and none behind the last that is kept.
    assert offered == list(range(len(offered)))
    assert len(offered) == (kept[-1] + 1 if most and len(kept) == most else count)


CAUSAL = Rendition(seconds=0.5, position="first", max_frames=4, cap="first", size=8)


@settings(max_examples=200)
@given(st.lists(st.floats(0, 0.9), min_size=1, max_size=40), st.integers(1, 40), st.sampled_from([0, 3]))
def test_a_causal_rendition_keeps_of_a_video_s_beginning_what_it_keeps_of_the_video(gaps, length, most) -> None:
    rendition = dataclasses.replace(CAUSAL, max_frames=most)
    times = np.cumsum(gaps).tolist()

    def kept(of: Sequence[float]) -> list[int]:
        return kept_of(indices_by_time(of, rendition.seconds, rendition.position), rendition)

    whole, beginning = kept(times), kept(times[:length])
    assert beginning == [index for index in whole if index < length]
    # Each is the first frame in its half second.
    for index in whole[1:]:
        passed, before = times[index] - times[0], times[index - 1] - times[0]
        assert (passed + 0.0015) // 0.5 > (before + 0.0005) // 0.5


def test_what_needs_the_future_says_so() -> None:
    assert CAUSAL.needs_future == dataclasses.replace(CAUSAL, cap="spread", max_frames=0).needs_future == ""
    assert Rendition(position="first", max_frames=0).needs_future == ""
    for change, told in (
        ({"cap": "spread"}, r'max_frames = 4 spreads.*set cap = "first", or max_frames = 0'),
        ({"position": "last"}, 'position = "last" waits.*set position = "first"'),
        ({"burst": 4}, "burst = 4 keeps frames around.*set burst = 1"),
    ):
        assert re.search(told, dataclasses.replace(CAUSAL, **change).needs_future)


@settings(max_examples=300)
@given(st.integers(1, 80), st.integers(1, 12), st.sampled_from([10, 25, 30, Fraction(30000, 1001)]), st.data())
def test_at_a_constant_rate_time_and_number_agree(count: int, segment: int, rate: Fraction, data: Any) -> None:
    position = data.draw(st.sampled_from(["first", "middle", "last"]))
    start = data.draw(st.sampled_from([0, 1 / 3, 7]))
    # As Matroska stores them: rounded to milliseconds.
    times = [round(1000 * (start + index / rate)) / 1000 for index in range(count)]
    assert indices_by_time(times, float(segment / rate), position) == kept_indices(count, segment, position, 0)


def test_at_a_rate_that_varies_segments_have_the_same_length_and_gaps_none() -> None:
    times = [0.0, 0.1, 0.2, 0.9, 1.0, 1.5, 4.2, 4.3]
    assert indices_by_time(times, 1.0, "last") == [3, 5, 7]
    assert indices_by_time(times, 1.0, "first") == [0, 4, 6]
    assert indices_by_time(times, 1.0, "middle") == [2, 4, 7]
    assert indices_by_time(times, 10.0, "last") == [7]


def test_times_that_the_decoder_does_not_tell() -> None:
    assert told_times([0, 40, 80, 0, 0], 25.0) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert told_times([0, 40, 30, 80], 25.0) == [0, 0.04, 0.04, 0.08]
    assert told_times([0, 0, 0], 25.0) == []
    assert told_times([0], 25.0) == [0]


TIMES = [0, 40, 80, 120, 900, 960, 1000, 1700, 2040, 2990, 3100]


@pytest.fixture(scope="module")
def varying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames were taken at `TIMES` (ms)."""
    path = tmp_path_factory.mktemp("varying") / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, _ = moving_frames(1)[0].shape
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for time, pixels in zip(TIMES, moving_frames(len(TIMES)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [5, 7, 9, 10]),
        ({"position": "first"}, [0, 6, 8, 10]),
        ({"max_frames": 2}, [5, 10]),
        ({"seconds": 0.1}, [2, 3, 5, 6, 7, 8, 9, 10]),
        ({"crop": "annotation"}, [5, 7, 9, 10]),
        ({"position": "first", "max_frames": 3, "cap": "first"}, [0, 6, 8]),
        ({"seconds": 0.0, "segment": 3, "position": "first", "max_frames": 2, "cap": "first"}, [0, 3]),
    ],
)
def test_a_video_is_skipped_by_its_own_times(varying: Path, options: dict[str, Any], expected: list[int]) -> None:
    rendition = Rendition(**{"seconds": 1.0, "max_frames": 0, "size": 48, "margin": 0.0, **options})
    info, made, frames = decoded(varying, rendition, Source(box=(8, 0, 48, 48)))
    assert (list(made.frame_indices), info.frame_count, (info.height, info.width)) == (expected, len(TIMES), (48, 64))
    # The pixels are those of these frames, which a second pass gave; two decoders round colours otherwise.
    every = read_video(varying)
    for index, frame in zip(made.frame_indices, frames, strict=True):
        whole = cv2.resize(every[index], (48, 48), interpolation=cv2.INTER_AREA)
        expected_frame = every[index][:, 8:56] if options.get("crop") else whole
        assert np.abs(frame.astype(int) - expected_frame).max() <= 3


def test_a_recorders_video_is_skipped_by_its_own_times(shared: Path) -> None:
    path = shared / "cases/vfr-webcam/dim.mp4"
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    _, made, _ = decoded(path, Rendition(seconds=0.5, max_frames=0, size=8))
    assert list(made.frame_indices) == indices_by_time(times, 0.5, "last")
    gaps = np.diff([times[index] for index in made.frame_indices])
    assert gaps.max() < 0.7


def test_images_are_skipped_by_time_where_their_rate_is_known(tmp_path: Path) -> None:
    paths = write_images(tmp_path, moving_frames(10))
    several = {"time": Rendition(seconds=1.0, max_frames=0, size=8), "number": Rendition(segment=4, size=8)}

    def decode(fps: float, chosen: bool = False, **renditions: Rendition) -> Any:
        return decode_images(paths, rendition_makers(tmp_path, Source(chosen=chosen), renditions), fps)[0].renditions

    made = decode(4.0, **several)
    assert made["time"].frame_indices == made["number"].frame_indices == (3, 7, 9)
    made = decode(0.0, **several)
    assert (made["number"].frame_indices, made["time"].frame_indices) == ((3, 7, 9), ())
    assert made["time"].reason.startswith("the times of its frames are not known")
    with pytest.raises(DecodeError, match="times of its frames are not known"):
        decode(0.0, time=several["time"])
    alone = decode_images(paths[:1], rendition_makers(tmp_path, Source(), {"time": several["time"]}))[0]
    assert alone.renditions["time"].frame_indices == (0,)
    # Frames that were chosen already have no times of a video.
    assert decode(0.0, chosen=True, **several)["time"].frame_indices == tuple(range(10))


def write_images(folder: Path, frames: Sequence[np.ndarray]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        path.write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
    return paths


FACE = Rendition(segment=3, max_frames=4, crop="detector", face_model="m", no_face="skip", size=8, margin=0.0)
FACELESS = {5, 11, 14, 20}


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A stand-in for the detector, which knows the frames by their shade; the frames that it was asked for, in turn."""
    numbers: list[int] = []

    def search(image: np.ndarray, model: str, most_certain: bool) -> Face | None:
        number = round(float(image.mean()) / 8) - 1
        numbers.append(number)
        return None if number in FACELESS else Face((16.0 + number, 8.0, 24.0, 24.0))

    monkeypatch.setattr(renditions_module, "find_face", search)
    return numbers


SHADES = [np.full((48, 64, 3), 8 * (number + 1), np.uint8) for number in range(30)]


def test_images_and_videos_with_any_memory_give_the_same_clip(
    tmp_path: Path, searched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faces are searched in frames that may be kept alone, and which these are depends on the pixels alone."""
    video, images = write_video(tmp_path / "a.avi", SHADES, codec="ffv1"), write_images(tmp_path, SHADES)
    renditions = {
        "whole": Rendition(segment=3, size=8),
        "face": FACE,
        "wide": dataclasses.replace(FACE, margin=0.5),
        "first": dataclasses.replace(FACE, position="first", max_frames=3),
        "filled": dataclasses.replace(FACE, no_face="whole"),
        "strict": dataclasses.replace(FACE, no_face="fail"),
    }
    found = []
    for held in (selection.HELD_BYTES, 5 * SHADES[0].nbytes, 0):
        monkeypatch.setattr(selection, "HELD_BYTES", held)
        found.append(decode_file(video, rendition_makers(tmp_path, Source(), renditions)))
    found.append(decode_images(images, rendition_makers(tmp_path, Source(), renditions)))
    made = found[0][0].renditions
    # Candidates are 2, 5, 8, ..., 29, and of these 2, 11, 20, 29 are spread. For 11 comes 8, for 20 comes 17.
    assert made["face"].frame_indices == made["wide"].frame_indices == (2, 8, 17, 29)
    assert (made["face"].no_face, made["filled"].frame_indices, made["filled"].no_face) == (2, (2, 11, 20, 29), 2)
    assert made["first"].frame_indices == (0, 15, 27)
    assert made["strict"].reason == "no face in frame 11"
    for info, frames in found[1:]:
        assert info.renditions == made
        for name, each in frames.items():
            np.testing.assert_array_equal(each, found[0][1][name])
    # The whole frames are the same bits as without faces beside them.
    alone = decode_file(video, rendition_makers(tmp_path, Source(), {"whole": renditions["whole"]}))
    assert alone[0].renditions["whole"] == made["whole"]
    np.testing.assert_array_equal(alone[1]["whole"], found[0][1]["whole"])


def test_the_search_for_faces_costs_what_is_kept(tmp_path: Path, searched: list[int]) -> None:
    rendition = dataclasses.replace(FACE, segment=1, max_frames=5)
    video, images = write_video(tmp_path / "a.avi", SHADES, codec="ffv1"), write_images(tmp_path, SHADES)
    makers = [rendition_makers(tmp_path, Source(), {"face": rendition, "twin": rendition}) for _ in range(2)]
    info, _ = decode_file(video, makers[0])
    # Of 0, 7, 15, 22 and 29 all have a face.
    assert (searched, info.renditions["face"].frame_indices) == ([0, 7, 15, 22, 29], (0, 7, 15, 22, 29))
    searched.clear()
    decode_images(images, makers[1])
    assert searched == [0, 7, 15, 22, 29]


def test_a_video_without_any_face_is_searched_once(tmp_path: Path, searched: list[int]) -> None:
    dark = [SHADES[5]] * 9
    video = write_video(tmp_path / "a.avi", dark, codec="ffv1")
    with pytest.raises(DecodeError, match=r"^no face in any of its 9 frames$"):
        decode_file(video, rendition_makers(tmp_path, Source(), {"face": dataclasses.replace(FACE, segment=1)}))
    assert len(searched) == 9
