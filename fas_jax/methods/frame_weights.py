"""The weights that training of a network on frames begins with."""

from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file
from fas_jax.methods.frame_settings import FrameSettings
from fas_jax.models import trainable
from fas_jax.models.backbones.weights import package_file, read_weights
from fas_jax.models.trainable import Trainable


def begin_with(network: Trainable, method: FrameSettings, seed: int) -> tuple[Any, Any]:
    """A network's parameters and statistics, as a method's training begins with them.

    Raises:
        UserError: The weights are not there or do not fit; the message names the tensor.
    """
    path = weights_file(network, method.weights)
    if path is None:
        return network.init(seed)
    tensors, _ = read_weights(path)
    try:
        return network.import_weights(tensors, seed, method.reset, method.may_be_missing)
    except UserError as error:
        others = ", ".join(trainable.find_fitting(tensors))
        hint = f"; these are weights of {others}: set network, or name other weights" if others else ""
        raise UserError(f"{path}: {error}{hint}") from error


def weights_file(network: Trainable, weights: str) -> Path | None:
    """The file that the setting `weights` of a method on frames names; None where its weights are random."""
    if weights == "random":
        return None
    return package_file(*network.package) if weights == "package" and network.package else Path(weights)


def weights_sha256(network: Trainable, weights: str) -> str:
    """The SHA-256 of the file that the setting `weights` of a method on frames names; empty for random weights.

    Raises:
        UserError: The file is not there.
    """
    path = weights_file(network, weights)
    try:
        return sha256_file(path) if path else ""
    except OSError as error:
        raise UserError(f"weights {path} cannot be read: {error.strerror}") from error
