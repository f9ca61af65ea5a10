"""Bursts: consecutive frames at the recorded rate with one crop, from places that are spread over the video."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import RenditionInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.pixels import renditions as module
from fas_jax.pixels.detection import Face
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.selection import bursts_around, kept_indices
from fas_jax.pixels.video import DecodeError, decode_file, decode_images
from tests.trees import decoded, write_video

COUNT = 40
PLAIN = Rendition(segment=10, burst=4, bursts=3, crop="annotation", margin=0.0, size=16)
ANNOTATED = Source(annotation="a.face", annotation_kind="boxes")


def marked(index: int) -> np.ndarray:
    """A frame that says its number: a white pixel stays in place, and a red one moves by a pixel a frame."""
    image = np.full((48, 64, 3), 20, np.uint8)
    image[24, 30] = 255
    image[40, index] = (255, 0, 0)
    return image


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Marked frames without loss, with boxes that jump to and fro by a pixel, as a detector's do."""
    path = write_video(tmp_path_factory.mktemp("film") / "a.avi", map(marked, range(COUNT)), codec="ffv1")
    boxes = [f"{index} {22 + index % 2} {18 + index % 3} 16 16\n" for index in range(COUNT)]
    path.with_suffix(".face").write_text("".join(boxes))
    return path


def test_frames_are_consecutive_and_have_one_crop(film: Path) -> None:
    info, made, frames = decoded(film, PLAIN, ANNOTATED)
    # Of frames 9, 19, 29 and 39, the first, the third and the last, each the earlier middle of its burst if it can be.
    assert made.frame_indices == (8, 9, 10, 11, 28, 29, 30, 31, 36, 37, 38, 39)
    assert info.frame_count == COUNT
    boxes = np.array(made.boxes).reshape(3, 4, 4)
    for burst, own in zip(frames.reshape(3, 4, 16, 16, 3), boxes, strict=True):
        places = [np.argwhere((image == 255).all(2)).tolist() for image in burst]
        assert len(places[0]) == 1
        assert places == 4 * places[:1]
        assert (own == own[0]).all()
    # Not the same crop for all: each is that of its burst's middle frame.
    assert [tuple(own[0, :2]) for own in boxes] == [(22 + i % 2, 18 + i % 3) for i in (9, 29, 37)]


def test_each_frame_is_the_one_that_it_is_said_to_be(film: Path) -> None:
    _, made, frames = decoded(film, dataclasses.replace(PLAIN, crop="whole", size=64))
    columns = [np.unique(np.argwhere(image[..., 0].astype(int) - image[..., 1] > 100)[:, 1]) for image in frames]
    assert [each.tolist() for each in columns] == [[index] for index in made.frame_indices]


def test_it_is_as_if_it_were_made_alone_and_images_give_the_same(film: Path, tmp_path: Path) -> None:
    single = Rendition(segment=7, size=16)
    makers = rendition_makers(film.parent, ANNOTATED, {"burst": PLAIN, "single": single})
    info, frames = decode_file(film, makers)
    for name, settings in (("burst", PLAIN), ("single", single)):
        _, made, own = decoded(film, settings, ANNOTATED)
        assert info.renditions[name] == made
        np.testing.assert_array_equal(frames[name], own)
    paths = [tmp_path / f"{index:02d}.png" for index in range(COUNT)]
    for index, path in enumerate(paths):
        path.write_bytes(cv2.imencode(".png", marked(index)[..., ::-1])[1].tobytes())
    again, images = decode_images(paths, rendition_makers(film.parent, ANNOTATED, {"burst": PLAIN}), 25.0)
    assert again.renditions["burst"] == info.renditions["burst"]
    np.testing.assert_array_equal(images["burst"], frames["burst"])


def test_by_time_they_lie_around_the_frames_that_are_kept_by_time(film: Path) -> None:
    by_time = dataclasses.replace(PLAIN, seconds=10 / 25, segment=1)
    assert decoded(film, by_time, ANNOTATED)[1] == decoded(film, PLAIN, ANNOTATED)[1]


