"""What a network is that trains on frames: its layers, with the names that published files give their tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from fas_jax.base.errors import UserError
from fas_jax.models.backbones.base import Tensors, he_uniform
from fas_jax.models.backbones.weights import Importer
from fas_jax.models.trainable.layers import Params, Stats

_NORM = {"scale": "weight", "bias": "bias"}
_RUNNING = {"mean": "running_mean", "variance": "running_var"}


class Layer(NamedTuple):
    """A convolution without a bias and the batch normalisation behind it."""

    path: tuple[str, ...]
    """Where its arrays lie in the nested dictionaries."""
    convolution: str
    """Name of the convolution in published files."""
    norm: str
    """Name of the normalisation in published files."""
    shape: tuple[int, int, int, int]
    """Of the kernel: height, width, inputs of a group, outputs."""


@dataclass(frozen=True)
class Trainable:
    """A network from frames to feature vectors whose every parameter trains."""

    name: str
    dimension: int
    """Length d of a feature vector."""
    version: int
    """Raised when the same weights and frames would give other features or gradients."""
    preprocessing: str
    """What `apply` does to pixels first, in words."""
    layers: tuple[Layer, ...]
    apply: Callable[..., Any]
    """Pure; `apply(params, stats, frames, mode)`: frames RGB [b h w 3] from 0 to 255 in, uint8 or float; out float32
    features [b d] and the statistics as they run on. Preprocessing is its own."""
    unused: tuple[str, ...]
    """How names of published tensors begin that the network has no place for: the classifier's."""
    package: tuple[str, str] | None = None
    """Installed package and file in it that hold published weights, where there is one."""

    def init(self, seed: int) -> tuple[Params, Stats]:
        """Random weights: He-uniform kernels, normalisations that change nothing."""
        draw = he_uniform(seed)
        params: Params = {}
        stats: Stats = {}
        for layer in self.layers:
            ones, zeros = (np.full(layer.shape[-1], value, np.float32) for value in (1, 0))
            _put(params, layer.path, {"kernel": draw(layer.shape), "scale": ones, "bias": zeros})
            _put(stats, layer.path, {"mean": zeros.copy(), "variance": ones.copy()})
        return params, stats

    def import_weights(self, tensors: Tensors) -> tuple[Params, Stats]:
        """Parameters and running statistics from a published file's tensors; the classifier is not used.

        Raises:
            UserError: A tensor is missing, left over, of another shape or not finite; the message names it.
        """
        source = Importer(tensors, self.name)
        params: Params = {}
        stats: Stats = {}
        for layer in self.layers:
            h, w, inputs, outputs = layer.shape
            kernel = source.take(f"{layer.convolution}.weight", (outputs, inputs, h, w)).transpose(2, 3, 1, 0)
            own = {name: source.take(f"{layer.norm}.{theirs}", (outputs,)) for name, theirs in _NORM.items()}
            running = {name: source.take(f"{layer.norm}.{theirs}", (outputs,)) for name, theirs in _RUNNING.items()}
            if (running["variance"] < 0).any():
                raise UserError(f"weights are damaged: tensor '{layer.norm}.running_var' is a variance below zero")
            _put(params, layer.path, {"kernel": _float32(kernel), **_all_float32(own)})
            _put(stats, layer.path, _all_float32(running))
        source.finish((*self.unused, ".num_batches_tracked"))
        return params, stats

    def export_weights(self, params: Params, stats: Stats) -> Tensors:
        """The tensors under the published names, in PyTorch's layout, which `import_weights` reads back.

        The counts `num_batches_tracked`, which PyTorch's `load_state_dict` asks for, are 0; the published classifier is
        not among them.
        """
        found: Tensors = {}
        for layer in self.layers:
            own, running = _get(params, layer.path), _get(stats, layer.path)
            kernel = np.asarray(own["kernel"], np.float32).transpose(3, 2, 0, 1)
            found[f"{layer.convolution}.weight"] = np.ascontiguousarray(kernel)
            found |= {f"{layer.norm}.{theirs}": np.asarray(own[name], np.float32) for name, theirs in _NORM.items()}
            found |= {
                f"{layer.norm}.{theirs}": np.asarray(running[name], np.float32) for name, theirs in _RUNNING.items()
            }
            found[f"{layer.norm}.num_batches_tracked"] = np.zeros((), np.int64)
        return found


class Renewed(dict[str, Any]):
    """Statistics as they run on, collected while a network is applied."""

    def keep(self, name: str, result: tuple[Any, Stats]) -> Any:
        """Notes a part's statistics, and returns what else it gave."""
        found, self[name] = result
        return found


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _get(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        tree = tree[name]
    return tree


def _float32(values: np.ndarray) -> Float32[np.ndarray, "..."]:
    return np.ascontiguousarray(values, np.float32)


def _all_float32(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: _float32(each) for name, each in values.items()}
