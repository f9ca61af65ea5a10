"""What the backbones' tests and the scripts that make their golden files share; needs no PyTorch."""

import zlib

import numpy as np

from fas_jax.models.backbones.densenet import SHAPES, Shape

TINY = Shape(layers=(2, 3, 1, 2), growth=8, stem=12, bottleneck=3)
# Name: shape of the network, batch and frame size. Odd sizes tell how borders are treated.
DENSENET_CASES = {
    "tiny": (TINY, (3, 64, 64)),
    "odd": (TINY, (2, 75, 91)),
    "densenet201": (SHAPES["densenet201"], (2, 224, 224)),
}


def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Float32 values that depend on the name only, the same with every version of NumPy."""
    raw = np.asarray(np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape))))
    unit = (raw >> np.uint64(40)).astype(np.float64) / 2**24
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def frames(shape: tuple[int, int, int]) -> np.ndarray:
    """Noise over a gradient, uint8 [b h w 3]."""
    noise = uniform(f"frames {shape}", (*shape, 3), 0, 120)
    ramp = np.linspace(0, 130, shape[2], dtype=np.float32)[:, None]
    return (noise + ramp).astype(np.uint8)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights of a kind that the end of the name tells, in PyTorch's layout."""
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.array(7, np.int64)
    if kind == "running_var":
        variance = uniform(name, shape, 0.5, 1.5)
        # In the last normalisation down to where the epsilon counts; earlier, values would explode.
        return variance**20 * np.float32(1e-3) if ".norm5." in name else variance
    if kind in ("running_mean", "bias"):
        return uniform(name, shape, -0.3, 0.3)
    if len(shape) == 1:
        return uniform(name, shape, 0.3, 1.1)
    bound = np.sqrt(6 / np.prod(shape[1:]))
    return uniform(name, shape, -bound, bound)


def densenet_tensors(shape: Shape) -> dict[str, np.ndarray]:
    """A random state dictionary with torchvision's names."""
    sizes: dict[str, tuple[int, ...]] = {"features.conv0.weight": (shape.stem, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            sizes[f"{name}.{part}"] = (channels,)
        sizes[f"{name}.num_batches_tracked"] = ()

    norm("features.norm0", shape.stem)
    channels, width = shape.stem, shape.bottleneck * shape.growth
    for b, count in enumerate(shape.layers, start=1):
        for i in range(1, count + 1):
            place = f"features.denseblock{b}.denselayer{i}"
            norm(f"{place}.norm1", channels)
            sizes[f"{place}.conv1.weight"] = (width, channels, 1, 1)
            norm(f"{place}.norm2", width)
            sizes[f"{place}.conv2.weight"] = (shape.growth, width, 3, 3)
            channels += shape.growth
        if b < len(shape.layers):
            norm(f"features.transition{b}.norm", channels)
            sizes[f"features.transition{b}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
    norm("features.norm5", channels)
    sizes |= {"classifier.weight": (10, channels), "classifier.bias": (10,)}
    return {name: tensor(name, size) for name, size in sizes.items()}


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference of a value as a share of it, or of the median one where it is smaller than that."""
    sizes = np.abs(wanted)
    return float((np.abs(found - wanted) / np.maximum(sizes, np.median(sizes))).max())


KERAS_SHAPE = Shape(layers=(1, 2, 1, 1))
KERAS_FRAMES = (2, 64, 64)


def keras_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights in Keras' layout; `name` is `layer/variable`."""
    kind = name.rsplit("/", 1)[-1]
    if kind == "moving_variance":
        return tensor("norm5.running_var" if name.startswith("bn/") else f"{name}.running_var", shape)
    if kind in ("kernel", "gamma"):
        bound = np.sqrt(6 / np.prod(shape[:-1]))
        return uniform(name, shape, -bound, bound) if kind == "kernel" else uniform(name, shape, 0.3, 1.1)
    return uniform(name, shape, -0.3, 0.3)


# Name: batch and frame size.
LITE0_CASES = {"usual": (2, 224, 224), "odd": (2, 97, 130)}


def lite0_tensors() -> dict[str, np.ndarray]:
    """A random state dictionary with the published file's names."""
    from fas_jax.models.backbones.efficientnet_lite import BLOCKS

    sizes: dict[str, tuple[int, ...]] = {}

    def layer(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        sizes[f"{convolution}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            sizes[f"{norm}.{part}"] = (shape[0],)
        sizes[f"{norm}.num_batches_tracked"] = ()

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    for i, block in enumerate(BLOCKS):
        at = f"_blocks.{i}."
        if block.expand > 1:
            layer(f"{at}_expand_conv", f"{at}_bn0", (block.width, block.inputs, 1, 1))
        layer(f"{at}_depthwise_conv", f"{at}_bn1", (block.width, 1, block.kernel, block.kernel))
        layer(f"{at}_project_conv", f"{at}_bn2", (block.outputs, block.width, 1, 1))
    layer("_conv_head", "_bn1", (1280, 320, 1, 1))
    sizes |= {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}
    return {name: tensor(name, size) for name, size in sizes.items()}


def summary(outputs: list[np.ndarray]) -> np.ndarray:
    """Mean, standard deviation and a corner's and the middle's value of each channel-averaged layer [layers 4]."""
    maps = [np.asarray(output, np.float64)[-1] for output in outputs]
    return np.array(
        [(m.mean(), m.std(), m[0, -1].mean(), m[m.shape[0] // 2, m.shape[1] // 2].mean()) for m in maps],
        np.float32,
    )
