"""One loop for all runs: data-parallel steps, runs side by side, early stopping, and going on after a stop."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import roc_auc_score

from fas_jax import training
from fas_jax.checkpoints import Checkpoints
from fas_jax.config import Training
from fas_jax.errors import UserError
from fas_jax.recurrent import Architecture
from fas_jax.training import Clips, Run
from tests.device_trial import ARCHITECTURE, RUNS, clips

SETTINGS = Training(batch_size=12, max_epochs=12, validate_every=2, patience=99, learning_rate=1e-2, monitor="loss")


def trial(devices: int, mapping: str, out: Path) -> dict[str, np.ndarray]:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", "tests.device_trial", mapping, str(out)]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1], timeout=300)
    return dict(np.load(out))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("mapping", ["shard_map", "pmap"])
def test_four_devices_equal_one(mapping, tmp_path):
    """Gradients to 1e-5 and parameters after 50 steps to 1e-4, with masks and counts that differ by device."""
    many = trial(4, mapping, tmp_path / "many.npz")
    one = trial(1, mapping, tmp_path / "one.npz")
    assert (many["devices"], one["devices"]) == (4, 1)
    assert many["count"] == one["count"] == 18
    for name in one:
        if name.startswith("gradient"):
            assert np.abs(many[name] - one[name]).max() <= 1e-5 * np.abs(one[name]).max()
        if name.startswith("params"):
            assert np.abs(many[name] - one[name]).max() <= 1e-4 * np.abs(one[name]).max()


def test_gradient_is_that_of_the_plain_loss(tmp_path):
    """Against the definition, written plainly: a mean over clips of a mean over frames, clip by clip."""
    found = trial(4, "shard_map", tmp_path / "found.npz")
    everything = clips()
    lengths = np.asarray(everything.mask).sum(1).tolist()

    def loss(params):
        total = 0.0
        for i in range(22, 40):
            length = lengths[i]
            logits = ARCHITECTURE.apply(params, everything.features[i : i + 1, :length], jnp.ones((1, length), bool))
            label = everything.labels[i] * jnp.ones(length, int)
            total += optax.softmax_cross_entropy_with_integer_labels(logits[0], label).mean()
        return total / 18

    value, grads = jax.jit(jax.value_and_grad(loss))(ARCHITECTURE.init(jax.random.key(3)))
    np.testing.assert_allclose(found["loss"] / 18, value, rtol=1e-5)
    for i, leaf in enumerate(jax.tree.leaves(grads)):
        assert np.abs(found[f"gradient/{i}"] - leaf).max() <= 1e-5 * np.abs(leaf).max()


def test_a_run_among_others_equals_the_run_alone():
    shorter = replace(RUNS[1], train=RUNS[1].train[:10])
    together = training.fit(ARCHITECTURE, (RUNS[0], shorter), clips(), SETTINGS)
    for number, run in enumerate((RUNS[0], shorter)):
        alone = training.fit(ARCHITECTURE, (run,), clips(), SETTINGS)
        assert together.best_epoch[number] == alone.best_epoch[0]
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[number], b[0], rtol=1e-4, atol=1e-6)


def test_stops_after_patience_and_keeps_the_best():
    """Random labels: validation gets worse soon. The best look's parameters come back, and epochs count as stated."""
    rng = np.random.default_rng(0)
    everything = clips()._replace(labels=jnp.asarray(rng.integers(0, 2, 40), jnp.int32))
    settings = replace(SETTINGS, max_epochs=200, validate_every=3, patience=9, learning_rate=5e-2)
    fitted = training.fit(ARCHITECTURE, RUNS[:1], everything, settings)
    losses, epochs = fitted.history["validation_loss"][:, 0], fitted.history["epoch"]
    best = int(np.argmin(losses))
    assert fitted.best_epoch[0] == epochs[best] == 3 * (best + 1)
    assert epochs[-1] == fitted.best_epoch[0] + 9 < 200
    again = training.fit(ARCHITECTURE, RUNS[:1], everything, replace(settings, max_epochs=int(epochs[best])))
    assert_same(fitted.params, again.params)


