"""DenseNet-121, -169 and -201 (Huang et al., CVPR 2017) as pure functions, for inference.

Batch normalisation is a scale and a shift here, folded when the weights are imported: what follows a
convolution goes into its kernel and bias (stem, bottleneck), what precedes one stays.

There are three forms of the same network. `plain` is the textbook: convolutions and concatenation.
`buffered`: a block writes its layers' channels into one buffer instead of copying all of them for every
concatenation, and 1x1 convolutions are matrix products. `restructured` is what runs on a CPU, where it is half as
fast again as `plain`: as `buffered`, and a 3x3 convolution to few channels is one product to 9 times as many, of
which nine shifted views are added; and `CHUNK` frames are taken at a time.

In bfloat16 the kernels and what they are multiplied with are rounded, and sums are float32. What a block holds is
rounded too, because this network is bound by the bytes that it moves; `restructured` holds it as 16-bit integers,
because XLA's CPU code handles bfloat16 element by element.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Num, UInt16

from fas_jax.models.backbones.base import (
    EXACT,
    Params,
    Precision,
    faster_form,
    he_uniform,
    imagenet_normalise,
    in_chunks,
    per_channel,
    product,
)
from fas_jax.models.rectifiers import relu


@dataclass(frozen=True)
class Shape:
    """Sizes of a DenseNet."""

    layers: tuple[int, ...]
    """Dense layers in each block."""
    growth: int = 32
    """Channels that a layer adds."""
    stem: int = 64
    """Channels of the first convolution."""
    bottleneck: int = 4
    """Channels between a layer's two convolutions, as a multiple of `growth`."""

    def block_inputs(self) -> list[int]:
        """Channels at the start of each block; its layers add theirs, then a transition halves all."""
        inputs = [self.stem]
        for layers in self.layers[:-1]:
            inputs.append((inputs[-1] + layers * self.growth) // 2)
        return inputs

    def dimension(self) -> int:
        """Channels after the last block."""
        return self.block_inputs()[-1] + self.layers[-1] * self.growth


CHUNK = 8
"""Frames that `restructured` takes at a time (by measurement)."""
SHAPES = {
    "densenet121": Shape((6, 12, 24, 16)),
    "densenet169": Shape((6, 12, 32, 32)),
    "densenet201": Shape((6, 12, 48, 32)),
}


def init(shape: Shape, seed: int) -> Params:
    """Random weights: He-uniform kernels, and normalisation that changes nothing.

    The same on every machine: the bits come from a generator whose stream is fixed.
    """
    draw = he_uniform(seed)

    def identity(channels: int) -> Params:
        return {"scale": np.ones(channels, np.float32), "shift": np.zeros(channels, np.float32)}

    width = shape.bottleneck * shape.growth
    params: Params = {"stem": {"kernel": draw((7, 7, 3, shape.stem)), "bias": np.zeros(shape.stem, np.float32)}}
    for b, (channels, layers) in enumerate(zip(shape.block_inputs(), shape.layers, strict=True), start=1):
        block: Params = {}
        for i in range(layers):
            inputs = channels + i * shape.growth
            block[f"layer{i + 1}"] = {
                **identity(inputs),
                "bottleneck": {"kernel": draw((inputs, width)), "bias": np.zeros(width, np.float32)},
                "growth": {"kernel": inputs_first(draw((3, 3, width, shape.growth)))},
            }
        params[f"block{b}"] = block
        end = channels + layers * shape.growth
        if b < len(shape.layers):
            params[f"transition{b}"] = {**identity(end), "kernel": draw((end, end // 2))}
        else:
            params["head"] = identity(end)
    return params


def inputs_first(kernel: Float32[np.ndarray, "3 3 c o"]) -> Float32[np.ndarray, "c 3 3 o"]:
    """As the kernels of the 3x3 convolutions are kept: the matrix that `restructured` multiplies with."""
    return np.ascontiguousarray(kernel.transpose(2, 0, 1, 3))


def apply(
    shape: Shape, params: Params, frames: Num[Array, "b h w 3"], precision: Precision = "float32", form: str = ""
) -> Float[Array, "b d"]:
    """Features after the last average pooling, float32.

    Args:
      shape: sizes of the network.
      params: as `init` or the import of published weights makes them.
      frames: RGB, 0 to 255, at least 32 pixels high and wide.
      precision: what is multiplied in.
      form: one of `FORMS`; empty takes what is faster on the backend in use.
    """
    form = form or faster_form()
    network = partial(_features, shape, params, precision=precision, form=form)
    return in_chunks(network, frames, CHUNK) if form == "restructured" else network(frames)


def _features(
    shape: Shape, params: Params, frames: Num[Array, "b h w 3"], *, precision: Precision, form: str
) -> Float[Array, "b d"]:
    between = jnp.dtype("float32" if form == "restructured" else precision)
    x = _convolve(imagenet_normalise(frames).astype(precision), params["stem"]["kernel"], stride=2, padding=3)
    windows = ((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Neither a bias nor rectification changes which of a window's values is the largest; pooled first, they are fewer.
    x = lax.reduce_window(x.astype(between), np.array(-np.inf, between), lax.max, *windows)
    x = relu(x + per_channel(params["stem"]["bias"]).astype(between))
    for b, layers in enumerate(shape.layers, start=1):
        x = FORMS[form](shape, layers, params[f"block{b}"], x, precision)
        if b < len(shape.layers):
            transition = params[f"transition{b}"]
            # Pooling and the 1x1 convolution commute; pooled first, the product is four times smaller.
            x = mean_2x2(_scale_shift_relu(transition, x))
            x = product(x, transition["kernel"], precision).astype(between)
    return jnp.mean(_scale_shift_relu(params["head"], x), axis=(1, 2))


def _plain_block(
    shape: Shape, layers: int, block: Params, x: Float[Array, "b h w c"], precision: Precision
) -> Float[Array, "b h w c2"]:
    del precision  # it is that of `x`
    for i in range(1, layers + 1):
        layer = block[f"layer{i}"]
        kernel, bias = layer["bottleneck"]["kernel"], layer["bottleneck"]["bias"]
        y = _scale_shift_relu(layer, x).astype(x.dtype)
        y = _convolve(y, kernel[None, None], stride=1, padding=0) + per_channel(bias).astype(x.dtype)
        y = _convolve(relu(y), layer["growth"]["kernel"], stride=1, padding=1, order="IHWO")
        x = jnp.concatenate([x, y], axis=3)
    return x


def _buffered_block(
    grow: Callable[[Array, Array, Precision], Array],
    as_bits: bool,
    shape: Shape,
    layers: int,
    block: Params,
    x: Float[Array, "b h w c"],
    precision: Precision,
) -> Float[Array, "b h w c2"]:
    start, kind = x.shape[3], x.dtype
    narrow, widen = (lambda held: held.astype(kind)), (lambda held: held)
    if as_bits and precision == "bfloat16":
        narrow, widen = _to_bits, _from_bits
    x = narrow(x)
    buffer = jnp.zeros((*x.shape[:3], start + layers * shape.growth), x.dtype)
    buffer = lax.dynamic_update_slice(buffer, x, (0, 0, 0, 0))
    for i in range(layers):
        layer = block[f"layer{i + 1}"]
        inputs = start + i * shape.growth
        y = _scale_shift_relu(layer, widen(buffer[..., :inputs]))
        y = relu(product(y, layer["bottleneck"]["kernel"], precision) + per_channel(layer["bottleneck"]["bias"]))
        y = grow(y, layer["growth"]["kernel"], precision)
        buffer = lax.dynamic_update_slice(buffer, narrow(y), (0, 0, 0, inputs))
    return widen(buffer)


def _convolve_3x3(x: Array, kernel: Float[Array, "c 3 3 o"], precision: Precision) -> Array:
    return _convolve(x.astype(precision), kernel, stride=1, padding=1, order="IHWO")


def _shifted_sum(
    x: Float[Array, "b h w c"], kernel: Float[Array, "c 3 3 o"], precision: Precision
) -> Float[Array, "b h w o"]:
    """A 3x3 convolution with zero padding: all nine taps' products at once, then their shifted sum."""
    b, h, w, c = x.shape
    out, across = kernel.shape[3], w + 1
    # All frames' pixels as one list, padded before the product: more to multiply, but far fewer bytes to copy. A zero
    # row under a frame is also the one above the next, and a zero column beside it is on both its sides.
    grid = jnp.pad(x.astype(precision), ((0, 0), (0, 1), (0, 1), (0, 0))).reshape(-1, c)
    pixels = grid.shape[0]  # not len: exported, it is a symbol
    products = product(jnp.pad(grid, ((across + 1, across + 1), (0, 0))), kernel.reshape(c, 9 * out), precision)
    total = jnp.zeros((pixels, out), products.dtype)
    for dy in range(3):
        for dx in range(3):
            tap, shift = (3 * dy + dx) * out, dy * across + dx
            total = total + products[shift : shift + pixels, tap : tap + out]
    return total.reshape(b, h + 1, across, out)[:, :h, :w]


FORMS: dict[str, Callable[[Shape, int, Params, Array, Precision], Array]] = {
    "plain": _plain_block,
    "buffered": partial(_buffered_block, _convolve_3x3, False),
    "restructured": partial(_buffered_block, _shifted_sum, True),
}


def _to_bits(x: Float32[Array, "b h w c"]) -> UInt16[Array, "b h w c"]:
    """The bits in bfloat16, rounded to the nearest, and to even between two; infinities and the usual NaN stay."""
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(jnp.uint16)


def _from_bits(bits: UInt16[Array, "b h w c"]) -> Float32[Array, "b h w c"]:
    return lax.bitcast_convert_type(bits.astype(jnp.uint32) << 16, jnp.float32)


def _scale_shift_relu(norm: Params, x: Array) -> Float[Array, "b h w c"]:
    return relu(x.astype(jnp.float32) * per_channel(norm["scale"]) + per_channel(norm["shift"]))


def _convolve(x: Array, kernel: Array, stride: int, padding: int, order: str = "HWIO") -> Array:
    """In the precision of `x`."""
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", order, "NHWC"),
        precision=EXACT,
    )


def mean_2x2(x: Float[Array, "b h w c"]) -> Array:
    """Average pooling; an odd last row or column is left out, as in the published networks."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    # Added up slice by slice: a reduction takes a CPU four times as long.
    return (x[:, :h:2, :w:2] + x[:, :h:2, 1:w:2] + x[:, 1:h:2, :w:2] + x[:, 1:h:2, 1:w:2]) / 4
