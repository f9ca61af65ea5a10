"""The user's face photographs as textures.

A file `eyes.csv` beside the pictures says where the eyes are, a line for each picture: file name, then x and y of the
subject's right eye (left in the picture) and of the left eye, in pixels. Without it the face detector searches for
them, and only pictures in which it finds exactly one face are used, so that chance does not decide whose face a subject
gets.
"""

import csv
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, sha256_file
from fas_jax.pixels.detection import check_detector, find_faces
from fas_jax.runtime.progress import progress_bar
from fas_jax.synthetic import face
from fas_jax.synthetic.seeds import generator

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
EYES = "eyes.csv"
# Pixels of the canvas; a face is seldom rendered larger.
_WIDTH, _HEIGHT = 520, 620

Eyes = tuple[float, float, float, float]


@dataclass(frozen=True)
class Photograph:
    """A picture, and where its eyes are: x and y of the right eye, then of the left."""

    path: Path
    eyes: Eyes


def photographs(folder: str) -> tuple[Photograph, ...]:
    """The pictures of a folder in the order of their names.

    Raises `UserError` where there is none, where eyes.csv leaves one out or cannot be understood, or where there is
    no eyes.csv and no face is found either. Pictures without exactly one face are named and left out.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"faces: {root} is not a folder")
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"faces: {root} holds no picture ({', '.join(SUFFIXES)})")
    if not (root / EYES).exists():
        return _detected(root, found)
    eyes = _read_eyes(root / EYES)
    left_out = [path.name for path in found if path.name not in eyes]
    if left_out:
        raise UserError(f"faces: {root / EYES} has no line for {', '.join(left_out[:5])}; add it or remove the picture")
    return tuple(Photograph(path, eyes[path.name]) for path in found)


def digest(photos: Iterable[Photograph]) -> str:
    """Changes with any picture's name, bytes or eyes; empty for no pictures."""
    known = [[photo.path.name, sha256_file(photo.path), photo.eyes] for photo in photos]
    return fingerprint(known) if known else ""


def choose(photos: tuple[Photograph, ...], seed: int, dataset: str, subject: str) -> Photograph:
    """The picture that textures a subject."""
    return photos[int(generator("texture", seed, dataset, subject).integers(len(photos)))]


@functools.lru_cache(maxsize=4)
def load_texture(photo: Photograph) -> Float32[np.ndarray, "n m 3"]:
    """A picture's face in canonical coordinates, as linear reflectance; `UserError` where it cannot be read."""
    picture = _read(photo.path)
    across = (_WIDTH - 1) / (face.RIGHT - face.LEFT)
    down = (_HEIGHT - 1) / (face.BOTTOM - face.TOP)
    # The similarity that takes the eyes to where the drawn face has them, then the canvas's own scales.
    right, left = complex(*photo.eyes[:2]), complex(*photo.eyes[2:])
    turn = 2 * face.EYE_X / (left - right)
    shift = complex(-face.EYE_X, face.EYE_Y) - turn * right
    rows = np.array([[turn.real, -turn.imag, shift.real - face.LEFT], [turn.imag, turn.real, shift.imag - face.TOP]])
    matrix = rows * np.array([[across], [down]])
    shrink = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    if shrink < 0.7:  # smooth first, or the sampling would alias
        picture = cv2.GaussianBlur(picture, (0, 0), 0.35 / shrink)
    warped = cv2.warpAffine(picture, matrix, (_WIDTH, _HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip((warped.astype(np.float32) / 255) ** np.float32(2.2) * np.float32(0.9), 0.01, 0.9)


def _detected(root: Path, pictures: list[Path]) -> tuple[Photograph, ...]:
    by_hand = f"write {root / EYES} with a line name,x_reye,y_reye,x_leye,y_leye (pixels) for each picture"
    try:
        check_detector()
    except UserError as error:
        raise UserError(f"faces: {root} has no {EYES}; {by_hand}. Or, {error}") from None
    found = {}
    for path in progress_bar(iterable=pictures, desc="looking for faces", unit="picture"):
        if eyes := _find_eyes(path, path.stat().st_mtime_ns):
            found[path] = eyes
    if not found:
        raise UserError(f"faces: not exactly one face in any of the {len(pictures)} pictures of {root}; {by_hand}")
    unsure = [path.name for path in pictures if path not in found]
    if unsure:
        print(f"faces: not exactly one face in {', '.join(unsure)}; left out. To use them, {by_hand}", flush=True)
    return tuple(Photograph(path, eyes) for path, eyes in found.items())


@functools.cache
def _find_eyes(path: Path, changed: int) -> Eyes | None:
    """The eyes of the one face in a picture.

    `changed` is when the file was: all four datasets of a run ask for the same pictures.
    """
    found = find_faces(cv2.cvtColor(_read(path), cv2.COLOR_RGB2BGR))
    return found[0].eyes if len(found) == 1 else None


def _read(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise UserError(f"faces: {path} is not a picture that can be read; remove or replace it")
    return picture


def _read_eyes(path: Path) -> dict[str, Eyes]:
    eyes: dict[str, Eyes] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or not "".join(row).strip():
                    continue
                try:
                    name, *values = row
                    x_right, y_right, x_left, y_left = map(float, values)
                except ValueError:
                    raise UserError(f"faces: {path} line {number} must be name,x_reye,y_reye,x_leye,y_leye") from None
                if not x_left - x_right > 4:
                    raise UserError(f"faces: {path} line {number}: the right eye comes first, left in the picture")
                eyes[name.strip()] = (x_right, y_right, x_left, y_left)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"faces: {path} is not readable: {error}") from error
    return eyes
