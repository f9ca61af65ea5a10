"""Single-side domain generalisation (SSDG): bona fide features alike in all domains, attacks apart by domain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from fas_jax.models.rectifiers import relu
from fas_jax.training.classification import cross_entropy, dropped, linear
from fas_jax.training.losses import gathered, norms, reversal_at, reverse_gradient, share_of_mean, triplets
from fas_jax.training.objectives import Objective

# How `head` draws the layers: standard deviation of the weights, and the bias.
_SPREAD = {"bottleneck": (0.005, 0.1), "classifier": (0.01, 0.0), "first": (0.01, 0.0), "second": (0.3, 0.0)}


@dataclass(frozen=True)
class SingleSide(Objective):
    """Cross-entropy, triplets in which all bona fide clips are one class, and a reversed discriminator of domains."""

    width: int = 512
    """Of the bottleneck, whose values are the features, and of the discriminator."""
    dropout: float = 0.5
    """Share of the features, and of the discriminator's hidden values, that training sets to zero."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""
    triplet: float = 1.0
    """Weight of the triplets."""
    margin: float = 0.1
    """Of the triplets."""
    adversarial: float = 0.5
    """Weight of the discriminator."""
    steps: int = 4000
    """Of the training: the reversal grows over all of them."""
    weight_norm: Literal["release", "paper"] = "release"
    """What has length 1 in the classifier: the two classes' weights of each feature, or the weights of each class."""

    def head(self, seed: int) -> dict[str, Any]:
        """Fresh bottleneck, classifier and discriminator, drawn as the release does."""
        rng = np.random.default_rng([seed, 13])
        sizes = {
            "bottleneck": (self.network.dimension, self.width),
            "classifier": (self.width, 2),
            "first": (self.width, self.width),
            "second": (self.width, self.domains),
        }
        found = {
            name: {
                "kernel": rng.normal(0, spread, sizes[name]).astype(np.float32),
                "bias": np.full(sizes[name][1], bias, np.float32),
            }
            for name, (spread, bias) in _SPREAD.items()
        }
        return found | {"classifier": self._normalised(found["classifier"])}

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`."""
        head, labels, domains, slots = params["head"], batch["labels"], batch["domains"], batch["slots"]
        pooled, stats = self.network.apply(params["backbone"], stats, batch["frames"], self.training(axis))
        first, second = jax.random.split(key)
        features = self._features(dropped(self._bottleneck(pooled, head), self.dropout, slots, first))
        loss = jnp.mean(cross_entropy(linear(features, head["classifier"]), labels, self.smoothing))
        # All bona fide clips are one class, the attacks of each domain another one.
        classes = jnp.where(labels == 1, 0, 1 + domains)
        loss += self.triplet * triplets(*gathered((features, classes), axis), self.margin)
        hidden = jax.nn.relu(linear(reverse_gradient(features, reversal_at(step, self.steps)), head["first"]))
        guesses = linear(dropped(hidden, self.dropout, slots, second), head["second"])
        mistakes = optax.softmax_cross_entropy_with_integer_labels(guesses, domains)
        return loss + self.adversarial * share_of_mean(mistakes, labels == 1, axis), stats

    def after(self, params: Any, step: Int[Array, ""]) -> Any:
        """Normalises the classifier's weights; no gradient passes through that, as in the release."""
        classifier = self._normalised(params["head"]["classifier"])
        return {**params, "head": {**params["head"], "classifier": classifier}}

    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """See `Objective.log_odds`."""
        pooled, _ = self.network.apply(params["backbone"], stats, frames, self.scoring)
        features = self._features(self._bottleneck(pooled, params["head"]))
        # Again, because the mean of normalised weights, which is kept of a training, is shorter than these.
        logits = linear(features, self._normalised(params["head"]["classifier"]))
        return logits[:, 1] - logits[:, 0]

    def _bottleneck(self, pooled: Float[Array, "b d"], head: Any) -> Float[Array, "b w"]:
        return relu(linear(pooled, head["bottleneck"]))

    def _features(self, values: Float[Array, "b w"]) -> Float[Array, "b w"]:
        """Divided by the root of twice their length, as the release does, and so not of length 1."""
        return values / jnp.sqrt(2 * jnp.maximum(norms(values), 1e-12))

    def _normalised(self, classifier: Any) -> dict[str, Any]:
        """Of NumPy's arrays or JAX's."""
        kernel = classifier["kernel"]
        lengths = (kernel * kernel).sum(1 if self.weight_norm == "release" else 0, keepdims=True) ** 0.5
        return {"kernel": kernel / lengths, "bias": classifier["bias"]}
