"""A convolution whose gradient by the kernel is one matrix product for each few images.

On a CPU the compiler's own form of that gradient is a convolution with windows as large as the picture, which takes
several times as long as the two other passes of a training step.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fas_jax.models.backbones.base import EXACT

Sides = str | tuple[tuple[int, int], ...]
"""Padding above and below, and left and right, or `SAME` as TensorFlow defines it."""
PLACES = 1024
"""Of the output, that one product takes at most, unless a single image has more: their windows fit into the caches."""


def plain(x: Float[Array, "b h w c"], kernel: Float[Array, "k k g o"], stride: int, sides: Sides) -> Array:
    """The compiler's convolution, forth and back; of groups, where the kernel takes fewer channels than there are."""
    dimensions, groups = ("NHWC", "HWIO", "NHWC"), x.shape[3] // kernel.shape[2]
    return lax.conv_general_dilated(x, kernel, (stride, stride), sides, None, None, dimensions, groups, precision=EXACT)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def by_products(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"], stride: int, sides: Sides
) -> Float[Array, "b h2 w2 o"]:
    """`plain`, without groups, with another form of the gradient by the kernel."""
    return plain(x, kernel, stride, sides)


def _forward(x: Array, kernel: Array, stride: int, sides: Sides) -> tuple[Array, tuple[Array, Array]]:
    return by_products(x, kernel, stride, sides), (x, kernel)


def _backward(stride: int, sides: Sides, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (of_x,) = jax.linear_transpose(lambda x: plain(x, kernel, stride, sides), x)(slope)
    return of_x, _of_kernel(x, slope, kernel.shape[0], stride, sides).astype(kernel.dtype)


by_products.defvjp(_forward, _backward)


def _of_kernel(x: Array, slope: Array, side: int, stride: int, sides: Sides) -> Float[Array, "k k c o"]:
    (count, height, width, channels), (_, rows, columns, outputs) = x.shape, slope.shape
    pads = lax.padtype_to_pads((height, width), (side, side), (stride, stride), sides) if sides == "SAME" else sides
    few = max(
        each for each in range(1, count + 1) if not count % each and (each == 1 or each * rows * columns <= PLACES)
    )

    def product(images: Array, slopes: Array) -> Array:
        padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
        last = ((rows - 1) * stride + 1, (columns - 1) * stride + 1)
        views: Any = [
            lax.slice(padded, (0, dy, dx, 0), (few, dy + last[0], dx + last[1], channels), (1, stride, stride, 1))
            for dy in range(side)
            for dx in range(side)
        ]
        windows = jnp.concatenate([view.reshape(-1, channels).T for view in views])
        return jnp.dot(windows, slopes.reshape(-1, outputs), precision=EXACT, preferred_element_type=jnp.float32)

    several, slopes = (each.reshape(-1, few, *each.shape[1:]) for each in (x, slope))
    first = product(several[0], slopes[0])
    total, _ = lax.scan(lambda sum_, pair: (sum_ + product(*pair), None), first, (several[1:], slopes[1:]))
    return total.reshape(side, side, channels, outputs)
