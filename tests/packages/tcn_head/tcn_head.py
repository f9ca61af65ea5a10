"""Temporal convolutions over the features of a clip's frames (Bai, Kolter and Koltun 2018), as a method of fas_jax."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fas_jax.base.declarations import how, what
from fas_jax.base.errors import UserError
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.heads import FeatureHead
from fas_jax.models.architecture import Architecture, Frames, Params


@dataclass(frozen=True)
class TemporalConvolution(Architecture):
    """Residual blocks of one dilated convolution each; the dilation doubles from block to block."""

    features: int
    channels: int
    blocks: int
    taps: int

    def init(self, key: Array) -> Params:
        """He's weights and biases of zero; an output layer that begins small."""
        entry, output, *blocks = jax.random.split(key, 2 + self.blocks)
        return {
            "entry": _layer(entry, (self.features, self.channels)),
            **{f"block{i}": _layer(each, (self.taps, self.channels, self.channels)) for i, each in enumerate(blocks)},
            "output": _layer(output, (self.channels, 2), scale=0.1),
        }

    def apply(self, params: Params, frames: Frames) -> Float[Array, "b t 2"]:
        """Logits of attack and bona fide at every frame, of which each sees those on both sides."""
        real = frames.mask[..., None]
        # What is not a frame is zero before every convolution, so that a clip's score does not depend on its padding.
        hidden = _linear(jnp.where(real, frames.unpacked(), 0), params["entry"])
        for i in range(self.blocks):
            change = _convolve(jnp.where(real, hidden, 0), params[f"block{i}"]["kernel"], 2**i)
            hidden = hidden + jax.nn.relu(change + params[f"block{i}"]["bias"][None, None])
        return _linear(hidden, params["output"])

    @property
    def frame_floats(self) -> int:
        """Every block's input, taps and output, forward and backward."""
        return 2 * self.channels * (1 + self.blocks * (2 + self.taps))


@dataclass(frozen=True)
class TcnSearch:
    """What a search draws."""

    channels: tuple[int, ...] = how((8, 32), at_least=1)
    """One of these; each is a program of its own."""
    learning_rate: tuple[float, float] = how((1e-4, 1e-2), above=0)
    """From and to, on a logarithmic scale."""


@dataclass(frozen=True)
class Tcn(FeatureHead):
    """Temporal convolutions over the features of a clip's frames."""

    kind = "tcn"

    channels: int = what(32, at_least=1)
    """Width of all layers."""
    blocks: int = what(2, at_least=1)
    """Convolutions, one after the other."""
    taps: int = what(3, at_least=1)
    """Frames that a convolution joins; odd."""
    search: TcnSearch = how(TcnSearch)
    """What fas-jax search draws."""

    def check(self, name: str) -> None:
        """Refuses a convolution without a middle."""
        if self.taps % 2 == 0:
            raise UserError(f"methods.{name}.taps must be odd, not {self.taps}")

    def architecture(self, width: int) -> TemporalConvolution:
        """The network for features of this width."""
        return TemporalConvolution(width, self.channels, self.blocks, self.taps)

    def variants(self) -> Variants:
        """The ranges that the settings declare."""
        return vary(self.search)


def _layer(key: Array, shape: tuple[int, ...], scale: float = 1.0) -> Params:
    fan_in = shape[0] if len(shape) == 2 else shape[0] * shape[1]
    kernel = scale * jnp.sqrt(2 / fan_in) * jax.random.normal(key, shape)
    return {"kernel": kernel, "bias": jnp.zeros(shape[-1])}


def _linear(values: Float[Array, "b t d"], layer: Params) -> Float[Array, "b t c"]:
    return values @ layer["kernel"] + layer["bias"][None, None]


def _convolve(values: Float[Array, "b t c"], kernel: Float[Array, "k c c"], dilation: int) -> Float[Array, "b t c"]:
    # A sum of products, not lax.conv: with an axis of runs a convolution becomes one of many groups, which is slow.
    time, reach = values.shape[1], dilation * (len(kernel) // 2)
    padded = jnp.pad(values, ((0, 0), (reach, reach), (0, 0)))
    return sum(padded[:, i * dilation : i * dilation + time] @ tap for i, tap in enumerate(kernel))
