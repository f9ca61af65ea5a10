"""LSTM, BiLSTM and GRU classifiers over a clip's feature sequence, as masked scans (paper, section 3.3).

The input projection of all frames is one matrix product outside the scan, and so is the gradient of the recurrent
weights. A padded frame leaves the state as it is, so that padding behind a clip changes neither direction's outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
        projected = jnp.moveaxis(inputs, 1, 0) @ self.input_kernel[...] + self.bias[...]
        states = _hidden_states(_lstm_step, 2, reverse, self.recurrent_kernel[...], projected, mask)
        return jnp.moveaxis(states, 0, 1)


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
        projected = jnp.moveaxis(inputs, 1, 0) @ self.input_kernel[...] + self.bias[...]
        reset_update, candidate = projected[..., : 2 * self.hidden], projected[..., 2 * self.hidden :]
        recurrent_candidate = jnp.broadcast_to(self.candidate_bias[...], candidate.shape)
        projected = jnp.concatenate([candidate, reset_update, recurrent_candidate], axis=-1)
        states = _hidden_states(_gru_step, 1, reverse, self.recurrent_kernel[...], projected, mask)
        return jnp.moveaxis(states, 0, 1)


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


# Makes the next carry (hidden state first) of a carry, a frame's own projections, and its joint ones, to which the
# hidden state's are added.
Step: TypeAlias = Callable[[tuple[Array, ...], Array, Array], tuple[Array, ...]]


def _lstm_step(carry: tuple[Array, ...], _: Array, joint: Float[Array, "b 4*h"]) -> tuple[Array, ...]:
    i, f, g, o = jnp.split(joint, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _gru_step(
    carry: tuple[Array, ...], candidate: Float[Array, "b h"], joint: Float[Array, "b 3*h"]
) -> tuple[Array, ...]:
    r, z, recurrent_candidate = jnp.split(joint, 3, axis=-1)
    n = jnp.tanh(candidate + jax.nn.sigmoid(r) * recurrent_candidate)
    z = jax.nn.sigmoid(z)
    return ((1 - z) * n + z * carry[0],)


def _scan(
    step: Step,
    parts: int,
    reverse: bool,
    kernel: Float[Array, "h k"],
    projected: Float[Array, "t b g"],
    mask: Bool[Array, "b t"],
) -> Float[Array, "t b h"]:
    own = projected.shape[-1] - kernel.shape[-1]

    def frame(carry: tuple[Array, ...], inputs: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
        gates, valid = inputs
        new = step(carry, gates[:, :own], gates[:, own:] + carry[0] @ kernel)
        carry = jax.tree.map(partial(jnp.where, valid[:, None]), new, carry)
        return carry, carry[0]

    # zeros_like of the input, not zeros: under shard_map the carry must vary over devices as the input does.
    zero = jnp.zeros_like(projected[0, :, : kernel.shape[0]])
    return jax.lax.scan(frame, (zero,) * parts, (projected, mask.T), reverse=reverse)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _hidden_states(
    step: Step,
    parts: int,
    reverse: bool,
    kernel: Float[Array, "h k"],
    projected: Float[Array, "t b g"],
    mask: Bool[Array, "b t"],
) -> Float[Array, "t b h"]:
    """Hidden states after all frames, by a cell whose carry has so many parts.

    The hidden state's product with the kernel is added to a frame's last k projections, whose gradient is therefore
    that of the product: the kernel's is one product over all frames, where `lax.scan` would add up, frame by frame,
    one as large as the kernel.
    """
    return _scan(step, parts, reverse, kernel, projected, mask)


def _forward(step: Step, parts: int, reverse: bool, kernel: Array, projected: Array, mask: Array) -> tuple[Array, Any]:
    states, pullback = jax.vjp(lambda each: _scan(step, parts, reverse, kernel, each, mask), projected)
    return states, (states, pullback, kernel)


def _backward(step: Step, parts: int, reverse: bool, kept: Any, cotangent: Array) -> tuple[Array, Array, None]:
    states, pullback, kernel = kept
    (projected,) = pullback(cotangent)
    nothing = jnp.zeros_like(states[:1])
    before = jnp.concatenate([states[1:], nothing] if reverse else [nothing, states[:-1]])
    return jnp.einsum("tbh,tbk->hk", before, projected[..., -kernel.shape[1] :]), projected, None


_hidden_states.defvjp(_forward, _backward)
