"""What a backbone is, and the little that backbones share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Num

Params = dict[str, Any]
"""Nested dictionaries of float32 arrays."""
Tensors = dict[str, np.ndarray]
"""A weights file: arrays by the name that the file gives them."""
Precision = Literal["float32", "bfloat16"]
"""What a network multiplies in."""


@dataclass(frozen=True)
class Backbone:
    """A frozen network from frames to feature vectors."""

    name: str
    dimension: int
    """Length d of a feature vector."""
    version: int
    """Raised whenever the same weights and frames would give other features; part of every store's key."""
    preprocessing: str
    """What `apply` does to pixels first, in words; part of every store's key."""
    init: Callable[[int], Params]
    """Random weights from a seed."""
    apply: Callable[..., Float[Array, "b d"]]
    """Pure; `apply(params, frames, precision)`: RGB frames [b h w 3] from 0 to 255 in, uint8 or float, float32 features
    out; preprocessing is its own."""
    import_weights: Callable[[Tensors], Params]
    """From published weights; raises `UserError` that names the tensor where they do not fit."""
    package: tuple[str, str] | None = None
    """Installed package and file in it that hold published weights, where there is one."""


EXACT = lax.Precision.HIGHEST
"""Of products and convolutions: full float32, where a GPU would otherwise multiply in TF32."""


def product(
    x: Float[Array, "*pixels c"], kernel: Float[Array, "c o"], precision: Precision
) -> Float[Array, "*pixels o"]:
    """A 1x1 convolution: a product over channels, summed in float32."""
    dimensions = (((x.ndim - 1,), (0,)), ((), ()))
    if precision == "float32":
        return lax.dot_general(x, kernel, dimensions, precision=EXACT)
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return lax.dot_general(x, kernel, dimensions, preferred_element_type=jnp.float32)


def per_channel(values: Array | np.ndarray) -> Float[Array | np.ndarray, "1 1 1 c"]:
    """One value for each channel, as it is added to or multiplied with a batch [b h w c]."""
    return values[None, None, None]


def cast_kernels(params: Params, precision: Precision) -> Params:
    """Kernels as they are multiplied, once and not at every step; scales, shifts and biases stay float32."""
    if precision == "float32":
        return params
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.ndim > 1 else leaf, params)


def faster_form() -> str:
    """Which form of a network to run: `restructured` on a CPU, `plain` elsewhere (by measurement)."""
    return "restructured" if jax.default_backend() == "cpu" else "plain"


def in_chunks(
    network: Callable[[Num[Array, "n h w 3"]], Float[Array, "n d"]], frames: Num[Array, "b h w 3"], size: int
) -> Float[Array, "b d"]:
    """What a network makes of the frames, taken `size` at a time where their number is a known multiple of it.

    On a CPU: what lies between two layers then fits into the caches, and the working memory is small enough to be had
    again and again without the system clearing its pages.
    """
    count = frames.shape[0]
    if not isinstance(count, int) or count % size or count == size:  # exported, the number is a symbol
        return network(frames)
    return lax.map(network, frames.reshape(-1, size, *frames.shape[1:])).reshape(count, -1)


IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = f"RGB / 255, minus {IMAGENET_MEAN}, over {IMAGENET_SPREAD}"


def imagenet_normalise(frames: Num[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Pixels with ImageNet's channel means taken off, in units of its standard deviations."""
    mean = np.array(IMAGENET_MEAN, np.float32)
    deviation = np.array(IMAGENET_SPREAD, np.float32)
    return (frames.astype(jnp.float32) / np.float32(255) - per_channel(mean)) / per_channel(deviation)


def he_uniform(seed: int) -> Callable[[tuple[int, ...]], Float32[np.ndarray, "..."]]:
    """A function from the shape of a kernel (outputs last) to random values with variance 2 / inputs.

    The raw stream of PCG64 is fixed for good, which NumPy promises of no distribution; scaled by hand it
    gives the same bits with every version and on every machine.
    """
    bits = np.random.PCG64(seed)

    def draw(shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
        raw = np.asarray(bits.random_raw(math.prod(shape)))
        unit = (raw >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
        return (unit * math.sqrt(6 / math.prod(shape[:-1]))).astype(np.float32).reshape(shape)

    return draw
