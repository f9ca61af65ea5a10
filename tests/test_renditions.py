"""Renditions: all of them in one pass, each as if it were made alone; and keys that no setting can be missing from."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.declarations import Declared, declared
from fas_jax.base.record import RenditionInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.pixels import renditions as module
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.detection import Face
from fas_jax.pixels.renditions import preparation_key, rendition_key, rendition_makers
from fas_jax.pixels.video import decode_file, decode_images
from tests.trees import decoded, moving_frames, write_video

BOXES = "0 16 8 24 24\n9 20 8 24 24\n"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 frames with an annotation beside them."""
    path = write_video(tmp_path_factory.mktemp("film") / "a.avi", moving_frames(23), codec="mjpeg")
    path.with_suffix(".face").write_text(BOXES)
    return path


ANNOTATED = Source(annotation="a.face", annotation_kind="boxes")
RENDITIONS = st.builds(
    Rendition,
    segment=st.integers(1, 30),
    position=st.sampled_from(["first", "middle", "last"]),
    max_frames=st.integers(0, 5),
    crop=st.sampled_from(["whole", "annotation"]),
    margin=st.sampled_from([0.0, 0.5]),
    size=st.sampled_from([8, 16]),
)


def make(path: Path, renditions: dict[str, Rendition], source: Source = ANNOTATED) -> tuple[Any, dict[str, np.ndarray]]:
    return decode_file(path, rendition_makers(path.parent, source, renditions))


@given(st.lists(RENDITIONS, min_size=1, max_size=4))
@settings(max_examples=25)
def test_each_is_as_if_it_were_made_alone(film: Path, several: list[Rendition]) -> None:
    info, frames = make(film, {f"r{number}": each for number, each in enumerate(several)})
    for number, each in enumerate(several):
        alone, made, own = decoded(film, each, ANNOTATED)
        assert info.renditions[f"r{number}"] == made
        np.testing.assert_array_equal(frames[f"r{number}"], own)
        assert dataclasses.replace(info, renditions={}) == dataclasses.replace(alone, renditions={})


def test_a_frame_is_converted_once_and_searched_once_for_each_model(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted, searched = [], []

    class Counting:
        """OpenCV's reader, which counts."""

        def __init__(self, *arguments: Any) -> None:
            self._reader = reader(*arguments)

        def retrieve(self) -> Any:
            converted.append(self._reader.get(cv2.CAP_PROP_POS_FRAMES))
            return self._reader.retrieve()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._reader, name)

    def search(image: np.ndarray, model: str, most_certain: bool) -> Face:
        searched.append((model, image.tobytes()))
        return Face((16.0, 8.0, 24.0, 24.0))

    reader = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    monkeypatch.setattr(module, "find_face", search)
    tight = Rendition(segment=5, max_frames=0, crop="detector", margin=0.0, size=8)
    several = {
        "whole": Rendition(segment=5, max_frames=0, size=8),
        "tight": tight,
        "wide": dataclasses.replace(tight, margin=1.0, segment=10),
        "other": dataclasses.replace(tight, face_model="other.onnx"),
    }
    info, _ = make(film, several, Source())
    assert info.renditions["tight"].frame_indices == (4, 9, 14, 19, 22)
    assert info.renditions["wide"].frame_indices == (9, 19, 22)
    # The frames at the end may each be the last; all others are converted because they are kept.
    assert len(converted) == len(set(converted)) <= 7
    assert len(searched) == len(set(searched)) == 5 + 5


def test_one_rendition_that_cannot_be_made_leaves_the_others(film: Path) -> None:
    whole = Rendition(segment=5, size=8)
    several = {"whole": whole, "face": dataclasses.replace(whole, crop="annotation")}
    film.with_name("none.face").write_text("0 0 0 0 0\n")
    empty = Source(annotation="none.face", annotation_kind="boxes")
    info, frames = make(film, several, empty)
    assert info.renditions["face"] == RenditionInfo(no_face=1, reason="no face in frame 4")
    assert frames["face"].shape == (0, 8, 8, 3)
    _, made, own = decoded(film, whole)
    assert info.renditions["whole"] == made
    np.testing.assert_array_equal(frames["whole"], own)
    # Without an annotation the reason is known before a frame is read.
    info, _ = make(film, several, Source())
    assert info.renditions["face"].reason.startswith("no face annotation belongs to it")
    faces = {name: dataclasses.replace(several["face"], no_face=name) for name in ("fail", "skip")}
    with pytest.raises(DecodeError, match=r"^fail: no face in frame 4; skip: no face in any of its 5 frames$"):
        make(film, faces, empty)


