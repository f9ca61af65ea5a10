"""Published weights: which file formats are read, and what is known of the files."""

import hashlib
import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32, Float64

from fas_jax.base.errors import UserError
from fas_jax.models.backbones.base import Tensors
from fas_jax.models.backbones.torch_files import read_torch

# What the publishers say of their files: torchvision and EfficientNet-Lite put the first eight digits of the
# SHA-256 into the name, keras.applications gives the MD5.
PUBLISHED: dict[str, tuple[str, str]] = {
    "densenet121-a639ec97.pth": ("sha256", "a639ec97"),
    "densenet169-b2777c0a.pth": ("sha256", "b2777c0a"),
    "densenet201-c1103571.pth": ("sha256", "c1103571"),
    "densenet161-8d451a50.pth": ("sha256", "8d451a50"),
    "resnet18-f37072fd.pth": ("sha256", "f37072fd"),
    "resnet50-0676ba61.pth": ("sha256", "0676ba61"),
    "resnet50-11ad3fa6.pth": ("sha256", "11ad3fa6"),
    "vit_b_16-c867db91.pth": ("sha256", "c867db91"),
    "efficientnet-lite0-57934424.pth": ("sha256", "57934424"),
    "resnet18-5c106cde.pth": ("sha256", "5c106cde"),
    "efficientnet-lite2-9656183e.pth": ("sha256", "9656183e"),
    "densenet121_weights_tf_dim_ordering_tf_kernels.h5": ("md5", "9d60b8095a5708f2dcce2bca79d332c7"),
    "densenet169_weights_tf_dim_ordering_tf_kernels.h5": ("md5", "d699b8f76981ab1b30698df4c175e90b"),
    "densenet201_weights_tf_dim_ordering_tf_kernels.h5": ("md5", "1ceb130c1ea1b78c3bf6114dbdfd8807"),
    "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5": ("md5", "30ee3e1110167f948a6b9946edeeb738"),
    "densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5": ("md5", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5": ("md5", "c13680b51ded0fb44dff2d8f86ac8bb1"),
}


def read_weights(path: Path) -> tuple[Tensors, str]:
    """Reads a weights file: PyTorch's (.pth, .pt), .safetensors, or Keras' (.h5).

    Returns:
      Arrays by the names in the file (Keras: `layer/variable`), and the hex SHA-256 of the file.

    Raises:
      UserError: no such file, another format, damaged, or not what was published under its name.
    """
    readers = {".pth": read_torch, ".pt": read_torch, ".safetensors": _read_safetensors}
    readers |= {".h5": _read_keras, ".hdf5": _read_keras}
    if path.suffix.lower() not in readers:
        raise UserError(f"weights {path}: unknown format; known are {', '.join(sorted(readers))}")
    try:
        # Read once, so that what is hashed is what is used.
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"weights {path} do not exist") from None
    except OSError as error:
        raise UserError(f"weights {path} cannot be read: {error.strerror}") from error
    if path.name in PUBLISHED:
        algorithm, expected = PUBLISHED[path.name]
        found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
        if not found.startswith(expected):
            raise UserError(
                f"weights {path} are not what was published under this name: {algorithm} {found}, "
                f"not {expected}; download the file again, or rename it if it is your own"
            )
    return readers[path.suffix.lower()](data, f"weights {path}"), hashlib.sha256(data).hexdigest()


def package_file(package: str, name: str) -> Path:
    """Path of a file inside an installed package, which is not imported.

    Raises:
      UserError: the package is not installed, or has no such file.
    """
    # Found, not imported: only its data are wanted.
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(f"package {package.replace('_', '-')} is not installed; install it, or name a weights file")
    path = Path(found.origin).parent / name
    if not path.is_file():
        raise UserError(f"package {package.replace('_', '-')} has no {name}; install its newest version")
    return path


def _read_safetensors(data: bytes, where: str) -> Tensors:
    try:
        return safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{where} are not a readable .safetensors file: {error}") from error


def _read_keras(data: bytes, where: str) -> Tensors:
    import h5py  # a tenth of a second, which only few files are worth

    datasets: dict[str, Any] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            datasets[name] = node

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            # Visits hard links only, so a file cannot make us read another one.
            file.visititems(visit)
            return {_keras_name(name, where): _values(node, len(data), where) for name, node in datasets.items()}
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{where} are not a readable HDF5 file: {error}") from error


def _values(node: Any, limit: int, where: str) -> np.ndarray:
    if node.external or node.is_virtual or node.dtype.kind not in "fiu":
        raise UserError(f"{where}: {node.name} holds no numbers of its own")
    if node.nbytes > limit:
        raise UserError(f"{where}: {node.name} is larger than the file; Keras' weights are not compressed")
    return np.asarray(node[()])


def _keras_name(path: str, where: str) -> str:
    """`layer/variable` from `layer/layer/variable:0`; in early files a layer's name has a `/` as well."""
    *layer, variable = path.removeprefix("model_weights/").split("/")
    half = len(layer) // 2
    if not half or layer[:half] != layer[half:]:
        raise UserError(f"{where}: {path} is not as Keras names weights; save them with save_weights('....h5')")
    return f"{'_'.join(layer[:half])}/{variable.split(':')[0]}"


class Importer:
    """Takes tensors out of a weights file one by one, checking each, and at the end that none is left."""

    def __init__(self, tensors: Tensors, network: str) -> None:
        self._left = dict(tensors)
        self._network = network

    def take(self, name: str, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
        """The tensor `name`, which must have this shape and finite values.

        Raises:
          UserError: it is missing or does not fit; the message names it.
        """
        if name not in self._left:
            raise UserError(f"weights do not fit {self._network}: tensor {name!r} is missing")
        tensor = self._left.pop(name)
        if tensor.shape != shape:
            raise UserError(
                f"weights do not fit {self._network}: tensor {name!r} has shape {tensor.shape}, not {shape}"
            )
        if tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise UserError(f"weights are damaged: tensor {name!r} holds what are not finite numbers")
        return tensor.astype(np.float64)

    def norm(
        self, names: Iterable[str], channels: int, epsilon: float
    ) -> tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, " c"]]:
        """Scale and shift of a batch normalisation; `names`: its weight, bias, running mean, variance."""
        names = list(names)
        weight, bias, mean, variance = (self.take(name, (channels,)) for name in names)
        if (variance < 0).any():
            raise UserError(f"weights are damaged: tensor {names[3]!r} is a variance below zero")
        scale = weight / np.sqrt(variance + epsilon)
        return scale, bias - mean * scale

    def finish(self, unused: tuple[str, ...]) -> None:
        """Raises `UserError` if tensors are left whose names neither start nor end as in `unused`."""
        left = [name for name in self._left if not name.startswith(unused) and not name.endswith(unused)]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise UserError(f"weights do not fit {self._network}: tensor {left[0]!r}{more} has no place in it")


def fold(
    kernel: Float64[np.ndarray, "... o"], norm: tuple[Float64[np.ndarray, " o"], Float64[np.ndarray, " o"]]
) -> dict[str, Float32[np.ndarray, "..."]]:
    """Kernel and bias of a convolution (outputs last) that includes the normalisation after it."""
    scale, shift = norm
    return {"kernel": (kernel * scale).astype(np.float32), "bias": shift.astype(np.float32)}
