"""A network as small as it goes with all kinds of layers, for tests of what trains networks on frames."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fas_jax.models.trainable import NETWORKS
from fas_jax.models.trainable.base import Layer, Renewed, Trainable
from fas_jax.models.trainable.layers import convolve, depthwise, normalise, pointwise


def _block(mode, params, stats, x):
    new = Renewed()
    x = new.keep(
        "deep", normalise(depthwise(x, params["deep"]["kernel"], 2), params["deep"], stats["deep"], 1e-3, mode)
    )
    x = pointwise(jax.nn.relu(x), params["wide"]["kernel"])
    return jax.nn.relu(new.keep("wide", normalise(x, params["wide"], stats["wide"], 1e-3, mode))), dict(new)


def _apply(params, stats, frames, mode):
    new = Renewed()
    x = convolve(
        ((frames.astype(jnp.float32) - np.float32(127)) / np.float32(64)).astype(mode.dtype),
        params["stem"]["kernel"],
        2,
    )
    x = jax.nn.relu(new.keep("stem", normalise(x, params["stem"], stats["stem"], 1e-3, mode)))
    x = new.keep("block", mode.block(partial(_block, mode))(params["block"], stats["block"], x))
    return jnp.mean(x.astype(jnp.float32), (1, 2)), dict(new)


TINY = Trainable(
    name="tiny",
    dimension=10,
    version=1,
    preprocessing="(RGB - 127) / 64",
    layers=(
        Layer(("stem",), "stem", "norm0", (3, 3, 3, 6)),
        Layer(("block", "deep"), "deep", "norm1", (3, 3, 1, 6)),
        Layer(("block", "wide"), "wide", "norm2", (1, 1, 6, 10)),
    ),
    apply=_apply,
    unused=("fc.",),
)
NETWORKS[TINY.name] = TINY
