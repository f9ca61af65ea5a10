"""LSTM, BiLSTM and GRU classifiers over a clip's feature sequence, as masked scans (paper, section 3.3).

The input projection of all frames is one matrix product outside the scan. A padded frame leaves the state as it
is, so that padding behind a clip changes neither direction's outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

Kind = Literal["lstm", "bilstm", "gru"]
Initialisation = Literal["he", "orthogonal", "glorot"]
# A pure nested dictionary of float32 arrays: what is trained, stored and passed to jitted functions.
Params: TypeAlias = dict[str, Any]

_INITIALISERS: dict[Initialisation, Callable[..., Array]] = {
    "he": nnx.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "orthogonal": nnx.initializers.orthogonal(),
    "glorot": nnx.initializers.glorot_uniform(),
}


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output, as in PyTorch."""

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.input_kernel = nnx.Param(_INITIALISERS["glorot"](rngs.params(), (features, 4 * hidden)))
        self.recurrent_kernel = nnx.Param(_INITIALISERS[initialisation](rngs.params(), (hidden, 4 * hidden)))
        # A forget gate that starts open (bias 1) lets gradients through; all other biases start at 0.
        self.bias = nnx.Param(jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0))

    def __call__(
        self, inputs: Float[Array, "b t d"], mask: Bool[Array, "b t"], *, reverse: bool = False
    ) -> Float[Array, "b t h"]:
        """Hidden state after every frame; at padded frames, the state of the frame before."""
        projected = inputs @ self.input_kernel[...] + self.bias[...]
        recurrent_kernel = self.recurrent_kernel[...]

        def step(carry: tuple[Array, Array], frame: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            hidden, cell = carry
            gates, valid = frame
            i, f, g, o = jnp.split(gates + hidden @ recurrent_kernel, 4, axis=-1)
            new_cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
            keep = valid[:, None]
            carry = jnp.where(keep, new_hidden, hidden), jnp.where(keep, new_cell, cell)
            return carry, carry[0]

        # zeros_like of the input, not zeros: under shard_map the carry must vary over devices as the input does.
        zero = jnp.zeros_like(projected[:, 0, : self.hidden])
        return _scan_time(step, (zero, zero), projected, mask, reverse)


class GRU(nnx.Module):
    """Gated recurrent unit with the reset gate after the recurrent product (PyTorch, cuDNN, Keras' default)."""

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.input_kernel = nnx.Param(_INITIALISERS["glorot"](rngs.params(), (features, 3 * hidden)))
        self.recurrent_kernel = nnx.Param(_INITIALISERS[initialisation](rngs.params(), (hidden, 3 * hidden)))
        self.bias = nnx.Param(jnp.zeros(3 * hidden))
        self.candidate_bias = nnx.Param(jnp.zeros(hidden))

    def __call__(
        self, inputs: Float[Array, "b t d"], mask: Bool[Array, "b t"], *, reverse: bool = False
    ) -> Float[Array, "b t h"]:
        """Hidden state after every frame; at padded frames, the state of the frame before."""
        projected = inputs @ self.input_kernel[...] + self.bias[...]
        recurrent_kernel, candidate_bias = self.recurrent_kernel[...], self.candidate_bias[...]

        def step(hidden: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
            gates, valid = frame
            input_r, input_z, input_n = jnp.split(gates, 3, axis=-1)
            hidden_r, hidden_z, hidden_n = jnp.split(hidden @ recurrent_kernel, 3, axis=-1)
            r = jax.nn.sigmoid(input_r + hidden_r)
            z = jax.nn.sigmoid(input_z + hidden_z)
            n = jnp.tanh(input_n + r * (hidden_n + candidate_bias))
            hidden = jnp.where(valid[:, None], (1 - z) * n + z * hidden, hidden)
            return hidden, hidden

        return _scan_time(step, jnp.zeros_like(projected[:, 0, : self.hidden]), projected, mask, reverse)


class Bidirectional(nnx.Module):
    """Two LSTMs, one from each end; their states side by side."""

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        self.forward = LSTM(features, hidden, initialisation, rngs=rngs)
        self.backward = LSTM(features, hidden, initialisation, rngs=rngs)

    def __call__(self, inputs: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b t 2*h"]:
        """States of both directions after every frame."""
        states = self.forward(inputs, mask), self.backward(inputs, mask, reverse=True)
        return jnp.concatenate(states, axis=-1)


class Classifier(nnx.Module):
    """One recurrent layer, then attack and bona fide logits at every frame."""

    def __init__(
        self, kind: Kind, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs
    ) -> None:
        cells: dict[Kind, Any] = {"lstm": LSTM, "bilstm": Bidirectional, "gru": GRU}
        self.cell = cells[kind](features, hidden, initialisation, rngs=rngs)
        width = 2 * hidden if kind == "bilstm" else hidden
        output: Initialisation = "he" if initialisation == "he" else "glorot"
        self.output_kernel = nnx.Param(_INITIALISERS[output](rngs.params(), (width, 2)))
        self.output_bias = nnx.Param(jnp.zeros(2))

    def __call__(self, inputs: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b t 2"]:
        """Logits of attack (0) and bona fide (1); those of padded frames mean nothing."""
        return self.cell(inputs, mask) @ self.output_kernel[...] + self.output_bias[...]


@dataclass(frozen=True)
class Architecture:
    """A classifier's shape, and its pure functions of parameters. Hashable, so that it can be a static argument."""

    kind: Kind
    features: int
    """Width d of a frame's features."""
    hidden: int
    """Hidden units, in each direction."""
    initialisation: Initialisation
    """Of the recurrent weights; He initialises the output weights too, the others leave them Glorot's."""

    def _classifier(self, key: Array) -> Classifier:
        rngs = nnx.Rngs(params=key)
        return Classifier(self.kind, self.features, self.hidden, self.initialisation, rngs=rngs)

    def init(self, key: Array) -> Params:
        """Fresh parameters from a PRNG key."""
        return nnx.to_pure_dict(nnx.state(self._classifier(key), nnx.Param))

    def apply(self, params: Params, inputs: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b t 2"]:
        """Logits of attack (0) and bona fide (1) at every frame."""
        graph, state = nnx.split(nnx.eval_shape(lambda: self._classifier(jax.random.key(0))))
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(inputs, mask)

    def shapes(self) -> Params:
        """Shapes and dtypes of the parameters."""
        return jax.eval_shape(self.init, jax.random.key(0))


def bona_fide_probability(logits: Float[Array, "... t 2"]) -> Float[Array, "... t"]:
    """P(bona fide) at every frame."""
    return jax.nn.softmax(logits, axis=-1)[..., 1]


def _scan_time(
    step: Callable[..., Any],
    carry: Any,
    projected: Float[Array, "b t g"],
    mask: Bool[Array, "b t"],
    reverse: bool,
) -> Float[Array, "b t h"]:
    frames = jnp.moveaxis(projected, 1, 0), mask.T
    _, states = jax.lax.scan(step, carry, frames, reverse=reverse)
    return jnp.moveaxis(states, 0, 1)
