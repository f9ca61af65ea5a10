"""LSTM, BiLSTM and GRU classifiers over a clip's feature sequence, as masked scans (paper, section 3.3).

The input projection of all frames is one matrix product outside the scan, and so is the gradient of the recurrent
weights; of a packed batch, both without its padding. A padded frame leaves the state as it is, so that padding behind
a clip changes neither direction's outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from fas_jax.models.architecture import Architecture, Frames, Params, spread

Kind = Literal["lstm", "bilstm", "gru"]
Initialisation = Literal["he", "orthogonal", "glorot"]

_INITIALISERS: dict[Initialisation, Callable[..., Array]] = {
    "he": nnx.initializers.variance_scaling(2.0, "fan_in", "normal"),
    "orthogonal": nnx.initializers.orthogonal(),
    "glorot": nnx.initializers.glorot_uniform(),
}


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output, as in PyTorch.

    Weights have a row for every gate's unit, as there: a CPU multiplies these faster, forth and back.
    """

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.input_weights = nnx.Param(_INITIALISERS["glorot"](rngs.params(), (features, 4 * hidden)).T)
        self.recurrent_weights = nnx.Param(_INITIALISERS[initialisation](rngs.params(), (hidden, 4 * hidden)).T)
        # A forget gate that starts open (bias 1) lets gradients through; all other biases start at 0.
        self.bias = nnx.Param(jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0))

    def __call__(self, frames: Frames) -> Float[Array, "b t h"]:
        """Hidden state after every frame; at padded frames, the state of the frame before."""
        return _states(_lstm_step, 2, False, self.recurrent_weights[...], self.projected(frames.values), frames)

    def projected(self, values: Float[Array, "p d"]) -> Float[Array, "p g"]:
        """What frames add to the gates."""
        return _product(values, self.input_weights[...]) + self.bias[None]

    def step(self, carry: tuple[Array, ...], values: Float[Array, "b d"]) -> tuple[Array, ...]:
        """The carry, hidden state first, after another frame."""
        return _next(_lstm_step, carry, self.projected(values), self.recurrent_weights[...])


class GRU(nnx.Module):
    """Gated recurrent unit with the reset gate after the recurrent product (PyTorch, cuDNN, Keras' default)."""

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.input_weights = nnx.Param(_INITIALISERS["glorot"](rngs.params(), (features, 3 * hidden)).T)
        self.recurrent_weights = nnx.Param(_INITIALISERS[initialisation](rngs.params(), (hidden, 3 * hidden)).T)
        self.bias = nnx.Param(jnp.zeros(3 * hidden))
        self.candidate_bias = nnx.Param(jnp.zeros(hidden))

    def __call__(self, frames: Frames) -> Float[Array, "b t h"]:
        """Hidden state after every frame; at padded frames, the state of the frame before."""
        return _states(_gru_step, 1, False, self.recurrent_weights[...], self.projected(frames.values), frames)

    def projected(self, values: Float[Array, "p d"]) -> Float[Array, "p g"]:
        """What frames add to the candidate by themselves, then to the gates with the hidden state."""
        projected = _product(values, self.input_weights[...]) + self.bias[None]
        reset_update, candidate = projected[..., : 2 * self.hidden], projected[..., 2 * self.hidden :]
        recurrent_candidate = jnp.broadcast_to(self.candidate_bias[...], candidate.shape)
        return jnp.concatenate([candidate, reset_update, recurrent_candidate], axis=-1)

    def step(self, carry: tuple[Array, ...], values: Float[Array, "b d"]) -> tuple[Array, ...]:
        """The carry, which is the hidden state, after another frame."""
        return _next(_gru_step, carry, self.projected(values), self.recurrent_weights[...])


class Bidirectional(nnx.Module):
    """Two LSTMs, one from each end; their states side by side."""

    def __init__(self, features: int, hidden: int, initialisation: Initialisation, *, rngs: nnx.Rngs) -> None:
        cells = [LSTM(features, hidden, initialisation, rngs=rngs) for _ in range(2)]
        # Both read the same frames: one product, of the forward cell's gates and then the backward one's.
        self.input_weights = nnx.Param(jnp.concatenate([cell.input_weights[...] for cell in cells]))
        self.bias = nnx.Param(jnp.concatenate([cell.bias[...] for cell in cells]))
        self.forward_weights, self.backward_weights = (cell.recurrent_weights for cell in cells)

    def __call__(self, frames: Frames) -> Float[Array, "b t h"]:
        """States of both directions after every frame."""
        projected = _product(frames.values, self.input_weights[...]) + self.bias[None]
        forward, backward = jnp.split(projected, 2, axis=-1)
        states = (
            _states(_lstm_step, 2, False, self.forward_weights[...], forward, frames),
            _states(_lstm_step, 2, True, self.backward_weights[...], backward, frames),
        )
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

    def __call__(self, frames: Frames) -> Float[Array, "b t 2"]:
        """Logits of attack (0) and bona fide (1); those of padded frames mean nothing."""
        return _exact("bth,hc->btc", self.cell(frames), self.output_kernel[...]) + self.output_bias[None, None]

    def step(
        self, carry: tuple[Array, ...], values: Float[Array, "b d"]
    ) -> tuple[tuple[Array, ...], Float[Array, "b 2"]]:
        """The cell's carry after another frame, and the frame's logits."""
        carry = self.cell.step(carry, values)
        return carry, _exact("bh,hc->bc", carry[0], self.output_kernel[...]) + self.output_bias[None]


