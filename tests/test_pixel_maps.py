"""DeepPixBiS: the pixel-map loss against brute force, the score, and training of it."""

import dataclasses
import math
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.methods.deeppixbis import DeepPixBiS
from fas_jax.models import trainable
from fas_jax.models.backbones.densenet import Shape
from fas_jax.models.trainable import densenet
from fas_jax.training import network_steps
from fas_jax.training.classification import mean_log_odds
from fas_jax.training.pixel_maps import PixelMaps, pixel_loss
from tests.small_networks import drawn
from tests.test_finetune import clips, fit
from tests.tiny_network import TINY

METHOD = DeepPixBiS(
    network="tiny",
    weights="random",
    stride=4,
    map_side=8,
    steps=30,
    learning_rate=3e-2,
    per_class=4,
    validate_every=10,
    average=0.5,
)


def brute_force(cells: np.ndarray, classified: np.ndarray, labels: np.ndarray) -> float:
    """The loss, cell by cell, in float64."""

    def entropy(logit: float, label: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -label * math.log(p) - (1 - label) * math.log(1 - p)

    of_cells = [
        entropy(cells[b, y, x], labels[b])
        for b in range(cells.shape[0])
        for y in range(cells.shape[1])
        for x in range(cells.shape[2])
    ]
    of_maps = [entropy(logit, label) for logit, label in zip(classified, labels, strict=True)]
    return 0.5 * sum(of_cells) / len(of_cells) + 0.5 * sum(of_maps) / len(of_maps)


@pytest.mark.parametrize("labels", [[1.0, 0.0, 0.0], [0.95, 0.05, 0.95]])
def test_the_loss_and_its_gradients_are_those_of_brute_force(labels):
    rng = np.random.default_rng(0)
    cells, classified = rng.normal(0, 2, (3, 2, 2)), rng.normal(0, 2, 3)
    wanted = np.array(labels)
    single = [jnp.asarray(each, jnp.float32) for each in (cells, classified, wanted)]
    value, slopes = jax.value_and_grad(pixel_loss, (0, 1))(*single)
    np.testing.assert_allclose(value, brute_force(cells, classified, wanted), atol=1e-5)
    step = 1e-5
    for number, (slope, values) in enumerate(zip(slopes, (cells, classified), strict=True)):
        for place in np.ndindex(values.shape):
            moved = []
            for sign in (1, -1):
                both = [cells.copy(), classified.copy()]
                both[number][place] += sign * step
                moved.append(brute_force(*both, wanted))
            assert abs(slope[place] - (moved[0] - moved[1]) / (2 * step)) < 1e-5


def test_the_maps_score_is_the_mean_of_its_cells_also_where_they_are_sure():
    cells = np.random.default_rng(0).normal(0, 3, (4, 5, 5))
    mean = (1 / (1 + np.exp(-cells))).mean((1, 2))
    found = mean_log_odds(jnp.asarray(cells, jnp.float32))
    np.testing.assert_allclose(found, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean_log_odds(jnp.full((1, 2, 2), 60.0)), 60, rtol=1e-6)
    np.testing.assert_allclose(mean_log_odds(jnp.full((1, 2, 2), -60.0)), -60, rtol=1e-6)


def test_a_cell_sees_the_map_and_the_classifier_sees_the_cells():
    objective = PixelMaps(TINY, side=8)
    backbone, stats = jax.tree.map(jnp.asarray, TINY.init(0))
    params = {"backbone": backbone, "head": objective.head(0)}
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)), jnp.uint8)
    features, _ = TINY.feature_map(backbone, stats, frames, objective.scoring)
    head = params["head"]
    cells = np.einsum("bhwc,c->bhw", features, head["map"]["kernel"][:, 0])
    odds = 1 / (1 + np.exp(-cells))
    mean = odds.mean((1, 2))
    np.testing.assert_allclose(objective.log_odds(params, stats, frames), np.log(mean / (1 - mean)), atol=1e-4)
    by_classifier = dataclasses.replace(objective, decided_by="classifier")
    wanted = odds.reshape(3, 64) @ head["classifier"]["kernel"][:, 0]
    np.testing.assert_allclose(by_classifier.log_odds(params, stats, frames), wanted, atol=1e-4)