def test_a_tie_is_not_better():
    """With accuracy as the monitor, an equal score later does not count as progress."""
    settings = replace(SETTINGS, max_epochs=60, validate_every=1, patience=5, monitor="accuracy", learning_rate=1e-12)
    fitted = training.fit(ARCHITECTURE, RUNS[:1], clips(), settings)
    assert fitted.best_epoch[0] == 1
    assert fitted.history["epoch"][-1] == 6


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_going_on_ends_with_the_same_bits(tmp_path, monkeypatch, saves):
    settings = replace(SETTINGS, checkpoint_every=1)
    unbroken = training.fit(ARCHITECTURE, RUNS, clips(), settings)

    class Breaking(Checkpoints):
        left = saves

        def save(self, step, tree):
            super().save(step, tree)
            self.left -= 1
            if not self.left:
                raise StoppedError

    with pytest.raises(StoppedError):
        training.fit(ARCHITECTURE, RUNS, clips(), settings, Breaking(tmp_path, {}))
    resumed = training.fit(ARCHITECTURE, RUNS, clips(), settings, Checkpoints(tmp_path, {}))
    assert_same(unbroken.params, resumed.params)
    np.testing.assert_array_equal(unbroken.best_epoch, resumed.best_epoch)
    assert_same(unbroken.history, resumed.history)


def test_predictions_do_not_depend_on_mates_or_order():
    params = jax.tree.map(lambda leaf: leaf[None], ARCHITECTURE.init(jax.random.key(0)))
    everything = clips()
    (forward,) = training.predict(ARCHITECTURE, params, everything, [np.arange(40)], batch_size=7)
    order = np.random.default_rng(0).permutation(40)
    (shuffled,) = training.predict(ARCHITECTURE, params, everything, [order], batch_size=7)
    (alone,) = training.predict(ARCHITECTURE, params, everything, [np.array([13])], batch_size=7)
    np.testing.assert_array_equal(shuffled, forward[order])
    np.testing.assert_array_equal(alone[0], forward[13])


def test_missing_class_is_an_error_that_says_where():
    bona_fide = np.flatnonzero(np.asarray(clips().labels) == 1)
    with pytest.raises(UserError, match="run a: its validation clips hold no attack"):
        training.fit(ARCHITECTURE, (replace(RUNS[0], validation=bona_fide),), clips(), SETTINGS)


def test_loss_that_is_not_finite_is_an_error():
    broken = clips()._replace(features=clips().features.at[3].set(jnp.nan))
    with pytest.raises(UserError, match="no longer finite"):
        training.fit(ARCHITECTURE, RUNS, broken, SETTINGS)


@pytest.mark.parametrize(("capped", "low", "high"), [(True, 0.4, 0.6), (False, 0.97, 1.0)])
def test_length_gives_the_label_away_unless_capped(capped, low, high):
    """Noise features of Replay-Attack's real lengths: 13 kept frames for bona fide, 8 for attacks (datasets.md).

    Capped at 7 frames nothing is left to learn; uncapped, the same network reaches AUC 1 on noise.
    """
    rng = np.random.default_rng(0)
    labels = (np.arange(1200) % 3 == 0).astype(np.int32)
    lengths = np.where(labels == 1, 13, 8)
    if capped:
        lengths = np.minimum(lengths, 7)
    mask = np.arange(lengths.max()) < lengths[:, None]
    features = rng.normal(size=(*mask.shape, 2)) * mask[..., None]
    noise = Clips(jnp.asarray(features, jnp.float32), jnp.asarray(mask), jnp.asarray(labels))
    architecture = Architecture("gru", 2, 20, "he")
    run = Run("noise", 0, np.arange(600), np.arange(600, 800))
    settings = Training(
        batch_size=32, max_epochs=150, validate_every=1, patience=150, learning_rate=1e-2, monitor="loss"
    )
    fitted = training.fit(architecture, (run,), noise, settings)
    (scores,) = training.predict(architecture, fitted.params, noise, [np.arange(800, 1200)])
    video = np.where(mask[800:], scores, 0).sum(1) / mask[800:].sum(1)
    resamples = [rng.integers(0, 400, 400) for _ in range(500)]
    interval = np.quantile([roc_auc_score(labels[800:][pick], video[pick]) for pick in resamples], [0.025, 0.975])
    assert low < np.mean(interval) <= high
    assert (interval[0] <= 0.5 <= interval[1]) == capped
