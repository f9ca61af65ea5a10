"""The step of a network on frames as a pure function of state and batch, on all devices that share the batch."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt32

from fas_jax.runtime import devices
from fas_jax.training.freezing import NOTHING, Frozen
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.objectives import Objective

_SGD_MOMENTUM = 0.9


class State(NamedTuple):
    """All that a training has learned and remembers."""

    params: Any
    stats: Any
    optimiser: Any
    averaged: Any
    """Exponential average of `params` and `stats`, as a pair."""
    key: UInt32[Array, " _"]
    """Data of the PRNG key from which every step's is made."""
    step: Int[Array, ""]
    loss: Float[Array, ""]
    """Sum of the losses since it was last set to zero."""
    failed: Int[Array, ""]
    """The first step whose loss or gradient was not finite; 0 where there was none."""


def start(params: Any, stats: Any, settings: NetworkTraining, seed: int, frozen: Frozen = NOTHING) -> State:
    """What training begins with. What is frozen has no state of the optimiser."""
    params, stats = jax.tree.map(jnp.array, (params, stats))
    zero = jnp.zeros((), jnp.int32)
    # Copies, because a step is given the buffers of its state, each once.
    averaged = jax.tree.map(jnp.copy, (params, stats))
    key = jax.random.key_data(jax.random.key(seed))
    optimiser = _optimiser(settings).init(frozen.divide(params)[0])
    return State(params, stats, optimiser, averaged, key, zero, jnp.zeros(()), jnp.zeros_like(zero))


