"""What simple models make of a clip: the recurrent models have to beat them, or have learned nothing of order.

Each is a logistic regression on a handful of numbers a clip. A good result of `colour` or `metadata` says that the
data give the label away by something that is not the face. Clips are read some at a time, and what is made of them
waits in a scratch file, so that their number does not matter to the memory.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.record import ClipInfo

_CODEC_COLUMNS = 16
# Clips that are read at a time; the sums of a fit are taken in such blocks, wherever its inputs lie.
_BLOCK = 1024
# Inputs of a fit that are held in memory, in bytes of float64; more than that is read from disk at every step.
_IN_MEMORY = 256 << 20


class Inputs(Protocol):
    """An array [n d], or what offers as much of one as a fit needs."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class LogisticModel:
    """A logistic regression on standardised inputs."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weights: Float[np.ndarray, " d"]
    bias: float

    def scores(self, inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """P(bona fide)."""
        return _sigmoid(((inputs - self.mean) / self.scale) @ self.weights + self.bias)


def fit_logistic(inputs: Inputs, labels: Int[np.ndarray, " n"], c: float = 1.0) -> LogisticModel:
    """Fits as scikit-learn does (L2, C = 1, L-BFGS to 1e-4) after standardising, in memory of a fixed size.

    A constant input counts for nothing.

    Args:
        inputs: [n d]; read once where they take little memory, else at every step of the fit.
        labels: 0 or 1, both present.
        c: scikit-learn's C, how little large weights cost.
    """
    if not c > 0:
        raise UserError(f"the regularisation of a logistic regression (models.mean_feature) must be above 0, not {c}")
    count, width = inputs.shape
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("a logistic regression needs both classes")
    if 8 * count * width <= _IN_MEMORY:
        inputs = inputs[:]

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, count, _BLOCK):
            part = slice(start, start + _BLOCK)
            yield np.asarray(inputs[part], np.float64), labels[part]

    # Differences from one clip, so that the spread of a constant is zero and not what rounding leaves.
    origin = np.asarray(inputs[:1], np.float64)[0]
    first, second = np.zeros(width), np.zeros(width)
    for x, _ in blocks():
        first += (x - origin).sum(0) / count
        second += ((x - origin) ** 2).sum(0) / count
    mean, scale = origin + first, np.sqrt(np.maximum(second - first**2, 0))
    scale[scale == 0] = 1.0

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss with the penalty's share, and its gradient; standardising is part of the weights."""
        weights, bias = point[:-1], point[-1]
        own = weights / scale
        offset, loss, gradient = bias - mean @ own, 0.5 * weights @ weights / c, np.append(weights / c, 0.0)
        for x, y in blocks():
            logits = x @ own + offset
            loss += np.logaddexp(0, np.where(y == 1, -logits, logits)).sum()
            wrong = _sigmoid(logits) - y
            gradient += np.append((wrong @ x - wrong.sum() * mean) / scale, wrong.sum())
        return float(loss) / count, gradient / count

    options = {"maxiter": 10_000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
    found = minimize(objective, np.zeros(width + 1), method="L-BFGS-B", jac=True, options=options)
    return LogisticModel(mean, scale, found.x[:-1], float(found.x[-1]))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp of a negative number only: no overflow on either side.
    small = np.exp(-np.abs(logits))
    result: np.ndarray = np.where(logits >= 0, 1, small) / (1 + small)
    return result


@dataclass(frozen=True)
class ScratchRows:
    """Some rows of a matrix in a file; see `Inputs`."""

    file: Any
    dtype: np.dtype
    width: int
    rows: Int[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """[n d]."""
        return len(self.rows), self.width

    def __getitem__(self, part: slice, /) -> np.ndarray:
        # Mapped for this read only, or all that was ever read would count as this process's memory.
        whole = np.memmap(self.file, self.dtype, "r").reshape(-1, self.width)
        return np.array(whole[self.rows[part]])

    def take(self, rows: Int[np.ndarray, " m"]) -> "ScratchRows":
        """Some of these rows."""
        return ScratchRows(self.file, self.dtype, self.width, self.rows[rows])


def input_blocks(
    features: Any, mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Iterator[dict[str, Float[np.ndarray, "m d"]]]:
    """Every baseline's inputs, for some clips at a time; `features` [n t d] may be a `streaming.FeatureSource`."""
    for start in range(0, len(mask), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(mask)))
        infos = clips[start : start + _BLOCK]
        read = features[rows]
        yield {name: inputs(read, mask[rows], infos) for name, inputs in BASELINES.items()}


@contextmanager
def scratch_inputs(
    folder: Path, features: Any, mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Iterator[dict[str, ScratchRows]]:
    """Every baseline's inputs for all clips, in files without a name in `folder`, which end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        found: dict[str, ScratchRows] = {}
        for block in input_blocks(features, mask, clips):
            for name, inputs in block.items():
                if name not in found:
                    file = files.enter_context(tempfile.TemporaryFile(dir=folder))
                    found[name] = ScratchRows(file, inputs.dtype, inputs.shape[1], np.arange(len(mask)))
                found[name].file.write(np.ascontiguousarray(inputs).data)
        for each in found.values():
            each.file.flush()
        yield found


def mean_feature(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n d"]:
    """The mean of the frames' features, float32: all that a clip says without the order of its frames."""
    real = mask[..., None]
    return (np.where(real, features, 0).sum(1, dtype=np.float64) / real.sum(1)).astype(np.float32)


def colour(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n 6"]:
    """Mean and standard deviation of the colour channels."""
    return np.array([clip.renditions["whole"].colour for clip in clips], np.float64)


def metadata(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n d"]:
    """What is known of the file without a look at its pixels: frames, rate, size, bytes, bytes a frame, codec."""
    numbers = [(c.frame_count, c.fps, c.width, c.height, c.file_bytes, c.file_bytes / c.frame_count) for c in clips]
    # One of a fixed number of columns a codec, chosen by hash: no list of known codecs, and none depends on the data.
    codecs = np.zeros((len(clips), _CODEC_COLUMNS))
    codecs[range(len(clips)), [int(fingerprint(c.codec), 16) % _CODEC_COLUMNS for c in clips]] = 1
    return np.concatenate([np.array(numbers, np.float64), codecs], axis=1)


BASELINES: dict[str, Callable[..., Float[np.ndarray, "n d"]]] = {
    "mean-feature": mean_feature,
    "colour": colour,
    "metadata": metadata,
}
