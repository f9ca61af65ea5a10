"""A network as small as it goes with all kinds of layers, for tests of what trains networks on frames."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable import NETWORKS
from fas_jax.models.trainable.base import Renewed, Stage, Trainable
from fas_jax.models.trainable.layers import convolve, depthwise, normalise, pointwise
from fas_jax.models.trainable.published import normed


def _pixels(frames):
    return (frames.astype(jnp.float32) - np.float32(127)) / np.float32(64)


def _stem(mode, params, stats, x):
    x, stats = normalise(convolve(x, params["kernel"], 2), params, stats, 1e-3, mode)
    return relu(x), stats


def _block(mode, params, stats, x):
    return mode.block(partial(_inside, mode))(params, stats, x)


def _inside(mode, params, stats, x):
    new = Renewed()
    x = new.keep(
        "deep", normalise(depthwise(x, params["deep"]["kernel"], 2), params["deep"], stats["deep"], 1e-3, mode)
    )
    x = pointwise(relu(x), params["wide"]["kernel"])
    return relu(new.keep("wide", normalise(x, params["wide"], stats["wide"], 1e-3, mode))), dict(new)


TINY = Trainable(
    name="tiny",
    version=1,
    preprocessing="(RGB - 127) / 64",
    pixels=_pixels,
    stages=(
        Stage("stem", 2, 6, normed((), "stem", "norm0", (3, 3, 3, 6)), _stem),
        Stage(
            "block",
            4,
            10,
            normed(("deep",), "deep", "norm1", (3, 3, 1, 6)) + normed(("wide",), "wide", "norm2", (1, 1, 6, 10)),
            _block,
        ),
    ),
    unused=("fc.",),
)
NETWORKS[TINY.name] = TINY
