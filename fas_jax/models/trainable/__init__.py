"""Networks that train on frames, by name."""

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.models.backbones.base import Tensors
from fas_jax.models.trainable import densenet, efficientnet_lite, patch, resnet, vit
from fas_jax.models.trainable.base import Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats

__all__ = ["NETWORKS", "Mode", "Params", "Stats", "Trainable", "find_fitting", "get"]

# A new family of networks is one module and one word here.
NETWORKS: dict[str, Trainable] = {
    network.name: network for family in (densenet, efficientnet_lite, patch, resnet, vit) for network in family.NETWORKS
}


def get(name: str) -> Trainable:
    """The network of this name; a mistyped one is a `UserError` that offers the nearest."""
    if name not in NETWORKS:
        raise unknown_name("network that trains", name, NETWORKS)
    return NETWORKS[name]


def find_fitting(tensors: Tensors) -> list[str]:
    """The names of the networks whose published tensors these are."""
    found = []
    for name, network in NETWORKS.items():
        try:
            network.import_weights(tensors)
        except UserError:
            continue
        found.append(name)
    return found
