"""Which pixels decide: maps of a clip's frames by gradients, guided back-propagation and occlusion."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.deployment.chain import Chain, Logits
from fas_jax.models.rectifiers import guided

Way: TypeAlias = Literal["gradient", "guided", "occlusion"]
"""How pixels are weighed. gradient: by how much the logit changes with them; guided: the same, through rectifiers that
pass only what speaks for the decision; occlusion: by how much the logit loses where a square is covered."""
WAYS: tuple[Way, ...] = get_args(Way)
CELLS = 8
"""Places of an occlusion map in each direction."""


def response(
    logits: Logits, weights: Any, frames: Float[Array, "t h w 3"], mask: Bool[Array, " t"], sign: Float[Array, ""]
) -> Float[Array, "t h w"]:
    """How much sign * logit changes with each pixel, summed over colours without regard to direction. Pure.

    Args:
        logits: Of a chain.
        weights: Of the chain.
        frames: Of one clip, RGB, 0 to 255.
        mask: True at real frames.
        sign: 1 for what speaks for bona fide, -1 for what speaks for attack.
    """
    slope = jax.grad(lambda own: sign * logits(weights, own[None], mask[None])[0])(frames)
    return jnp.sum(jnp.abs(slope), axis=-1)


def guided_response(
    logits: Logits,
    weights: Any,
    frames: Float[Array, "t h w 3"],
    mask: Bool[Array, " t"],
    sign: Float[Array, ""],
    sharpness: float = 0.0,
) -> Float[Array, "t h w"]:
    """As `response`, by guided back-propagation; `sharpness` as in `fas_jax.models.rectifiers.guided`."""
    with guided(sharpness):
        return response(logits, weights, frames, mask, sign)


def has_rectifiers(chain: Chain) -> bool:
    """Whether guided back-propagation is another thing than a gradient; nothing is computed."""
    shape = (1, chain.settings.burst, chain.settings.size, chain.settings.size, 3)
    with guided() as state:
        # A function of its own: JAX would take one that it has traced before from its cache.
        jax.eval_shape(
            lambda frames: chain.logits(chain.weights, frames, jnp.ones(shape[:2], bool)),
            jax.ShapeDtypeStruct(shape, np.float32),
        )
    return state.met > 0


@dataclass(frozen=True, eq=False)
class Maps:
    """Makes maps of clips by one detector; clips of equal length share a program."""

    chain: Chain
    way: Way
    program: Callable[..., Array]

    @classmethod
    def of(cls, chain: Chain, way: str) -> "Maps":
        """Maps of a chain's clips.

        Raises:
            UserError: No such way; or guided back-propagation for a network without rectifiers.
        """
        if way not in WAYS:
            raise unknown_name("way to explain", way, WAYS)
        if way == "guided" and not has_rectifiers(chain):
            raise UserError(
                f"detector {chain.name} has no rectifiers (ReLU, ReLU6), which guided back-propagation needs; choose "
                "gradient or occlusion"
            )
        functions: dict[str, Callable[..., Array]] = {
            "gradient": response,
            "guided": guided_response,
            "occlusion": _occlusion,
        }
        return cls(chain, way, jax.jit(partial(functions[way], chain.logits)))

    def __call__(self, frames: UInt8[np.ndarray, "t h w 3"], accepted: bool) -> Float[np.ndarray, "t h w"]:
        """How much each pixel matters for the decision, float32; of occlusion, negative where it speaks against it.

        Args:
            frames: All of a clip's kept frames, RGB.
            accepted: Whether the decision is bona fide.
        """
        sign = jnp.float32(1 if accepted else -1)
        mask = np.ones(len(frames), bool)
        return np.asarray(self.program(self.chain.weights, jnp.asarray(frames, jnp.float32), mask, sign))


def _occlusion(
    logits: Logits, weights: Any, frames: Float[Array, "t h w 3"], mask: Bool[Array, " t"], sign: Float[Array, ""]
) -> Float[Array, "t h w"]:
    """What sign * logit loses where a square of two cells a side has each frame's mean colour, in all frames at once.

    A cell has the mean of the squares that cover it, and all frames have the same map.
    """
    height, width = frames.shape[1:3]
    rows, columns = (jnp.arange(length) * CELLS // length for length in (height, width))
    mean = jnp.mean(frames, axis=(1, 2), keepdims=True)
    whole = logits(weights, frames[None], mask[None])[0]

    def lost(place: Array) -> Array:
        top, left = place // (CELLS - 1), place % (CELLS - 1)
        inside = ((rows == top) | (rows == top + 1))[:, None] & ((columns == left) | (columns == left + 1))[None]
        covered = jnp.where(inside[None, :, :, None], mean, frames)
        return sign * (whole - logits(weights, covered[None], mask[None])[0])

    places = CELLS - 1
    losses = jax.lax.map(lost, jnp.arange(places**2)).reshape(places, places)
    # Cell (i, j) lies in the squares whose corners are (i - 1, j - 1) to (i, j), where there are such.
    padded, count = (jnp.pad(each, 1) for each in (losses, jnp.ones_like(losses)))
    parts = [(dy, dx) for dy in (0, 1) for dx in (0, 1)]
    total, number = (
        sum((each[dy : dy + CELLS, dx : dx + CELLS] for dy, dx in parts), jnp.zeros((CELLS, CELLS)))
        for each in (padded, count)
    )
    return jnp.broadcast_to((total / number)[rows][:, columns], frames.shape[:3])
