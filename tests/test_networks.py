"""The loop for a network on frames: what a step computes, on one device and four, broken off and whole."""

import dataclasses
import signal
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.models.trainable import Mode
from fas_jax.training import network_steps
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.classification import Classification
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.networks import train_network
from fas_jax.training.stopping import Validated
from tests import background
from tests.background import ended, wait_until
from tests.network_trial import OBJECTIVE, SETTINGS, batch_of, begin, gradient, train
from tests.tiny_network import TINY


def start(out: Path, *arguments: object, devices: int = 1) -> subprocess.Popen:
    own = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    return background.start("-m", "tests.network_trial", out, *arguments, **own)


def finished(out: Path, *arguments: object, devices: int = 1) -> dict[str, np.ndarray]:
    ended(start(out, *arguments, devices=devices))
    return dict(np.load(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an unbroken training on one device gives."""
    return finished(tmp_path_factory.mktemp("whole") / "out.npz")


def leaves(found, name):
    return [value for key, value in found.items() if key.startswith(f"{name}/")]


@pytest.mark.parametrize("mapping", [pytest.param(each, marks=pytest.mark.slow) for each in ("shard_map", "pmap")])
def test_four_devices_compute_what_one_does(whole, tmp_path, mapping):
    found = finished(tmp_path / "out.npz", "", mapping, devices=4)
    assert (found["devices"], whole["devices"]) == (4, 1)
    largest = max(np.abs(each).max() for each in leaves(whole, "gradient"))
    for own, wanted in zip(leaves(found, "gradient"), leaves(whole, "gradient"), strict=True):
        # The scale before another normalisation has a gradient that is zero but for rounding.
        assert np.abs(own - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-2 * largest)
    for own, wanted in zip(leaves(found, "trained"), leaves(whole, "trained"), strict=True):
        # Adam makes steps of such a gradient that are as large as any.
        np.testing.assert_allclose(own, wanted, atol=1e-3)
    np.testing.assert_allclose(found["loss"], whole["loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_broken_off_it_ends_with_the_same_bits(whole, tmp_path, number):
    folder = tmp_path / "checkpoints"
    process = start(tmp_path / "out.npz", folder)
    wait_until(lambda: folder.exists() and any(path.name.isdigit() for path in folder.iterdir()), process)
    process.send_signal(number)
    _, errors = ended(process, -number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "the training was saved" in errors
    assert not (tmp_path / "out.npz").exists()
    again = finished(tmp_path / "out.npz", folder)
    assert again.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value)


def test_it_learns_and_keeps_the_best_validation():
    settings = dataclasses.replace(SETTINGS, steps=40, validate_every=8, average=0.5)
    found = train(settings)
    losses = found.history["validation_loss"][:, 0]
    assert found.history["epoch"].tolist() == [8, 16, 24, 32, 40]
    assert losses[-1] < 0.7 * losses[0]
    assert found.best_step == found.history["epoch"][np.argmin(losses)]
    assert found.history["validation_accuracy"][-1, 0] > 0.9
    assert 0 <= found.waited <= 1


@pytest.mark.slow
@pytest.mark.optimised
def test_a_step_is_adamw_written_out():
    """On one device, without dropout, against Optax's own AdamW and the mean over the batch."""
    objective = Classification(TINY, smoothing=0.1)
    settings = NetworkTraining(
        steps=9, schedule="constant", warm_up=0, learning_rate=1e-2, weight_decay=0.3, head_rate=2.0, average=0.0,
        layer_decay=0.5,
    )  # fmt: skip
    params, stats = begin(objective)
    state = network_steps.start(params, stats, settings, 0)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("runs", "data"))
    step = network_steps.step_program(objective, settings, mesh, "shard_map")
    one = {name: values[None] for name, values in batch_of(0).items()}
    for _ in range(2):
        state, loss = step(state, one, np.array([1e-2, 0.3], np.float32))

    def wanted_loss(params, stats, batch):
        features, new = TINY.apply(params["backbone"], stats, batch["frames"], Mode(True))
        logits = features @ params["head"]["kernel"] + params["head"]["bias"][None]
        target = jax.nn.one_hot(batch["labels"], 2) * 0.9 + 0.05
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), 1)), new

    slope_of = jax.jit(jax.value_and_grad(wanted_loss, has_aux=True))
    mask = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    rates = {stage.name: 1e-2 * 0.5 ** (len(TINY.stages) - at) for at, stage in enumerate(TINY.stages)}
    tx = {rate: optax.adamw(rate, weight_decay=0.3, mask=mask) for rate in (*rates.values(), 2e-2)}
    kept = {rate: each.init(params) for rate, each in tx.items()}
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(2):
            (value, stats), slope = slope_of(params, stats, batch_of(0))
            moves = {}
            for rate, each in tx.items():
                moves[rate], kept[rate] = each.update(slope, kept[rate], params)
            params = {
                "backbone": {
                    name: optax.apply_updates(each, moves[rates[name]]["backbone"][name])
                    for name, each in params["backbone"].items()
                },
                "head": optax.apply_updates(params["head"], moves[2e-2]["head"]),
            }
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    for own, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(own, other, atol=2e-5)
    for own, other in zip(
        jax.tree.leaves((state.stats, state.averaged[1])), jax.tree.leaves((stats, stats)), strict=True
    ):
        np.testing.assert_allclose(own, other, atol=1e-5)


