"""One loop for all runs: data-parallel steps, runs side by side, early stopping, and going on after a stop."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import roc_auc_score

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Training
from fas_jax.models.architecture import padded
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import device_memory, devices
from fas_jax.training import chunks as chunks
from fas_jax.training import fitting
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.fitting import Clips, Run
from fas_jax.training.stopping import Progress
from tests.device_trial import ARCHITECTURE, RUNS, clips

SETTINGS = Training(batch_size=12, max_epochs=12, validate_every=2, patience=99, learning_rate=1e-2, monitor="loss")


def trial(devices: int, mapping: str, out: Path, run_devices: int = 1, large: str = "") -> dict[str, np.ndarray]:
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    }
    command = [sys.executable, "-m", "tests.device_trial", mapping, str(out), str(run_devices), large]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1], timeout=300)
    return dict(np.load(out))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """`trial`, each once."""
    folder = tmp_path_factory.mktemp("trials")

    @cache
    def once(devices, mapping, run_devices=1, large=""):
        return trial(devices, mapping, folder / f"{devices}-{mapping}-{run_devices}{large}.npz", run_devices, large)

    return once


@pytest.mark.parametrize(
    ("mapping", "run_devices"),
    # A mesh of two by two has both axes, which is enough for every day.
    [
        *(("shard_map", runs) for runs in (1, 2, 4)),
        ("pmap", 1),
    ],
)
@pytest.mark.slow
def test_four_devices_equal_one(tried, mapping, run_devices):
    """Gradients to 1e-5 and parameters after 50 steps to 1e-4, with masks and counts that differ by device."""
    many, one = tried(4, mapping, run_devices), tried(1, mapping)
    assert (many["devices"], one["devices"]) == (4, 1)
    assert many["count"] == one["count"] == 18
    for name in one:
        if name.startswith("gradient"):
            assert np.abs(many[name] - one[name]).max() <= 1e-5 * np.abs(one[name]).max()
        if name.startswith("params"):
            assert np.abs(many[name] - one[name]).max() <= 1e-4 * np.abs(one[name]).max()


@pytest.mark.slow
def test_runs_one_by_one_with_a_shorter_step_equal_those_side_by_side(tried):
    """As large networks are trained on a CPU; also where two devices share a batch, and each takes its own step."""
    plain = tried(1, "shard_map")
    for large in (tried(1, "shard_map", 1, "large"), tried(4, "shard_map", 2, "large")):
        for name in plain:
            if name.startswith("params"):
                assert np.abs(large[name] - plain[name]).max() <= 1e-4 * np.abs(plain[name]).max()


@pytest.mark.slow
def test_gradient_is_that_of_the_plain_loss(tried):
    """Against the definition, written plainly: a mean over clips of a mean over frames, clip by clip."""
    found = tried(4, "shard_map", 1)
    everything = clips()
    lengths = np.asarray(everything.mask).sum(1).tolist()

    def loss(params):
        total = 0.0
        for i in range(22, 40):
            length = lengths[i]
            alone = padded(everything.features[i : i + 1, :length], jnp.ones((1, length), bool))
            logits = ARCHITECTURE.apply(params, alone)
            label = everything.labels[i] * jnp.ones(length, int)
            total += optax.softmax_cross_entropy_with_integer_labels(logits[0], label).mean()
        return total / 18

    value, grads = jax.jit(jax.value_and_grad(loss))(ARCHITECTURE.init(jax.random.key(3)))
    np.testing.assert_allclose(found["loss"] / 18, value, rtol=1e-5)
    for i, leaf in enumerate(jax.tree.leaves(grads)):
        assert np.abs(found[f"gradient/{i}"] - leaf).max() <= 1e-5 * np.abs(leaf).max()


@pytest.mark.slow
def test_a_run_among_others_equals_the_run_alone():
    shorter = replace(RUNS[1], train=RUNS[1].train[:10])
    together = fitting.fit(ARCHITECTURE, (RUNS[0], shorter), clips(), SETTINGS)
    for number, run in enumerate((RUNS[0], shorter)):
        alone = fitting.fit(ARCHITECTURE, (run,), clips(), SETTINGS)
        assert together.best_epoch[number] == alone.best_epoch[0]
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[number], b[0], rtol=1e-4, atol=1e-6)


def test_stops_after_patience_and_keeps_the_best():
    """Random labels: validation gets worse soon. The best parameters come back, and epochs count as stated."""
    rng = np.random.default_rng(0)
    everything = clips()._replace(labels=jnp.asarray(rng.integers(0, 2, 40), jnp.int32))
    settings = replace(SETTINGS, max_epochs=200, validate_every=3, patience=9, learning_rate=5e-2)
    fitted = fitting.fit(ARCHITECTURE, RUNS[:1], everything, settings)
    losses, epochs = fitted.history["validation_loss"][:, 0], fitted.history["epoch"]
    best = int(np.argmin(losses))
    assert fitted.best_epoch[0] == epochs[best] == 3 * (best + 1)
    assert epochs[-1] == fitted.best_epoch[0] + 9 < 200
    again = fitting.fit(ARCHITECTURE, RUNS[:1], everything, replace(settings, max_epochs=int(epochs[best])))
    assert_same(fitted.params, again.params)


def test_a_tie_is_not_better():
    """With accuracy as the monitor, an equal score later does not count as progress."""
    settings = replace(SETTINGS, max_epochs=60, validate_every=1, patience=5, monitor="accuracy", learning_rate=1e-12)
    fitted = fitting.fit(ARCHITECTURE, RUNS[:1], clips(), settings)
    assert fitted.best_epoch[0] == 1
    assert fitted.history["epoch"][-1] == 6


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_going_on_ends_with_the_same_bits(tmp_path, monkeypatch, saves):
    settings = replace(SETTINGS, checkpoint_every=1)
    unbroken = fitting.fit(ARCHITECTURE, RUNS, clips(), settings)

    class Breaking(Checkpoints):
        left = saves

        def save(self, step, tree):
            super().save(step, tree)
            self.left -= 1
            if not self.left:
                raise StoppedError

    with pytest.raises(StoppedError):
        fitting.fit(ARCHITECTURE, RUNS, clips(), settings, Breaking(tmp_path, {}))
    resumed = fitting.fit(ARCHITECTURE, RUNS, clips(), settings, Checkpoints(tmp_path, {}))
    assert_same(unbroken.params, resumed.params)
    np.testing.assert_array_equal(unbroken.best_epoch, resumed.best_epoch)
    assert_same(unbroken.history, resumed.history)


def test_predictions_do_not_depend_on_mates_or_order():
    params = jax.tree.map(lambda leaf: leaf[None], ARCHITECTURE.init(jax.random.key(0)))
    everything = clips()
    ((forward, _),) = fitting.predict(ARCHITECTURE, params, everything, [np.arange(40)], batch_size=7)
    order = np.random.default_rng(0).permutation(40)
    ((shuffled, _),) = fitting.predict(ARCHITECTURE, params, everything, [order], batch_size=7)
    ((alone, _),) = fitting.predict(ARCHITECTURE, params, everything, [np.array([13])], batch_size=7)
    np.testing.assert_array_equal(shuffled, forward[order])
    np.testing.assert_array_equal(alone[0], forward[13])


def test_missing_class_is_an_error_that_says_where():
    bona_fide = np.flatnonzero(np.asarray(clips().labels) == 1)
    with pytest.raises(UserError, match="run a: its validation clips hold no attack"):
        fitting.fit(ARCHITECTURE, (replace(RUNS[0], validation=bona_fide),), clips(), SETTINGS)


def test_a_run_that_fails_is_marked_and_the_others_go_on():
    """Clip 3 belongs to run a alone."""
    whole, broken = clips(), clips()._replace(features=clips().features.at[3].set(jnp.nan))
    fitted = fitting.fit(ARCHITECTURE, RUNS, broken, SETTINGS)
    assert fitted.failed.tolist() == [2, 0]
    unharmed = fitting.fit(ARCHITECTURE, RUNS, whole, SETTINGS)
    for a, b in zip(jax.tree.leaves(fitted.params), jax.tree.leaves(unharmed.params), strict=True):
        assert np.isnan(a[0]).all()
        np.testing.assert_allclose(a[1], b[1], rtol=1e-4, atol=1e-6)
    assert np.isnan(fitted.history["validation_loss"][1:, 0]).all()


def test_no_run_left_is_an_error():
    broken = clips()._replace(features=clips().features.at[10].set(jnp.nan))
    with pytest.raises(UserError, match=r"no longer finite in a \(epoch 2\), b \(epoch 2\)"):
        fitting.fit(ARCHITECTURE, RUNS, broken, SETTINGS)
    assert fitting.fit(ARCHITECTURE, RUNS, broken, SETTINGS, all_may_fail=True).failed.tolist() == [2, 2]


@pytest.mark.slow
def test_settings_of_a_run_are_its_own():
    """Rates, decays, weights and so on side by side: as if each had been the settings of a run alone."""
    everything = clips()._replace(labels=(np.arange(40) % 3 == 0).astype(np.int32))
    weighted = replace(RUNS[0], class_weights=(1.5, 0.5))
    own = {"learning_rate": 3e-3, "weight_decay": 0.1}
    other = replace(RUNS[0], balance="both", start=replace(ARCHITECTURE, initialisation="orthogonal"), seed=5)
    together = fitting.fit(ARCHITECTURE, (RUNS[0], replace(weighted, **own), other), everything, SETTINGS)
    orthogonal = replace(ARCHITECTURE, initialisation="orthogonal")
    singly = (
        fitting.fit(ARCHITECTURE, RUNS[:1], everything, SETTINGS),
        fitting.fit(ARCHITECTURE, (weighted,), everything, replace(SETTINGS, **own)),
        fitting.fit(orthogonal, (replace(RUNS[0], seed=5),), everything, replace(SETTINGS, balance="both")),
    )
    for number, alone in enumerate(singly):
        name = "validation_loss"
        np.testing.assert_allclose(together.history[name][:, number], alone.history[name][:, 0], rtol=1e-4)
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[number], b[0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.optimised
def test_ended_runs_leave_the_program_without_changing_the_others(monkeypatch):
    """Seven runs end one after the other by patience; all equal those of a program that carries them to the end."""
    rng = np.random.default_rng(5)
    everything = clips()._replace(labels=jnp.asarray(rng.integers(0, 2, 40), jnp.int32))
    runs = [replace(RUNS[i % 2], name=str(i), seed=i, learning_rate=10 ** (-1 - i / 3)) for i in range(7)]
    settings = replace(SETTINGS, max_epochs=40, validate_every=1, patience=3)
    live, widths = Progress.live, []
    monkeypatch.setattr(Progress, "live", lambda self, *_: widths.append(live(self, 1, 1)) or widths[-1])
    shrinking = fitting.fit(ARCHITECTURE, runs, everything, settings)
    monkeypatch.setattr(Progress, "live", lambda self, *_: np.arange(len(self.active)))
    carried = fitting.fit(ARCHITECTURE, runs, everything, settings)
    assert {len(rows) for rows in widths} >= {7, 4}
    np.testing.assert_array_equal(shrinking.best_epoch, carried.best_epoch)
    for a, b in zip(jax.tree.leaves(shrinking.params), jax.tree.leaves(carried.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


class OnDisk:
    """Features that are read when they are asked for; counts the most that was asked for at once."""

    def __init__(self, values):
        self._values = np.asarray(values)
        self.shape, self.dtype, self.most = self._values.shape, self._values.dtype, 0

    def __getitem__(self, rows):
        self.most = max(self.most, len(rows))
        return self._values[rows]


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.slow
@pytest.mark.optimised
def test_streamed_features_give_the_same_bits(tmp_path, monkeypatch, stop):
    """Parts of one step; also when the training is ended within an epoch and goes on."""
    wide = clips(features=6000)
    architecture = replace(ARCHITECTURE, features=6000)
    settings = replace(SETTINGS, part_mb=1, max_epochs=3, validate_every=1)
    resident = fitting.fit(architecture, RUNS, wide, settings)
    source = OnDisk(wide.features)
    settings = replace(settings, resident_mb=1)
    if stop:
        place, calls = devices.place, []

        def terminate(tree, mesh, spec=devices.SAME):
            if isinstance(tree, np.ndarray) and tree.ndim == 3:
                calls.append(0)
                if len(calls) == 5:
                    os.kill(os.getpid(), signal.SIGTERM)
            return place(tree, mesh, spec)

        monkeypatch.setattr(devices, "place", terminate)
        with pytest.raises(SystemExit) as ended:
            fitting.fit(architecture, RUNS, wide._replace(features=source), settings, Checkpoints(tmp_path, {}))
        assert ended.value.code == 143
        monkeypatch.undo()
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    streamed = fitting.fit(
        architecture, RUNS, wide._replace(features=source), settings, Checkpoints(tmp_path, {}) if stop else None
    )
    assert source.most <= 24
    assert_same(resident.params, streamed.params)
    assert_same(resident.history, streamed.history)


@pytest.mark.slow
def test_more_runs_than_memory_holds_are_trained_in_chunks(tmp_path, monkeypatch, capsys):
    """Said, the same results, and kept when the memory is another on going on."""
    runs = [replace(RUNS[i % 2], name=str(i), seed=i) for i in range(5)]
    settings = replace(SETTINGS, max_epochs=2)

    def train(folder):
        found = chunks.train_in_chunks("gru", ARCHITECTURE, runs, clips(), settings, folder=folder)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *(each["params"] for each in found))

    whole = train(tmp_path / "a")
    assert "chunks" not in capsys.readouterr().out
    monkeypatch.setattr(chunks, "chunk_size", lambda *_: 2)
    parts = train(tmp_path / "b")
    assert "5 runs are more than the memory holds; they are trained in 3 chunks of up to 2" in capsys.readouterr().out
    monkeypatch.setattr(chunks, "chunk_size", lambda *_: 4)
    assert_same(parts, train(tmp_path / "b"))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_chunk_size_follows_the_memory(monkeypatch):
    architecture = RecurrentClassifier("lstm", 1920, 1000, "he")
    source = Clips(OnDisk(np.broadcast_to(np.float16(0), (2000, 8, 1920))), np.ones((2000, 8), bool), np.zeros(2000))
    monkeypatch.setattr(device_memory, "free_memory", lambda: 16 << 30)
    some = fitting.chunk_size(architecture, 100, source, Training())
    assert 10 < some < 40
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert fitting.chunk_size(architecture, 1000, source, Training()) == 4 * some
    # Devices that share a batch hold all runs.
    assert fitting.chunk_size(architecture, 1000, source, Training(run_devices=1)) == some
    assert fitting.chunk_size(architecture, 1000, source, Training(mapping="pmap")) == some
    monkeypatch.setattr(devices, "are_cores", lambda: False)
    assert fitting.chunk_size(architecture, 1000, source, Training()) == some
    # ... unless they are told to share runs.
    assert fitting.chunk_size(architecture, 1000, source, Training(run_devices=2)) == 2 * some
    monkeypatch.undo()
    monkeypatch.setattr(device_memory, "free_memory", lambda: 160 << 30)
    assert fitting.chunk_size(architecture, 100, source, Training()) == 100
    monkeypatch.setattr(device_memory, "free_memory", lambda: 1 << 20)
    assert fitting.chunk_size(architecture, 100, source, Training()) == 1


@pytest.mark.parametrize(("capped", "low", "high"), [(True, 0.4, 0.6), (False, 0.97, 1.0)])
@pytest.mark.slow
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
    architecture = RecurrentClassifier("gru", 2, 20, "he")
    run = Run("noise", 0, np.arange(600), np.arange(600, 800))
    settings = Training(
        batch_size=32, max_epochs=150, validate_every=1, patience=150, learning_rate=1e-2, monitor="loss"
    )
    fitted = fitting.fit(architecture, (run,), noise, settings)
    ((scores, _),) = fitting.predict(architecture, fitted.params, noise, [np.arange(800, 1200)])
    video = np.where(mask[800:], scores, 0).sum(1) / mask[800:].sum(1)
    resamples = [rng.integers(0, 400, 400) for _ in range(500)]
    interval = np.quantile([roc_auc_score(labels[800:][pick], video[pick]) for pick in resamples], [0.025, 0.975])
    assert low < np.mean(interval) <= high
    assert (interval[0] <= 0.5 <= interval[1]) == capped