@pytest.mark.parametrize("no_face", ["fail", "skip", "whole"])
def test_a_face_is_searched_once_a_burst(film: Path, monkeypatch: pytest.MonkeyPatch, no_face: str) -> None:
    searched = []

    def search(image: np.ndarray, model: str, most_certain: bool) -> Face | None:
        index = int(np.argwhere((image[40].astype(int)[:, 2] - image[40, :, 1]) > 100)[0, 0])
        searched.append(index)
        return None if index == 9 else Face((22.0, 18.0, 16.0, 16.0))

    monkeypatch.setattr(module, "find_face", search)
    settings = dataclasses.replace(PLAIN, crop="detector", bursts=2, no_face=no_face)
    if no_face == "fail":
        with pytest.raises(DecodeError, match="no face in frame 9"):
            decoded(film, settings)
        return
    _, made, frames = decoded(film, settings)
    # In place of a burst without a face comes its nearest neighbour.
    wanted = {"skip": ([9, 37, 19], (18, 19, 20, 21)), "whole": ([9, 37], (8, 9, 10, 11))}[no_face]
    assert (searched, made.frame_indices[:4], made.no_face) == (*wanted, 1)
    assert len(frames) == 8


def test_a_video_that_is_shorter_than_a_burst_says_so(film: Path) -> None:
    long = dataclasses.replace(PLAIN, burst=COUNT + 1)
    makers = rendition_makers(film.parent, ANNOTATED, {"long": long, "whole": Rendition(size=8)})
    info, frames = decode_file(film, makers)
    reason = f"its {COUNT} frames are fewer than a burst of {COUNT + 1}"
    assert info.renditions["long"] == RenditionInfo(reason=reason)
    assert frames["long"].shape == (0, 16, 16, 3)
    with pytest.raises(DecodeError, match="fewer than a burst"):
        decoded(film, long, ANNOTATED)
    chosen = rendition_makers(film.parent, dataclasses.replace(ANNOTATED, chosen=True), {"burst": PLAIN})
    assert "chosen from a longer video" in chosen["burst"].reason


def test_preparation_stores_them_and_counts_those_that_are_too_short(tmp_path: Path) -> None:
    for name, count in (("a", 24), ("b", 24), ("c", 3)):
        write_video(tmp_path / f"{name}.avi", map(marked, range(count)), codec="ffv1")
    rows = [f"{name}.avi,{'bonafide' if name == 'a' else 'attack'},s,test\n" for name in "abc"]
    (tmp_path / "own.csv").write_text("video,label,subject,split\n" + "".join(rows))
    (listing,) = read_manifest(tmp_path / "own.csv")
    renditions = {"burst": Rendition(segment=10, size=16, burst=4, bursts=2), "whole": Rendition(size=16)}
    prepared = prepare_listing(listing, tmp_path / "out", Preparation(workers=1), renditions)
    assert prepared.rendition("burst")["burst"] == 4
    (lack,) = prepared.not_made()
    assert (lack[0], lack[1].path, lack[2]) == ("burst", "c.avi", "its 3 frames are fewer than a burst of 4")
    counts = [
        len(info.renditions["burst"].frame_indices) for shard in prepared.shards for _, info in prepared.clips(shard)
    ]
    assert sorted(counts) == [0, 8, 8]


@given(st.integers(1, 120), st.integers(1, 30), st.sampled_from(["first", "middle", "last"]), st.integers(2, 12))
def test_bursts_lie_inside_of_the_video_and_share_no_frame(
    count: int, segment: int, position: str, length: int
) -> None:
    kept = kept_indices(count, segment, position, 0)
    found = bursts_around(kept, length, count)
    assert bool(found) == (count >= length)
    frames = [index for each in found for index in each]
    assert frames == sorted(set(frames))
    assert all(len(each) == length for each in found)
    assert not frames or (frames[0] >= 0 and frames[-1] < count)
    # Every burst holds the frame that it is kept around, and no burst is left out that would have had room.
    assert all(any(index in each for index in kept) for each in found)
    for index in kept if found else ():
        start = min(max(index - (length - 1) // 2, 0), count - length)
        assert any(start - length < each.start <= start for each in found)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"gru": {"kind": "gru", "rendition": "burst"}},
            r"methods.gru reads a clip as one sequence.*bursts of 4 frames",
        ),
        (
            {
                "net": {"kind": "finetune", "rendition": "burst", "weights": "random"},
                "meta": {"kind": "lstm-stack", "over": ["net"]},
            },
            "methods.meta reads a clip as one sequence",
        ),
        ({"mean": {"kind": "mean-feature", "rendition": "burst"}}, ""),
        ({"gru": {"kind": "gru"}}, ""),
    ],
)
def test_no_state_runs_from_one_burst_into_the_next(methods: dict[str, dict[str, object]], said: str) -> None:
    table = {"renditions": {"whole": {}, "burst": {"burst": 4}}, "methods": methods}
    experiment = experiment_from_dict(table, "test")
    if said:
        with pytest.raises(UserError, match=said):
            experiment.check()
    else:
        experiment.check()
