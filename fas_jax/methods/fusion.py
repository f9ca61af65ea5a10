"""From scores of frames to the score of a clip."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fas_jax.methods.head_settings import Fusion


def fuse(
    probabilities: Float[np.ndarray, "m t"], mask: Bool[np.ndarray, "m t"], fusion: Fusion
) -> Float[np.ndarray, " m"]:
    """A clip's score from its frames' P(bona fide): mean, last, median or minimum over the real frames.

    NaN for a clip with a NaN at a real frame, and for a clip without frames.
    """
    known = mask.any(axis=1) & ~np.isnan(probabilities).any(axis=1, where=mask)
    if not known.all():
        found = np.full(len(mask), np.nan)
        if known.any():
            found[known] = fuse(probabilities[known], mask[known], fusion)
        return found
    real = np.where(mask, probabilities.astype(np.float64), np.nan)
    if fusion == "last":
        return real[np.arange(len(mask)), mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)]
    joined: dict[str, Any] = {"mean": np.nanmean, "median": np.nanmedian, "minimum": np.nanmin}
    return joined[fusion](real, axis=1)


def traced_fuse(probabilities: Any, mask: Any, fusion: Fusion) -> Any:
    """As `fuse`, as a function that JAX can trace: float32 [b t] and bool [b t] to float32 [b]."""
    import jax.numpy as jnp

    real = jnp.where(mask, probabilities, jnp.nan)
    if fusion == "last":
        last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1])[None], -1), axis=1)
        at = jnp.arange(mask.shape[1])[None] == last[:, None]
        return jnp.where(last < 0, jnp.nan, jnp.sum(jnp.where(at, probabilities, 0), axis=1))
    joined: dict[str, Any] = {"mean": jnp.nanmean, "median": jnp.nanmedian, "minimum": jnp.nanmin}
    return joined[fusion](real, axis=1)
