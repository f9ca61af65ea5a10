"""A trained network's weights under the names of published files, for other programs."""

from pathlib import Path

from safetensors.numpy import save_file

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import atomic_path
from fas_jax.deployment.bundle import Bundle
from fas_jax.methods.frame_settings import FrameSettings


def write_published(bundle: Bundle, out: Path, name: str = "") -> int:
    """Writes the network of a bundle's detector as .safetensors, in PyTorch's layout and without a classifier.

    Args:
        bundle: With the detector.
        out: The file; its name ends in .safetensors.
        name: The detector; the bundle's default if empty.

    Returns:
        The number of tensors.

    Raises:
        UserError: The bundle has no such detector, it is no network on frames, or the file's name ends otherwise.
    """
    name = name or bundle.default
    if name not in bundle.detectors:
        raise unknown_name("detector", name, bundle.detectors)
    detector = bundle.detectors[name]
    if not isinstance(detector.method, FrameSettings):
        raise UserError(f"detector {name} ({detector.method.kind}) is no network on frames; name one by --detector")
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: the weights are written as .safetensors; let the name end so")
    network = detector.method.objective().network
    tensors = network.export_weights(detector.params["backbone"], detector.params["stats"])
    with atomic_path(out) as temporary:
        save_file(tensors, temporary)
    return len(tensors)
