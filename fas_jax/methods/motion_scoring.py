"""Scores clips by their motion, each burst by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from fas_jax.methods.sequence_scoring import SequenceDetector
from fas_jax.training.motion import LEAST
from fas_jax.training.sequences import SequenceClassification


@dataclass(frozen=True)
class MotionDetector(SequenceDetector):
    """A trained network that reads the motion of bursts."""

    def logits(self, frames: UInt8[Any, "n t h w 3"], real: Bool[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
        """Log odds of bona fide at every real frame, float64; NaN elsewhere.

        One program has all bursts, so many at a time: a score depends neither on the clips beside it nor on padding.
        """
        found = np.full(real.shape, np.nan)
        if not real.any():
            return found
        sequences, mask, program = self._divided(frames), self._divided(real), _program(self._objective)
        values = np.zeros(mask.shape)
        size = max(1, self.method.score_frames // mask.shape[1])
        known = np.flatnonzero(mask.any(1))
        for start in range(0, len(known), size):
            own = known[start : start + size]
            lack = size - len(own)
            part, there = (np.pad(each[own], ((0, lack), *((0, 0),) * (each.ndim - 1))) for each in (sequences, mask))
            values[own] = np.asarray(program(self.params, part, there))[: len(own)]
        return np.where(real, values.reshape(real.shape), np.nan)

    def counts(self, real: Bool[Array | np.ndarray, "n t"]) -> Bool[Array | np.ndarray, "n t"]:
        """See `FrameDetector.counts`; frames of a rendition without bursts lie too far apart."""
        return super().counts(real) & (self.made.burst >= LEAST)

    def lack(self, count: int) -> str:
        """See `FrameDetector.lack`."""
        if count and self.made.burst < LEAST:
            return f"a single frame shows no motion, and its rendition has no bursts of {LEAST} or more"
        return f"a single frame shows no motion; a burst has {LEAST} or more" if 0 < count < LEAST else ""


@lru_cache
def _program(objective: SequenceClassification) -> Callable[..., Array]:
    return jax.jit(lambda params, frames, mask: objective.sequence_log_odds(params, params["stats"], frames, mask))