@pytest.mark.slow
def test_accumulated_gradients_are_the_mean_of_the_parts():
    """Each part has its own batch statistics, which run on from part to part."""
    plain = dataclasses.replace(OBJECTIVE, dropout=0.0)
    found, loss, stats = gradient(dataclasses.replace(SETTINGS, accumulate=2), plain, Execution(run_devices=1))
    shares = jax.device_count()
    if shares > 1:
        pytest.skip("written for one device")
    params, wanted_stats = begin(plain)
    slopes, losses = [], []
    for part in (slice(0, 4), slice(4, 8)):
        batch = {name: values[part] for name, values in batch_of(0).items()}

        def loss_of(params, stats, batch):
            features, new = TINY.apply(params["backbone"], stats, batch["frames"], Mode(True))
            logits = features @ params["head"]["kernel"] + params["head"]["bias"][None]
            labels = jax.nn.one_hot(batch["labels"], 2) * 0.95 + 0.025
            return optax.softmax_cross_entropy(logits, labels).mean(), new

        (value, wanted_stats), slope = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params, wanted_stats, batch)
        slopes.append(slope)
        losses.append(value)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    for own, one, other in zip(*map(jax.tree.leaves, (found, *slopes)), strict=True):
        np.testing.assert_allclose(own, (one + other) / 2, atol=1e-5)
    for own, wanted in zip(jax.tree.leaves(stats), jax.tree.leaves(wanted_stats), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("step", [0.25, 0.5, 0.75, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.25, 0]),
    ],
)
def test_schedules(schedule, wanted):
    steps = 7 if schedule == "cosine" else 8
    settings = NetworkTraining(steps=steps, schedule=schedule, warm_up=4, drop_every=3)
    found = [float(network_steps.rate_at(settings, step)) for step in range(8)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_rate_falls_at_chosen_steps():
    settings = NetworkTraining(schedule="step", warm_up=0, drop_at=(3, 5), drop_every=1, drop_factor=0.5)
    found = [float(network_steps.rate_at(settings, step)) for step in range(8)]
    np.testing.assert_allclose(found, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25])


def test_a_loss_that_is_no_number_ends_the_training_and_marks_it():
    def batches(step):
        batch = batch_of(step)
        # A label that is none makes no loss; frames are whole numbers and cannot.
        return batch | {"frames": batch["frames"].astype(np.float32) * (np.nan if step == 5 else 1)}

    found = train(dataclasses.replace(SETTINGS, steps=40), batches=batches)
    assert found.failed == 6
    assert found.history["epoch"].tolist() == [4, 8]
    assert np.isnan(found.history["train_loss"][1, 0])


def test_a_validation_that_is_no_number_ends_the_training_and_marks_it():
    """Whatever the loss says: what is kept would be the weights that training began with."""
    nothing = np.full(1, np.nan, np.float32)
    one = np.ones((2, 1), int)
    found = train_network(
        OBJECTIVE,
        *begin(),
        batch_of,
        lambda *_: Validated(nothing, nothing, one, one, one),
        SETTINGS,
        Execution(run_devices=1),
        0,
    )
    assert found.failed == SETTINGS.validate_every
    assert found.history["epoch"].tolist() == [SETTINGS.validate_every]


def test_a_batch_that_the_parts_do_not_divide_is_refused():
    with pytest.raises(
        UserError, match=r"net: a batch of 8 frames has no equal parts .* accumulate 3; change per_class"
    ):
        train(dataclasses.replace(SETTINGS, accumulate=3), title="net")


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    Checkpoints(tmp_path, {"steps": 3})
    with pytest.raises(UserError, match="steps: 3 there, 4 now"):
        Checkpoints(tmp_path, {"steps": 4})


@pytest.mark.slow
@pytest.mark.optimised
def test_rematerialised_and_in_bfloat16_it_trains_alike():
    plain, again, reduced = (
        gradient(SETTINGS, dataclasses.replace(OBJECTIVE, **change))[0]
        for change in ({}, {"rematerialise": True}, {"precision": "bfloat16"})
    )
    for own, wanted in zip(jax.tree.leaves(again), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-6)
    norms = [
        np.sqrt(sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(tree))) for tree in (plain, reduced)
    ]
    assert 0 < abs(norms[1] / norms[0] - 1) < 0.05


@pytest.mark.slow
def test_the_average_begins_at_once_and_then_forgets_slowly():
    settings = dataclasses.replace(SETTINGS, steps=1, validate_every=1, average=0.98)
    one = train(settings).params["head"]["kernel"]
    last = train(dataclasses.replace(settings, average=0.0)).params["head"]["kernel"]
    first = begin()[0]["head"]["kernel"]
    np.testing.assert_allclose(one, 0.1 * first + 0.9 * last, atol=1e-6)
