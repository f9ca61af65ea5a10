"""A network on the coherence of residual motion, with a recurrent classifier behind it, trained on bursts."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from fas_jax.models.residual_motion import coherence, residual_flow
from fas_jax.models.trainable import Mode
from fas_jax.training.sequences import SequenceClassification, flat

LEAST = 3
"""Smallest number of frames that shows whether motion persists."""


@dataclass(frozen=True)
class MotionClassification(SequenceClassification):
    """Cross-entropy of a recurrent classifier's logits over maps of coherence; see `fas_jax.models.residual_motion`.

    No pixel or feature of pixels reaches the network: it reads correlations of displacements only.
    """

    cell_size: int = 8
    """Pixels of a frame, in both directions, for one place of the maps."""

    def features(
        self, params: Any, stats: Any, frames: Num[Array, "b t h w 3"], mode: Mode
    ) -> tuple[Float[Array, "b t d"], Any]:
        """See `SequenceClassification.features`."""
        found, stats = self.network.apply(params["backbone"], stats, flat(maps(frames, self.cell_size)), mode)
        return found.reshape(*frames.shape[:2], -1), stats

    def counts(self, mask: Bool[Array | np.ndarray, "b t"]) -> Bool[Array | np.ndarray, "b t"]:
        """See `SequenceClassification.counts`; of shorter sequences none."""
        return super().counts(mask) & (mask.sum(1, keepdims=True) >= LEAST)


def maps(frames: Num[Array, "b t h w 3"], cell_size: int) -> Float[Array, "b t rows columns 3"]:
    """The coherence of each sequence's residual motion, at every frame from what came before it."""
    batch, length = frames.shape[:2]
    if length < LEAST:
        return jnp.zeros((batch, length, frames.shape[2] // cell_size, frames.shape[3] // cell_size, 3))
    flows = residual_flow(flat(frames[:, :-1]), flat(frames[:, 1:]), cell_size)
    flows = flows.reshape(batch, length - 1, *flows.shape[1:])
    return coherence(jnp.pad(flows, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0))))
