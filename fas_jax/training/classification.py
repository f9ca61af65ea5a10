"""A network on frames with a linear classifier of bona fide and attack behind it, and its cross-entropy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from fas_jax.training.objectives import Objective


@dataclass(frozen=True)
class Classification(Objective):
    """Empirical risk minimisation: the mean cross-entropy over a batch, whatever dataset a frame is of."""

    dropout: float = 0.0
    """Share of the features that are set to zero in training."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""

    def head(self, seed: int) -> dict[str, Any]:
        """A fresh classifier: weights of 1 / sqrt(d) spread, no bias."""
        shape = (self.network.dimension, 2)
        kernel = np.random.default_rng([seed, 13]).normal(0, self.network.dimension**-0.5, shape)
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(2, np.float32)}

    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """See `Objective.log_odds`."""
        features, _ = self.network.apply(params["backbone"], stats, frames, self.scoring)
        logits = linear(features, params["head"])
        return logits[:, 1] - logits[:, 0]

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`: the mean over this device's share, which is as large as the others'."""
        features, stats = self.network.apply(params["backbone"], stats, batch["frames"], self.training(axis))
        features = dropped(features, self.dropout, batch["slots"], key)
        return jnp.mean(cross_entropy(linear(features, params["head"]), batch["labels"], self.smoothing)), stats


def linear(features: Float[Array, "b d"], head: Any) -> Float[Array, "b o"]:
    """A fully connected layer with `kernel` [d o] and `bias` [o]."""
    return jnp.dot(features, head["kernel"], precision="highest") + head["bias"][None]


def cross_entropy(logits: Float[Array, "b 2"], labels: Int[Array, " b"], smoothing: float) -> Float[Array, " b"]:
    """Of the classes' softmax, where a share of each label is spread evenly over both classes."""
    found: Array = optax.softmax_cross_entropy(logits, smoothed(jax.nn.one_hot(labels, 2), smoothing))
    return found


def smoothed(labels: Float[Array, "*n"], smoothing: float) -> Float[Array, "*n"]:
    """Labels of 0 and 1, of which a share is spread evenly over both classes."""
    return labels * (1 - smoothing) + smoothing / 2


def mean_log_odds(logits: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Log odds of the mean of each row's probabilities, also where these would be rounded to 0 or 1."""
    flat = logits.reshape(len(logits), -1)
    of_class = [jax.nn.logsumexp(jax.nn.log_sigmoid(sign * flat), axis=1) for sign in (1, -1)]
    return of_class[0] - of_class[1]


def dropped(features: Float[Array, "b d"], share: float, slots: Int[Array, " b"], key: Array) -> Float[Array, "b d"]:
    """Dropout: sets a share of each row to zero and scales up the rest; what is drawn depends on the row's slot."""
    if not share:
        return features

    def kept(slot: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, slot), 1 - share, features.shape[1:])

    return jnp.where(jax.vmap(kept)(slots), features / (1 - share), 0)
