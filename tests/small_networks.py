"""A small network of each family that trains, as ours and in PyTorch, with the same random weights.

What decides an implementation is in each: strides, shortcuts, both sizes of kernels, all kinds of layers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fas_jax.models.backbones.densenet import Shape
from fas_jax.models.backbones.efficientnet_lite import Block
from fas_jax.models.trainable import Mode, Trainable, densenet, efficientnet_lite, resnet, vit
from tests.backbone_cases import tensor, uniform


class Small(NamedTuple):
    """A small network."""

    ours: Trainable
    peer: Callable[[], Any]
    """Makes the PyTorch module; imports PyTorch."""
    frames: tuple[int, int, int] = (4, 64, 75)
    """Batch and size of the comparisons' frames; sides that strides do not divide tell how borders are treated."""


def _densenet() -> Any:
    from tests.torch_densenet import DenseNet

    return DenseNet((2, 1), growth=4, stem=6, bottleneck=2)


def _lite() -> Any:
    from tests.torch_efficientnet_lite import EfficientNetLite

    return EfficientNetLite([(3, 1, 1, 32), (3, 2, 2, 12)], head=24)


def _resnet() -> Any:
    from tests.torch_resnet import ResNet

    return ResNet((1, 1), False, (8, 12))


def _bottlenecks() -> Any:
    from tests.torch_resnet import ResNet

    return ResNet((2, 1), True, (6, 8))


def _vit() -> Any:
    from tests.torch_vit import ViT

    return ViT(16, 1, 2, 24, patch=8, grid=4, adapters=3)


_BLOCKS = (Block(3, 1, 1, 32, 32), Block(3, 2, 2, 32, 12))
SMALL = {
    "densenet": Small(densenet.network("densenet", Shape((2, 1), 4, 6, 2)), _densenet),
    "efficientnet_lite": Small(efficientnet_lite.network("efficientnet_lite", _BLOCKS, head=24), _lite),
    "resnet": Small(resnet.network("resnet", resnet.Shape((1, 1), False, (8, 12))), _resnet),
    "bottlenecks": Small(resnet.network("bottlenecks", resnet.Shape((2, 1), True, (6, 8))), _bottlenecks),
    # On frames of another size than that of its position embeddings.
    "vit": Small(vit.network("vit", vit.Shape(16, 1, 2, 24, patch=8, grid=4), adapters=3), _vit, (4, 24, 40)),
}


def drawn(network: Trainable) -> dict[str, np.ndarray]:
    """A random state dictionary of all that the network has a place for."""
    found = {weight.name: tensor(weight.name, weight.tensor_shape) for _, weight in network.arrays()}
    counts = {name.replace("running_var", "num_batches_tracked") for name in found if name.endswith("running_var")}
    return found | {name: np.zeros((), np.int64) for name in counts}


def projection(network: Trainable) -> np.ndarray:
    """The random direction whose squared product with the features is the loss of the comparisons [d]."""
    return uniform("direction", (network.dimension,), -1, 1)


QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of a compiler that takes less time than what it compiles, where a network is small."""


def ours(network: Trainable, images: np.ndarray, options: Any = None) -> dict[str, np.ndarray]:
    """What the network computes of these frames: features and maps in evaluation; gradients and statistics after a
    step in training. Under the published names and in PyTorch's layout."""
    params, stats = network.import_weights(drawn(network))
    strides = sorted({stage.stride for stage in network.stages})

    @partial(jax.jit, compiler_options=options)
    def compute(params, stats, images):
        def loss(params):
            features, new = network.apply(params, stats, images, Mode(True))
            return jnp.mean(jnp.square(features @ projection(network))), new

        slope, new = jax.grad(loss, has_aux=True)(params)
        maps = {
            f"map {stride}": network.cut(stride).feature_map(params, stats, images, Mode())[0].transpose(0, 3, 1, 2)
            for stride in strides
        }
        return slope, new, maps | {"features": network.apply(params, stats, images, Mode())[0]}

    slope, new, found = jax.tree.map(np.asarray, compute(params, stats, images))
    for name, value in network.export_weights(slope, new).items():
        if not name.endswith("num_batches_tracked"):
            found[f"{'statistics' if 'running' in name else 'slope'} {name}"] = value
    return found


def peers(small: Small, images: np.ndarray, precise: bool = True, shaken: int = 0) -> dict[str, np.ndarray]:
    """As `ours`, by PyTorch, in float64 if it is to be precise.

    Above 0, `shaken` seeds a change of all weights by some 3e-7 of them, which is a few of float32's last bits.
    """
    import torch

    network = small.ours
    module = small.peer().to(torch.float64 if precise else torch.float32)
    rng = np.random.default_rng(shaken)
    state = {
        name: torch.from_numpy(np.asarray(value * (1 + 3e-7 * rng.standard_normal(value.shape))) if shaken else value)
        for name, value in drawn(network).items()
    }
    missing = set(module.state_dict()) - set(state)
    assert all(name.startswith(network.unused) for name in missing), missing
    module.load_state_dict(state, strict=False)
    frames = torch.from_numpy(images)
    with torch.inference_mode():
        found = {"features": module.eval()(frames)}
        found |= {f"map {stride}": each for stride, each in module.maps(frames).items()}
    features = module.train()(frames)
    (features @ torch.from_numpy(projection(network)).to(features.dtype)).square().mean().backward()
    found |= {f"statistics {name}": each for name, each in module.state_dict().items() if "running" in name}
    found |= {f"slope {name}": each.grad for name, each in module.named_parameters() if each.grad is not None}
    return {name: each.detach().numpy().astype(np.float64) for name, each in found.items()}


def digest(name: str, value: np.ndarray) -> np.ndarray:
    """Root mean square of an array, and its product with a random direction in units of that [2]."""
    values = value.astype(np.float64)
    direction = uniform(name, value.shape, -1, 1)
    size = np.sqrt(np.mean(np.square(values)))
    return np.array([size, np.sum(values * direction) / np.linalg.norm(direction)])
