"""MTCNN: boxes and five points of faces, by three small networks that this folder holds and OpenCV runs.

Zhang, Zhang, Li and Qiao 2016 (arXiv 1604.02878). Weights and procedure are those of facenet-pytorch 2.6.0 (MIT
licence), with its defaults: faces from 20 pixels on, thresholds 0.6, 0.7 and 0.7, factor 0.709. `LICENSE.txt` holds
licence and origin; tests/make_golden_mtcnn.py made the files. Boxes and points are the package's own to a thousandth of
a pixel (docs/crops.md).

Pictures are searched at their full size, as the package does: a frame of 1920x1080 takes some seconds on one core.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fas_jax.base.errors import UserError

FILES = {
    "pnet.onnx": "27e6d3350ba7c82b480d570b537cc9d611b0083eaef4318ec67559e64a7a72ab",
    "rnet.onnx": "b2c45454054481b482e22ee5e76076f1def375eaa25ea7396488a5a785ddc6fb",
    "onet.onnx": "108239e60e812aa682a0bc9f712a6005ec2dde07897fcc8702f86e54fcd93be1",
}
"""The networks' files in this folder, and their SHA-256."""
SMALLEST, THRESHOLDS, FACTOR = 20, (0.6, 0.7, 0.7), 0.709
# The proposal network looks at 12x12 pixels, every two of them.
_CELL, _STRIDE = 12, 2

Picture = UInt8[np.ndarray, "h w 3"]
Corners = Float[np.ndarray, "n 4"]
"""x and y of the upper left corner, then of the lower right one, in pixels."""
Outputs = Sequence[np.ndarray]


def network_file(name: str) -> bytes:
    """The content of one of `FILES`.

    Raises:
        UserError: It is not there, or not what it was.
    """
    path = Path(__file__).parent / name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        raise UserError(f"{path} is missing or damaged; install the package again")
    return content


def identity() -> str:
    """The detector in words that differ where the faces may: its networks' hashes and how they are used."""
    hashes = " ".join(each[:16] for each in FILES.values())
    thresholds = " ".join(map(str, THRESHOLDS))
    return f"MTCNN {hashes}, faces from {SMALLEST}, thresholds {thresholds}, factor {FACTOR}"


def load() -> "Callable[[Picture], Float[np.ndarray, 'n 15']]":
    """A search for faces in BGR pictures: rows of x, y, width, height, five points (x, y) and the score.

    The points are the right eye (left in the picture), the left eye, the tip of the nose, and the right and the left
    corner of the mouth. The same picture gives the same rows, whatever was searched before.

    Raises:
        UserError: See `network_file`.
    """
    propose, refine, finish = (
        _run(cv2.dnn.readNetFromONNX(np.frombuffer(network_file(name), np.uint8)), outputs)
        # Probabilities of no face and face, corrections of the box, points.
        for name, outputs in zip(FILES, (("prob", "box"), ("prob", "box"), ("prob", "box", "points")), strict=True)
    )

    def search(picture: Picture) -> Float[np.ndarray, "n 15"]:
        pixels = _Pixels(picture[..., ::-1])
        corners = _proposals(pixels, propose)
        (probability, moves), corners = _scores_of(pixels, corners, 24, refine)
        sure = probability[:, 1] > THRESHOLDS[1]
        corners, scores, moves = corners[sure], probability[sure, 1], moves[sure]
        kept = _apart(corners, scores, 0.7)
        corners = _squares(_moved(corners[kept], moves[kept], 1))
        (probability, moves, points), corners = _scores_of(pixels, corners, 48, finish)
        sure = probability[:, 1] > THRESHOLDS[2]
        corners, scores, moves, points = corners[sure], probability[sure, 1], moves[sure], points[sure]
        sides = corners[:, 2:] - corners[:, :2] + 1
        places = points.reshape(-1, 2, 5) * sides[..., None] + corners[:, :2, None] - 1
        corners = _moved(corners, moves, 1)
        kept = _apart(corners, scores, 0.7, of_smaller=True)
        sides, marks = corners[:, 2:] - corners[:, :2], places.transpose(0, 2, 1).reshape(-1, 10)
        return np.concatenate([corners[:, :2], sides, marks, scores[:, None]], axis=1)[kept].astype(np.float64)

    return search


def _run(network: cv2.dnn.Net, outputs: Sequence[str]) -> Callable[[np.ndarray], Outputs]:
    # A network keeps its input between two calls.
    alone = threading.Lock()

    def run(batch: np.ndarray) -> Outputs:
        with alone:
            network.setInput(batch)
            return [np.array(output, np.float32) for output in network.forward(outputs)]

    return run


