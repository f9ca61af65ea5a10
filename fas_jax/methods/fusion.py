"""From scores of frames to the score of a clip."""

from typing import Any, Literal

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


def fuse_logits(
    logits: Float[np.ndarray, "m t"], mask: Bool[np.ndarray, "m t"], fusion: Fusion
) -> Float[np.ndarray, " m"]:
    """The logit of what `fuse` makes of the frames' probabilities, by their logits.

    It is finite where these are, also where the probabilities are rounded to 0 or 1. NaN as in `fuse`.
    """
    values = logits.astype(np.float64)
    if fusion in ("last", "minimum"):
        return fuse(values, mask, fusion)
    known: Any = mask.any(axis=1) & ~np.isnan(values).any(axis=1, where=mask)
    counted = mask & known[:, None]
    if fusion == "median":
        ranks = np.argsort(np.argsort(np.where(counted, values, np.nan), axis=1), axis=1)
        count = counted.sum(axis=1, keepdims=True)
        counted &= (ranks >= (count - 1) // 2) & (ranks <= count // 2)
    # Of the sums of P and of 1 - P over the frames that count; their logarithms are exact where the sums are not.
    values = np.where(counted, values, 0)
    sides = [
        np.logaddexp.reduce(np.where(counted, -np.logaddexp(0, -side), -np.inf), axis=1) for side in (values, -values)
    ]
    found = np.full(len(values), np.nan)
    found[known] = sides[0][known] - sides[1][known]
    return found


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


def traced_fuse_logits(logits: Any, mask: Any, fusion: Fusion | Literal["mean-logit"]) -> Any:
    """As `fuse_logits`, as a function that JAX can trace: float32 [b t] and bool [b t] to float32 [b].

    `mean-logit` is the mean of the logits themselves. A clip without a frame that counts is NaN.
    """
    import jax
    import jax.numpy as jnp

    if fusion == "last" or fusion == "minimum":
        return traced_fuse(logits, mask, fusion)
    count = jnp.sum(mask, axis=1, keepdims=True)
    if fusion == "mean-logit":
        return jnp.sum(jnp.where(mask, logits, 0), axis=1) / count[:, 0].astype(jnp.float32)
    if fusion == "median":
        ranks = jnp.argsort(jnp.argsort(jnp.where(mask, logits, jnp.inf), axis=1), axis=1)
        mask = mask & (ranks >= (count - 1) // 2) & (ranks <= count // 2)
    sides = [
        jax.nn.logsumexp(jnp.where(mask, jax.nn.log_sigmoid(side), -jnp.inf), axis=1) for side in (logits, -logits)
    ]
    return jnp.where(mask.any(axis=1), sides[0] - sides[1], jnp.nan)


def running(count: Any, fused: Any, score: Any, fusion: str) -> Any:
    """What `traced_fuse` makes of one frame more, by what it made of those before; traceable.

    Args:
        count: Number of frames, the new one among them.
        fused: Of those before it; anything before the first.
        score: Of the new one.
        fusion: Any but the median, which needs all scores.
    """
    import jax.numpy as jnp

    if fusion == "last":
        return score
    if fusion == "minimum":
        return jnp.where(count == 1, score, jnp.minimum(fused, score))
    # Not a sum: after an hour of frames, its last digits would be lost.
    return jnp.where(count == 1, score, fused + (score - fused) / count)


def running_logit(count: Any, fused: Any, logit: Any, fusion: str) -> tuple[Any, Any]:
    """What `traced_fuse_logits` makes of one frame more, by what it made of those before; traceable.

    Args:
        count: Number of frames, the new one among them; float32 [b].
        fused: What was remembered of those before it, float32 [2 b]; zeros before the first.
        logit: Of the new one, float32 [b].
        fusion: Any but the median, which needs all logits.

    Returns:
        What to remember, and the clips' logits.
    """
    import jax
    import jax.numpy as jnp

    if fusion == "last" or fusion == "minimum":
        found = running(count, fused[0], logit, fusion)
        return jnp.stack([found, found]), found
    # Logarithms of the means of P(bona fide) and of P(attack).
    own = jax.nn.log_sigmoid(jnp.stack([logit, -logit]))
    sides = jnp.logaddexp(fused + jnp.log((count - 1) / count)[None], own - jnp.log(count)[None])
    return sides, sides[0] - sides[1]
