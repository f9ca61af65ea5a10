"""ViT-B/16 (Dosovitskiy et al., ICLR 2021) for training, with adapters on demand.

Names are those of timm's `vit_base_patch16_224`; torchvision's `vit_b_16` is read, too. Both give frames of 224x224
pixels 14x14 patches; at other sizes position embeddings are interpolated as timm does (cubic, with antialiasing). The
feature vector is the class token behind the last normalisation; the feature map is what lies beside it.

Pixels are scaled to [-1, 1], as most of timm's weights expect them. Torchvision's expect ImageNet's normalisation,
which goes into the first convolution when they are read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from fas_jax.base.errors import UserError
from fas_jax.models.backbones.base import EXACT, IMAGENET_MEAN, IMAGENET_SPREAD, Tensors
from fas_jax.models.trainable.base import Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, layer_norm, linear
from fas_jax.models.trainable.published import Weight, Weights, adapter
from fas_jax.models.trainable.published import layer_norm as norm_weights
from fas_jax.models.trainable.published import linear as linear_weights

EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    """Sizes of a vision transformer."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    patch: int = 16
    grid: int = 14
    """Patches in both directions for which position embeddings are published."""


def network(name: str, shape: Shape, adapters: int = 0) -> Trainable:
    """A transformer of these sizes, with bottleneck adapters of this width or without any.

    As in ViTAF (Huang et al., ECCV 2022) there is one behind each attention and one behind each perceptron.
    """
    return Trainable(
        name=f"{name}+{adapters}" if adapters else name,
        version=1,
        preprocessing="RGB / 127.5 - 1",
        pixels=_pixels,
        stages=tuple(_stages(shape, adapters)),
        unused=("head.", "heads.", "pre_logits."),
        rename=_as_timms,
        pool=_class_token,
        as_map=_patches,
        adapted=partial(network, name, shape),
    )


