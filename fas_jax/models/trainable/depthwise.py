"""A convolution of each channel alone, forth and back, as a sum over the kernel's places.

On a CPU this is several times as fast as the compiler's grouped convolution, and up to twice as fast as what
differentiation makes of the same sum, because each of the two gradients is one pass over its result.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted_sum(x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """The convolution of float32 arrays, with TensorFlow's SAME padding."""
    side = len(kernel)
    padded, (rows, columns) = _padded(x, side, stride)
    total = jnp.zeros((len(x), rows, columns, x.shape[3]), x.dtype)
    for dy in range(side):
        for dx in range(side):
            total = total + kernel[dy, dx, None, None] * _view(padded, dy, dx, rows, columns, stride)
    return total


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return shifted_sum(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = kept
    (_, h, w, _), side = x.shape, len(kernel)
    padded, (rows, columns) = _padded(x, side, stride)
    of_kernel = jnp.stack(
        [
            jnp.stack([jnp.sum(_view(padded, dy, dx, rows, columns, stride) * slope, (0, 1, 2)) for dx in range(side)])
            for dy in range(side)
        ]
    )
    # The slope where the strides put it, with room for the kernel on every side; then the mirrored kernel over it.
    ends = [length - (count - 1) * stride - 1 for length, count in zip(padded.shape[1:3], (rows, columns), strict=True)]
    around = [(side - 1, end, stride - 1) for end in ends]
    spread = lax.pad(slope, jnp.zeros((), slope.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    (_, (above, _)), (_, (left, _)) = (same_padding(length, side, stride) for length in (h, w))
    of_x = jnp.zeros_like(x)
    for dy in range(side):
        for dx in range(side):
            view = _view(spread, side - 1 - dy + above, side - 1 - dx + left, h, w, 1)
            of_x = of_x + kernel[dy, dx, None, None] * view
    return of_x, of_kernel[:, :, None]


shifted_sum.defvjp(_forward, _backward)


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Output length and padding before and after, as TensorFlow defines SAME."""
    outputs = -(-length // stride)
    padding = max((outputs - 1) * stride + kernel - length, 0)
    return outputs, (padding // 2, padding - padding // 2)


def _padded(x: Array, side: int, stride: int) -> tuple[Array, tuple[int, int]]:
    (rows, above), (columns, left) = (same_padding(length, side, stride) for length in x.shape[1:3])
    return jnp.pad(x, ((0, 0), above, left, (0, 0))), (rows, columns)


def _view(values: Array, top: int, left: int, rows: int, columns: int, stride: int) -> Array:
    """Every so many rows and columns of an image, from a corner on."""
    b, _, _, c = values.shape
    end = (b, top + (rows - 1) * stride + 1, left + (columns - 1) * stride + 1, c)
    return lax.slice(values, (0, top, left, 0), end, (1, stride, stride, 1))
