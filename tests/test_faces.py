import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.builder import from_record
from fas_jax.datasets.layouts import LAYOUTS, scan
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.msu_mfsd import upside_down
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.pixels import detection
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.crops import cut
from fas_jax.pixels.faces import box_at, find_face, parse_boxes
from fas_jax.pixels.pictures import unpack_frame
from tests.trees import MAKERS, decoded, moving_frames, msu_mfsd, read_video, write_video

WHOLE = Rendition(segment=1, max_frames=0, size=16)
CROP = Rendition(segment=1, max_frames=0, size=8, margin=0.0, crop="annotation")
SETTINGS = Preparation(workers=1, allow_partial=True)


def test_annotations_of_every_kind() -> None:
    assert parse_boxes("0 10 20 30 40\r\n1 0 0 0 0\r\n2 1 2 3 40", "boxes") == {0: (10, 20, 30, 40)}
    # MSU-MFSD: two corners, then the eyes.
    assert parse_boxes("3, 10, 20, 40, 80, 1, 2, 3, 4\n", "corners") == {3: (10, 20, 30, 60)}
    # OULU-NPU: the eyes are 20 apart; the box is centred on them and 2.2 distances wide.
    ((x, y, width, height),) = parse_boxes("0,60,50,40,50\n1,0,0,0,0", "eyes").values()
    assert (x + width / 2, width, height) == pytest.approx((50, 44, 60))
    assert y < 50 < y + height / 2
    for text, kind in (("0 1 2 3", "boxes"), ("x 1 2 3 4", "boxes"), ("0 1 2 3 nan", "boxes"), ("0,1,2,3", "eyes")):
        with pytest.raises(ValueError, match="line 1"):
            parse_boxes(text, kind)


def test_idiaps_boxes_of_casia_are_missing_where_they_are_zero(shared: Path) -> None:
    frames = videos = 0
    for path in (shared / "data/protocols/casia_fasd/face-locations").glob("*/*/*.face"):
        text = path.read_text()
        missing = len(text.splitlines()) - len(parse_boxes(text, "boxes"))
        frames, videos = frames + missing, videos + (missing > 0)
    assert (frames, videos) == (580, 151)


def test_boxes_between_annotated_frames() -> None:
    boxes = {2: (0.0, 10.0, 20.0, 20.0), 6: (8.0, 10.0, 40.0, 20.0)}
    assert box_at(boxes, 4) == (4, 10, 30, 20)
    assert box_at(boxes, 3) == (2, 10, 25, 20)
    assert (box_at(boxes, 0), box_at(boxes, 9)) == (boxes[2], boxes[6])
    assert box_at({}, 3) is None


def test_cut_is_square_centred_and_repeats_the_border() -> None:
    image = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8)
    np.testing.assert_array_equal(cut(image, (10, 4, 8, 8), 0.0), image[4:12, 10:18])
    np.testing.assert_array_equal(cut(image, (10, 6, 8, 4), 0.25), image[2:14, 8:20])
    corner = cut(image, (-4, -4, 8, 8), 0.0)
    np.testing.assert_array_equal(corner[4:, 4:], image[:4, :4])
    assert (corner[:4, :4] == image[0, 0]).all()
    assert max(cut(image, (0, 0, 1e9, 1e9), 0.0).shape) <= 60


def rotated(path: Path, upright: np.ndarray | None = None) -> Path:
    """A video stored upside down with a rotation tag of 180 degrees; its upper left quarter is white, unless told."""
    if upright is None:
        upright = np.zeros((48, 64, 3), np.uint8)
        upright[:24, :32] = 255
    write_video(path, [upright[::-1, ::-1]] * 4)
    content = path.read_bytes()
    # The display matrix of the track header: identity, and the one that turns by 180 degrees.
    one, minus = (0x10000).to_bytes(4, "big"), (-0x10000).to_bytes(4, "big", signed=True)
    zero, last = bytes(4), (0x40000000).to_bytes(4, "big")
    identity = one + zero * 3 + one + zero * 3 + last
    start = content.index(b"tkhd")
    at = content.index(identity, start)
    path.write_bytes(content[:at] + minus + zero * 3 + minus + zero * 3 + last + content[at + 36 :])
    return path