@pytest.mark.parametrize("decided_by", ["map", pytest.param("classifier", marks=pytest.mark.slow)])
def test_it_learns_what_sets_the_classes_apart(decided_by):
    method = dataclasses.replace(METHOD, decided_by=decided_by)
    detector, given, rows = fit(method), clips(), np.arange(34, 40)
    found = detector.score(given.read(rows, method.inputs()))
    np.testing.assert_array_equal(found.clip >= 0.5, given.labels[rows] == 1)


def test_a_map_of_another_size_is_named():
    with pytest.raises(UserError, match=r"a map of 8x8 cells, and map_side is 14; set map_side to 8"):
        fit(dataclasses.replace(METHOD, map_side=14))
    with pytest.raises(UserError, match=r"tiny has no feature map of stride 16; it has 2, 4"):
        dataclasses.replace(METHOD, stride=16).check("net")


def test_the_published_network_gives_the_published_map():
    cut = trainable.get("densenet161").cut(16)
    assert (cut.dimension, 224 // cut.stride, cut.stages[-1].name) == (384, 14, "block2")
    method = DeepPixBiS()
    assert (method.learning_rate, method.weight_decay, 2 * method.per_class) == (1e-4, 1e-5, 32)
    assert (method.augment.flip, method.augment.blur, method.augment.jpeg, method.augment.crop) == (0.5, 0, 0, 0)


def test_a_change_of_one_augmentation_leaves_the_methods_others():
    table = {"methods": {"net": {"kind": "deeppixbis", "augment": {"flip": 0.25}}}}
    own = experiment_from_dict(table, "test").methods["net"]
    assert isinstance(own, DeepPixBiS)
    assert own.augment == dataclasses.replace(METHOD.augment, flip=0.25)


def step_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([2, step])
    return rng.integers(0, 256, (8, 32, 32, 3), np.uint8), np.arange(8, dtype=np.int32) % 2


@pytest.mark.peer
@pytest.mark.slow
def test_fifty_steps_are_those_of_pytorch():
    """Of a small DenseNet that is cut behind a transition, with the published optimiser's settings."""
    torch = pytest.importorskip("torch")
    from tests import torch_deeppixbis
    from tests.torch_densenet import DenseNet

    whole = densenet.network("densenet", Shape((2, 1, 1), 4, 6, 2))
    weights, steps, side = drawn(whole), 50, 4
    network = whole.cut(8)
    objective, method = PixelMaps(network, side=side), DeepPixBiS(average=0.0)
    backbone, stats = network.import_weights(weights)
    head = objective.head(4)
    state = network_steps.start({"backbone": backbone, "head": head}, stats, method, 0)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("runs", "data"))
    step = network_steps.step_program(objective, method, mesh, "shard_map")
    own = []
    for number in range(steps):
        frames, labels = step_batch(number)
        batch = {"frames": frames, "labels": labels, "slots": np.arange(8, dtype=np.int32)}
        rates = np.array([method.learning_rate, method.weight_decay], np.float32)
        state, loss = step(state, {name: each[None] for name, each in batch.items()}, rates)
        own.append(float(loss))

    peers = DenseNet((2, 1, 1), growth=4, stem=6, bottleneck=2)
    peers.load_state_dict({name: torch.from_numpy(each) for name, each in weights.items()}, strict=False)
    layers = list(peers.features.named_children())
    count = 1 + [name for name, _ in layers].index("transition1")
    stem = torch.nn.Sequential(OrderedDict(layers[:count]))
    module = torch_deeppixbis.DeepPixBiS(stem, network.dimension, side).double()
    for name, layer in (("dec", "map"), ("linear", "classifier")):
        own_module = getattr(module, name)
        own_module.weight.data.copy_(torch.from_numpy(head[layer]["kernel"].T.reshape(own_module.weight.shape)))
        own_module.bias.data.zero_()
    wanted = torch_deeppixbis.losses(module, steps, step_batch)

    np.testing.assert_allclose(own, wanted, atol=1e-4)
    trained, statistics = jax.tree.map(np.asarray, (state.params["backbone"], state.stats))
    for name, value in network.export_weights(trained, statistics).items():
        if not name.endswith("num_batches_tracked"):
            peer = module.state_dict()[name.replace("features.", "enc.")].numpy()
            np.testing.assert_allclose(value, peer, atol=1e-4 * max(1, np.abs(peer).max()), err_msg=name)
    for name, layer in (("dec", "map"), ("linear", "classifier")):
        peer = getattr(module, name).weight.detach().numpy().reshape(-1)
        np.testing.assert_allclose(state.params["head"][layer]["kernel"][:, 0], peer, atol=1e-4)