@dataclass(frozen=True)
class RecurrentClassifier(Architecture):
    """One recurrent layer and an output layer over feature sequences."""

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

    def apply(self, params: Params, frames: Frames) -> Float[Array, "b t 2"]:
        """Logits of attack (0) and bona fide (1) at every frame."""
        return self._with(params)(frames)

    @property
    def causal(self) -> bool:
        """See `Architecture.causal`."""
        return self.kind != "bilstm"

    def start(self) -> tuple[Array, ...]:
        """See `Architecture.start`."""
        return (jnp.zeros((1, self.hidden)),) * (2 if self.kind == "lstm" else 1)

    def step(
        self, params: Params, state: tuple[Array, ...], frame: Float[Array, "1 d"]
    ) -> tuple[tuple[Array, ...], Float[Array, "1 2"]]:
        """See `Architecture.step`."""
        return self._with(params).step(state, frame)

    def _with(self, params: Params) -> Classifier:
        graph, shapes = _modules(self)
        state = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(state, params)
        found: Classifier = nnx.merge(graph, state)
        return found

    def shapes(self) -> Params:
        """Shapes and dtypes of the parameters."""
        return nnx.to_pure_dict(_modules(self)[1])

    @property
    def frame_floats(self) -> int:
        """Gates and states of a frame, forward and backward."""
        return 24 * self.hidden * (2 if self.kind == "bilstm" else 1)

    @property
    def draws_in_turn(self) -> bool:
        """Orthogonal weights come from QR decompositions."""
        return self.initialisation == "orthogonal"


@lru_cache
def _modules(architecture: RecurrentClassifier) -> tuple[Any, Any]:
    """Flax's modules and the shapes of their parameters; building modules takes longer than tracing what they do."""
    return nnx.split(nnx.eval_shape(lambda: architecture._classifier(jax.random.key(0))))


# Makes the next carry (hidden state first) of a carry, a frame's own projections, and its joint ones, to which the
# hidden state's are added.
Step: TypeAlias = Callable[[tuple[Array, ...], Array, Array], tuple[Array, ...]]


def _lstm_step(carry: tuple[Array, ...], _: Array, joint: Float[Array, "b g"]) -> tuple[Array, ...]:
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


def _next(
    step: Step, carry: tuple[Array, ...], projected: Float[Array, "b g"], weights: Float[Array, "k h"]
) -> tuple[Array, ...]:
    own = projected.shape[-1] - len(weights)
    return step(carry, projected[:, :own], projected[:, own:] + _product(carry[0], weights))


def _exact(shape: str, left: Array, right: Array) -> Array:
    # In float32: by default recent GPUs multiply in TF32 and TPUs in bfloat16, which keep three digits.
    return jnp.einsum(shape, left, right, precision=jax.lax.Precision.HIGHEST)


def _product(rows: Float[Array, "p d"], weights: Float[Array, "g d"]) -> Float[Array, "p g"]:
    # Not `rows @ weights.T`: XLA would write the transpose down before it multiplies.
    return _exact("pd,gd->pg", rows, weights)


def _states(
    step: Step, parts: int, reverse: bool, weights: Float[Array, "k h"], projected: Float[Array, "p g"], frames: Frames
) -> Float[Array, "b t h"]:
    return jnp.moveaxis(_hidden_states(step, parts, reverse, weights, projected, frames.places, frames.mask), 0, 1)


def _picked(values: Float[Array, "t b g"], places: Int[Array, " p"] | None) -> Float[Array, "p g"]:
    """The other way."""
    rows = values.reshape(-1, values.shape[-1])
    return rows if places is None else rows.at[places].get(mode="fill", fill_value=0)


def _scan(
    step: Step,
    parts: int,
    reverse: bool,
    weights: Float[Array, "k h"],
    projected: Float[Array, "t b g"],
    mask: Bool[Array, "b t"],
) -> Float[Array, "t b h"]:

    def frame(carry: tuple[Array, ...], inputs: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
        gates, valid = inputs
        carry = jax.tree.map(partial(jnp.where, valid[:, None]), _next(step, carry, gates, weights), carry)
        return carry, carry[0]

    # zeros_like of the input, not zeros: under shard_map the carry must vary over devices as the input does.
    zero = jnp.zeros_like(projected[0, :, : weights.shape[1]])
    return jax.lax.scan(frame, (zero,) * parts, (projected, mask.T), reverse=reverse)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _hidden_states(
    step: Step,
    parts: int,
    reverse: bool,
    weights: Float[Array, "k h"],
    projected: Float[Array, "p g"],
    places: Int[Array, " p"] | None,
    mask: Bool[Array, "b t"],
) -> Float[Array, "t b h"]:
    """Hidden states after all frames, by a cell whose carry has so many parts.

    The hidden state's product with the weights is added to a frame's last k projections, whose gradient is therefore
    that of the product: the weights' is one product over all frames, where `lax.scan` would add up, frame by frame,
    one as large as the weights.
    """
    return _scan(step, parts, reverse, weights, spread(projected, places, mask), mask)


def _forward(
    step: Step, parts: int, reverse: bool, weights: Array, projected: Array, places: Array | None, mask: Array
) -> tuple[Array, Any]:
    every = spread(projected, places, mask)
    states, pullback = jax.vjp(lambda each: _scan(step, parts, reverse, weights, each, mask), every)
    return states, (states, pullback, weights, places)


def _backward(step: Step, parts: int, reverse: bool, kept: Any, cotangent: Array) -> tuple[Array, Array, None, None]:
    states, pullback, weights, places = kept
    projected = _picked(pullback(cotangent)[0], places)
    nothing = jnp.zeros_like(states[:1])
    before = _picked(jnp.concatenate([states[1:], nothing] if reverse else [nothing, states[:-1]]), places)
    return _exact("pk,ph->kh", projected[:, -len(weights) :], before), projected, None, None


_hidden_states.defvjp(_forward, _backward)
