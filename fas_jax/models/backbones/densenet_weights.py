"""Brings published DenseNet weights into our form: PyTorch's names (torchvision, timm) and Keras' names.

Sources: torchvision's and timm's DenseNet modules, keras.applications.densenet (names, epsilons).
"""

import re
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from fas_jax.models.backbones.base import Params, Tensors
from fas_jax.models.backbones.densenet import Shape, inputs_first
from fas_jax.models.backbones.weights import Importer, fold


@runtime_checkable
class _Names(Protocol):
    """One library's names and layouts; block and layer numbers start at 1."""

    def kernel(self, where: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        """A kernel in the order height, width, inputs, outputs."""

    def norm(self, where: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift of a normalisation."""

    def place(self, block: int, layer: int, part: str) -> str:
        """Where a part (norm1, conv1, norm2, conv2) of a dense layer lies."""

    def transition(self, block: int, part: str) -> str:
        """Where norm or conv of the transition after a block lies."""

    def finish(self) -> None:
        """Refuses tensors that were not taken."""

    @property
    def ends(self) -> tuple[str, str, str]:
        """Where the first convolution, its normalisation and the last normalisation lie."""


class _Torch:
    ends = ("features.conv0", "features.norm0", "features.norm5")

    def __init__(self, tensors: Tensors, network: str) -> None:
        # The published files are older than the rule against dots in module names.
        renamed = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name): tensor
            for name, tensor in tensors.items()
        }
        self.tensors = Importer(renamed, network)

    def kernel(self, where: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        h, w, inputs, outputs = shape
        return self.tensors.take(f"{where}.weight", (outputs, inputs, h, w)).transpose(2, 3, 1, 0)

    def norm(self, where: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return self.tensors.norm((f"{where}.{part}" for part in parts), channels, 1e-5)

    def place(self, block: int, layer: int, part: str) -> str:
        return f"features.denseblock{block}.denselayer{layer}.{part}"

    def transition(self, block: int, part: str) -> str:
        return f"features.transition{block}.{part}"

    def finish(self) -> None:
        self.tensors.finish(("classifier.", ".num_batches_tracked"))


class _Keras:
    ends = ("conv1_conv", "conv1_bn", "bn")
    parts: ClassVar = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}

    def __init__(self, tensors: Tensors, network: str) -> None:
        self.tensors = Importer(tensors, network)

    def kernel(self, where: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        return self.tensors.take(f"{where}/kernel", shape)

    def norm(self, where: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        return self.tensors.norm((f"{where}/{part}" for part in parts), channels, 1.001e-5)

    def place(self, block: int, layer: int, part: str) -> str:
        return f"conv{block + 1}_block{layer}_{self.parts[part]}"

    def transition(self, block: int, part: str) -> str:
        return f"pool{block + 1}_{'bn' if part == 'norm' else part}"

    def finish(self) -> None:
        self.tensors.finish(("fc1000/", "predictions/"))


def import_weights(shape: Shape, network: str, tensors: Tensors) -> Params:
    """Parameters from a file's tensors, batch normalisation folded; the classifier is not used.

    Raises:
      UserError: a tensor is missing, left over, of another shape or not finite; the message names it.
    """
    keras = any(name.endswith("/kernel") for name in tensors)
    names: _Names = _Keras(tensors, network) if keras else _Torch(tensors, network)

    def norm(where: str, channels: int) -> Params:
        scale, shift = names.norm(where, channels)
        return {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}

    stem, stem_norm, head = names.ends
    width = shape.bottleneck * shape.growth
    params: Params = {"stem": fold(names.kernel(stem, (7, 7, 3, shape.stem)), names.norm(stem_norm, shape.stem))}
    for b, (channels, layers) in enumerate(zip(shape.block_inputs(), shape.layers, strict=True), start=1):
        block: Params = {}
        for i in range(1, layers + 1):
            inputs = channels + (i - 1) * shape.growth
            bottleneck = names.kernel(names.place(b, i, "conv1"), (1, 1, inputs, width))[0, 0]
            growth = names.kernel(names.place(b, i, "conv2"), (3, 3, width, shape.growth))
            block[f"layer{i}"] = {
                **norm(names.place(b, i, "norm1"), inputs),
                "bottleneck": fold(bottleneck, names.norm(names.place(b, i, "norm2"), width)),
                "growth": {"kernel": inputs_first(growth.astype(np.float32))},
            }
        params[f"block{b}"] = block
        end = channels + layers * shape.growth
        if b < len(shape.layers):
            kernel = names.kernel(names.transition(b, "conv"), (1, 1, end, end // 2))[0, 0]
            params[f"transition{b}"] = {
                **norm(names.transition(b, "norm"), end),
                "kernel": kernel.astype(np.float32),
            }
        else:
            params["head"] = norm(head, end)
    names.finish()
    return params
