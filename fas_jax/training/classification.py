"""A network on frames with a linear classifier of bona fide and attack behind it, and its cross-entropy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.base import Precision
from fas_jax.models.trainable import Mode, Trainable


@dataclass(frozen=True)
class Classification:
    """Empirical risk minimisation: the mean cross-entropy over a batch, whatever dataset a frame is of."""

    network: Trainable
    precision: Precision = "float32"
    momentum: float = 0.1
    """Of running statistics; see `Mode`."""
    rematerialise: bool = False
    dropout: float = 0.0
    """Share of the features that are set to zero in training."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""

    def head(self, seed: int) -> dict[str, Any]:
        """A fresh classifier: weights of 1 / sqrt(d) spread, no bias."""
        shape = (self.network.dimension, 2)
        kernel = np.random.default_rng([seed, 13]).normal(0, self.network.dimension**-0.5, shape)
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(2, np.float32)}

    def logits(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, "b 2"]:
        """Of attack and bona fide, float32; a frame's depend on no other frame."""
        features, _ = self.network.apply(params["backbone"], stats, frames, Mode(precision=self.precision))
        return _linear(features, params["head"])

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`: the mean over this device's share, which is as large as the others'."""
        mode = Mode(True, self.precision, self.momentum, axis, self.rematerialise)
        features, stats = self.network.apply(params["backbone"], stats, batch["frames"], mode)
        if self.dropout:

            def kept(slot: Array) -> Array:
                shape = (self.network.dimension,)
                return jax.random.bernoulli(jax.random.fold_in(key, slot), 1 - self.dropout, shape)

            features = jnp.where(jax.vmap(kept)(batch["slots"]), features / (1 - self.dropout), 0)
        labels = jax.nn.one_hot(batch["labels"], 2) * (1 - self.smoothing) + self.smoothing / 2
        return jnp.mean(optax.softmax_cross_entropy(_linear(features, params["head"]), labels)), stats


def _linear(features: Float[Array, "b d"], head: Any) -> Float[Array, "b 2"]:
    return jnp.dot(features, head["kernel"], precision="highest") + head["bias"][None]
