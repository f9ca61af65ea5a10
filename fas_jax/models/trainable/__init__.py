"""Networks that train on frames, by name."""

from fas_jax.base.errors import unknown_name
from fas_jax.models.trainable import densenet, efficientnet_lite, resnet, vit
from fas_jax.models.trainable.base import Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats

__all__ = ["NETWORKS", "Mode", "Params", "Stats", "Trainable", "get"]

# A new family of networks is one module and one word here.
NETWORKS: dict[str, Trainable] = {
    network.name: network for family in (densenet, efficientnet_lite, resnet, vit) for network in family.NETWORKS
}


def get(name: str) -> Trainable:
    """The network of this name; a mistyped one is a `UserError` that offers the nearest."""
    if name not in NETWORKS:
        raise unknown_name("network that trains", name, NETWORKS)
    return NETWORKS[name]
