"""What training leaves as it is: frozen weights and statistics, to the bit, and what else then trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.methods.base import Desk, Job
from fas_jax.models.trainable import Mode
from fas_jax.models.trainable.layers import HELD, normalise
from fas_jax.training import network_steps
from fas_jax.training.freezing import Frozen
from tests.network_trial import SETTINGS, begin, train
from tests.test_finetune import METHOD, TASK, clips
from tests.tiny_network import TINY

DESK = Desk("net", Execution(run_devices=1, checkpoint_every=1, events=False), data="made up", quiet=True)


def frozen(*patterns):
    params, stats = TINY.held(patterns)
    return Frozen(frozenset(("backbone", *path) for path in params), stats)


def tensors(params, stats):
    return TINY.export_weights(params["backbone"], stats)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_what_is_frozen_keeps_its_bits_and_all_else_is_trained(optimiser):
    held = frozen("stem.*", "norm0.*", "norm1.weight", "norm1.bias")
    settings = dataclasses.replace(SETTINGS, steps=4, optimiser=optimiser, weight_decay=0.1)
    found = train(settings, frozen=held)
    before, after = tensors(*begin()), tensors(found.params, found.stats)
    same = {name for name, value in after.items() if np.array_equal(value, before[name])}
    assert {name for name in same if not name.endswith("num_batches_tracked")} == {
        *(f"norm0.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
        "stem.weight",
        "norm1.weight",
        "norm1.bias",
    }
    # Two moments of AdamW, or a trace; the count is one more leaf.
    params, stats = begin()
    state = network_steps.start(params, stats, settings, 0, held).optimiser
    wholly = network_steps.start(params, stats, settings, 0).optimiser
    assert len(jax.tree.leaves(wholly)) - len(jax.tree.leaves(state)) == (2 if optimiser == "adamw" else 1) * 5


@pytest.mark.slow
def test_a_wholly_frozen_network_trains_the_classifier_alone():
    found = train(dataclasses.replace(SETTINGS, steps=4), frozen=frozen("*"))
    (params, stats) = begin()
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params["backbone"], params["backbone"]))
    assert jax.tree.all(jax.tree.map(np.array_equal, found.stats, stats))
    assert not np.array_equal(found.params["head"]["kernel"], params["head"]["kernel"])


def test_held_statistics_are_those_of_training_too():
    _, stats = TINY.init(3)
    held = frozen("norm1.running_*")
    assert not held.params
    marked = held.mark(stats)
    assert {name for name, each in marked["block"].items() if HELD in each} == {"deep"}
    assert jax.tree.structure(held.unmark(marked)) == jax.tree.structure(stats)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 6)).astype(np.float32))
    params = {name: jnp.asarray(rng.normal(size=6).astype(np.float32)) for name in ("scale", "bias")}
    own = {"mean": jnp.full(6, 0.5), "variance": jnp.full(6, 2.0)}
    (evaluated, _), (trained, new), (other, _) = (
        normalise(x, params, each, 1e-3, Mode(train))
        for each, train in ((own, False), (own | {HELD: None}, True), (own, True))
    )
    np.testing.assert_array_equal(trained, evaluated)
    assert jax.tree.all(jax.tree.map(np.array_equal, held.unmark(new), own))
    assert np.abs(other - evaluated).max() > 0.1


@pytest.mark.slow
def test_what_is_not_frozen_has_the_gradient_that_it_always_had():
    found = [
        train(dataclasses.replace(SETTINGS, steps=1, validate_every=1, clip_norm=0.0, average=0.0), **options)
        for options in ({}, {"frozen": frozen("deep.weight", "norm1.weight")})
    ]
    whole, part = (tensors(each.params, each.stats) for each in found)
    for name, value in part.items():
        if name not in ("deep.weight", "norm1.weight"):
            np.testing.assert_allclose(value, whole[name], atol=1e-4)
        else:
            assert np.abs(value - whole[name]).max() > 1e-3


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A detector that began with a file without the last layer, and with the first one frozen; and the file."""
    path = tmp_path_factory.mktemp("weights") / "part.safetensors"
    given = TINY.export_weights(*TINY.init(7))
    del given["wide.weight"]
    save_file(given, path)
    method = dataclasses.replace(
        METHOD, weights=str(path), may_be_missing=("wide.*",), reset=("norm2.*",), freeze=("stem.*", "norm0.*"), steps=4
    )
    method.check("net")
    (detector,) = type(method).fit([Job(method, TASK)], clips(), DESK)
    return detector, given


def test_a_method_freezes_and_resets_by_published_names(fitted):
    detector, given = fitted
    found = tensors(detector.params, detector.params["stats"])
    for name in ("stem.weight", "norm0.weight", "norm0.running_mean"):
        np.testing.assert_array_equal(found[name], given[name])
    moved = {name for name, value in found.items() if not np.array_equal(value, given.get(name))}
    assert {"deep.weight", "norm1.weight", "norm1.running_mean", "wide.weight", "norm2.bias"} <= moved


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"freeze": ("stam.*",)}, r"methods.net: freeze: 'stam.\*' matches no tensor of tiny; did you mean 'stem.\*'"),
        ({"reset": ("nrm2.*",)}, r"methods.net: reset: 'nrm2.\*' matches no tensor of tiny; did you mean 'norm2.\*'"),
        ({"may_be_missing": ("fc.*",)}, r"methods.net: may_be_missing: 'fc.\*' matches no tensor of tiny"),
        ({"adapters": 4}, "tiny has no places for adapters"),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused_before_work(change, said):
    with pytest.raises(UserError, match=said):
        dataclasses.replace(METHOD, **change).check("net")
