"""Temperature, label smoothing and margin of heads, beside formulas in float64, and that nothing moves without them."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution, Optimisation
from fas_jax.methods import head_training
from fas_jax.methods.data import Batch
from fas_jax.methods.inputs import Input
from fas_jax.methods.recurrent import Gru
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import devices
from fas_jax.training import steps
from fas_jax.training.steps import Clips, Loss
from tests import stores

LOSSES = [Loss(), Loss(2.5), Loss(label_smoothing=0.3), Loss(margin=1.5), Loss(0.25, 0.1, 0.7)]


def expected(loss: Loss, logits: np.ndarray, label: int) -> float:
    """The loss of one pair of logits, term by term."""
    values = [float(each) / loss.temperature for each in logits]
    values[label] -= loss.margin
    total = sum(np.exp(each) for each in values)
    targets = [loss.label_smoothing / 2, loss.label_smoothing / 2]
    targets[label] += 1 - loss.label_smoothing
    return -sum(target * np.log(np.exp(value) / total) for target, value in zip(targets, values, strict=True))


@given(st.sampled_from(LOSSES), st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=2), st.integers(0, 1))
def test_losses_and_gradients_are_those_of_the_formula(loss, pair, label):
    logits = np.array(pair)
    value, gradient = jax.value_and_grad(lambda z: loss(z, jnp.asarray(label)))(jnp.asarray(logits, jnp.float32))
    assert float(value) == pytest.approx(expected(loss, logits, label), rel=1e-4, abs=2e-6)
    step = 1e-5
    for place in (0, 1):
        move = step * (np.arange(2) == place)
        slope = (expected(loss, logits + move, label) - expected(loss, logits - move, label)) / (2 * step)
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_training_descends_the_mean_of_its_frames_losses(loss):
    """The gradient of a step, beside that of the clips' losses written out."""
    architecture = RecurrentClassifier("gru", 3, 2, "he")
    params = architecture.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    lengths = np.array([2, 1, 3])
    mask = np.arange(3) < lengths[:, None]
    clips = Clips(jnp.asarray(rng.normal(size=(3, 3, 3)) * mask[..., None], jnp.float32), jnp.asarray(mask),
                  jnp.array([1, 0, 1], jnp.int32))  # fmt: skip
    weights = jnp.array([0.5, 1.5])
    gradient_of = devices.parallel(
        partial(steps.mean_gradient, architecture, loss=loss),
        devices.one_device(),
        (devices.SAME, devices.SAME, devices.BY_ROW, devices.SAME),
        devices.SAME,
    )
    found, (total, _, _) = gradient_of(params, clips, np.array([[2, 1, -1]]), weights)

    def written_out(params):
        logits = architecture.apply(params, steps.padded(clips.features, clips.mask)) / loss.temperature
        result = 0.0
        for row in (1, 2):
            label = int(clips.labels[row])
            for frame in range(lengths[row]):
                pair = logits[row, frame].at[label].add(-loss.margin)
                shares = pair - jax.scipy.special.logsumexp(pair)
                own = (1 - loss.label_smoothing) * shares[label] + loss.label_smoothing * jnp.mean(shares)
                result += -weights[label] * own / int(lengths[row])
        return result

    value, gradient = jax.value_and_grad(written_out)(params)
    assert float(total) == pytest.approx(float(value), rel=1e-5)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(mine, theirs / 2, rtol=1e-4, atol=1e-6)


def test_the_defaults_add_nothing_to_a_program():
    def text(loss):
        return str(jax.make_jaxpr(lambda z, y: loss(z, y))(jnp.zeros((2, 2)), jnp.zeros(2, jnp.int32)))

    plain = text(steps.optax.softmax_cross_entropy_with_integer_labels)
    assert text(Loss()) == plain
    assert all(text(each) != plain for each in LOSSES[1:])
    assert Loss(2.0, 0.1, 0.3).whole == Loss(2.0)


def test_keys_know_the_settings_where_they_are_not_the_defaults():
    assert not {"temperature", "label_smoothing", "margin"} & key(Optimisation()).keys()
    changed = key(Optimisation(temperature=2.0, margin=0.5))
    assert (changed["temperature"], changed["margin"]) == (2.0, 0.5)
    assert "label_smoothing" not in changed


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.0), ("label_smoothing", 1.0), ("label_smoothing", -0.1), ("margin", -1.0)]
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"methods.gru.{name} must be"):
        stores.experiment(methods={"gru": Gru(**{name: value})}).check()


def test_runs_of_another_loss_are_a_program_of_their_own():
    """The others train side by side."""
    methods = [Gru(), Gru(temperature=2.0), Gru(weight_decay=0.1), Gru(margin=0.2), Gru(label_smoothing=0.1)]
    shared = [head_training._shared(each) for each in methods]
    assert shared[0] == shared[2]
    assert len(set(shared)) == 4
    for method in methods:
        settings = method.training(Execution())
        assert [getattr(settings, name) for name in Loss._fields] == [getattr(method, name) for name in Loss._fields]


@pytest.mark.parametrize("fusion", ["mean", "last"])
def test_a_temperature_divides_the_logits_of_every_score(fusion):
    """Of the detector and of the function that is exported."""
    item = Input("features", "whole")
    mask = np.arange(4) < np.array([4, 1, 2])[:, None]
    values = (10 * np.random.default_rng(1).normal(size=(3, 4, 5)) * mask[..., None]).astype(np.float32)
    batch = Batch({item: values}, {item: mask})
    plain = Gru(hidden=3, fusion=fusion)
    params = jax.tree.map(np.asarray, plain.architecture(5).init(jax.random.key(0)))
    scores = []
    for method in (plain, dataclasses.replace(plain, temperature=4.0)):
        detector = method.rebuild(params, {"width": 5})
        found = detector.score(batch)
        np.testing.assert_allclose(found.logit, np.log(found.clip / (1 - found.clip)), rtol=1e-4)
        clip, _, logit = detector.apply()(
            jax.tree.map(jnp.asarray, params), {item: jnp.asarray(values)}, {item: jnp.asarray(mask)}
        )
        np.testing.assert_allclose(clip, found.clip, rtol=1e-5)
        np.testing.assert_allclose(logit, found.logit, rtol=1e-4, atol=1e-5)
        scores.append(np.log(found.frame / (1 - found.frame))[mask])
    np.testing.assert_allclose(scores[1], scores[0] / 4, rtol=1e-4, atol=1e-6)
    assert np.ptp(scores[0]) > 1e-2