def test_image_folders_have_renditions_too_and_read_no_other_frame(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, frame in enumerate(moving_frames(10)):
        paths[number].write_bytes(cv2.imencode(".png", frame)[1].tobytes())
    for unread in (0, 1, 3, 5, 6, 7, 8):
        paths[unread].write_bytes(b"no image")
    several = {
        "two": Rendition(segment=5, max_frames=0, position="last", size=8),
        "one": Rendition(segment=5, max_frames=1, position="middle", size=16),
    }
    info, frames = decode_images(paths, rendition_makers(tmp_path, Source(), several))
    assert {name: each.frame_indices for name, each in info.renditions.items()} == {"two": (4, 9), "one": (2,)}
    assert {name: each.shape[:2] for name, each in frames.items()} == {"two": (2, 8), "one": (1, 16)}


# Another value of every setting: one that has none here fails the tests below.
OTHER_RENDITION = {
    "segment": 7,
    "seconds": 0.5,
    "position": "first",
    "max_frames": 2,
    "cap": "first",
    "burst": 4,
    "bursts": 5,
    "tiles": 4,
    "tile_step": 8,
    "crop": "whole",
    "preset": "ssdg",
    "margin": 0.1,
    "size": 16,
    "face_model": "yunet.onnx",
    "no_face": "skip",
}
OTHER_PREPARATION = {
    "records": "raw",
    "rotation": "list",
    "videos_per_shard": 1,
    "workers": 2,
    "timeout": 99.0,
    "allow_failures": 3,
    "allow_partial": True,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Rendition)])
def test_every_setting_of_a_rendition_that_has_an_effect_is_in_its_key(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fas_jax.pixels.detection.centerface_path", lambda: tmp_path / "yunet.onnx")
    for crop, unused in module._UNUSED.items():
        for seconds, burst, tiles in itertools.product((0.0, 2.0), (1, 3), (0, 5)):
            first = Rendition(crop=crop, seconds=seconds, burst=burst, tiles=tiles)  # type: ignore[arg-type]
            other = dataclasses.replace(first, **{field: OTHER_RENDITION[field]})
            ineffective = {
                *unused,
                "segment" if seconds else "",
                *(("max_frames", "cap") if burst > 1 else ("bursts",)),
            }
            ineffective |= set() if tiles else {"tile_step"}
            assert (rendition_key(first) == rendition_key(other)) == (field in ineffective or first == other)
    # What a key said before skipping by time, bursts, tiles and another cap were possible, it says today.
    assert not {"seconds", "cap", "burst", "bursts", "tiles", "tile_step"} & rendition_key(Rendition()).keys()
    assert "cap" not in rendition_key(Rendition(max_frames=0, cap="first"))


@pytest.mark.parametrize("crop", ["whole", "annotation"])
@pytest.mark.parametrize("field", ["margin", "face_model", "no_face"])
def test_a_setting_that_is_not_in_the_key_has_no_effect(crop: Any, field: str, film: Path) -> None:
    first = Rendition(segment=4, size=8, crop=crop)
    other = dataclasses.replace(first, **{field: OTHER_RENDITION[field]})
    if rendition_key(first) == rendition_key(other):
        one, another = (decoded(film, each, ANNOTATED) for each in (first, other))
        assert one[:2] == another[:2]
        np.testing.assert_array_equal(one[2], another[2])


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prepares three videos with some settings."""
    root = tmp_path_factory.mktemp("own")
    for number in range(3):
        write_video(root / f"{number}.avi", moving_frames(12, number), codec="mjpeg")
    rows = [f"{number}.avi,{'bonafide' if number else 'attack'},s,test\n" for number in range(3)]
    (root / "own.csv").write_text("video,label,subject,split\n" + "".join(rows))

    def run(settings: Preparation) -> Prepared:
        (listing,) = read_manifest(root / "own.csv")
        return prepare_listing(listing, tmp_path_factory.mktemp("out"), settings, {"whole": Rendition(5, size=16)})

    return run


@pytest.mark.parametrize("field", dataclasses.fields(Preparation), ids=lambda field: field.name)
def test_what_a_setting_of_the_preparation_is_declared_as_is_true(
    field: "dataclasses.Field[Any]", prepare: Any
) -> None:
    """What decides the result: another key. How it is done, and what may fail: the same key, and the same bits."""
    first = Preparation(workers=1)
    other = dataclasses.replace(first, **{field.name: OTHER_PREPARATION[field.name]})
    one, another = (preparation_key(each, {"whole": Rendition()}) for each in (first, other))
    if declared(field) is Declared.WHAT:
        assert one != another
    else:
        assert one == another
        assert prepare(first).fingerprint == prepare(other).fingerprint
