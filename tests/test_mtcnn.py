"""MTCNN beside facenet-pytorch's own boxes and points, which tests/make_golden_mtcnn.py stored."""

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.pixels import mtcnn
from fas_jax.pixels.detection import find_faces, identity
from tests.mtcnn_cases import computed, shared_faces

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mtcnn.json").read_text())
# Pixels; the largest difference that was found is 0.0003.
TOLERANCE = 0.01
QUICK = "cgi-model-1.jpg"


def compare(name: str, picture: np.ndarray) -> None:
    found = find_faces(picture, "mtcnn")
    rows = np.array([[*face.box, *face.points, face.score] for face in found]).reshape(-1, 15)
    expected = np.reshape(GOLDEN[name], (-1, 15))
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows[:, :14], expected[:, :14], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(rows[:, 14], expected[:, 14], rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    found = computed()
    if not found:
        pytest.skip("scikit-image's pictures are absent")
    return found


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.endswith(".jpg")])
def test_computed_pictures_have_the_packages_own_faces(name: str, pictures: dict[str, np.ndarray]) -> None:
    compare(name, pictures[name])


@pytest.mark.parametrize(
    "name",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GOLDEN if name.endswith(".jpg")],
)
def test_shared_pictures_have_the_packages_own_faces(name: str, shared: Path) -> None:
    compare(name, cv2.imread(str(shared_faces()[name])))


def test_what_is_too_small_has_no_face(pictures: dict[str, np.ndarray]) -> None:
    for height, width in ((1, 1), (15, 300), (20, 20), (21, 400)):
        assert find_faces(pictures["portrait"][:height, :width], "mtcnn") == []


def test_threads_search_as_if_they_were_alone(pictures: dict[str, np.ndarray]) -> None:
    several = [pictures["small"], pictures["at the border"], pictures["small"][:, ::-1]]
    alone = [find_faces(picture, "mtcnn") for picture in several]
    found: dict[int, list] = {}

    def search(number: int) -> None:
        found[number] = [find_faces(picture, "mtcnn") for picture in (several * 2)[number : number + 3]]

    threads = [threading.Thread(target=search, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, faces in found.items():
        assert faces == (alone * 2)[number : number + 3]


def test_a_damaged_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mtcnn.FILES, "rnet.onnx", "0" * 64)
    with pytest.raises(UserError, match=r"rnet\.onnx is missing or damaged"):
        mtcnn.load()


def test_the_identity_names_what_may_change_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    known = identity("mtcnn")
    assert known.startswith("MTCNN 27e6d3350ba7c82b ")
    monkeypatch.setattr(mtcnn, "SMALLEST", 40)
    assert identity("mtcnn") != known


def test_averages_of_parts_are_those_of_their_pixels() -> None:
    """Against a plain loop over the bins, which overlap where a part is enlarged."""
    picture = np.random.default_rng(0).integers(0, 256, (23, 31, 3), np.uint8)
    for left, top, right, bottom in ((0, 0, 31, 23), (3, 5, 9, 22), (30, 22, 31, 23)):
        part = mtcnn._Pixels(picture).part((left, top, right, bottom), (7, 24))
        own = picture[top:bottom, left:right].astype(float)
        height, width = own.shape[:2]
        for row in range(7):
            for column in range(24):
                rows = slice(row * height // 7, -(-(row + 1) * height // 7))
                columns = slice(column * width // 24, -(-(column + 1) * width // 24))
                expected = (own[rows, columns].mean(axis=(0, 1)) - 127.5) / 128
                np.testing.assert_allclose(part[:, row, column], expected, atol=1e-6)
