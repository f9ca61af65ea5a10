"""What one device computes: steps of training, validation and scores, for runs side by side.

All functions are pure, see one device's share of runs and rows, and gather their batches by index from clips that lie
on the device.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from fas_jax import devices
from fas_jax.recurrent import Architecture, Params, bona_fide_probability


class Clips(NamedTuple):
    """Feature sequences that all runs draw from."""

    features: Any
    """[n t d], padded with zeros; with a leading axis of runs where each run has its own (the meta-learner). On the
    device, or on the host as an array or a `streaming.FeatureSource`, of float32 or float16."""
    mask: Bool[Array | np.ndarray, "n t"]
    """True at real frames."""
    labels: Int[Array | np.ndarray, " n"]
    """1 bona fide, 0 attack."""


class Knobs(NamedTuple):
    """What may differ between runs of one program."""

    learning_rate: Float[Array | np.ndarray, " r"]
    weight_decay: Float[Array | np.ndarray, " r"]
    """Decoupled (AdamW), of matrices only."""
    class_weights: Float[Array | np.ndarray, "r 2"]
    """What a clip counts in the loss, by its label."""


class State(NamedTuple):
    """What training changes at every step; each leaf with a leading axis of runs."""

    params: Params
    optimiser: Any
    loss: Float[Array, " r"]
    """Sum of the epoch's weighted losses so far, of which the mean is reported."""
    weight: Float[Array, " r"]
    """Sum of the weights."""


class Form(NamedTuple):
    """How the arguments lie in memory; static."""

    own_clips: bool
    """Each run has its own features."""
    same_rows: bool
    """All runs see the same clips in the same order, and `order` holds them once. Their input projections are then
    one matrix product: JAX joins the batched weights into one wide matrix."""


_ADAM = optax.scale_by_adam()


@partial(jax.jit, static_argnums=(0,))
def init(architecture: Architecture, keys: Array) -> State:
    """Fresh states for PRNG keys [r]."""
    # One run after the other: QR decompositions (orthogonal initialisation) in batches, two of them at once, wait for
    # each other for ever on a CPU with two threads (jaxlib 0.10.2).
    params = jax.lax.map(architecture.init, keys)
    zero = jnp.zeros(keys.shape[0], jnp.float32)
    return State(params, jax.vmap(_ADAM.init)(params), zero, zero)


def train(
    architecture: Architecture,
    form: Form,
    state: State,
    clips: Clips,
    knobs: Knobs,
    active: Bool[Array, " r"],
    order: Int[Array, "r s b"],
) -> State:
    """s steps. `order` holds this device's rows of each batch, -1 for none; with one run if all see the same."""

    def run_step(state: State, clips: Clips, knobs: Knobs, active: Array, index: Int[Array, " b"]) -> State:
        grads, (loss, weight, count) = mean_gradient(architecture, state.params, clips, index, knobs.class_weights)
        updates, optimiser = _ADAM.update(grads, state.optimiser)

        def moved(p: Array, u: Array) -> Array:
            return p - knobs.learning_rate * (u + knobs.weight_decay * p if p.ndim > 1 else u)

        new = State(jax.tree.map(moved, state.params, updates), optimiser, state.loss + loss, state.weight + weight)
        # A run that has ended, or that has fewer batches than another, stays as it is.
        return _where(active & (count > 0), new, state)

    axes = (0, _axes(form), 0, 0, None if form.same_rows else 0)

    def step(state: State, index: Int[Array, "r b"]) -> tuple[State, None]:
        index = index[0] if form.same_rows else index
        return jax.vmap(run_step, axes)(state, clips, knobs, active, index), None

    return jax.lax.scan(step, state, jnp.moveaxis(order, 1, 0))[0]


def mean_gradient(
    architecture: Architecture,
    params: Params,
    clips: Clips,
    index: Int[Array, " b"],
    class_weights: Float[Array | np.ndarray, " 2"],
) -> tuple[Params, tuple[Array, Array, Array]]:
    """Gradient of the weighted losses of all devices' clips, summed and divided by the number of clips.

    Not by the sum of the weights: that would undo them in most batches where one class is rare (class weights are one
    on average, so that over an epoch it comes to the same).

    Returns:
        The gradient, and over all devices: the sum of weighted losses, of weights, and the number of clips.
    """
    gradient = jax.value_and_grad(partial(_sums, architecture), has_aux=True)
    (loss, (weight, count, _)), grads = gradient(devices.varying(params), clips, index, class_weights)
    # Sums, not means: devices hold different numbers of clips, and a mean of means would be wrong.
    loss, weight, count, grads = devices.sum_over_batch((loss, weight, count, grads))
    return jax.tree.map(lambda g: g / jnp.maximum(count, 1), grads), (loss, weight, count)


