"""Which epoch is kept: accuracies are counts of clips, compared exactly."""

from dataclasses import replace
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.settings import Training
from fas_jax.training import fitting
from fas_jax.training.fitting import Clips, Run
from fas_jax.training.stopping import Progress, Validated
from tests.device_trial import ARCHITECTURE

# 7 bona fide and 23 attacks are validated on: no float holds a third of the weights exactly.
LABELS = np.r_[np.arange(20) % 2, np.ones(7), np.zeros(23)].astype(np.int32)
RUN = Run("a", 1, np.arange(20), np.arange(20, 50))
SETTINGS = Training(batch_size=8, max_epochs=60, validate_every=1, patience=99, learning_rate=2e-2)


def noise() -> Clips:
    """Clips that no network can tell apart, so that its validation accuracy wanders and often comes back."""
    features = np.random.default_rng(0).normal(size=(50, 5, 6)).astype(np.float32)
    return Clips(jnp.asarray(features), jnp.ones((50, 5), bool), jnp.asarray(LABELS))


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_the_first_of_equally_accurate_epochs_is_kept(balance):
    """Against fractions of the clips that each epoch's parameters classify rightly."""
    exact, seen = [], []

    def observe(epoch, params):
        ((frames, _),) = fitting.predict(ARCHITECTURE, params, noise(), [RUN.validation], batch_size=8)
        labels = LABELS[RUN.validation]
        right = (frames.mean(1) >= 0.5) == (labels == 1)
        rates = [Fraction(int(right[labels == label].sum()), int((labels == label).sum())) for label in (0, 1)]
        exact.append(Fraction(int(right.sum()), len(right)) if balance == "none" else sum(rates) / 2)
        seen.append(epoch)

    fitted = fitting.fit(ARCHITECTURE, [RUN], noise(), replace(SETTINGS, balance=balance), observe=observe)
    assert len(set(exact)) < len(exact) / 2  # many ties
    assert fitted.best_epoch[0] == seen[exact.index(max(exact))]
    assert fitted.history["validation_accuracy"][:, 0].tolist() == [float(np.float32(float(each))) for each in exact]


def test_the_kept_epoch_does_not_depend_on_the_order_of_validation_clips():
    """Nor, then, on which clips are streamed or computed together."""
    fitted = [
        fitting.fit(ARCHITECTURE, [replace(RUN, validation=order)], noise(), SETTINGS)
        for order in (RUN.validation, RUN.validation[::-1], np.random.default_rng(1).permutation(RUN.validation))
    ]
    assert len({int(each.best_epoch[0]) for each in fitted}) == 1
    for other in fitted[1:]:
        name = "validation_accuracy"
        np.testing.assert_array_equal(fitted[0].history[name], other.history[name])


@given(
    st.tuples(st.integers(1, 50), st.integers(1, 100_000)),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100_000)), min_size=1, max_size=20),
)
def test_patience_and_choice_follow_exact_accuracies(clips, weighted, found):
    settings = replace(SETTINGS, patience=3)
    progress = Progress.start(1, settings)
    best, kept = None, 0
    for epoch, counts in enumerate(found, 1):
        right = [min(pair) for pair in zip(counts, clips, strict=True)]
        weights = clips[::-1] if weighted else (1, 1)
        own = Fraction(sum(r * w for r, w in zip(right, weights, strict=True)))
        if best is None or own > best:
            best, kept = own, epoch
        column = [np.array(values)[:, None] for values in (right, clips, weights)]
        progress.update(epoch, Validated(np.ones(1, np.float32), np.ones(1, np.float32), *column), settings)
        assert progress.best_epoch[0] == kept
        assert progress.active[0] == (epoch - kept < 3)
        if not progress.active[0]:
            break