class _Pixels:
    """A picture whose parts are shrunk or enlarged by averages over whole pixels, as the networks were used."""

    def __init__(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        self.height, self.width = picture.shape[:2]
        # Sums of pixels above and left of each corner, exact.
        self._sums = cv2.integral(np.ascontiguousarray(picture), sdepth=cv2.CV_64F)

    def part(self, corners: Sequence[int], size: tuple[int, int]) -> Float[np.ndarray, "3 a b"]:
        """The pixels from left, top to before right, bottom, at a size (height, width), scaled to -1 to 1."""
        left, top, right, bottom = corners
        (start, end), (before, after) = _bins(top, bottom, size[0]), _bins(left, right, size[1])
        above, below = self._sums[start], self._sums[end]
        sums = below[:, after] - below[:, before] - above[:, after] + above[:, before]
        counts = (end - start)[:, None] * (after - before)
        means = (sums / counts[..., None]).astype(np.float32)
        return np.ascontiguousarray(((means - np.float32(127.5)) * np.float32(0.0078125)).transpose(2, 0, 1))


def _bins(start: int, end: int, number: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """First and last (excluded) pixel of each of some bins of equal width, rounded outwards."""
    at, length = np.arange(number), end - start
    return start + at * length // number, start - (-(at + 1) * length // number)


def _proposals(pixels: _Pixels, propose: Callable[[np.ndarray], Outputs]) -> Corners:
    """Squares that may hold a face, from all scales."""
    found: list[np.ndarray] = []
    scale = _CELL / SMALLEST
    least = min(pixels.height, pixels.width) * scale
    while least >= _CELL:
        size = int(pixels.height * scale + 1), int(pixels.width * scale + 1)
        probability, moves = propose(pixels.part((0, 0, pixels.width, pixels.height), size)[None])
        down, across = np.nonzero(probability[0, 1] >= np.float32(THRESHOLDS[0]))
        scores, own = probability[0, 1, down, across], moves[0][:, down, across].T
        at = _STRIDE * np.stack([across, down], axis=1).astype(np.float32)
        divisor = np.float32(scale)
        corners = np.concatenate([np.floor((at + 1) / divisor), np.floor((at + _CELL) / divisor)], axis=1)
        kept = _apart(corners, scores, 0.5)
        found.append(np.concatenate([corners, scores[:, None], own], axis=1)[kept])
        scale, least = scale * FACTOR, least * FACTOR
    if not found:
        return np.zeros((0, 4), np.float32)
    rows = np.concatenate(found)
    rows = rows[_apart(rows[:, :4], rows[:, 4], 0.7)]
    return _squares(_moved(rows[:, :4], rows[:, 5:], 0))


def _scores_of(
    pixels: _Pixels, corners: Corners, side: int, network: Callable[[np.ndarray], Outputs]
) -> tuple[Outputs, Corners]:
    """A network's outputs for the parts of the picture under some boxes, and those boxes that lie in it."""
    whole = np.trunc(corners).astype(int)
    ends = np.minimum(whole[:, 2:], [pixels.width, pixels.height])
    starts = np.maximum(whole[:, :2], 1) - 1
    inside = (ends > starts).all(axis=1)
    places = np.concatenate([starts, ends], axis=1)[inside].tolist()
    parts = [pixels.part(place, (side, side)) for place in places]
    # OpenCV runs no empty batch: one part of nothing stands in for it, and is left out.
    outputs = network(np.stack(parts or [np.zeros((3, side, side), np.float32)]))
    return [output[: len(parts)] for output in outputs], corners[inside]


def _moved(corners: Corners, moves: Corners, wider: int) -> Corners:
    """Boxes moved by shares of their width and height, which count `wider` pixels more."""
    sides = corners[:, 2:] - corners[:, :2] + np.float32(wider)
    return corners + moves * np.concatenate([sides, sides], axis=1)


def _squares(corners: Corners) -> Corners:
    """Squares of the longer side around the same centres."""
    sides = corners[:, 2:] - corners[:, :2]
    longest = sides.max(axis=1, keepdims=True, initial=0)
    starts = corners[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    return np.concatenate([starts, starts + longest], axis=1)


def _apart(
    corners: Corners, scores: Float[np.ndarray, " n"], most: float, of_smaller: bool = False
) -> Int[np.ndarray, " m"]:
    """Indices of boxes, the best first, that share at most so much with a better one.

    The share is that of the union; or, `of_smaller`, that of the smaller box, where sides count a pixel more.
    """
    more = np.float32(of_smaller)
    starts, ends = corners[:, :2], corners[:, 2:]
    areas = (ends - starts + more).prod(axis=1)
    # Of equal scores, the package's two ways of sorting begin at opposite ends.
    order = np.argsort(scores, kind="stable")[::-1] if of_smaller else np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(ends[best], ends[rest]) - np.maximum(starts[best], starts[rest]) + more
        common = np.maximum(sides, 0).prod(axis=1)
        whole = np.minimum(areas[best], areas[rest]) if of_smaller else areas[best] + areas[rest] - common
        too_near: Bool[np.ndarray, " k"] = common / whole > most
        order = rest[~too_near]
    return np.array(kept, np.intp)