def test_upside_down_videos_by_tag_or_by_list_and_never_both(tmp_path: Path) -> None:
    root = msu_mfsd(tmp_path / "root", frames=3, clients=((3,), (1,)))
    name = "scene01/real/real_client003_android_SD_scene01.mp4"
    rotated(root / name)
    listing = scan(root)
    # The list: six clients' bona fide Android videos.
    listed = {path for path, source in listing.sources.items() if source.upside_down}
    assert listed == {name}
    assert all(source.upside_down is not None for source in listing.sources.values())

    def quarters(rotation: str, path: Path, source: Source) -> tuple[list[int], int]:
        upside_down = source.upside_down if rotation == "list" else None
        info, _, (image, *_) = decoded(path, Rendition(segment=1, size=32), source, upside_down)
        half = len(image) // 2
        places = ((0, 0), (0, half), (half, 0), (half, half))
        return [int(image[y + 2 : y + half - 2, x + 2 : x + half - 2].mean() > 127) for y, x in places], info.rotation

    tag, by_list = "tag", "list"
    assert quarters(tag, root / name, listing.sources[name]) == ([1, 0, 0, 0], 180)
    assert quarters(by_list, root / name, listing.sources[name]) == ([1, 0, 0, 0], 180)
    # A copy that lost its tag is upright by the list only; one that is not listed is left as it is by the list.
    bare = tmp_path / "bare.mp4"
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 255
    write_video(bare, [upright[::-1, ::-1]] * 4)
    assert quarters(tag, bare, listing.sources[name]) == ([0, 0, 0, 1], 0)
    assert quarters(by_list, bare, listing.sources[name]) == ([1, 0, 0, 0], 180)
    assert quarters(by_list, rotated(bare), Source(upside_down=False)) == ([0, 0, 0, 1], 0)


def test_a_lost_tag_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = msu_mfsd(tmp_path / "root", frames=1, clients=((3,), (1,)))
    prepare_dataset(root, tmp_path / "tag", SETTINGS, {"whole": WHOLE})
    assert "1 videos that MSU-MFSD lists as upside down carry no rotation tag" in caplog.text
    caplog.clear()
    prepare_dataset(root, tmp_path / "list", dataclasses.replace(SETTINGS, rotation="list"), {"whole": WHOLE})
    assert "upside down" not in caplog.text


def test_the_list_of_upside_down_videos_is_the_official_one(shared: Path) -> None:
    lines = (shared / "data/protocols/msu_mfsd/rotated_videos/rotated_videos.txt").read_text().split()
    names = [f"{name}.mp4" for name in LAYOUTS["msu_mfsd"].names()]
    mine = {name for name in names if upside_down(name)}
    assert mine == {f"scene01/{line.lower()}.mp4" for line in lines}


@pytest.mark.parametrize("layout", MAKERS)
def test_crops_from_each_datasets_own_annotation(tmp_path: Path, layout: str) -> None:
    root = MAKERS[layout](tmp_path / "root", frames=3)
    listing = scan(root)
    for video in listing.videos:
        path, kind = LAYOUTS[layout].annotation(video.path.rsplit(".", 1)[0])
        text = {
            "boxes": "0 16 8 24 24\n1 0 0 0 0\n2 20 8 24 24\n",
            "corners": "0, 16, 8, 40, 32, 0, 0, 0, 0\r\n2, 20, 8, 44, 32, 0, 0, 0, 0\r\n",
            "eyes": "0,20,20,30,20\n2,24,20,34,20\n",
        }[kind]
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    renditions = {"whole": WHOLE, "face": CROP}
    prepared = prepare_dataset(root, tmp_path / "out", SETTINGS, renditions)
    source = prepared.builder().as_data_source("test")
    for index in range(len(source)):
        video, info, stored = from_record(source[index])
        face = info.renditions["face"]
        boxes = np.reshape(face.boxes, (-1, 4))
        # The frame without annotation lies half-way.
        np.testing.assert_allclose(boxes[1], (boxes[0] + boxes[2]) / 2, atol=1e-5)
        assert (face.no_face, face.reason, info.renditions["whole"].boxes) == (0, "", ())
        assert len(stored["face"]) == len(stored["whole"]) == 3
        if kind != "eyes":
            frame = read_video(root / video.path)[0][8:32, 16:40]
            expected = cv2.resize(frame, (8, 8), interpolation=cv2.INTER_AREA)
            difference = np.abs(unpack_frame(stored["face"][0]).astype(int) - expected)
            # Two builds of FFmpeg turn YUV into RGB with other roundings.
            assert difference.max() <= 3
    clips = FrameClips(prepared, [shard for shard in prepared.shards if shard.split == "test"], "face")
    assert clips[0]["sequence"].shape == (3, 8, 8, 3)
    # A changed annotation is noticed, whatever its size.
    text = (root / path).read_text()
    (root / path).write_text(text.replace("20", "21"))
    assert prepare_dataset(root, tmp_path / "out", SETTINGS, renditions).fingerprint != prepared.fingerprint


