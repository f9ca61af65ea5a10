"""A small network on maps of coherence (`fas_jax.models.residual_motion`). There are no published weights."""

from functools import partial

from jaxtyping import Array, Float

from fas_jax.models.rectifiers import relu
from fas_jax.models.trainable.base import Stage, Trainable
from fas_jax.models.trainable.layers import Mode, Params, Stats, convolve
from fas_jax.models.trainable.published import Weight, Weights, convolution


def _maps(maps: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return maps


def _weights(name: str, inputs: int, outputs: int) -> Weights:
    return (*convolution((), name, (3, 3, inputs, outputs)), Weight(("bias",), f"{name}.bias", (outputs,), fill=0))


def _layer(
    stride: int, mode: Mode, params: Params, stats: Stats, x: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h2 w2 o"], Stats]:
    # Maps are correlations of one scale, whatever the camera: nothing has to be normalised.
    bias = params["bias"].astype(x.dtype)[None, None, None]
    return relu(convolve(x, params["kernel"], stride) + bias), {}


COHERENCE = Trainable(
    name="coherence",
    version=1,
    preprocessing="maps of coherence at three scales",
    pixels=_maps,
    stages=(
        Stage("fine", 1, 16, _weights("fine", 3, 16), partial(_layer, 1)),
        Stage("coarse", 2, 32, _weights("coarse", 16, 32), partial(_layer, 2)),
    ),
    unused=(),
)
"""Two convolutions, and the mean of their map. Its frames are maps, and so it is not among `trainable.NETWORKS`."""
