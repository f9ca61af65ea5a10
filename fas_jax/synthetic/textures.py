"""Face photographs of the user's own as textures."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from fas_jax.errors import UserError
from fas_jax.files import fingerprint, sha256_file
from fas_jax.synthetic import face
from fas_jax.synthetic.seeds import generator

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_SIDE = 512


def photographs(folder: str) -> tuple[Path, ...]:
    """The pictures of a folder in the order of their names; `UserError` where there is none."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"faces: {root} is not a folder")
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UserError(f"faces: {root} holds no picture ({', '.join(SUFFIXES)})")
    return tuple(found)


def digest(paths: tuple[Path, ...]) -> str:
    """Changes with any picture's name or bytes; empty for no pictures."""
    return fingerprint([[path.name, sha256_file(path)] for path in paths]) if paths else ""


def choose(paths: tuple[Path, ...], seed: int, dataset: str, subject: str) -> Path:
    """The picture that textures a subject."""
    return paths[int(generator("texture", seed, dataset, subject).integers(len(paths)))]


def load_texture(path: Path) -> Float32[np.ndarray, "n n 3"]:
    """A picture's face in canonical coordinates, as linear reflectance."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"faces: {path} is not a picture that can be read; remove or replace it")
    height, width = picture.shape[:2]
    side = min(height / (face.BOTTOM - face.TOP), width / (face.RIGHT - face.LEFT))
    half = np.array([side * (face.RIGHT - face.LEFT), side * (face.BOTTOM - face.TOP)]) / 2
    left, top = np.floor([width / 2, height / 2] - half).astype(int)
    crop = picture[top : top + int(2 * half[1]), left : left + int(2 * half[0])]
    crop = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return (crop[..., ::-1].astype(np.float32) / 255) ** np.float32(2.2)
