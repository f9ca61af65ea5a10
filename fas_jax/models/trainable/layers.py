"""Layers of networks that train: convolutions, and batch normalisation that is not folded away.

Arrays are channels-last. A network in bfloat16 keeps its parameters, statistics and normalisation in float32, and
computes convolutions and what lies between them in bfloat16.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fas_jax.models.backbones.base import EXACT, Precision, faster_form, per_channel
from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable.convolution import by_products, plain
from fas_jax.models.trainable.depthwise import shifted_sum

Params = dict[str, Any]
"""Nested dictionaries of float32 arrays."""
Stats = dict[str, Any]
"""Running mean and variance of every normalisation, in nested dictionaries."""
HELD = "held"
"""A normalisation whose statistics have an entry of this name uses them in training, too, and leaves them as they are.
The entry is None, which is no leaf: what is compiled depends on it."""


@dataclass(frozen=True)
class Mode:
    """How a network is run; static."""

    train: bool = False
    """Whether normalisations use the batch's statistics, and move the running ones towards these."""
    precision: Precision = "float32"
    momentum: float = 0.1
    """Share of the batch in the running statistics after a step, as PyTorch counts it."""
    axis: str | None = None
    """Axis of a mesh over whose devices the batch is divided: its statistics are those of all devices' shares."""
    rematerialise: bool = False
    """Whether the backward pass computes the inside of a block again, which takes less memory and more time."""

    @property
    def dtype(self) -> Any:
        """Of what the network multiplies."""
        return jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32

    def block(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of a block of layers, computed again in the backward pass if that was asked for."""
        return jax.checkpoint(function) if self.rematerialise else function


def normalise(
    x: Float[Array, "b h w c"], params: Params, stats: Stats, epsilon: float, mode: Mode
) -> tuple[Float[Array, "b h w c"], Stats]:
    """Batch normalisation, in float32.

    Args:
        x: The batch, or this device's share of it.
        params: `scale` and `bias` [c].
        stats: `mean` and `variance` [c], as they run.
        epsilon: Added to the variance.
        mode: How the network is run.

    Returns:
        The normalised batch, and the statistics as they run on; in PyTorch's way, the running variance is that of a
        sample (over n - 1), and the batch is normalised by its own (over n).
    """
    values = x.astype(jnp.float32)
    mean, variance = stats["mean"], stats["variance"]
    if mode.train and HELD not in stats:
        count = x.size // x.shape[-1]
        # In two passes: the difference of two large means would lose digits.
        mean = jnp.mean(values, (0, 1, 2))
        mean = lax.pmean(mean, mode.axis) if mode.axis else mean
        variance = jnp.mean(jnp.square(values - per_channel(mean)), (0, 1, 2))
        if mode.axis:
            variance, count = lax.pmean(variance, mode.axis), count * lax.axis_size(mode.axis)
        sample = lax.stop_gradient(variance) * (count / max(count - 1, 1))
        stats = {
            "mean": (1 - mode.momentum) * stats["mean"] + mode.momentum * lax.stop_gradient(mean),
            "variance": (1 - mode.momentum) * stats["variance"] + mode.momentum * sample,
        }
    scale = params["scale"] * lax.rsqrt(variance + epsilon)
    found = (values - per_channel(mean)) * per_channel(scale) + per_channel(params["bias"])
    return found.astype(x.dtype), stats


def imagenet_stem(
    epsilon: float, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b h2 w2 c"], Stats]:
    """How ResNet and DenseNet begin: a 7x7 convolution, normalisation, rectifier and the maximum of 3x3 places, both
    windows at every second place; and the statistics as they run on.
    """
    x, stats = normalise(convolve(x, params["kernel"], 2, 3), params, stats, epsilon, mode)
    windows = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(relu(x), -jnp.inf, lax.max, *windows), stats


def layer_norm(x: Float[Array, "*n c"], params: Params, epsilon: float) -> Float[Array, "*n c"]:
    """Layer normalisation over the last axis, in float32."""
    values = x.astype(jnp.float32)
    values = values - jnp.mean(values, -1, keepdims=True)
    variance = jnp.mean(jnp.square(values), -1, keepdims=True)
    found = values * lax.rsqrt(variance + epsilon) * _on_last(params["scale"], x) + _on_last(params["bias"], x)
    return found.astype(x.dtype)


def linear(x: Float[Array, "*n c"], params: Params) -> Float[Array, "*n o"]:
    """A product with a matrix, and a bias."""
    product = jnp.dot(x, params["kernel"].astype(x.dtype), precision=EXACT)
    return product + _on_last(params["bias"], x).astype(x.dtype)


def _on_last(values: Float[Array, " c"], x: Array) -> Array:
    """One value for each place of the last axis, with as many axes as an array has."""
    return values.reshape(*(1,) * (x.ndim - 1), -1)


def pointwise(x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c o"]) -> Float[Array, "b h w o"]:
    """A 1x1 convolution."""
    return lax.dot_general(x, kernel[0, 0].astype(x.dtype), (((3,), (0,)), ((), ())), precision=EXACT)


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k g o"], stride: int = 1, padding: Any = "SAME"
) -> Float[Array, "b h2 w2 o"]:
    """A convolution, in the form that is faster here; of groups, where the kernel takes fewer channels than there are.

    Args:
        x: The batch.
        kernel: Outputs last.
        stride: In both directions.
        padding: `SAME` as TensorFlow defines it, or a number of pixels on every side.
    """
    sides = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    products = faster_form() == "restructured" and x.shape[3] == kernel.shape[2] and len(kernel) > 1
    return (by_products if products else plain)(x, kernel.astype(x.dtype), stride, sides)


def depthwise(x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """A convolution of each channel alone, with TensorFlow's SAME padding, in the form that is faster here."""
    if faster_form() == "plain":
        return convolve(x, kernel, stride)
    return shifted_sum(x.astype(jnp.float32), kernel, stride).astype(x.dtype)
