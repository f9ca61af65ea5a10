"""ResNet-18 (He et al., 2016) for training; names as in torchvision's and timm's published files."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.base import IMAGENET, imagenet_normalise
from fas_jax.models.trainable.base import Layer, Renewed, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, normalise

WIDTHS = (64, 128, 256, 512)
EPSILON = 1e-5
_BLOCKS = 2


def apply(params: Params, stats: Stats, frames: Num[Array, "b h w 3"], mode: Mode) -> tuple[Float[Array, "b d"], Stats]:
    """Features after the average pooling, float32 [b 512], and the statistics as they run on.

    Args:
        params: As `NETWORK.init` or the import of published weights makes them.
        stats: Running statistics, likewise.
        frames: RGB, 0 to 255.
        mode: How the network is run.
    """
    new = Renewed()
    x = convolve(imagenet_normalise(frames).astype(mode.dtype), params["stem"]["kernel"], 2, 3)
    x = jax.nn.relu(new.keep("stem", normalise(x, params["stem"], stats["stem"], EPSILON, mode)))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for stage in range(len(WIDTHS)):
        for i in range(_BLOCKS):
            name, block = f"block{stage}_{i}", partial(_block, 2 if stage and not i else 1, mode)
            x = new.keep(name, mode.block(block)(params[name], stats[name], x))
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2)), dict(new)


def _block(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    new = Renewed()

    def layer(name: str, values: Array, stride: int, padding: int) -> Array:
        convolved = convolve(values, params[name]["kernel"], stride, padding)
        found: Array = new.keep(name, normalise(convolved, params[name], stats[name], EPSILON, mode))
        return found

    y = layer("second", jax.nn.relu(layer("first", x, stride, 1)), 1, 1)
    x = layer("shortcut", x, stride, 0) if "shortcut" in params else x
    return jax.nn.relu(x + y), dict(new)


def _layers() -> Iterator[Layer]:
    yield Layer(("stem",), "conv1", "bn1", (7, 7, 3, WIDTHS[0]))
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for i in range(_BLOCKS):
            own, at = f"block{stage}_{i}", f"layer{stage + 1}.{i}."
            yield Layer((own, "first"), f"{at}conv1", f"{at}bn1", (3, 3, inputs, width))
            yield Layer((own, "second"), f"{at}conv2", f"{at}bn2", (3, 3, width, width))
            if inputs != width:
                yield Layer((own, "shortcut"), f"{at}downsample.0", f"{at}downsample.1", (1, 1, inputs, width))
            inputs = width


NETWORK = Trainable(
    name="resnet18",
    dimension=WIDTHS[-1],
    version=1,
    preprocessing=IMAGENET,
    layers=tuple(_layers()),
    apply=apply,
    unused=("fc.",),
)
