"""A frozen network that compiles at once: a random projection of a frame's coarse pixels, through a tanh."""

import jax.numpy as jnp
import numpy as np

from fas_jax.base.settings import Features
from fas_jax.models.backbones import BACKBONES
from fas_jax.models.backbones.base import Backbone

_GRID, _WIDTH = 4, 12


def _init(seed):
    weights = np.random.default_rng(seed).normal(size=(_GRID * _GRID * 3, _WIDTH)) / 4
    return {"weights": weights.astype(np.float32)}


def _apply(params, frames, precision="float32"):
    count, side = frames.shape[0], frames.shape[1] // _GRID
    cells = (frames.astype(jnp.float32) / 64 - 2).reshape(count, _GRID, side, _GRID, side, 3).mean((2, 4))
    return jnp.tanh(jnp.dot(cells.reshape(count, -1), params["weights"], precision="highest"))


TINY = Backbone(
    name="tiny-features",
    dimension=_WIDTH,
    version=1,
    preprocessing="RGB / 64 - 2",
    init=_init,
    apply=_apply,
    import_weights=lambda tensors: {},
)
BACKBONES[TINY.name] = TINY
TINY_FEATURES = Features(backbone=TINY.name, weights="random", batch_size=4, store_dtype="float32")
