"""Losses for unseen datasets, as pure functions of whole batches, and what divides a batch among devices.

A loss that compares clips is computed on every device from the clips of all devices, which `gathered` collects. The
gradient of what was gathered goes back to the device that it came from, so that the mean over devices of these
gradients is the gradient of the one loss.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Rows = TypeVar("Rows")


def gathered(rows: Rows, axis: str) -> Rows:
    """Arrays with the rows of all devices of an axis, from arrays with this device's rows."""
    found: Rows = jax.tree.map(lambda leaf: lax.all_gather(leaf, axis, tiled=True), rows)
    return found


def share_of_mean(values: Float[Array, " b"], counts: Bool[Array, " b"], axis: str) -> Float[Array, ""]:
    """A device's share of the mean over those rows of all devices that count; the mean over devices is that mean.

    Args:
        values: Of this device's rows.
        counts: Which of these count.
        axis: Of the devices.

    Returns:
        0 on all devices where no row counts.
    """
    own = jnp.sum(jnp.where(counts, values, 0))
    total = lax.psum(jnp.sum(counts).astype(jnp.float32), axis)
    return own * lax.axis_size(axis) / jnp.maximum(total, 1)


@jax.custom_vjp
def reverse_gradient(values: Float[Array, "..."], coefficient: Float[Array, ""]) -> Float[Array, "..."]:
    """The values as they are; their gradient is multiplied by -`coefficient` (Ganin and Lempitsky, ICML 2015)."""
    return values


def _reversed_forward(values: Array, coefficient: Array) -> tuple[Array, Array]:
    return values, coefficient


def _reversed_backward(coefficient: Array, gradient: Array) -> tuple[Array, Array]:
    return -coefficient * gradient, jnp.zeros_like(coefficient)


reverse_gradient.defvjp(_reversed_forward, _reversed_backward)


def reversal_at(step: Int[Array, ""] | int, steps: int) -> Float[Array, ""]:
    """The coefficient of the reversal in a step, which counts from 0: it rises from 0 to almost 1 over all `steps`."""
    # SSDG's release counts a batch before it uses the coefficient: the first one is that of 1.
    done = (jnp.asarray(step, jnp.float32) + 1) / steps
    return 2 / (1 + jnp.exp(-10 * done)) - 1


def triplets(features: Float[Array, "b d"], classes: Int[Array, " b"], margin: float = 0.1) -> Float[Array, ""]:
    """The mean of relu(d(a, p) - d(a, n) + margin) over all triplets where that is above 0; 0 where there are none.

    A triplet is an anchor a, another clip p of its class and a clip n of another class; d is the Euclidean distance,
    not squared. The gradient of a distance that is 0 is taken as 0.

    Args:
        features: Of the whole batch.
        classes: Numbers.
        margin: By which another class has to be farther away.
    """
    # From differences: a sum of squares minus a product would lose digits where features are close to each other.
    distances = _root(jnp.sum(jnp.square(features[:, None] - features[None]), 2))
    alike = classes[:, None] == classes[None]
    positive = alike & ~jnp.eye(len(classes), dtype=bool)
    valid = positive[:, :, None] & ~alike[:, None, :]
    lengths = jnp.where(valid, distances[:, :, None] - distances[:, None, :] + margin, 0)
    return jnp.sum(jax.nn.relu(lengths)) / _at_least_one(lengths > 0)


def supervised_contrast(
    features: Float[Array, "b d"], classes: Int[Array, " b"], temperature: float = 0.1
) -> Float[Array, ""]:
    """Supervised contrast (Khosla et al., NeurIPS 2020): mean over anchors of the mean of -log p over their positives.

    p is the softmax of cosines / temperature over all rows but the anchor, whose positives are the other rows of its
    class. An anchor without a positive does not count.

    Args:
        features: Of all views of the whole batch, a view a row; lengths do not matter, but must not be 0.
        classes: Of the same rows.
        temperature: Above 0.
    """
    directions = features / jnp.maximum(norms(features), 1e-12)
    cosines = jnp.dot(directions, directions.T, precision="highest")
    self = jnp.eye(len(classes), dtype=bool)
    log_odds = jax.nn.log_softmax(jnp.where(self, -jnp.inf, cosines / temperature), axis=1)
    positive = (classes[:, None] == classes[None]) & ~self
    means = -jnp.sum(jnp.where(positive, log_odds, 0), 1) / _at_least_one(positive, 1)
    return jnp.sum(means) / _at_least_one(jnp.any(positive, 1))


def norms(rows: Float[Array, "b d"]) -> Float[Array, "b 1"]:
    """Euclidean lengths of rows; the gradient of the length of a row of zeros is taken as 0."""
    return _root(jnp.sum(jnp.square(rows), 1, keepdims=True))


def _root(squares: Float[Array, "*s"]) -> Float[Array, "*s"]:
    some = squares > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)


def _at_least_one(true: Bool[Array, "*s"], axis: int | None = None) -> Float[Array, "*t"]:
    return jnp.maximum(jnp.sum(true, axis), 1).astype(jnp.float32)
