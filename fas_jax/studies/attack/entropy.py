"""Local spatial entropy of a network's response, which may give adversarial inputs away.

Amirian, Schwenker and Stadelmann, *Trace and Detect Adversarial Attacks on CNNs Using Feature Response Maps*, ANNPR
2018: under attack, what guided back-propagation shows is spread more widely, and its local entropy rises.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

SIDE = 3
"""Pixels of a square, in both directions, as in the paper."""
_LEAST = 1e-12


def spatial_entropy(response: Float[Array, "t h w"], mask: Bool[Array, " t"]) -> Float[Array, ""]:
    """Mean entropy, in bits, of how the response is spread over the pixels of each square; at most log2(9). Pure.

    A square's entropy is that of its pixels' shares of its sum; it is 0 where nothing responds.

    Args:
        response: At least 0.
        mask: True at real frames, which all count the same.
    """
    largest = jnp.max(jnp.where(mask[:, None, None], response, 0))
    share = response / jnp.maximum(largest, np.finfo(np.float32).tiny)
    # The floor keeps the derivative finite where nothing responds.
    safe = jnp.maximum(share, _LEAST)
    total, logs = (_sums(each) for each in (safe, safe * jnp.log2(safe)))
    nothing = total <= SIDE**2 * _LEAST * 2
    entropy = jnp.where(nothing, 0, jnp.log2(total) - logs / total)
    of_frame = jnp.mean(entropy, axis=(1, 2))
    return jnp.sum(jnp.where(mask, of_frame, 0)) / jnp.sum(mask).astype(jnp.float32)


def _sums(values: Float[Array, "t h w"]) -> Float[Array, "t y x"]:
    """Over every square that lies inside."""
    return lax.reduce_window(values, np.float32(0), lax.add, (1, SIDE, SIDE), (1, 1, 1), "VALID")
