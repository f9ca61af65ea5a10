"""DenseNet-121, -161 and -201 (Huang et al., CVPR 2017) for training; names as in torchvision's and timm's files.

A stage is a dense block with what follows it: the transition, which halves channels and pixels, or the last
normalisation. So a network that is cut at stride 16 ends behind the second transition, as that of DeepPixBiS does.
"""

import re
from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from fas_jax.models.backbones.base import IMAGENET, Tensors, imagenet_normalise
from fas_jax.models.backbones.densenet import SHAPES, Shape, mean_2x2
from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable.base import Renewed, Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, imagenet_stem, normalise, pointwise
from fas_jax.models.trainable.published import Weight, convolution, norm, normed

EPSILON = 1e-5


def network(name: str, shape: Shape) -> Trainable:
    """A DenseNet of these sizes."""
    return Trainable(
        name=name,
        version=1,
        preprocessing=IMAGENET,
        pixels=imagenet_normalise,
        stages=tuple(_stages(shape)),
        unused=("classifier.",),
        rename=without_inner_dots,
    )


def without_inner_dots(tensors: Tensors) -> Tensors:
    """Names of the published files, which are older than PyTorch's rule against dots in module names, as of today."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name): each for name, each in tensors.items()}


def _stages(shape: Shape) -> Iterator[Stage]:
    stem = normed((), "features.conv0", "features.norm0", (7, 7, 3, shape.stem))
    yield Stage("stem", 4, shape.stem, stem, partial(imagenet_stem, EPSILON))
    for b, (channels, layers) in enumerate(zip(shape.block_inputs(), shape.layers, strict=True), start=1):
        last = b == len(shape.layers)
        end = channels + layers * shape.growth
        stride = 4 * 2 ** (b - last)
        weights, run = tuple(_weights(shape, b, channels, layers)), partial(_stage, layers)
        yield Stage(f"block{b}", stride, end if last else end // 2, weights, run)


def _weights(shape: Shape, b: int, channels: int, layers: int) -> Iterator[Weight]:
    width = shape.bottleneck * shape.growth
    for i in range(1, layers + 1):
        own, at = f"layer{i}", f"features.denseblock{b}.denselayer{i}."
        yield from norm((own, "before"), f"{at}norm1", channels)
        yield from normed((own, "bottleneck"), f"{at}conv1", f"{at}norm2", (1, 1, channels, width))
        yield from convolution((own, "growth"), f"{at}conv2", (3, 3, width, shape.growth))
        channels += shape.growth
    if b == len(shape.layers):
        yield from norm(("end",), "features.norm5", channels)
    else:
        yield from norm(("end",), f"features.transition{b}.norm", channels)
        yield from convolution(("end",), f"features.transition{b}.conv", (1, 1, channels, channels // 2))


def _stage(
    layers: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    new = Renewed()
    # Joined inside of each layer, where rematerialisation lets the joint go again.
    parts = [x]
    for i in range(1, layers + 1):
        name = f"layer{i}"
        parts.append(new.keep(name, mode.block(partial(_layer, mode))(params[name], stats[name], parts)))
    x = jnp.concatenate(parts, axis=3)
    x = relu(new.keep("end", normalise(x, params["end"], stats["end"], EPSILON, mode)))
    if "kernel" in params["end"]:
        # Pooling and the 1x1 convolution commute; pooled first, the product is four times smaller.
        x = pointwise(mean_2x2(x), params["end"]["kernel"])
    return x, dict(new)


def _layer(
    mode: Mode, params: Params, stats: Stats, parts: list[Float[Array, "b h w _"]]
) -> tuple[Float[Array, "b h w g"], Stats]:
    new = Renewed()

    def normal(name: str, values: Array) -> Array:
        found = new.keep(name, normalise(values, params[name], stats[name], EPSILON, mode))
        return relu(found)

    y = pointwise(normal("before", jnp.concatenate(parts, axis=3)), params["bottleneck"]["kernel"])
    return convolve(normal("bottleneck", y), params["growth"]["kernel"], 1, 1), dict(new)


NETWORKS = tuple(
    network(name, shape)
    for name, shape in {
        "densenet121": SHAPES["densenet121"],
        "densenet161": Shape((6, 12, 36, 24), growth=48, stem=96),
        "densenet201": SHAPES["densenet201"],
    }.items()
)
