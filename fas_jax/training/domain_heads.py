"""A head for each domain, drawn together (SA-FAS): domains stay apart in the features, their boundaries align."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from fas_jax.training.classification import dropped, linear, mean_log_odds, smoothed
from fas_jax.training.losses import gathered, share_of_mean, supervised_contrast
from fas_jax.training.objectives import Objective

# The release multiplies its contrast by temperature / 0.07, a habit of the code that it comes from.
_BASE_TEMPERATURE = 0.07


@dataclass(frozen=True)
class DomainHeads(Objective):
    """A sigmoid head a domain, each with the cross-entropy of its own clips, and supervised contrast of two views."""

    views: ClassVar[int] = 2

    dropout: float = 0.0
    """Share of the features that training sets to zero before the heads."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""
    contrast: float = 0.1
    """Weight of the contrast, which is multiplied by temperature / 0.07 besides."""
    temperature: float = 0.1
    """Of the contrast."""
    keep: float = 0.995
    """What a head's direction keeps in an alignment; the rest is the direction of the head that is farthest from it."""
    align_from: int = 0
    """The first step, counted from 0, after which heads are aligned."""

    def head(self, seed: int) -> dict[str, Any]:
        """Fresh heads: a column of the kernel for each domain, drawn as PyTorch's linear layers are."""
        rng, most = np.random.default_rng([seed, 13]), self.network.dimension**-0.5
        shapes = {"kernel": (self.network.dimension, self.domains), "bias": (self.domains,)}
        return {name: rng.uniform(-most, most, shape).astype(np.float32) for name, shape in shapes.items()}

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`; a domain without a clip in the batch counts as a loss of 0."""
        frames = batch["frames"].reshape(-1, *batch["frames"].shape[2:])
        labels, domains, slots = (jnp.repeat(batch[name], self.views) for name in ("labels", "domains", "slots"))
        places = slots * self.views + jnp.tile(jnp.arange(self.views), len(batch["slots"]))
        features, stats = self.network.apply(params["backbone"], stats, frames, self.training(axis))
        logits = linear(dropped(features, self.dropout, places, key), params["head"])
        own = jnp.take_along_axis(logits, domains[:, None], 1)[:, 0]
        mistakes = optax.sigmoid_binary_cross_entropy(own, smoothed(labels.astype(jnp.float32), self.smoothing))
        of_domain = [share_of_mean(mistakes, domains == domain, axis) for domain in range(self.domains)]
        compared = supervised_contrast(*gathered((features, 10 * domains + labels), axis), self.temperature)
        weight = self.contrast * self.temperature / _BASE_TEMPERATURE
        return sum(of_domain, jnp.zeros(())) / self.domains + weight * compared, stats

    def after(self, params: Any, step: Int[Array, ""]) -> Any:
        """Turns every head a little towards the one whose direction differs most from its own; lengths stay."""
        kernel = params["head"]["kernel"]
        aligned = jnp.where(step >= self.align_from, aligned_heads(kernel, self.keep), kernel)
        return {**params, "head": {**params["head"], "kernel": aligned}}

    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """See `Objective.log_odds`: of the mean of the heads' probabilities."""
        features, _ = self.network.apply(params["backbone"], stats, frames, self.scoring)
        return mean_log_odds(linear(features, params["head"]))


def aligned_heads(heads: Float[Array, "d k"], keep: float) -> Float[Array, "d k"]:
    """Heads, a column each, whose directions are `keep` of their own and the rest of that of the smallest cosine."""
    lengths = jnp.sqrt(jnp.sum(jnp.square(heads), 0, keepdims=True))
    directions = heads / (lengths + 1e-10)
    cosines = jnp.dot(directions.T, directions, precision="highest")
    others = jnp.where(jnp.eye(heads.shape[1], dtype=bool), jnp.inf, cosines)
    mixed = keep * directions + (1 - keep) * directions[:, jnp.argmin(others, 1)]
    return mixed / (jnp.sqrt(jnp.sum(jnp.square(mixed), 0, keepdims=True)) + 1e-10) * lengths