@pytest.mark.parametrize(
    ("no_face", "text", "outcome"),
    [
        ("fail", "", "no face in frame 0"),
        ("skip", "", "no face in any of its 4 frames"),
        ("whole", "", ((0, 1, 2, 3), 4)),
        ("fail", "9 0 0", "annotation a.face: line 1"),
        ("fail", None, "no face annotation belongs to it"),
    ],
)
def test_what_happens_without_a_face(tmp_path: Path, no_face: str, text: str | None, outcome: object) -> None:
    path = write_video(tmp_path / "a.avi", moving_frames(4), codec="mjpeg")
    if text is not None:
        (tmp_path / "a.face").write_text(text)
    source = Source(annotation="a.face" if text is not None else "", annotation_kind="boxes")
    crop = dataclasses.replace(CROP, no_face=no_face)
    if isinstance(outcome, str):
        with pytest.raises(DecodeError, match=outcome):
            decoded(path, crop, source)
        return
    _, made, frames = decoded(path, crop, source)
    assert (made.frame_indices, made.no_face) == outcome
    whole = cv2.resize(read_video(path)[0], (8, 8), interpolation=cv2.INTER_AREA)
    assert np.abs(frames[0].astype(int) - whole).max() <= 3


class Detector:
    """Finds a face in frames whose mean is above 100, and a smaller one always."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 - OpenCV's name
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert image.shape[:2] == self.size[::-1]
        if image.mean() <= 100:
            return 1, None
        found = [[10, 10, 20, 20, *[0] * 10, 0.9], [100, 50, 200, 240, *[0] * 10, 0.8]]
        return 1, np.array(found, np.float32)


@pytest.mark.usefixtures("unchecked_types")
def test_a_yunet_file_gives_boxes_in_the_frames_own_pixels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    search = detection._yunet(Detector())
    monkeypatch.setattr(detection, "_detector", lambda model: search)
    bright, dark = np.full((720, 1280, 3), 200, np.uint8), np.zeros((720, 1280, 3), np.uint8)
    assert getattr(find_face(bright, "m"), "box", None) == (200, 100, 400, 480)
    assert getattr(find_face(bright[:360, :640], "m"), "box", None) == (100, 50, 200, 240)
    assert find_face(dark, "m") is None
    # A frame without a face is counted, and the nearest other candidate takes its place.
    crop = dataclasses.replace(CROP, crop="detector", face_model="m", no_face="skip", max_frames=2)
    path = write_video(tmp_path / "a.avi", [dark, bright, dark, bright, bright], codec="mjpeg")
    _, made, frames = decoded(path, crop)
    assert (made.frame_indices, made.no_face, made.boxes) == ((1, 4), 1, (200, 100, 400, 480) * 2)
    assert frames.shape == (2, 8, 8, 3)


def test_a_model_that_is_none(tmp_path: Path) -> None:
    root = MAKERS["casia_fasd"](tmp_path / "root", frames=1)
    (tmp_path / "model.onnx").write_text("nothing")
    for model, match in ((str(tmp_path / "absent"), "is not a file"), (str(tmp_path / "model.onnx"), "is not a YuNet")):
        crop = dataclasses.replace(CROP, crop="detector", face_model=model)
        with pytest.raises(UserError, match=match):
            prepare_dataset(root, tmp_path / "out", SETTINGS, {"face": crop})
