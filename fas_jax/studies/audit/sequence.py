"""The published variant (preset `dle2023-sequence`) beside ours, on the same videos.

The authors' released code puts all frames of a split into one sequence, bona fide files first, and trains a
sequence-to-sequence network on that one sequence (batch of one); development and test are one such sequence each,
so that the state runs across the borders of videos. Here it is for the audit alone, to show the effect. It
scores no single video and so is no method: both sides use the recurrent network itself, past the interface of methods.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, Int

from fas_jax.base.settings import Training
from fas_jax.evaluation import metrics
from fas_jax.methods.fusion import fuse
from fas_jax.models.architecture import Params, padded
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime.progress import progress_bar
from fas_jax.training import fitting
from fas_jax.training.fitting import Clips, Run

PRESET = "dle2023-sequence"
SORTED, SHUFFLED = "sorted by label", "shuffled"


@dataclass(frozen=True)
class Part:
    """The videos of a split."""

    features: Float32[np.ndarray, "n t d"]
    mask: Bool[np.ndarray, "n t"]
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Split:
    """What a model trains on, is stopped and given its threshold by, and is tested on."""

    train: Part
    development: Part
    test: Part


@dataclass(frozen=True)
class Outcome:
    """One training, tested on one order of the test videos."""

    variant: str
    seed: int
    unit: str
    """What was scored: frames or videos."""
    auc: float
    hter: float
    """At the equal error rate's threshold of the development part."""


def published(
    splits: Sequence[Split], seeds: Sequence[int], hidden: int, settings: Training
) -> list[tuple[int, Outcome]]:
    """The published variant on every split, trained sorted and trained shuffled; (position of the split, outcome).

    All splits must have the same shapes; all trainings run side by side. The sorted training is tested on the
    sorted test videos, as published, and on the same videos shuffled.
    """
    runs = [
        (place, order, np.random.default_rng([seed, 7]))
        for place, seed in enumerate(seeds)
        for order in (SORTED, SHUFFLED)
    ]
    train, development = (
        [_joined(getattr(splits[place], part), order, generator) for place, order, generator in runs]
        for part in ("train", "development")
    )
    architecture = RecurrentClassifier("lstm", train[0][0].shape[-1], hidden, "orthogonal")
    keys = jnp.stack([jax.random.key(seeds[place]) for place, _, _ in runs])
    params = _fit(architecture, keys, _stacked(train), _stacked(development), settings)
    thresholds = [
        metrics.eer_threshold(np.asarray(scores), labels)
        for scores, (_, labels, _) in zip(
            _scores(architecture, params, _stacked(development)[0]), development, strict=True
        )
    ]
    found = []
    for tested in (SORTED, SHUFFLED):
        parts = [_joined(splits[place].test, tested, generator) for place, _, generator in runs]
        everyone = np.asarray(_scores(architecture, params, _stacked(parts)[0]))
        for (place, order, _), scores, (_, labels, videos), tau in zip(runs, everyone, parts, thresholds, strict=True):
            if (order, tested) == (SHUFFLED, SORTED):
                continue
            variant = f"{PRESET}, trained {order}, tested {tested}"
            hter = metrics.rates(scores, labels, tau).hter
            found.append((place, Outcome(variant, seeds[place], "frames", metrics.auc(scores, labels), hter)))
            means = np.bincount(videos, weights=scores) / np.bincount(videos)
            first = np.unique(videos, return_index=True)[1]
            auc = metrics.auc(means, labels[first])
            found.append((place, Outcome(variant, seeds[place], "videos", auc, float("nan"))))
    return found


