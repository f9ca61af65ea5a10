"""Scoring of clips by a network that reads sequences of frames: whole clips, or the bursts that they are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Num, UInt8

from fas_jax.methods.frame_training import FrameDetector, by_frame
from fas_jax.training.sequences import SequenceClassification

_SEQUENCES = 32
"""Sequences of features that are read at a time."""


@dataclass(frozen=True)
class SequenceDetector(FrameDetector):
    """A trained network that reads sequences: whole clips, or each of the bursts that a clip is made of."""

    @property
    def _objective(self) -> SequenceClassification:
        return cast(SequenceClassification, self.objective)

    def logits(self, frames: UInt8[Any, "n t h w 3"], real: Bool[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
        """Log odds of bona fide at every real frame, float64; NaN elsewhere.

        The network has one program for all frames, and the recurrent layer one for all sequences: a score depends
        neither on the clips beside it nor on padding.
        """
        objective, params = self._objective, self.params
        encode, read = _programs(objective)

        def of(places: np.ndarray) -> tuple[np.ndarray, ...]:
            row, at = places.T
            earlier = np.where(at % self._length(real), at - 1, at)
            own = frames[row, at]
            return (own, frames[row, earlier] if objective.differences == "frames" else own)

        found = np.full(real.shape, np.nan)
        if not real.any():
            return found
        features = np.zeros((*real.shape, objective.network.dimension), np.float32)
        features[real] = by_frame(lambda *parts: encode(params, *parts), self.method.score_frames, real, of)
        sequences, mask = self._divided(features), self._divided(real)
        values = np.zeros(mask.shape)
        for start in range(0, len(mask), _SEQUENCES):
            part, own = sequences[start : start + _SEQUENCES], mask[start : start + _SEQUENCES]
            lack = _SEQUENCES - len(own)
            part, own = (np.pad(each, ((0, lack), *((0, 0),) * (each.ndim - 1))) for each in (part, own))
            values[start : start + _SEQUENCES] = np.asarray(read(params, part, own))[: _SEQUENCES - lack]
        return np.where(real, values.reshape(real.shape), np.nan)

    def counts(self, real: Bool[Array | np.ndarray, "n t"]) -> Bool[Array | np.ndarray, "n t"]:
        """See `FrameDetector.counts`."""
        return self._objective.counts(self._divided(real)).reshape(real.shape)

    def lack(self, count: int) -> str:
        """See `FrameDetector.lack`."""
        least = self.method.least_frames
        return f"it has {count} frame, and a difference needs {least}" if 0 < count < least else ""

    def traced_logits(
        self, params: Any, frames: Num[Array, "n t h w 3"], real: Bool[Array, "n t"]
    ) -> Float[Array, "n t"]:
        """See `FrameDetector.traced_logits`."""
        sequences, mask = self._divided(frames), self._divided(real)
        found = self._objective.sequence_log_odds(params, params["stats"], sequences, mask)
        return found.reshape(real.shape)

    def _length(self, real: Any) -> int:
        return self.made.burst if self.made.burst > 1 else max(real.shape[1], 1)

    def _divided(self, values: Any) -> Any:
        """Of clips [n t ...], the sequences [n * bursts, frames of each, ...]."""
        if self.made.burst == 1:
            return values
        count, length = values.shape[:2]
        if length % self.made.burst:
            raise ValueError(f"{length} frames are no bursts of {self.made.burst}")
        return values.reshape(count * (length // self.made.burst), self.made.burst, *values.shape[2:])


@lru_cache
def _programs(objective: SequenceClassification) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """From frames, and those before them, to features; and from sequences of features to log odds."""

    def encode(params: Any, frames: Array, earlier: Array) -> Array:
        return objective.encode(params, params["stats"], frames, earlier, objective.scoring)[0]

    return jax.jit(encode), jax.jit(objective.read)
