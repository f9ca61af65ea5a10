"""Adversarial frames within a number of grey levels of a clip's own: FGSM, PGD, and PGD that knows the defence.

What is attacked are the frames that a detector reads, after decoding and cropping: whoever can change these has broken
into the channel between camera and detector. Perturbed frames are rounded to whole grey levels before anything scores
them, as a real attack's would be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, UInt8

from fas_jax.deployment.attribution import guided_response, response
from fas_jax.deployment.chain import Chain, Logits
from fas_jax.studies.attack.entropy import spatial_entropy

Kind: TypeAlias = Literal["fgsm", "pgd", "adaptive"]
"""fgsm: one step along the gradient's signs (Goodfellow et al., 2015); pgd: many smaller ones, each followed by a
projection (Madry et al., 2018); adaptive: pgd that also keeps the entropy of the response low."""
KINDS: tuple[Kind, ...] = get_args(Kind)
STEPS = {"fgsm": 1, "pgd": 10, "adaptive": 20}
SHARPNESS = 4.0
"""Of rectifiers as the adaptive attack differentiates them a second time: a true one's derivative has none."""
_REACH = 2.5
"""Strengths that the steps of PGD could walk, were they not projected; as Madry et al. choose it."""
_MARGIN = 1.0
"""Logits beyond the threshold from which on the adaptive attack lowers the entropy alone."""

_FAR = np.float32(1e6)
"""Above every logit: frames beyond the margin go before others, and among them those of the lowest entropy."""


@dataclass(frozen=True, eq=False)
class Attacker:
    """Perturbs clips against one detector, and measures the defence's entropy; clips of equal length share programs."""

    chain: Chain
    guided: bool
    """Whether the defence reads guided back-propagation; else plain gradients, for networks without rectifiers."""
    programs: dict[str, Callable[..., Array]]
    """By kind, and `logit` and `entropy`."""

    @classmethod
    def of(cls, chain: Chain, guided: bool) -> "Attacker":
        """Against a chain's detector."""
        known = {"logit": partial(_logit, chain.logits), "entropy": partial(_entropy, chain.logits, guided, 0.0)}
        known |= {kind: partial(perturb, chain.logits, kind, guided) for kind in KINDS}
        return cls(chain, guided, {name: jax.jit(function) for name, function in known.items()})

    def perturbed(
        self, kind: Kind, frames: UInt8[np.ndarray, "t h w 3"], strength: int, towards: int
    ) -> UInt8[np.ndarray, "t h w 3"]:
        """Frames that differ from a clip's by at most `strength` grey levels of 255.

        Args:
            kind: Of the attack.
            frames: Of the clip, RGB.
            strength: Whole grey levels.
            towards: 1 to be accepted, -1 to be rejected.
        """
        if not strength:
            return frames
        arguments = jnp.float32(strength), jnp.float32(towards), jnp.float32(self.chain.threshold)
        return np.asarray(self._run(kind, frames, *arguments)).astype(np.uint8)

    def logit(self, frames: UInt8[np.ndarray, "t h w 3"]) -> float:
        """Of a clip."""
        return float(self._run("logit", frames))

    def entropy(self, frames: UInt8[np.ndarray, "t h w 3"]) -> float:
        """Of the response to a clip that speaks for the clip's own decision; what the defence measures, in bits."""
        sign = 1 if self.logit(frames) >= self.chain.threshold else -1
        return float(self._run("entropy", frames, jnp.float32(sign)))

    def _run(self, name: str, frames: np.ndarray, *arguments: Array) -> Array:
        own, mask = jnp.asarray(frames, jnp.float32), jnp.ones(len(frames), bool)
        return self.programs[name](self.chain.weights, own, mask, *arguments)


def perturb(
    logits: Logits,
    kind: Kind,
    guided: bool,
    weights: Any,
    frames: Float[Array, "t h w 3"],
    mask: Bool[Array, " t"],
    strength: Float[Array, ""],
    towards: Float[Array, ""],
    threshold: Float[Array, ""],
) -> Float[Array, "t h w 3"]:
    """The attack on one clip, pure; arguments as of `Attacker.perturbed`, and the threshold's logit."""

    def plain(own: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda x: towards * logits(weights, x[None], mask[None])[0])(own)

    def knowing(own: Array) -> tuple[Array, Array]:
        value, slope = plain(own)
        known = partial(_entropy, logits, guided, SHARPNESS, weights)
        entropy, steeper = jax.value_and_grad(lambda x: known(x, mask, towards))(own)
        there = value - towards * threshold > _MARGIN
        # Both of the same size, or the one with the larger unit would win at every pixel.
        return jnp.where(there, _FAR - entropy, value), jnp.where(there, 0, _unit(slope)) - _unit(steeper)

    def step(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        own, best, highest = state
        # What a detector will be given; the steps themselves may be smaller than a grey level.
        whole = jnp.round(own)
        value, way = (knowing if kind == "adaptive" else plain)(whole)
        best, highest = jnp.where(value > highest, whole, best), jnp.maximum(value, highest)
        moved = own + size * jnp.sign(way)
        moved = jnp.clip(jnp.clip(moved, frames - strength, frames + strength), 0, 255)
        return moved, best, highest

    steps, start = STEPS[kind], (frames, frames, jnp.float32(-jnp.inf))
    if kind == "fgsm":
        size = strength
        return jnp.round(step(jnp.int32(0), start)[0])
    size = _REACH * strength / steps
    # Once more, to judge where the last step leads.
    return lax.fori_loop(0, steps + 1, step, start)[1]


def _unit(slope: Array) -> Array:
    return slope / jnp.maximum(jnp.mean(jnp.abs(slope)), np.finfo(np.float32).tiny)


def _logit(logits: Logits, weights: Any, frames: Array, mask: Array) -> Array:
    return logits(weights, frames[None], mask[None])[0]


def _entropy(
    logits: Logits, guided: bool, sharpness: float, weights: Any, frames: Array, mask: Array, sign: Array
) -> Array:
    found = (
        guided_response(logits, weights, frames, mask, sign, sharpness)
        if guided
        else response(logits, weights, frames, mask, sign)
    )
    return spatial_entropy(found, mask)
