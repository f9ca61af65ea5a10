"""The backbone `none`, for runs whose methods read frames alone: its feature is 0, and it takes no time."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from fas_jax.models.backbones.base import Backbone, Params, Precision, Tensors

NAME = "none"


def _init(seed: int) -> Params:
    return {}


def _apply(params: Params, frames: Num[Array, "b h w 3"], precision: Precision = "float32") -> Float[Array, "b 1"]:
    return jnp.zeros((frames.shape[0], 1), jnp.float32)


def _import_weights(tensors: Tensors) -> Params:
    return {}


BACKBONE = Backbone(
    name=NAME,
    dimension=1,
    version=1,
    preprocessing="none",
    init=_init,
    apply=_apply,
    import_weights=_import_weights,
)
