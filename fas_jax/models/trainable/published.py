"""The arrays of a network that trains, each with its name and layout in published files (PyTorch's)."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from fas_jax.base.errors import UserError

Path = tuple[str, ...]
"""Where an array lies in nested dictionaries."""
Weights = tuple["Weight", ...]


class Weight(NamedTuple):
    """One array: a parameter, or a statistic that runs on."""

    path: Path
    name: str
    """Of the tensor in published files."""
    shape: tuple[int, ...]
    """Of the array, outputs last."""
    order: tuple[int, ...] = ()
    """The array's axes in the order in which the tensor has them; empty where they are the same."""
    fill: float | None = None
    """What every element begins with; None draws them at random."""
    running: bool = False
    """Whether it is a statistic."""
    published: bool = True
    """Whether published files have it; others may lack it."""

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in published files."""
        return tuple(self.shape[axis] for axis in self.order) if self.order else self.shape

    def to_tensor(self, array: np.ndarray) -> Float32[np.ndarray, "..."]:
        """The array in the layout of published files."""
        values = np.asarray(array, np.float32)
        return np.ascontiguousarray(values.transpose(self.order) if self.order else values)

    def from_tensor(self, tensor: np.ndarray) -> Float32[np.ndarray, "..."]:
        """The inverse of `to_tensor`."""
        values = tensor.transpose(np.argsort(self.order)) if self.order else tensor
        return np.ascontiguousarray(values, np.float32)


def convolution(path: Path, name: str, shape: tuple[int, int, int, int]) -> Weights:
    """A convolution without a bias; `shape` is height, width, inputs of a group, outputs."""
    return (Weight((*path, "kernel"), f"{name}.weight", shape, (3, 2, 0, 1)),)


def norm(path: Path, name: str, channels: int) -> Weights:
    """A batch normalisation with its running statistics."""
    return (
        Weight((*path, "scale"), f"{name}.weight", (channels,), fill=1),
        Weight((*path, "bias"), f"{name}.bias", (channels,), fill=0),
        Weight((*path, "mean"), f"{name}.running_mean", (channels,), fill=0, running=True),
        Weight((*path, "variance"), f"{name}.running_var", (channels,), fill=1, running=True),
    )


def normed(path: Path, conv: str, norm_name: str, shape: tuple[int, int, int, int]) -> Weights:
    """A convolution and the batch normalisation of what it puts out."""
    return convolution(path, conv, shape) + norm(path, norm_name, shape[-1])


def linear(path: Path, name: str, inputs: int, outputs: int, published: bool = True) -> Weights:
    """A product with a matrix, and a bias."""
    return (
        Weight((*path, "kernel"), f"{name}.weight", (inputs, outputs), (1, 0), published=published),
        Weight((*path, "bias"), f"{name}.bias", (outputs,), fill=0, published=published),
    )


def layer_norm(path: Path, name: str, channels: int) -> Weights:
    """A layer normalisation."""
    return (
        Weight((*path, "scale"), f"{name}.weight", (channels,), fill=1),
        Weight((*path, "bias"), f"{name}.bias", (channels,), fill=0),
    )


def adapter(path: Path, name: str, channels: int, width: int) -> Weights:
    """Down to `width` channels and up again; adds nothing as it begins, and is in no published file."""
    kernel, bias = linear((*path, "up"), f"{name}.up", width, channels, published=False)
    return (*linear((*path, "down"), f"{name}.down", channels, width, published=False), kernel._replace(fill=0), bias)


def matching(names: Sequence[str], patterns: Iterable[str], setting: str, network: str) -> frozenset[str]:
    """The names that at least one pattern matches, as of files in a shell: `layer4.*`.

    Raises:
        UserError: A pattern matches none; the message offers the nearest.
    """
    found: set[str] = set()
    for pattern in patterns:
        if not (own := fnmatch.filter(names, pattern)):
            parts = [name.split(".") for name in names]
            modules = {".".join((*part[:end], "*")) for part in parts for end in range(1, len(part))}
            near = difflib.get_close_matches(pattern, sorted({*names, *modules}), n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{setting}: {pattern!r} matches no tensor of {network}{hint}")
        found.update(own)
    return frozenset(found)