def rate_at(settings: NetworkTraining, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """The learning rate of a step, which counts from 0, as a share of the setting."""
    now = jnp.asarray(step, jnp.float32)
    rising = jnp.minimum(1.0, (now + 1) / settings.warm_up) if settings.warm_up else jnp.ones(())
    if settings.schedule == "cosine":
        length = max(settings.steps - settings.warm_up, 1)
        past = jnp.clip((now - settings.warm_up) / length, 0, 1)
        return rising * 0.5 * (1 + jnp.cos(np.float32(np.pi) * past))
    if settings.schedule == "step":
        if settings.drop_at:
            drops = jnp.sum(now >= np.array(settings.drop_at, np.float32)).astype(jnp.float32)
        else:
            drops = jnp.floor(now / settings.drop_every)
        return rising * settings.drop_factor**drops
    return rising


def train_step(
    objective: Objective,
    settings: NetworkTraining,
    state: State,
    batch: Mapping[str, Array],
    hyper: Float[Array, " 2"],
    frozen: Frozen = NOTHING,
) -> tuple[State, Float[Array, ""]]:
    """One step, as a device sees it that has its share of the batch; `hyper` is learning rate and weight decay.

    Returns:
        The state after it, and the loss of the batch.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    trained, held = frozen.divide(state.params)
    gradient, loss, stats = mean_gradient(
        objective, settings, state.params, state.stats, batch, key, state.step, frozen
    )
    size = optax.tree.norm(gradient)
    decayed = partial(_decayed, settings)
    # Optax raises its decays to the power of an integer count, which strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        if settings.optimiser != "adamw":
            gradient = jax.tree.map(lambda g, p: g + hyper[1] * decayed(p), gradient, trained)
        updates, optimiser = _optimiser(settings).update(gradient, state.optimiser)
    rate = hyper[0] * rate_at(settings, state.step)
    decay = hyper[1] if settings.optimiser == "adamw" else jnp.zeros(())

    def moved(factor: float, params: Any, updates: Any) -> Any:
        own = rate * factor
        return jax.tree.map(lambda p, u: p - own * (u + decay * decayed(p)), params, updates)

    factors = _factors(objective, settings, trained)
    params = jax.tree.map(moved, factors, trained, updates)
    params = objective.after(frozen.join(params, held), state.step)
    count = state.step.astype(jnp.float32)
    # Less at the beginning, when the average would still hold what training began with.
    kept = jnp.minimum(settings.average, (1 + count) / (10 + count))

    def average(old: Any, new: Any) -> Any:
        return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, old, new)

    # Of what is held not even the rounding of an average changes.
    before, after = (frozen.divide_stats(each) for each in (state.averaged[1], stats))
    averaged = (
        frozen.join(average(frozen.divide(state.averaged[0])[0], frozen.divide(params)[0]), held),
        frozen.join(average(before[0], after[0]), after[1]),
    )
    # The gradient too: some compilers make 0 of the maximum of 0 and NaN, and so hide it from the loss.
    broken = (state.failed == 0) & ~jnp.isfinite(loss + size)
    failed = jnp.where(broken, state.step + 1, state.failed)
    return State(params, stats, optimiser, averaged, state.key, state.step + 1, state.loss + loss, failed), loss


def mean_gradient(
    objective: Objective,
    settings: NetworkTraining,
    params: Any,
    stats: Any,
    batch: Mapping[str, Array],
    key: Array,
    step: Int[Array, ""],
    frozen: Frozen = NOTHING,
) -> tuple[Any, Float[Array, ""], Any]:
    """Gradient and loss of the whole batch, the same on all devices, and the statistics as they run on.

    The gradient is that of what is not frozen, and has nothing else in it.

    A batch that is accumulated is computed in parts, whose gradients are averaged; statistics run on from part to part.
    """
    own, held = devices.varying(frozen.divide(params))

    def loss_of(trained: Any, stats: Any, piece: Mapping[str, Array]) -> tuple[Array, Any]:
        whole = frozen.join(trained, held)
        loss, stats = objective.loss(whole, frozen.mark(stats), piece, key, step, devices.DATA)
        return loss, frozen.unmark(stats)

    gradient_of = jax.value_and_grad(loss_of, has_aux=True)

    def part(carry: Any, piece: Any) -> tuple[Any, None]:
        gradient, total, stats = carry
        (loss, stats), more = gradient_of(own, stats, piece)
        return (jax.tree.map(jnp.add, gradient, more), total + loss, stats), None

    count = settings.accumulate
    if count == 1:
        (loss, stats), gradient = gradient_of(own, stats, dict(batch))
    else:
        pieces = {name: values.reshape(count, -1, *values.shape[1:]) for name, values in batch.items()}
        none = jax.tree.map(jnp.zeros_like, own), devices.varying(jnp.zeros(())), stats
        (gradient, loss, stats), _ = lax.scan(part, none, pieces)
    gradient, loss = devices.sum_over_batch((gradient, loss))
    parts = count * lax.axis_size(devices.DATA)
    return jax.tree.map(lambda each: each / parts, gradient), loss / parts, stats


def step_program(
    objective: Objective, settings: NetworkTraining, mesh: Mesh, mapping: devices.Mapping, frozen: Frozen = NOTHING
) -> Any:
    """`train_step` on all devices of the mesh; the batch has an axis of these first. The state is given up."""
    # What is an argument does not compile anew.
    same = dataclasses.replace(settings, learning_rate=1.0, weight_decay=0.0, loaders=0, validate_every=1, patience=1)
    return _program(objective, same, mesh, mapping, frozen)


@lru_cache
def _program(
    objective: Objective, settings: NetworkTraining, mesh: Mesh, mapping: devices.Mapping, frozen: Frozen
) -> Any:
    inputs = (devices.SAME, devices.BY_ROW, devices.SAME)
    step: Callable[..., Any] = partial(train_step, objective, settings, frozen=frozen)
    return devices.parallel(step, mesh, inputs, devices.SAME, mapping=mapping, donate=(0,))


def _optimiser(settings: NetworkTraining) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity()
    return optax.chain(clip, optax.trace(_SGD_MOMENTUM) if settings.optimiser == "sgd" else optax.scale_by_adam())


def _factors(objective: Objective, settings: NetworkTraining, params: Mapping[str, Any]) -> dict[str, Any]:
    """Of the learning rate, for each part of the parameters, and for each stage of the backbone if they differ."""
    found: dict[str, Any] = {
        name: settings.backbone_rate if name == "backbone" else settings.head_rate for name in params
    }
    if settings.layer_decay != 1 and "backbone" in params:
        found["backbone"] = {
            stage.name: settings.backbone_rate * settings.layer_decay**after
            for after, stage in enumerate(reversed(objective.network.stages), start=1)
            if stage.name in params["backbone"]
        }
    return found


def _decayed(settings: NetworkTraining, leaf: Array) -> Array:
    """What weight decay sees of a parameter: kernels, and scales and biases only where all decay."""
    return leaf if leaf.ndim > 1 or settings.decay_all else jnp.zeros_like(leaf)
