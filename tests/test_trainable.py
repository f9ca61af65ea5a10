"""Networks that train: forward, gradients and statistics against PyTorch, and published names in and out."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.models import backbones, trainable
from fas_jax.models.trainable import Mode
from fas_jax.models.trainable.depthwise import shifted_sum
from fas_jax.models.trainable.layers import convolve
from tests.backbone_cases import frames, lite0_tensors, relative_error, tensor

GOLDEN = Path(__file__).parent / "golden"
# The names and shapes of the published files, as data.
KEYS = {name: json.loads((GOLDEN / f"{name}_keys.json").read_text()) for name in ("efficientnet_lite0", "resnet18")}
EVERY = pytest.mark.parametrize("name", KEYS)


def drawn(name):
    """A random state dictionary with the published names."""
    return {key: tensor(key, tuple(shape)) for key, shape in KEYS[name].items()}


def test_every_network_has_a_list_of_published_keys():
    # tests/tiny_network.py adds its own, where another test has imported it.
    assert set(trainable.NETWORKS) - {"tiny"} == set(KEYS)
    assert {name: list(each.shape) for name, each in lite0_tensors().items()} == KEYS["efficientnet_lite0"]


@EVERY
def test_published_tensors_are_read_and_written_back(name):
    network, tensors = trainable.get(name), drawn(name)
    found = network.export_weights(*network.import_weights(tensors))
    assert {key for key in tensors if not key.startswith(network.unused)} == set(found)
    for key, value in found.items():
        assert value.dtype == tensors[key].dtype
        if not key.endswith(".num_batches_tracked"):
            np.testing.assert_array_equal(value, tensors[key])


@EVERY
def test_random_weights_have_the_structure_of_published_ones(name):
    network = trainable.get(name)
    shapes = [jax.tree.map(np.shape, tree) for tree in (network.init(0), network.import_weights(drawn(name)))]
    assert shapes[0] == shapes[1]


@EVERY
@pytest.mark.parametrize("fault", ["missing", "left over", "of another shape", "a variance below zero"])
def test_weights_that_fit_partly_are_refused_by_name(name, fault):
    network, tensors = trainable.get(name), drawn(name)
    layer = network.layers[3]
    named = {
        "missing": f"{layer.convolution}.weight",
        "left over": f"{layer.convolution}.bias",
        "of another shape": f"{layer.norm}.weight",
        "a variance below zero": f"{layer.norm}.running_var",
    }[fault]
    if fault == "missing":
        del tensors[named]
    elif fault == "left over":
        tensors[named] = np.zeros(3, np.float32)
    elif fault == "of another shape":
        tensors[named] = tensors[named][1:]
    else:
        tensors[named] = -tensors[named]
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        network.import_weights(tensors)


def test_an_unknown_network_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        trainable.get("resnet-18")


@pytest.mark.slow
def test_without_training_it_is_the_frozen_network():
    tensors, images = lite0_tensors(), frames((2, 64, 64))
    frozen = backbones.get("efficientnet_lite0")
    wanted = np.asarray(jax.jit(frozen.apply)(frozen.import_weights(tensors), images))
    network = trainable.get("efficientnet_lite0")
    params, stats = network.import_weights(tensors)
    found, same = jax.jit(lambda p, s, x: network.apply(p, s, x, Mode()))(params, stats, images)
    assert relative_error(np.asarray(found), wanted) < 1e-4
    assert jax.tree.all(jax.tree.map(np.array_equal, same, stats))


@pytest.mark.parametrize(("side", "stride", "shape"), [(3, 1, (5, 6)), (3, 2, (7, 4)), (5, 2, (6, 9)), (5, 1, (2, 3))])
def test_the_sum_over_places_is_the_grouped_convolution_forth_and_back(side, stride, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *shape, 3)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 1, 3)).astype(np.float32)

    def both(function):
        return jax.jit(jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(function(x, k, stride))), (0, 1)))(x, kernel)

    for own, wanted in zip(jax.tree.leaves(both(shifted_sum)), jax.tree.leaves(both(convolve)), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-5)


@pytest.mark.slow
def test_rematerialised_and_in_bfloat16_it_is_the_same_network():
    network, images = trainable.get("resnet18"), frames((4, 64, 64))
    params, stats = network.init(0)
    plain, other, reduced = (
        np.asarray(jax.jit(lambda p, s, x, mode=mode: network.apply(p, s, x, mode)[0])(params, stats, images))
        for mode in (Mode(True), Mode(True, rematerialise=True), Mode(True, "bfloat16"))
    )
    assert np.linalg.norm(other - plain) < 1e-5 * np.linalg.norm(plain)
    assert 1e-4 < np.linalg.norm(reduced - plain) / np.linalg.norm(plain) < 0.1


def torch_network(name):
    from tests.torch_efficientnet_lite import EfficientNetLite0
    from tests.torch_resnet import ResNet18

    if name == "resnet18":
        return ResNet18(), lambda network, x: network(x)
    return EfficientNetLite0(), lambda network, x: network(x)[-1].mean((1, 2))


@pytest.mark.peer
@pytest.mark.slow
@EVERY
def test_forward_gradients_and_statistics_equal_torchs(name):
    """In training, on one batch of an odd size; the loss is a random projection of the features, squared.

    PyTorch computes in float64; a gradient is as near to that as PyTorch's own in float32 is, or nearer.
    """
    torch = pytest.importorskip("torch")
    network, images = trainable.get(name), frames((4, 96, 75))
    params, stats = network.init(0)
    tensors = drawn(name) | network.export_weights(params, stats)
    weights = np.random.default_rng(0).normal(size=(network.dimension,)).astype(np.float32) / 20

    @jax.jit
    def ours(params, stats, images):
        def loss(params):
            features, new = network.apply(params, stats, images, Mode(True, momentum=0.1))
            return jnp.mean(jnp.square(features @ weights)), (features, new)

        return jax.grad(loss, has_aux=True)(params)

    def theirs(dtype):
        peer, run = torch_network(name)
        peer = peer.to(dtype).train()
        peer.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
        features = run(peer, torch.from_numpy(images))
        (features @ torch.from_numpy(weights).to(dtype)).square().mean().backward()
        slopes = {key: value.grad.numpy() for key, value in peer.named_parameters() if value.grad is not None}
        return features.detach().numpy(), peer.state_dict(), slopes

    gradient, (features, new) = ours(params, stats, images)
    wanted, state, slopes = theirs(torch.float64)
    _, _, rounded = theirs(torch.float32)
    assert np.abs(features - wanted).max() < 1e-4 * np.abs(wanted).max()
    largest = max(np.linalg.norm(each) for each in slopes.values())
    for key, value in network.export_weights(gradient, new).items():
        if "running" in key:
            statistic = state[key].numpy()
            assert np.abs(value - statistic).max() < 1e-4 * max(np.abs(statistic).max(), 0.1), key
        elif key in slopes:
            # A gradient that is zero but for rounding is small beside the largest one.
            size = max(np.linalg.norm(slopes[key]), 1e-3 * largest)
            own, peers = (np.linalg.norm(each - slopes[key]) / size for each in (value, rounded[key]))
            assert own < max(1e-4, 2 * peers), key
            assert own < 0.05, key