def _pixels(frames: Num[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return frames.astype(jnp.float32) / np.float32(127.5) - 1


def _stages(shape: Shape, adapters: int) -> Iterator[Stage]:
    width, side = shape.width, shape.patch
    first = (
        Weight(("kernel",), "patch_embed.proj.weight", (side, side, 3, width), (3, 2, 0, 1)),
        Weight(("bias",), "patch_embed.proj.bias", (width,), fill=0),
        Weight(("token",), "cls_token", (1, 1, width), fill=0),
        Weight(("position",), "pos_embed", (1, 1 + shape.grid**2, width)),
    )
    yield Stage("embedding", side, width, first, partial(_embed, shape))
    for i in range(shape.depth):
        weights = _weights(shape, f"blocks.{i}.", adapters)
        yield Stage(f"block{i}", side, width, weights, partial(_in_one, shape.heads))
    yield Stage("end", side, width, norm_weights((), "norm", width), _end)


def _weights(shape: Shape, at: str, adapters: int) -> Weights:
    width, hidden = shape.width, shape.hidden
    behind = [adapter((name,), f"{at}{name}", width, adapters) for name in _ADAPTERS] if adapters else [(), ()]
    return (
        *norm_weights(("norm1",), f"{at}norm1", width),
        *linear_weights(("qkv",), f"{at}attn.qkv", width, 3 * width),
        *linear_weights(("joined",), f"{at}attn.proj", width, width),
        *behind[0],
        *norm_weights(("norm2",), f"{at}norm2", width),
        *linear_weights(("widened",), f"{at}mlp.fc1", width, hidden),
        *linear_weights(("narrowed",), f"{at}mlp.fc2", hidden, width),
        *behind[1],
    )


_ADAPTERS = ("adapter1", "adapter2")


def _embed(
    shape: Shape, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b n d"], Stats]:
    (b, h, w, _), side = x.shape, shape.patch
    if h % side or w % side:
        raise UserError(
            f"a transformer of {side}x{side} patches reads frames whose sides are multiples of {side}, not {h}x{w}; "
            "change the size in [renditions.NAME]"
        )
    dimensions = ("NHWC", "HWIO", "NHWC")
    kernel = params["kernel"].astype(x.dtype)
    x = lax.conv_general_dilated(x, kernel, (side, side), "VALID", dimension_numbers=dimensions, precision=EXACT)
    x = x.reshape(b, -1, shape.width) + params["bias"].reshape(1, 1, -1).astype(x.dtype)
    token, patches = params["position"][:, :1], params["position"][:, 1:]
    if (h // side, w // side) != (shape.grid, shape.grid):
        square = patches.reshape(1, shape.grid, shape.grid, shape.width)
        square = jax.image.resize(square, (1, h // side, w // side, shape.width), "cubic")
        patches = square.reshape(1, -1, shape.width)
    first = jnp.broadcast_to(params["token"] + token, (b, 1, shape.width)).astype(x.dtype)
    return jnp.concatenate([first, x + patches.astype(x.dtype)], axis=1), stats


def _in_one(heads: int, mode: Mode, params: Params, stats: Stats, x: Array) -> tuple[Array, Stats]:
    """A block, computed again in the backward pass if the mode says so."""
    found: Array = mode.block(partial(_block, heads))(params, x)
    return found, stats


def _block(heads: int, params: Params, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    y = _attend(heads, params, layer_norm(x, params["norm1"], EPSILON))
    x = x + _adapted(params, _ADAPTERS[0], linear(y, params["joined"]))
    y = linear(layer_norm(x, params["norm2"], EPSILON), params["widened"])
    y = linear(jax.nn.gelu(y, approximate=False), params["narrowed"])
    return x + _adapted(params, _ADAPTERS[1], y)


def _attend(heads: int, params: Params, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    b, n, width = x.shape
    each = width // heads
    query, key, value = jnp.moveaxis(linear(x, params["qkv"]).reshape(b, n, 3, heads, each), 2, 0)
    likeness = jnp.einsum("bqhd,bkhd->bhqk", query, key, precision=EXACT).astype(jnp.float32)
    shares = jax.nn.softmax(likeness * np.float32(each**-0.5), axis=-1).astype(x.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", shares, value, precision=EXACT).reshape(b, n, width)


def _adapted(params: Params, name: str, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    if name not in params:
        return x
    own = params[name]
    return x + linear(jax.nn.gelu(linear(x, own["down"]), approximate=False), own["up"])


def _end(mode: Mode, params: Params, stats: Stats, x: Float[Array, "b n d"]) -> tuple[Array, Stats]:
    return layer_norm(x, params, EPSILON), stats


def _class_token(x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
    return x[:, 0]


def _patches(x: Float[Array, "b n d"], size: tuple[int, int]) -> Float[Array, "b h w d"]:
    return x[:, 1:].reshape(len(x), *size, -1)


_TORCHVISION = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+\.)ln_([12])\.", r"\1norm\2."),
    (r"^(blocks\.\d+\.)self_attention\.in_proj_", r"\1attn.qkv."),
    (r"^(blocks\.\d+\.)self_attention\.out_proj\.", r"\1attn.proj."),
    # As the file has them, and as today's module writes them.
    (r"^(blocks\.\d+\.)mlp\.(?:linear_1|0)\.", r"\1mlp.fc1."),
    (r"^(blocks\.\d+\.)mlp\.(?:linear_2|3)\.", r"\1mlp.fc2."),
)
"""Torchvision's names, and timm's for them, to be applied one after the other."""


def _as_timms(tensors: Tensors) -> Tensors:
    """Torchvision's tensors under timm's names, for pixels from -1 to 1; timm's as they are."""
    if "class_token" not in tensors:
        return dict(tensors)
    found: Tensors = {}
    for name, tensor in tensors.items():
        for theirs, timms in _TORCHVISION:
            name = re.sub(theirs, timms, name)
        found[name] = tensor
    kernel, bias = (found.get(f"patch_embed.proj.{part}") for part in ("weight", "bias"))
    if kernel is not None and bias is not None and kernel.ndim == 4 and kernel.shape[1] == 3:
        # With x from -1 to 1, ImageNet's normalisation is (x / 2 + 1 / 2 - mean) / spread, and no pixel is padding.
        mean, spread = (np.array(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_SPREAD))
        shift = (kernel * ((0.5 - mean) / spread)).sum((1, 2, 3))
        found["patch_embed.proj.weight"] = (kernel * (0.5 / spread)).astype(np.float32)
        found["patch_embed.proj.bias"] = (bias + shift).astype(np.float32)
    return found


NETWORKS = (network("vit_b16", Shape()),)