def ours(splits: Sequence[Split], seeds: Sequence[int], hidden: int, settings: Training) -> list[tuple[int, Outcome]]:
    """The same network on single videos, as this package trains and scores it."""
    found = []
    for place, (split, seed) in enumerate(zip(splits, seeds, strict=True)):
        parts = (split.train, split.development, split.test)
        ends = np.cumsum([0, *(len(part.labels) for part in parts)])
        rows = [np.arange(low, high) for low, high in itertools.pairwise(ends)]
        clips = Clips(*(jnp.asarray(np.concatenate([getattr(part, name) for part in parts])) for name in Clips._fields))
        clips = clips._replace(labels=clips.labels.astype(jnp.int32))
        architecture = RecurrentClassifier("lstm", split.train.features.shape[-1], hidden, "orthogonal")
        fitted = fitting.fit(architecture, [Run("ours", seed, rows[0], rows[1])], clips, settings, title="ours")
        scores = {}
        for part, own in (("development", rows[1]), ("test", rows[2])):
            (frames,) = fitting.predict(architecture, fitted.params, clips, [own])
            scores[part] = fuse(frames.probabilities, getattr(split, part).mask, "mean")
        tau = metrics.eer_threshold(scores["development"], split.development.labels)
        hter = metrics.rates(scores["test"], split.test.labels, tau).hter
        auc = metrics.auc(scores["test"], split.test.labels)
        found.append((place, Outcome("ours: one sequence a video", seed, "videos", auc, hter)))
    return found


def _joined(
    part: Part, order: str, generator: np.random.Generator
) -> tuple[Float32[np.ndarray, "k d"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Features and labels of all frames in one sequence, and each frame's video; bona fide first, or shuffled."""
    videos = np.argsort(-part.labels, kind="stable") if order == SORTED else generator.permutation(len(part.labels))
    mask = part.mask[videos]
    labels = np.broadcast_to(part.labels[videos][:, None], mask.shape)[mask]
    whose = np.broadcast_to(np.arange(len(videos))[:, None], mask.shape)[mask]
    return part.features[videos][mask], labels.astype(np.int64), whose


def _stacked(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[Array, Array]:
    return jnp.asarray(np.stack([part[0] for part in parts])), jnp.asarray(np.stack([part[1] for part in parts]))


def _fit(
    architecture: RecurrentClassifier,
    keys: Array,
    train: tuple[Array, Array],
    development: tuple[Array, Array],
    settings: Training,
) -> Params:
    """The parameters with the best development accuracy, per run; looks and patience as the settings say."""
    adam = optax.adam(settings.learning_rate)
    params = architecture.init_each(keys)
    state = jax.jit(jax.vmap(adam.init))(params)
    best, best_accuracy, best_epoch = params, np.full(len(keys), -np.inf), np.zeros(len(keys), int)

    @partial(jax.jit, donate_argnums=(1,))
    def step(params: Params, state: Any, active: Array) -> tuple[Params, Any]:
        def one(params: Params, state: Any, features: Array, labels: Array, active: Array) -> tuple[Params, Any]:
            grads = jax.grad(lambda p: _loss(architecture, p, features, labels))(params)
            # Optax raises its decays to the power of an integer count, which strict promotion would refuse.
            with jax.numpy_dtype_promotion("standard"):
                updates, new = adam.update(grads, state)
            moved = optax.apply_updates(params, updates)
            return jax.tree.map(lambda n, o: jnp.where(active, n, o), (moved, new), (params, state))

        return jax.vmap(one)(params, state, *train, active)

    active = np.ones(len(keys), bool)
    with progress_bar(total=settings.max_epochs, desc=PRESET, unit="epoch") as bar:
        for epoch in range(1, settings.max_epochs + 1):
            params, state = step(params, state, jnp.asarray(active))
            bar.update()
            if epoch % settings.validate_every and epoch < settings.max_epochs:
                continue
            scores = np.asarray(_scores(architecture, params, development[0]))
            accuracy = np.mean((scores >= 0.5) == (np.asarray(development[1]) == 1), axis=1)
            better = active & (accuracy > best_accuracy)
            best = jax.vmap(_choose)(jnp.asarray(better), params, best)
            best_accuracy[better], best_epoch[better] = accuracy[better], epoch
            active &= epoch - best_epoch < settings.patience
            if not active.any():
                break
    return best


def _choose(better: Array, new: Params, old: Params) -> Params:
    return jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)


def _loss(architecture: RecurrentClassifier, params: Params, features: Array, labels: Array) -> Array:
    logits = architecture.apply(params, padded(features[None], jnp.ones((1, len(features)), bool)))[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, static_argnums=0)
def _scores(architecture: RecurrentClassifier, params: Params, features: Array) -> Array:
    """P(bona fide) at every frame of each run's sequence."""

    def one(params: Params, features: Array) -> Array:
        logits = architecture.apply(params, padded(features[None], jnp.ones((1, len(features)), bool)))[0]
        return jax.nn.softmax(logits)[:, 1]

    return jax.vmap(one)(params, features)
