"""Losses for unseen datasets beside loops over every clip, values and gradients; and the heads of domains."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.training.domain_heads import DomainHeads, aligned_heads
from fas_jax.training.losses import (
    norms,
    reversal_at,
    reverse_gradient,
    share_of_mean,
    supervised_contrast,
    triplets,
)
from fas_jax.training.single_side import SingleSide
from tests.tiny_network import TINY

CLASSES = np.array([0, 1, 0, 2, 1, 0, 2, 3], np.int32)
"""3 occurs once: it is an anchor of no triplet and has no positive."""


def draw(seed: int, shape: tuple[int, ...] = (8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pictures(count: int) -> jax.Array:
    return jnp.array(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)), jnp.uint8)


def slope(function, values: np.ndarray, width: float = 1e-6) -> np.ndarray:
    """Central differences in float64."""
    found = np.zeros(values.shape)
    for place in np.ndindex(values.shape):
        ends = []
        for sign in (1, -1):
            moved = values.astype(np.float64)
            moved[place] += sign * width
            ends.append(function(moved))
        found[place] = (ends[0] - ends[1]) / (2 * width)
    return found


def triplets_by_loops(features: np.ndarray, classes=CLASSES, margin: float = 0.1) -> float:
    found = []
    for a, p, n in itertools.permutations(range(len(classes)), 3):
        if classes[a] == classes[p] != classes[n]:
            length = math.dist(features[a], features[p]) - math.dist(features[a], features[n]) + margin
            found += [length] if length > 0 else []
    return sum(found) / len(found) if found else 0.0


def contrast_by_loops(features: np.ndarray, classes=CLASSES, temperature: float = 0.1) -> float:
    unit = [row / math.sqrt(sum(each**2 for each in row)) for row in features.astype(np.float64)]
    found = []
    for a, anchor in enumerate(unit):
        others = [k for k in range(len(unit)) if k != a]
        total = math.log(sum(math.exp(float(anchor @ unit[k]) / temperature) for k in others))
        terms = [total - float(anchor @ unit[k]) / temperature for k in others if classes[k] == classes[a]]
        found += [sum(terms) / len(terms)] if terms else []
    return sum(found) / len(found) if found else 0.0


LOSSES = {
    "triplets": (triplets, triplets_by_loops),
    "contrast": (supervised_contrast, contrast_by_loops),
    "other margin": (lambda f, c: triplets(f, c, 0.7), lambda f: triplets_by_loops(f, margin=0.7)),
    "other temperature": (lambda f, c: supervised_contrast(f, c, 0.5), lambda f: contrast_by_loops(f, temperature=0.5)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(2))
def test_losses_and_gradients_are_those_of_loops(name, seed):
    loss, by_loops = LOSSES[name]
    features = draw(seed)
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(features), jnp.array(CLASSES))
    np.testing.assert_allclose(value, by_loops(features.astype(np.float64)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, slope(by_loops, features), atol=1e-5)


def test_where_features_are_equal_the_gradient_is_finite():
    features = draw(0)
    features[2] = features[0]
    value, gradient = jax.jit(jax.value_and_grad(triplets))(jnp.array(features), jnp.array(CLASSES))
    np.testing.assert_allclose(value, triplets_by_loops(features.astype(np.float64)), rtol=1e-5)
    assert np.isfinite(gradient).all()
    features[:] = 0
    for loss in (triplets, supervised_contrast):
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(features), jnp.array(CLASSES))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    assert not np.asarray(jax.grad(lambda rows: norms(rows).sum())(jnp.array(features))).any()


def test_where_nothing_can_be_compared_the_loss_is_zero():
    features = jnp.array(draw(0))
    for classes in (jnp.zeros(8, int), jnp.arange(8)):
        assert jax.jit(triplets)(features, classes) == 0
    assert jax.jit(supervised_contrast)(features, jnp.arange(8)) == 0


def test_a_reversed_gradient_changes_its_sign_and_size_alone():
    values, weights = jnp.array(draw(0)), draw(1)
    found = jax.grad(lambda each: jnp.sum(reverse_gradient(each, jnp.float32(0.3)) * weights))(values)
    np.testing.assert_allclose(found, -0.3 * weights, rtol=1e-6)
    np.testing.assert_array_equal(reverse_gradient(values, jnp.float32(0.3)), values)
    # The release's values at its first, at a middle and at its last iteration.
    for step, done in ((0, 1), (1999, 2000), (3999, 4000)):
        wanted = 2 / (1 + math.exp(-10 * done / 4000)) - 1
        np.testing.assert_allclose(reversal_at(step, 4000), wanted, rtol=1e-4)


def test_shares_of_a_mean_have_its_value_on_average_and_count_nothing_else():
    values, counts = draw(0, (4, 3)), np.random.default_rng(1).random((4, 3)) < 0.4
    shares = jax.vmap(lambda v, c: share_of_mean(v, c, "data"), axis_name="data")(values, counts)
    np.testing.assert_allclose(shares.mean(), values[counts].mean(), rtol=1e-5)
    assert not np.any(jax.vmap(lambda v, c: share_of_mean(v, c, "data"), axis_name="data")(values, counts & False))


@pytest.mark.parametrize("domains", [1, 2, 4])
def test_heads_turn_towards_the_farthest_and_keep_their_lengths(domains):
    heads = draw(3, (6, domains))
    found = np.asarray(jax.jit(partial(aligned_heads, keep=0.9))(jnp.array(heads)))
    for k, own in enumerate(heads.T.astype(np.float64)):
        unit = [each / np.linalg.norm(each) for each in heads.T.astype(np.float64)]
        others = [j for j in range(domains) if j != k] or [k]
        far = min(others, key=lambda j: unit[j] @ unit[k])
        mixed = 0.9 * unit[k] + 0.1 * unit[far]
        np.testing.assert_allclose(found[:, k], np.linalg.norm(own) * mixed / np.linalg.norm(mixed), atol=1e-6)


def test_heads_are_aligned_from_a_step_on():
    objective = DomainHeads(TINY, align_from=5, domains=3)
    params = {"backbone": {}, "head": jax.tree.map(jnp.array, objective.head(0))}
    before, after = (jax.jit(objective.after)(params, jnp.int32(step))["head"] for step in (4, 5))
    np.testing.assert_array_equal(before["kernel"], params["head"]["kernel"])
    np.testing.assert_allclose(after["kernel"], aligned_heads(params["head"]["kernel"], 0.995), atol=1e-7)
    np.testing.assert_array_equal(after["bias"], params["head"]["bias"])


def test_heads_are_averaged_as_probabilities():
    objective = DomainHeads(TINY, domains=3)
    params, stats = jax.tree.map(jnp.array, TINY.init(0))
    head = objective.head(0)
    head["kernel"] *= 30  # so that some probabilities end at 0 or 1
    frames = pictures(6)
    found = jax.jit(objective.log_odds)({"backbone": params, "head": jax.tree.map(jnp.array, head)}, stats, frames)
    features, _ = jax.jit(TINY.apply, static_argnums=3)(params, stats, frames, objective.scoring)
    logits = np.asarray(features, np.float64) @ head["kernel"] + head["bias"]
    mean = (1 / (1 + np.exp(-logits))).mean(1)
    assert np.ptp(logits, 1).max() > 1
    np.testing.assert_allclose(found, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mode", "axis"), [("release", 1), ("paper", 0)])
def test_a_classifier_is_normalised_when_it_is_drawn_after_steps_and_in_scores(mode, axis):
    objective = SingleSide(TINY, width=7, weight_norm=mode, domains=2)
    head = jax.tree.map(jnp.array, objective.head(0))
    np.testing.assert_allclose(np.linalg.norm(head["classifier"]["kernel"], axis=axis), 1, rtol=1e-6)
    assert head["second"]["kernel"].shape == (7, 2)
    longer = {**head, "classifier": {**head["classifier"], "kernel": 3 * head["classifier"]["kernel"]}}
    params, stats = jax.tree.map(jnp.array, TINY.init(0))
    after = jax.jit(objective.after)({"backbone": params, "head": longer}, jnp.int32(0))
    np.testing.assert_allclose(after["head"]["classifier"]["kernel"], head["classifier"]["kernel"], rtol=1e-5)
    scores = jax.jit(objective.log_odds)
    one, other = (scores({"backbone": params, "head": each}, stats, pictures(4)) for each in (head, longer))
    np.testing.assert_allclose(one, other, rtol=1e-5)
