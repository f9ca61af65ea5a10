"""Logistic regression, as scikit-learn fits it, in memory of a fixed size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

# Clips that are read at a time; the sums of a fit are taken in such blocks, wherever its inputs lie.
_BLOCK = 1024
# Inputs of a fit that are held in memory, in bytes of float64; more than that is read from disk at every step.
_IN_MEMORY = 256 << 20


@runtime_checkable
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
        return _sigmoid(self.logits(inputs))

    def logits(self, inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Of P(bona fide)."""
        return ((inputs - self.mean) / self.scale) @ self.weights + self.bias


def fit_logistic(inputs: Inputs, labels: Int[np.ndarray, " n"], c: float = 1.0) -> LogisticModel:
    """Fits as scikit-learn does (L2, C = 1, L-BFGS to 1e-4) after standardising, in memory of a fixed size.

    A constant input counts for nothing.

    Args:
        inputs: [n d]; read once where they take little memory, else at every step of the fit.
        labels: 0 or 1, both present.
        c: scikit-learn's C, how little large weights cost.
    """
    count, width = inputs.shape
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("a logistic regression needs both classes")
    from scipy.optimize import minimize  # only here: it takes a while to import, and scoring does without

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
