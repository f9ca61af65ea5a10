"""Networks that train: forward, gradients and statistics against PyTorch, cuts, and published names in and out."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from fas_jax.base.errors import UserError
from fas_jax.models import backbones, trainable
from fas_jax.models.trainable import Mode
from fas_jax.models.trainable.depthwise import shifted_sum
from fas_jax.models.trainable.layers import convolve
from tests.backbone_cases import frames, lite0_tensors, relative_error, tensor
from tests.small_networks import FRAMES, SMALL, Small, digest, drawn, ours, peers

GOLDEN = Path(__file__).parent / "golden"
# Parameters with the classifier, as the publishers give them.
COUNTS = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet201": 20_013_928,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite2": 6_092_072,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
}
# The names and shapes of the published files, as data.
KEYS = {name: json.loads((GOLDEN / f"{name}_keys.json").read_text()) for name in COUNTS}
EVERY = pytest.mark.parametrize("name", KEYS)
FAMILY = pytest.mark.parametrize("family", SMALL)
SOME = [pytest.param(name, marks=() if name == "resnet18" else pytest.mark.slow) for name in KEYS]


def published(name):
    """A random state dictionary with the published names."""
    return {key: tensor(key, tuple(shape)) for key, shape in KEYS[name].items()}


@EVERY
def test_the_arrays_are_those_of_the_published_files(name):
    network, keys = trainable.get(name), KEYS[name]
    assert sum(int(np.prod(shape)) for key, shape in keys.items() if is_parameter(key)) == COUNTS[name]
    places = network.rename({key: np.empty(shape, np.float32) for key, shape in keys.items()})
    wanted = {key: each.shape for key, each in places.items() if not key.startswith(network.unused)}
    found = {weight.name: weight.tensor_shape for _, weight in network.arrays()}
    assert found == {key: shape for key, shape in wanted.items() if not key.endswith("num_batches_tracked")}
    paths = [path for path, _ in network.arrays()]
    assert len(set(paths)) == len(paths)


def is_parameter(key):
    return "running" not in key and not key.endswith("num_batches_tracked")


def test_every_network_has_a_list_of_published_keys():
    # tests/tiny_network.py adds its own, where another test has imported it.
    assert set(trainable.NETWORKS) - {"tiny"} == set(KEYS)
    assert {name: list(each.shape) for name, each in lite0_tensors().items()} == KEYS["efficientnet_lite0"]


@pytest.mark.parametrize("name", SOME)
def test_published_tensors_are_read_and_written_back(name):
    network, tensors = trainable.get(name), published(name)
    params, stats = network.import_weights(tensors)
    found = network.export_weights(params, stats)
    renamed = network.rename(tensors)
    assert {key for key in renamed if not key.startswith(network.unused)} <= set(found)
    for key, value in found.items():
        if not key.endswith(".num_batches_tracked"):
            assert value.dtype == renamed[key].dtype
            np.testing.assert_array_equal(value, renamed[key])
    again = network.import_weights(found)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, (params, stats)))


@FAMILY
def test_random_weights_have_the_structure_of_published_ones(family):
    network = SMALL[family].ours
    shapes = [jax.tree.map(np.shape, tree) for tree in (network.init(0), network.import_weights(drawn(network)))]
    assert shapes[0] == shapes[1]


@FAMILY
@pytest.mark.parametrize("fault", ["missing", "left over", "of another shape", "a variance below zero"])
def test_weights_that_fit_partly_are_refused_by_name(family, fault):
    network = SMALL[family].ours
    tensors = drawn(network)
    named = [name for name in tensors if name.endswith("running_var" if "variance" in fault else "weight")][1]
    if fault == "missing":
        del tensors[named]
    elif fault == "left over":
        named = tensors[named] = named.replace("weight", "heavy")
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


def test_a_network_is_cut_at_a_stride():
    """As DeepPixBiS cuts: behind the second transition, with the layers before it alone."""
    whole = trainable.get("densenet161")
    network = whole.cut(16)
    assert (network.dimension, network.stride, network == whole.cut(16)) == (384, 16, True)
    names = [weight.name for _, weight in network.arrays()]
    assert (names[0], names[-1]) == ("features.conv0.weight", "features.transition2.conv.weight")
    assert whole.cut(32) is whole
    with pytest.raises(UserError, match="densenet161 has no feature map of stride 2; it has 4, 8, 16, 32"):
        whole.cut(2)
    cuts = {name: {stride: trainable.get(name).cut(stride).dimension for stride in (8, 16)} for name in KEYS}
    assert cuts["resnet18"] == {8: 128, 16: 256}
    assert cuts["resnet50"] == {8: 512, 16: 1024}
    assert cuts["efficientnet_lite0"] == {8: 40, 16: 112}


def test_a_cut_network_reads_the_files_of_the_whole_one():
    network = SMALL["resnet"].ours
    tensors = drawn(network)
    cut = network.cut(4)
    params, stats = cut.import_weights(tensors)
    assert set(params) == {"stem", "block0_0"}
    assert jax.tree.map(np.shape, cut.init(0)) == jax.tree.map(np.shape, (params, stats))
    images = jnp.asarray(frames((2, 32, 32)))
    features, _ = cut.apply(params, stats, images, Mode())
    maps, _ = cut.feature_map(params, stats, images, Mode())
    assert maps.shape == (2, 8, 8, cut.dimension)
    np.testing.assert_allclose(features, np.mean(maps, (1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow if name == "bottlenecks" else ()) for name in SMALL]
)
def test_features_maps_gradients_and_statistics_equal_the_golden_ones(family):
    golden = load_file(GOLDEN / "trainable.safetensors")
    wanted = {name.partition("/")[2]: each for name, each in golden.items() if name.startswith(f"{family}/")}
    found = ours(SMALL[family].ours, frames(FRAMES))
    assert set(found) == set(wanted)
    largest = max(each[0] for name, each in wanted.items() if name.startswith("slope"))
    for name, value in wanted.items():
        # A gradient that is zero but for rounding is small beside the largest one.
        size = max(value[0], 1e-2 * largest if name.startswith("slope") else 0)
        assert np.abs(digest(name, found[name]) - value).max() < 1e-4 * size, name


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
@FAMILY
def test_rematerialised_and_in_bfloat16_it_is_the_same_network(family):
    network, images = SMALL[family].ours, frames((4, 64, 64))
    params, stats = network.init(0)

    def slope(mode):
        def loss(params):
            return jnp.mean(jnp.square(network.apply(params, stats, images, mode)[0]))

        leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    plain, other, reduced = map(slope, (Mode(True), Mode(True, rematerialise=True), Mode(True, "bfloat16")))
    assert np.linalg.norm(other - plain) < 1e-4 * np.linalg.norm(plain)
    assert 1e-4 < np.linalg.norm(reduced - plain) / np.linalg.norm(plain) < 0.1


def whole_peer(name):
    from tests.torch_densenet import DenseNet
    from tests.torch_efficientnet_lite import LITE2, EfficientNetLite
    from tests.torch_resnet import ResNet

    return {
        "densenet121": lambda: DenseNet((6, 12, 24, 16)),
        "densenet161": lambda: DenseNet((6, 12, 36, 24), growth=48, stem=96),
        "densenet201": lambda: DenseNet((6, 12, 48, 32)),
        "efficientnet_lite0": EfficientNetLite,
        "efficientnet_lite2": lambda: EfficientNetLite(LITE2),
        "resnet18": lambda: ResNet((2, 2, 2, 2), False),
        "resnet50": lambda: ResNet((3, 4, 6, 3), True),
    }[name]


@pytest.mark.peer
@pytest.mark.slow
@EVERY
def test_features_maps_gradients_and_statistics_equal_torchs(name):
    """In training, on one batch of an odd size; the loss is a random projection of the features, squared.

    PyTorch computes in float64; a gradient is as near to that as PyTorch's own in float32 is, or nearer.
    """
    pytest.importorskip("torch")
    small, images = Small(trainable.get(name), whole_peer(name)), frames((4, 96, 75))
    found, wanted, rounded = ours(small.ours, images), peers(small, images), peers(small, images, precise=False)
    assert set(found) == set(wanted)
    largest = max(np.linalg.norm(each) for key, each in wanted.items() if key.startswith("slope"))
    for key, value in wanted.items():
        size = np.linalg.norm(value)
        if key.startswith("slope"):
            # A gradient that is zero but for rounding is small beside the largest one.
            size = max(size, 1e-3 * largest)
            own, peer = (np.linalg.norm(each[key] - value) / size for each in (found, rounded))
            assert own < max(1e-4, 2 * peer), key
            assert own < 0.05, key
        else:
            assert np.linalg.norm(found[key] - value) < 1e-4 * size, key
