"""ResNet-18 and -50 (He et al., 2016) for training; names as in torchvision's and timm's published files.

As in these, a bottleneck of ResNet-50 strides in its 3x3 convolution.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Array, Float

from fas_jax.models.backbones.base import IMAGENET, imagenet_normalise
from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable.base import Renewed, Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, imagenet_stem, normalise
from fas_jax.models.trainable.published import Weights, normed

EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of a ResNet."""

    blocks: tuple[int, ...]
    """Of each layer of the paper."""
    bottleneck: bool
    """Whether a block is 1x1, 3x3, 1x1 to four times as many channels, and not 3x3, 3x3."""
    widths: tuple[int, ...] = (64, 128, 256, 512)

    @property
    def expansion(self) -> int:
        """Channels of a block's output, as a multiple of its layer's width."""
        return 4 if self.bottleneck else 1


def network(name: str, shape: Shape) -> Trainable:
    """A ResNet of these sizes."""
    return Trainable(
        name=name,
        version=1,
        preprocessing=IMAGENET,
        pixels=imagenet_normalise,
        stages=tuple(_stages(shape)),
        unused=("fc.",),
    )


def _stages(shape: Shape) -> Iterator[Stage]:
    inputs = shape.widths[0]
    yield Stage("stem", 4, inputs, normed((), "conv1", "bn1", (7, 7, 3, inputs)), partial(imagenet_stem, EPSILON))
    for stage, (width, count) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        outputs = width * shape.expansion
        for i in range(count):
            stride = 2 if stage and not i else 1
            weights = _weights(shape, f"layer{stage + 1}.{i}.", inputs, width, stride)
            run = _bottleneck if shape.bottleneck else _block
            yield Stage(f"block{stage}_{i}", 4 * 2**stage, outputs, weights, partial(_in_one, run, stride))
            inputs = outputs


def _weights(shape: Shape, at: str, inputs: int, width: int, stride: int) -> Weights:
    outputs = width * shape.expansion
    sides = ((1, inputs, width), (3, width, width), (1, width, outputs)) if shape.bottleneck else ()
    found: Weights = ()
    for number, (side, before, after) in enumerate(sides or ((3, inputs, width), (3, width, width)), start=1):
        found += normed((_NAMES[number - 1],), f"{at}conv{number}", f"{at}bn{number}", (side, side, before, after))
    if stride > 1 or inputs != outputs:
        found += normed(("shortcut",), f"{at}downsample.0", f"{at}downsample.1", (1, 1, inputs, outputs))
    return found


_NAMES = ("first", "second", "third")


class _Layers(Renewed):
    """A block's layers, with their statistics as they run on."""

    def __init__(self, mode: Mode, params: Params, stats: Stats) -> None:
        super().__init__()
        self._mode, self._params, self._stats = mode, params, stats

    def __call__(self, name: str, x: Array, stride: int = 1) -> Array:
        """What convolution and normalisation of this name make of it, the convolution padded to keep its size."""
        params = self._params[name]
        convolved = convolve(x, params["kernel"], stride, len(params["kernel"]) // 2)
        found: Array = self.keep(name, normalise(convolved, params, self._stats[name], EPSILON, self._mode))
        return found

    def shortcut(self, x: Array, stride: int) -> Array:
        """What a block adds to its result."""
        return self("shortcut", x, stride) if "shortcut" in self._params else x


def _in_one(
    run: Callable[..., Any], stride: int, mode: Mode, params: Params, stats: Stats, x: Array
) -> tuple[Array, Stats]:
    """A block, computed again in the backward pass if the mode says so."""
    return mode.block(partial(run, stride, mode))(params, stats, x)


def _block(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    layer = _Layers(mode, params, stats)
    y = layer("second", relu(layer("first", x, stride)))
    return relu(layer.shortcut(x, stride) + y), dict(layer)


def _bottleneck(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    layer = _Layers(mode, params, stats)
    y = relu(layer("second", relu(layer("first", x)), stride))
    return relu(layer.shortcut(x, stride) + layer("third", y)), dict(layer)


NETWORKS = (
    network("resnet18", Shape((2, 2, 2, 2), bottleneck=False)),
    network("resnet50", Shape((3, 4, 6, 3), bottleneck=True)),
)