def validate(
    architecture: Architecture,
    form: Form,
    params: Params,
    clips: Clips,
    class_weights: Float[Array, "r 2"],
    order: Int[Array, "r s b"],
) -> Float[Array, "r 3"]:
    """Over all devices' rows: sums of weighted losses, of weights, and of weights of rightly classified clips."""
    axes = (0, _axes(form), 0, None if form.same_rows else 0)

    def run(params: Params, clips: Clips, weights: Array, index: Int[Array, " b"]) -> Array:
        loss, (weight, _, correct) = _sums(architecture, params, clips, index, weights)
        return jnp.stack([loss, weight, correct])

    def batch(index: Int[Array, "r b"]) -> Array:
        index = index[0] if form.same_rows else index
        return jax.vmap(run, axes)(params, clips, class_weights, index)

    return jax.lax.psum(jnp.sum(jax.lax.map(batch, jnp.moveaxis(order, 1, 0)), 0), devices.DATA)


def probabilities(
    architecture: Architecture, form: Form, params: Params, clips: Clips, order: Int[Array, "r s b"]
) -> Float[Array, "r s b t"]:
    """P(bona fide) at every frame of the rows of `order`."""
    axes = (0, _axes(form), None if form.same_rows else 0)

    def run(params: Params, clips: Clips, index: Int[Array, " b"]) -> Float[Array, "b t"]:
        features, mask, _ = _gather(clips, index)
        return bona_fide_probability(architecture.apply(params, features, mask))

    def batch(index: Int[Array, "r b"]) -> Float[Array, "r b t"]:
        index = index[0] if form.same_rows else index
        return jax.vmap(run, axes)(params, clips, index)

    return jnp.moveaxis(jax.lax.map(batch, jnp.moveaxis(order, 1, 0)), 0, 1)


@partial(jax.jit, donate_argnums=(2,))
def choose(better: Bool[Array, " r"], params: Params, best: Params) -> Params:
    """The parameters of the runs that are better, and the best so far of the others."""
    return jax.vmap(_where)(better, params, best)


@jax.jit
def take(tree: Any, rows: Int[Array, " k"]) -> Any:
    """Some of the runs."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@partial(jax.jit, donate_argnums=(0,))
def put(tree: Any, rows: Int[Array, " k"], part: Any) -> Any:
    """All runs, with these in their places."""
    return jax.tree.map(lambda leaf, own: leaf.at[rows].set(own), tree, part)


def _sums(
    architecture: Architecture,
    params: Params,
    clips: Clips,
    index: Int[Array, " b"],
    class_weights: Float[Array | np.ndarray, " 2"],
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Weighted sum of the clips' losses; sums of weights, of clips, and of weights of rightly classified clips.

    A clip's loss is the mean cross-entropy over its real frames.
    """
    features, mask, labels = _gather(clips, index)
    logits = architecture.apply(params, features, mask)
    frame_losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[:, None])
    real = (index >= 0).astype(logits.dtype)
    weights = real * class_weights[labels]
    scores = _masked_mean(bona_fide_probability(logits), mask)
    correct = ((scores >= 0.5) == (labels == 1)).astype(logits.dtype)
    loss = jnp.sum(_masked_mean(frame_losses, mask) * weights)
    return loss, (jnp.sum(weights), jnp.sum(real), jnp.sum(correct * weights))


def _gather(clips: Clips, index: Int[Array, " b"]) -> tuple[Array, Array, Array]:
    rows = jnp.maximum(index, 0)
    return clips.features[rows].astype(jnp.float32), clips.mask[rows], clips.labels[rows]


def _masked_mean(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, " b"]:
    return jnp.sum(jnp.where(mask, values, 0), -1) / jnp.sum(mask, -1)


def _axes(form: Form) -> Clips:
    """Which of the clips' arrays have an axis of runs, as vmap asks for it."""
    return Clips._make((0 if form.own_clips else None, None, None))


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
