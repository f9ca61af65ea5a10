"""Rectifiers of networks: with their own derivative, or with that of guided back-propagation.

Guided back-propagation (Springenberg et al., *Striving for Simplicity*, ICLR 2015 workshop) lets a gradient pass a
rectifier only where the rectifier is open and the gradient is positive. ReLU6 counts as a rectifier that is open from 0
to 6. Networks whose rectifiers are not those of this module have no guided gradient here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclass
class Guided:
    """How derivatives are taken, and what was traced meanwhile."""

    sharpness: float = 0.0
    """Of a sigmoid in place of the step from closed to open; 0 for the step itself."""
    met: int = 0
    """Rectifiers that were traced."""


_active: ContextVar[Guided | None] = ContextVar("guided", default=None)


@contextmanager
def guided(sharpness: float = 0.0) -> Iterator[Guided]:
    """While it is entered, rectifiers are traced with the derivative of guided back-propagation.

    It belongs inside of what is compiled: a program that was compiled before does not change.

    Args:
        sharpness: What a rectifier makes of `x` stays as it is. Where this is above 0, its derivative is that of a
            rectifier that opens as sigmoid(sharpness * x) does, so that the gradient itself has a derivative: that of a
            network of rectifiers is constant almost everywhere otherwise.
    """
    state = Guided(sharpness)
    token = _active.set(state)
    try:
        yield state
    finally:
        _active.reset(token)


def relu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The larger of x and 0."""
    state = _active.get()
    if state is None:
        return jax.nn.relu(x)
    state.met += 1
    return _guided(x, np.inf, state.sharpness)


def relu6(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """x, between 0 and 6."""
    state = _active.get()
    if state is None:
        return jnp.clip(x, 0, 6)
    state.met += 1
    return _guided(x, 6.0, state.sharpness)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _guided(x: Array, top: float, sharpness: float) -> Array:
    return jnp.clip(x, 0, top)


def _forward(x: Array, top: float, sharpness: float) -> tuple[Array, Array]:
    return _guided(x, top, sharpness), x


def _backward(top: float, sharpness: float, x: Array, slope: Array) -> tuple[Array]:
    if sharpness:
        width = np.asarray(sharpness, x.dtype)
        opened = jax.nn.sigmoid(width * x)
        if np.isfinite(top):
            opened = opened * jax.nn.sigmoid(width * (np.asarray(top, x.dtype) - x))
    else:
        opened = ((x > 0) & (x < top)).astype(x.dtype)
    return (jnp.maximum(slope, 0) * opened,)


_guided.defvjp(_forward, _backward)
