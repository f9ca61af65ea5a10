"""Between probabilities and their logits, log(P / (1 - P)). NumPy only."""

from typing import Any

import numpy as np

CLOSEST = float(np.finfo(np.float32).epsneg)
"""Scores are float32 probabilities, which come no nearer to 1 than this without being 1."""


def nearest_logit(probabilities: Any) -> Any:
    """The logits of an array or a number, in float64; probabilities within 6e-8 of 0 or 1 count as 6e-8 from it."""
    inside = np.clip(np.asarray(probabilities, np.float64), CLOSEST, 1 - CLOSEST)
    return np.log(inside / (1 - inside))


def sigmoid(logits: Any) -> Any:
    """The probabilities of an array or a number of logits; NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0, -logits))


def midway(low: Any, high: Any) -> Any:
    """The probability in the middle between the logits of two others; of numbers or of arrays of equal shape."""
    return 1 / (1 + np.exp(-(nearest_logit(low) + nearest_logit(high)) / 2))
