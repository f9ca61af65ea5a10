"""Pictures on which MTCNN is compared with facenet-pytorch; needs neither JAX nor PyTorch."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def computed() -> dict[str, np.ndarray]:
    """BGR pictures by name, from a photograph that scikit-image brings; none without it."""
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / "astronaut.png" if found and found.origin else Path()
    portrait = cv2.imread(str(path)) if path.is_file() else None
    if portrait is None:
        return {}
    half = portrait[::2, ::2]
    both = np.full((512, 768, 3), 90, np.uint8)
    both[:, 256:], both[100:356, :256] = portrait, half
    turned = cv2.getRotationMatrix2D((225, 120), 25, 1.3)
    return {
        "portrait": portrait,
        "small": np.ascontiguousarray(portrait[::4, ::4]),
        "two faces": both,
        "turned": cv2.warpAffine(portrait, turned, (400, 301), flags=cv2.INTER_NEAREST),
        "at the border": np.ascontiguousarray(portrait[80:330, 200:421]),
        "no face": np.ascontiguousarray(portrait[220:]),
    }


def shared_faces() -> dict[str, Path]:
    """Pictures beside the project, by name; none where they are absent."""
    return {path.name: path for path in sorted((SHARED / "faces").glob("*.jpg"))}
