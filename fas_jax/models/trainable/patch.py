"""Two small fully convolutional networks for tiles: no published weights, no layer that depends on a frame's size.

Each is a chain of 3x3 convolutions with batch normalisation. `patch_low` halves the map at every one; `patch_high`
begins at full resolution, which shows the dots of a print and the pixels of a screen, and has one more level. The mean
of the map and a linear classifier give the same logit as the mean of a map of logits.
"""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable.base import Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve, normalise
from fas_jax.models.trainable.published import normed

EPSILON = 1e-5


def network(name: str, widths: tuple[int, ...], strides: tuple[int, ...]) -> Trainable:
    """A chain of convolutions with so many channels and these strides."""
    return Trainable(
        name=name,
        version=1,
        preprocessing="(RGB - 127.5) / 64",
        pixels=_pixels,
        stages=tuple(_stages(widths, strides)),
        unused=(),
    )


def _pixels(frames: Num[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return (frames.astype(jnp.float32) - np.float32(127.5)) / np.float32(64)


def _stages(widths: tuple[int, ...], strides: tuple[int, ...]) -> Iterator[Stage]:
    inputs, total = 3, 1
    for number, (width, stride) in enumerate(zip(widths, strides, strict=True)):
        total *= stride
        weights = normed((), f"conv{number}", f"bn{number}", (3, 3, inputs, width))
        yield Stage(f"level{number}", total, width, weights, partial(_level, stride))
        inputs = width


def _level(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    return mode.block(partial(_inside, stride, mode))(params, stats, x)


def _inside(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    x, stats = normalise(convolve(x, params["kernel"], stride, 1), params, stats, EPSILON, mode)
    return relu(x), stats


NETWORKS = (
    network("patch_low", (16, 32, 64), (2, 2, 2)),
    network("patch_high", (16, 32, 64, 96), (1, 2, 2, 2)),
)
