"""Crops by name: where points come to lie, what is cut, and which settings contradict a preset."""

import dataclasses
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.crop_presets import CROP_PRESETS
from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import from_dict, to_dict
from fas_jax.pixels import faces
from fas_jax.pixels.crops import align, cut, render, resize, similarity
from fas_jax.pixels.detection import Face
from fas_jax.pixels.renditions import check_renditions, rendition_key, rendition_makers

# A face in a frame of 640x480, 100 pixels wide.
BOX = (250.0, 150.0, 100.0, 130.0)
POINTS = np.array([[275.0, 200.0], [325, 205], [300, 230], [280, 255], [320, 258]])
FACE = Face(BOX, (*POINTS.ravel().tolist(),), 0.9)


def frame(height: int = 480, width: int = 640) -> np.ndarray:
    """Smooth, with another colour everywhere."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 127 + 127 * np.sin((x + y) / 40)], -1).astype(np.uint8)


@given(
    scale=st.floats(0.05, 20),
    angle=st.floats(-3, 3),
    move=st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    count=st.integers(2, 5),
)
def test_a_similarity_is_found_again(scale: float, angle: float, move: tuple[float, float], count: int) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found, offset = similarity(POINTS[:count], POINTS[:count] @ turn.T + move)
    np.testing.assert_allclose(found, turn, atol=1e-9 * scale)
    np.testing.assert_allclose(offset, move, atol=1e-6 * max(1, scale))


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=5, max_size=5))
def test_no_other_similarity_has_a_smaller_error(noise: list[tuple[float, float]]) -> None:
    """Against the linear least squares problem that a similarity is in a, b, and the move."""
    goal = POINTS @ np.array([[0.0, 1.4], [-1.4, 0.0]]) + np.array(noise)
    x, y = POINTS.T
    rows = [np.stack([x, -y, np.ones(5), np.zeros(5)], 1), np.stack([y, x, np.zeros(5), np.ones(5)], 1)]
    (a, b, right, down), *_ = np.linalg.lstsq(np.concatenate(rows), goal.T.ravel(), rcond=None)
    turn, move = similarity(POINTS, goal)
    np.testing.assert_allclose(turn, [[a, -b], [b, a]], atol=1e-9)
    np.testing.assert_allclose(move, [right, down], atol=1e-6)


def test_points_at_one_place_are_refused_and_a_mirrored_face_is_not_mirrored() -> None:
    with pytest.raises(ValueError, match="no direction"):
        similarity(np.ones((5, 2)), POINTS)
    turn, _ = similarity(POINTS * [-1, 1], POINTS)
    assert np.linalg.det(turn) > 0


def dots(points: np.ndarray, size: tuple[int, int], radius: int) -> np.ndarray:
    """A black frame with a white disc at each point."""
    image = np.zeros((*size, 3), np.uint8)
    for point in points:
        cv2.circle(image, tuple(int(value) for value in point), radius, (255, 255, 255), -1)
    return image


@pytest.mark.parametrize("name", ["ssdg", "flip", "gdfas", "bob"])
@pytest.mark.parametrize("zoom", [1, 4])
@pytest.mark.parametrize("degrees", [0, 30])
def test_the_eyes_of_an_aligned_crop_lie_where_the_preset_says(name: str, zoom: int, degrees: int) -> None:
    preset = CROP_PRESETS[name]
    angle = math.radians(degrees)
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # The mean shape itself, so that all points are met.
    shape = np.array(CROP_PRESETS["ssdg"].targets)
    points = np.round((shape - shape.mean(0)) * 150 @ turn.T + [300 * zoom, 240 * zoom])
    crop = align(dots(points[:2], (480 * zoom, 640 * zoom), 4 * zoom), points, preset)
    assert crop.shape == (preset.size, preset.size, 3)
    y, x = np.nonzero(crop[..., 0] > 60)
    middle = np.array(preset.eyes_middle or np.mean(preset.targets, axis=0)) * preset.size
    np.testing.assert_allclose([x.mean(), y.mean()], middle, atol=1.5)
    # They lie level, and as far apart as in the preset's own shape.
    left = x < middle[0]
    assert abs(y[left].mean() - y[~left].mean()) < 1.5
    apart = preset.size * (preset.targets[1][0] - preset.targets[0][0])
    assert abs(x[~left].mean() - x[left].mean() - apart) < 2


def test_the_mean_shape_of_ssdg_is_padded() -> None:
    expected = [[(0.37 + x) / 1.74, (0.37 + y) / 1.74] for x, y in ((0.224, 0.212), (0.756, 0.212), (0.490, 0.628))]
    np.testing.assert_allclose(CROP_PRESETS["ssdg"].targets[:3], expected, atol=1e-3)


def test_an_aligned_crop_repeats_the_border_and_averages_when_it_shrinks() -> None:
    corner = POINTS - POINTS.mean(0)
    crop = align(np.full((480, 640, 3), 200, np.uint8), corner, CROP_PRESETS["ssdg"])
    assert (crop == 200).all()
    # One white line in four, much finer than the crop: sampling would give moiré, averages give grey.
    image = np.zeros((2000, 2000, 3), np.uint8)
    image[:, ::4] = 255
    shrunk = align(image, corner * 20 + 1000, CROP_PRESETS["bob"])
    inside = shrunk[60:160, 60:160]
    assert inside.std() < 12
    assert abs(inside.mean() - 64) < 2


def test_crops_that_are_not_aligned() -> None:
    image = frame()

    def made(name: str, face: Face = FACE) -> np.ndarray:
        return render(image, face, Rendition(preset=name))

    np.testing.assert_array_equal(made("safas"), resize(image[150:280, 250:350], 256))
    # Cut off at the frame, not filled.
    beyond = dataclasses.replace(FACE, box=(-20.7, -5.2, 100.4, 90.9))
    np.testing.assert_array_equal(made("gac", beyond), resize(image[:85, :79], 256))
    np.testing.assert_array_equal(made("facenox"), resize(cut(image, BOX, 0.25), 128))
    # The extent of the points is 50 by 58, so 58 and twice 20.
    np.testing.assert_array_equal(made("iadg"), resize(image[180:278, 255:353], 256))
    # 2.7 times the box fits into the frame's height; 4 times does not, and is moved besides.
    np.testing.assert_array_equal(made("minivision-2.7"), resize(image[39:390, 165:435], 80))
    scale = 479 / 130
    wide = [300 - 50 * scale, 300 + 50 * scale]
    np.testing.assert_array_equal(made("minivision-4.0"), resize(image[0:479, int(wide[0]) : int(wide[1])], 80))
    aside = dataclasses.replace(FACE, box=(0.0, 300.0, 100.0, 130.0))
    np.testing.assert_array_equal(made("minivision-2.7", aside), resize(image[129:480, :270], 80))
    np.testing.assert_array_equal(render(image, None, Rendition(preset="whole")), resize(image, 224))


@pytest.mark.parametrize("name", CROP_PRESETS)
@pytest.mark.parametrize("place", [(0, 0), (-60, -60), (600, 440), (5000, 5000)])
def test_every_preset_gives_its_size_wherever_the_face_is(name: str, place: tuple[int, int]) -> None:
    face = Face((*(np.array(BOX[:2]) - BOX[:2] + place), *BOX[2:]), (*(POINTS - BOX[:2] + place).ravel(),), 1.0)
    rendition = Rendition(preset=name)
    crop = render(frame(), face if rendition.crop != "whole" else None, rendition)
    assert crop.shape == (CROP_PRESETS[name].size,) * 2 + (3,)


def test_a_preset_sets_what_is_left_out_and_survives_being_stored() -> None:
    rendition = from_dict(Rendition, {"preset": "ssdg", "no_face": "skip"}, "renditions.face")
    assert (rendition.crop, rendition.size, rendition.face_model) == ("detector", 256, "mtcnn")
    assert from_dict(Rendition, to_dict(rendition), "bundle") == rendition
    assert dataclasses.replace(rendition, segment=5).size == 256
    assert Rendition(preset="ssdg", face_model="centerface").face_model == "centerface"
    check_renditions({"face": rendition})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "sdsg"}, "renditions.face: unknown preset 'sdsg'; did you mean 'ssdg'?"),
        ({"preset": "ssdg", "margin": 0.5}, "margin = 0.5 contradicts it; leave margin out"),
        ({"preset": "ssdg", "size": 128}, "size = 128 contradicts it; leave size out"),
        ({"preset": "whole", "crop": "detector"}, "crop = 'detector' contradicts it; leave crop out"),
        ({"preset": "ssdg", "crop": "annotation"}, "needs five points of a face"),
        ({"crop": "detector", "face_model": "mtcn"}, "name 'centerface' or 'mtcnn'"),
    ],
)
def test_what_contradicts_a_preset_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_renditions({"face": Rendition(**settings)})


def test_keys_tell_presets_apart_and_are_those_of_before_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "centerface.onnx"
    model.write_bytes(b"model")
    monkeypatch.setattr("fas_jax.pixels.detection.centerface_path", lambda: model)
    before = ["segment", "position", "max_frames", "crop", "size"]
    assert list(rendition_key(Rendition())) == before
    assert list(rendition_key(Rendition(crop="annotation"))) == [*before[:4], "margin", "size", "no_face"]
    assert list(key(Rendition())) == [*before[:1], "seconds", *before[1:4], "margin", "size", "face_model", "no_face"]
    assert rendition_key(Rendition(preset="whole")) == rendition_key(Rendition())
    face = Rendition(crop="detector")
    assert rendition_key(face) == rendition_key(dataclasses.replace(face, face_model="centerface"))
    assert rendition_key(face) != rendition_key(dataclasses.replace(face, face_model="mtcnn"))
    # safas and gac are one crop under two names, and so are one preparation.
    keys = {name: str(rendition_key(Rendition(preset=name))) for name in CROP_PRESETS}
    assert keys.pop("gac") == keys["safas"]
    assert len(set(keys.values())) == len(keys)
    known = keys["minivision-4.0"]
    monkeypatch.setitem(CROP_PRESETS, "minivision-4.0", dataclasses.replace(CROP_PRESETS["minivision-4.0"], scale=3.9))
    assert str(rendition_key(Rendition(preset="minivision-4.0"))) != known


def test_a_preset_takes_the_face_that_its_project_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Face(BOX, FACE.points, 0.8)
    sure = Face((10.0, 20.0, 40.0, 50.0), (*(POINTS / 4).ravel().tolist(),), 0.99)
    monkeypatch.setattr(faces, "find_faces", lambda image, model: [large, sure])
    for name, expected in (("safas", sure), ("ssdg", large)):
        maker = rendition_makers(Path(), Source(), {"face": Rendition(preset=name)})["face"]
        maker.add(0, frame())
        info, frames = maker.made()
        assert info.boxes == expected.box
        np.testing.assert_array_equal(frames[0], render(frame(), expected, Rendition(preset=name)))


def test_boxes_of_annotations_can_be_cut_by_a_preset(tmp_path: Path) -> None:
    (tmp_path / "a.face").write_text("0 250 150 100 130\n")
    source = Source(annotation="a.face", annotation_kind="boxes")
    rendition = Rendition(preset="facenox", crop="annotation")
    check_renditions({"face": rendition})
    maker = rendition_makers(tmp_path, source, {"face": rendition})["face"]
    maker.add(0, frame())
    np.testing.assert_array_equal(maker.made()[1][0], render(frame(), FACE, rendition))


def test_the_page_and_the_help_list_every_preset() -> None:
    root = Path(__file__).parents[1]
    page, text = (root / "docs/crops.md").read_text(), (root / "fas_jax/base/rendition.py").read_text()
    for name, preset in CROP_PRESETS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {preset.size} |" in row
        assert re.search(rf"\b{name}\b", text)
