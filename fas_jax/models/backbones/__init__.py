"""Frozen networks from frames to feature vectors, by name."""

from functools import partial

from fas_jax.base.errors import unknown_name
from fas_jax.models.backbones import densenet, densenet_weights, efficientnet_lite, nothing
from fas_jax.models.backbones.base import IMAGENET, Backbone, Params, Precision, cast_kernels

__all__ = ["BACKBONES", "Backbone", "Params", "Precision", "cast_kernels", "get"]


def _densenet(name: str) -> Backbone:
    shape = densenet.SHAPES[name]
    return Backbone(
        name=name,
        dimension=shape.dimension(),
        version=2,
        preprocessing=IMAGENET,
        init=partial(densenet.init, shape),
        apply=partial(densenet.apply, shape),
        import_weights=partial(densenet_weights.import_weights, shape, name),
    )


# A new backbone is one module and one line here.
BACKBONES: dict[str, Backbone] = {
    **{name: _densenet(name) for name in densenet.SHAPES},
    efficientnet_lite.BACKBONE.name: efficientnet_lite.BACKBONE,
    nothing.NAME: nothing.BACKBONE,
}


def get(name: str) -> Backbone:
    """The backbone of this name; a mistyped one is a `UserError` that offers the nearest."""
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    return BACKBONES[name]
