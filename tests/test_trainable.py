"""Networks that train: forward, gradients and statistics against PyTorch, cuts, and published names in and out."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from fas_jax.base.errors import UserError
from fas_jax.models import backbones, trainable
from fas_jax.models.backbones.base import imagenet_normalise
from fas_jax.models.trainable import Mode, vit
from fas_jax.models.trainable.convolution import by_products, plain
from fas_jax.models.trainable.depthwise import shifted_sum
from fas_jax.models.trainable.layers import convolve
from tests.backbone_cases import frames, lite0_tensors, relative_error, tensor
from tests.small_networks import QUICK, SMALL, Small, digest, drawn, ours, peers

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
    "vit_b16": 86_567_656,
}
# The names and shapes of the published files, as data.
KEYS = {name: json.loads((GOLDEN / f"{name}_keys.json").read_text()) for name in COUNTS}
EVERY = pytest.mark.parametrize("name", KEYS)
FAMILY = pytest.mark.parametrize("family", SMALL)
SOME = [pytest.param(name, marks=() if name == "resnet18" else pytest.mark.slow) for name in KEYS]


CONVOLUTIONAL = [name for name in KEYS if name != "vit_b16"]


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
    # Those of patches have no published files.
    assert set(trainable.NETWORKS) - {"tiny", "patch_low", "patch_high"} == set(KEYS)
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
    if family == "vit" and "variance" in fault:
        pytest.skip("it has no variances")
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


def test_all_tensors_that_are_missing_are_named_and_may_begin_at_random():
    network = SMALL["resnet"].ours
    tensors = {name: each for name, each in drawn(network).items() if not name.startswith("layer2.0.conv")}
    with pytest.raises(UserError, match=r"tensors 'layer2.0.conv1.weight', 'layer2.0.conv2.weight' are missing"):
        network.import_weights(tensors)
    with pytest.raises(UserError, match=r"tensor 'layer2.0.conv1.weight' is missing"):
        network.import_weights(tensors, may_be_missing=["*.conv2.*"])
    params, _ = network.import_weights(tensors, seed=3, may_be_missing=["layer2.*"])
    wanted, begun = network.import_weights(drawn(network))[0], network.init(3)[0]
    np.testing.assert_array_equal(params["block1_0"]["first"]["kernel"], begun["block1_0"]["first"]["kernel"])
    np.testing.assert_array_equal(params["block1_0"]["first"]["scale"], wanted["block1_0"]["first"]["scale"])
    np.testing.assert_array_equal(params["stem"]["kernel"], wanted["stem"]["kernel"])


def test_what_is_reset_begins_at_random_whatever_the_file_says():
    network = SMALL["resnet"].ours
    tensors = drawn(network) | {"layer2.0.conv1.weight": np.zeros((2, 2), np.float32)}
    found = network.import_weights(tensors, 5, reset=["layer2.*"])
    wanted, begun = network.import_weights(drawn(network)), network.init(5)
    for tree, published, random in zip(found, wanted, begun, strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, tree["block1_0"], random["block1_0"]))
        assert jax.tree.all(jax.tree.map(np.array_equal, tree["block0_0"], published["block0_0"]))


@pytest.mark.parametrize("setting", ["reset", "may_be_missing", "freeze"])
def test_a_pattern_that_matches_nothing_is_told_the_nearest(setting):
    network = SMALL["resnet"].ours
    said = rf"{setting}: 'layer4\.\*' matches no tensor of resnet; did you mean 'layer.\.\*'"
    read = partial(network.import_weights, drawn(network))
    with pytest.raises(UserError, match=said):
        network.held(["layer4.*"]) if setting == "freeze" else read(**{setting: ["layer4.*"]})


def test_patterns_freeze_weights_and_statistics_by_their_published_names():
    network = SMALL["resnet"].ours
    params, stats = network.held(["bn1.*", "layer2.0.bn1.running_*", "layer1.0.conv1.weight"])
    assert params == {("stem", "scale"), ("stem", "bias"), ("block0_0", "first", "kernel")}
    assert stats == {("stem",), ("block1_0", "first")}
    with pytest.raises(UserError, match=r"'bn1.running_var' alone cannot stay"):
        network.held(["bn1.running_var"])


TORCHVISION = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj.": "conv_proj.",
    "blocks.": "encoder.layers.encoder_layer_",
    ".norm1.": ".ln_1.",
    ".norm2.": ".ln_2.",
    ".attn.qkv.": ".self_attention.in_proj_",
    ".attn.proj.": ".self_attention.out_proj.",
}


@pytest.mark.parametrize("spelling", [("mlp.linear_1.", "mlp.linear_2."), ("mlp.0.", "mlp.3.")])
def test_a_transformer_reads_torchvisions_weights_for_imagenets_pixels(spelling):
    network = SMALL["vit"].ours
    tensors = {name: each for name, each in drawn(network).items() if "adapter" not in name}
    theirs = {}
    for name, each in tensors.items():
        renamed = name.replace("mlp.fc1.", spelling[0]).replace("mlp.fc2.", spelling[1])
        for timms, torchvisions in TORCHVISION.items():
            renamed = renamed.replace(timms, torchvisions)
        theirs["encoder.ln." + renamed.removeprefix("norm.") if renamed.startswith("norm.") else renamed] = each
    theirs["heads.head.weight"] = np.zeros((10, 16), np.float32)
    (own, _), (wanted, _) = network.import_weights(theirs), network.import_weights(tensors)
    first = dataclasses.replace(network, stages=network.stages[:1])
    as_they_are = dataclasses.replace(first, pixels=imagenet_normalise)
    images = jnp.asarray(frames((2, 32, 32)))
    params = jax.tree.map(jnp.asarray, (own, wanted))
    values = [each.feature_map(p, {}, images, Mode())[0] for each, p in zip((first, as_they_are), params, strict=True)]
    assert np.abs(values[0] - values[1]).max() < 1e-5 * np.abs(values[1]).max()
    for tree in (own, wanted):
        del tree["embedding"]["kernel"], tree["embedding"]["bias"]
    assert jax.tree.all(jax.tree.map(np.array_equal, own, wanted))


def test_adapters_begin_with_adding_nothing_and_are_written_with_the_rest():
    bare, images = vit.network("vit", vit.Shape(16, 1, 2, 24, patch=8, grid=4)), jnp.asarray(frames((2, 32, 32)))
    network = bare.with_adapters(3)
    assert bare.with_adapters(0) is bare
    tensors = drawn(bare)
    params, _ = network.import_weights(tensors, seed=1)
    wanted, _ = jax.jit(lambda p, x: bare.apply(p, {}, x, Mode()))(params, images)
    found, _ = jax.jit(lambda p, x: network.apply(p, {}, x, Mode()))(params, images)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    written = network.export_weights(params, {})
    assert set(written) - set(tensors) == {
        f"blocks.0.adapter{j}.{part}.{kind}" for j in (1, 2) for part in ("up", "down") for kind in ("weight", "bias")
    }
    again, _ = network.import_weights(written)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))
    with pytest.raises(UserError, match="resnet18 has no places for adapters"):
        trainable.get("resnet18").with_adapters(8)


def test_a_transformer_refuses_frames_that_its_patches_do_not_fill():
    network = SMALL["vit"].ours
    with pytest.raises(UserError, match=r"multiples of 8, not 30x40; change the size in \[renditions"):
        jax.eval_shape(lambda p, x: network.apply(p, {}, x, Mode()), network.init(0)[0], frames((1, 30, 40)))


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
    cuts = {name: {stride: trainable.get(name).cut(stride).dimension for stride in (8, 16)} for name in CONVOLUTIONAL}
    assert cuts["resnet18"] == {8: 128, 16: 256}
    assert cuts["resnet50"] == {8: 512, 16: 1024}
    assert cuts["efficientnet_lite0"] == {8: 40, 16: 112}


def test_a_cut_network_reads_the_files_of_the_whole_one():
    network = SMALL["resnet"].ours
    tensors = drawn(network)
    cut = network.cut(4)
    params, stats = jax.tree.map(jnp.asarray, cut.import_weights(tensors))
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
@pytest.mark.optimised
def test_features_maps_gradients_and_statistics_equal_the_golden_ones(family):
    golden = load_file(GOLDEN / "trainable.safetensors")
    wanted = {name.partition("/")[2]: each for name, each in golden.items() if name.startswith(f"{family}/")}
    found = ours(SMALL[family].ours, frames(SMALL[family].frames), QUICK)
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


@pytest.mark.parametrize(("side", "stride", "sides"), [(3, 1, "SAME"), (3, 2, "SAME"), (7, 2, ((3, 3), (3, 3)))])
@pytest.mark.parametrize("shape", [(5, 7, 6, 3), (2, 40, 33, 4), (1, 8, 8, 2)])
def test_the_kernels_gradient_by_products_is_the_convolutions(side, stride, sides, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(side, side, shape[3], 5)).astype(np.float32)

    def both(function):
        loss = jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(function(x, k, stride, sides))), (0, 1))
        return jax.tree.leaves(jax.jit(loss)(x, kernel))

    for own, wanted in zip(both(by_products), both(plain), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-4)


@pytest.mark.slow
@FAMILY
def test_rematerialised_and_in_bfloat16_it_is_the_same_network(family):
    network, images = SMALL[family].ours, jnp.asarray(frames(SMALL[family].frames))
    params, stats = network.init(0)

    def slope(mode):
        def loss(params):
            return jnp.mean(jnp.square(network.apply(params, stats, images, mode)[0]))

        leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    plain, other, reduced = map(slope, (Mode(True), Mode(True, rematerialise=True), Mode(True, "bfloat16")))
    assert np.linalg.norm(other - plain) < 1e-4 * np.linalg.norm(plain)
    # bfloat16 has three digits, and batch statistics of a few pixels lose most of one.
    assert 1e-4 < np.linalg.norm(reduced - plain) / np.linalg.norm(plain) < 0.5


def whole_peer(name):
    from tests.torch_densenet import DenseNet
    from tests.torch_efficientnet_lite import LITE2, EfficientNetLite
    from tests.torch_resnet import ResNet
    from tests.torch_vit import ViT

    return {
        "densenet121": lambda: DenseNet((6, 12, 24, 16)),
        "densenet161": lambda: DenseNet((6, 12, 36, 24), growth=48, stem=96),
        "densenet201": lambda: DenseNet((6, 12, 48, 32)),
        "efficientnet_lite0": EfficientNetLite,
        "efficientnet_lite2": lambda: EfficientNetLite(LITE2),
        "resnet18": lambda: ResNet((2, 2, 2, 2), False),
        "resnet50": lambda: ResNet((3, 4, 6, 3), True),
        "vit_b16": lambda: ViT(768, 12, 12, 3072, patch=16, grid=14),
    }[name]


LARGE = "FAS_JAX_LARGE_NETWORKS"
"""Environment variable that also compares the networks whose gradients compile for minutes on a CPU."""
WHOLE = [
    pytest.param(
        name,
        marks=()
        if name in ("efficientnet_lite0", "resnet18")
        else pytest.mark.skipif(LARGE not in os.environ, reason=f"{LARGE} is not set"),
    )
    for name in KEYS
]


@pytest.mark.peer
@pytest.mark.parametrize("name", WHOLE)
def test_features_maps_gradients_and_statistics_equal_torchs(name):
    """In training, on one batch of an odd size; the loss is a random projection of the features, squared.

    PyTorch computes in float64. By the median, gradients are at most twice as far from that as PyTorch's own are in
    float32, or where its weights change by a few of float32's last bits: in a deep network some rectifier then opens
    that was closed before, or the other way round, which moves all gradients before it.
    """
    pytest.importorskip("torch")
    small, images = Small(trainable.get(name), whole_peer(name)), frames((4, 96, 80 if name == "vit_b16" else 75))
    found, wanted = ours(small.ours, images), peers(small, images)
    others = [peers(small, images, precise=False), *(peers(small, images, shaken=seed) for seed in (1, 2, 3))]
    assert set(found) == set(wanted)
    slopes = [key for key in wanted if key.startswith("slope")]
    largest = max(np.linalg.norm(wanted[key]) for key in slopes)

    def errors(values):
        # A gradient that is zero but for rounding is small beside the largest one.
        sizes = (max(np.linalg.norm(wanted[key]), 1e-3 * largest) for key in slopes)
        return [np.linalg.norm(values[key] - wanted[key]) / size for key, size in zip(slopes, sizes, strict=True)]

    for key in set(wanted) - set(slopes):
        assert np.linalg.norm(found[key] - wanted[key]) < 1e-4 * np.linalg.norm(wanted[key]), key
    assert max(errors(found)) < 0.05
    assert np.median(errors(found)) <= 2 * max(np.median(errors(each)) for each in others)
