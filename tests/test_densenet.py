"""DenseNet against PyTorch: live where it is installed, and always against golden features made with it."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from fas_jax.base.errors import UserError
from fas_jax.models import backbones
from fas_jax.models.backbones import cast_kernels, densenet
from fas_jax.models.backbones.densenet_weights import import_weights
from tests.backbone_cases import DENSENET_CASES, TINY, densenet_tensors, frames, relative_error

GOLDEN = Path(__file__).parent / "golden" / "densenet.safetensors"
FORMS = ("plain", "buffered", "restructured")


@pytest.mark.parametrize(
    ("case", "form"),
    [
        pytest.param(case, form, marks=[pytest.mark.slow] if case == "densenet201" else [])
        for case in DENSENET_CASES
        for form in FORMS
    ],
)
@pytest.mark.optimised
def test_features_equal_the_golden_ones(case, form):
    shape, size = DENSENET_CASES[case]
    params = import_weights(shape, case, densenet_tensors(shape))
    found = jax.jit(partial(densenet.apply, shape, form=form))(params, frames(size))
    assert found.dtype == np.float32
    assert relative_error(np.asarray(found), load_file(GOLDEN)[case]) < 1e-4


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", ["densenet121", *(pytest.param(f"densenet{n}", marks=pytest.mark.slow) for n in (169, 201))]
)
def test_features_equal_torchs(name):
    torch = pytest.importorskip("torch")
    from tests.torch_densenet import DenseNet

    shape = densenet.SHAPES[name]
    tensors = densenet_tensors(shape)
    network = DenseNet(shape.layers).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
    images = frames((2, 96, 64))
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)).numpy()
    backbone = backbones.get(name)
    found = jax.jit(backbone.apply)(backbone.import_weights(tensors), images)
    assert found.shape == (2, backbone.dimension)
    assert relative_error(np.asarray(found), wanted) < 1e-4


@pytest.mark.parametrize(("name", "dimension"), [("121", 1024), ("169", 1664), ("201", 1920)])
def test_dimension(name, dimension):
    assert backbones.get(f"densenet{name}").dimension == dimension


def test_init_has_the_structure_of_imported_weights_and_depends_on_the_seed():
    imported = import_weights(TINY, "tiny", densenet_tensors(TINY))
    first, again, other = (densenet.init(TINY, seed) for seed in (0, 0, 1))
    shapes = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert shapes(first) == shapes(imported)
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    kernels = [params["block1"]["layer1"]["growth"]["kernel"] for params in (first, other)]
    assert not np.array_equal(*kernels)
    # He: variance 2 / inputs.
    kernel = densenet.init(densenet.SHAPES["densenet121"], 0)["block1"]["layer1"]["growth"]["kernel"]
    assert kernel.var() == pytest.approx(2 / (9 * 128), rel=0.02)
    assert abs(kernel.mean()) < 1e-3


@pytest.mark.slow
def test_random_features_tell_frames_apart_and_stay_in_range():
    # An initialisation that explodes or dies out over 200 layers would make every embedded run meaningless.
    shape = densenet.SHAPES["densenet121"]
    found = np.asarray(jax.jit(partial(densenet.apply, shape))(densenet.init(shape, 0), frames((3, 64, 64))))
    assert np.isfinite(found).all()
    assert 1e-2 < found.std() < 1e2
    assert relative_error(found[0], found[1]) > 1e-3


def test_names_of_the_published_files_and_of_timm():
    tensors = densenet_tensors(TINY)
    legacy = {
        key.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.").replace("conv1.", "conv.1.")
        if "denselayer" in key
        else key: value
        for key, value in tensors.items()
        if not key.endswith("num_batches_tracked")
    }
    legacy = {key.replace("conv2.", "conv.2.") if "denselayer" in key else key: v for key, v in legacy.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in legacy
    wanted = import_weights(TINY, "tiny", tensors)
    assert jax.tree.all(jax.tree.map(np.array_equal, import_weights(TINY, "tiny", legacy), wanted))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.denseblock2.denselayer3.conv2.weight"), "denselayer3.conv2.weight.* is missing"),
        (lambda t: t.update({"features.extra.weight": np.zeros(3, np.float32)}), "features.extra.weight"),
        (lambda t: t.update({"features.norm5.bias": np.zeros(5, np.float32)}), r"norm5.bias.*\(5,\)"),
        (lambda t: t["features.conv0.weight"].fill(np.nan), "conv0.weight.* finite"),
        (lambda t: t["features.norm0.running_var"].fill(-1), "norm0.running_var.* variance"),
        (lambda t: t.update({"features.conv0.weight": np.zeros((12, 3, 7, 7), np.int64)}), "conv0.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, message):
    tensors = densenet_tensors(TINY)
    change(tensors)
    with pytest.raises(UserError, match=message):
        import_weights(TINY, "tiny", tensors)


@pytest.mark.parametrize(("weights", "network"), [("densenet121", "densenet169"), ("densenet201", "densenet121")])
def test_weights_of_another_size_are_refused(weights, network):
    with pytest.raises(UserError, match=f"do not fit {network}.*(denseblock|transition)3"):
        backbones.get(network).import_weights(densenet_tensors(densenet.SHAPES[weights]))


def test_unknown_backbone_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'densenet201'"):
        backbones.get("densenet-201")


@pytest.mark.parametrize("form", FORMS)
def test_position_and_batch_mates_do_not_change_features(form):
    params = densenet.init(TINY, 3)
    stage = jax.jit(partial(densenet.apply, TINY, form=form))
    images = frames((8, 48, 48))
    whole = np.asarray(stage(params, images))
    order = np.array([5, 0, 7, 7, 2, 1, 3, 6])
    assert np.array_equal(np.asarray(stage(params, images[order])), whole[order])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_taken_in_chunks_has_the_features_of_its_chunks(precision):
    params = cast_kernels(densenet.init(TINY, 3), precision)
    stage = jax.jit(partial(densenet.apply, TINY, precision=precision, form="restructured"))
    images = frames((3 * densenet.CHUNK, 48, 40))
    alone = [np.asarray(stage(params, chunk)) for chunk in np.split(images, 3)]
    assert np.array_equal(np.asarray(stage(params, images)), np.concatenate(alone))


@pytest.mark.slow
def test_an_exported_program_takes_any_number_of_frames():
    params, stage = densenet.init(TINY, 3), jax.jit(partial(densenet.apply, TINY, form="restructured"))
    symbolic = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), 48, 40, 3), np.uint8)
    exported = jax.export.export(stage)(params, symbolic)
    for images in (frames((3, 48, 40)), frames((2 * densenet.CHUNK, 48, 40))):
        wanted = np.asarray(stage(params, images))
        np.testing.assert_allclose(exported.call(params, images), wanted, rtol=0, atol=1e-6 * wanted.max())


@pytest.mark.usefixtures("unchecked_types")
def test_bits_are_those_of_bfloat16():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=10_000) * 10.0 ** rng.integers(-30, 30, 10_000)).astype(np.float32)
    between = (np.arange(0, 2**15, 7, dtype=np.uint32) << 16 | 0x8000).view(np.float32)  # halfway between two
    values = np.concatenate([values, -values, [0.0, -0.0], between[np.isfinite(between)]]).astype(np.float32)
    rounded = values.astype(jax.numpy.bfloat16)
    bits = np.asarray(jax.jit(densenet._to_bits)(values))
    assert np.array_equal(bits, rounded.view(np.uint16))
    assert np.array_equal(np.asarray(jax.jit(densenet._from_bits)(bits)), rounded.astype(np.float32))
    # What went wrong has to be seen in the features.
    lost = np.array([np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(jax.jit(lambda x: densenet._from_bits(densenet._to_bits(x)))(lost), lost)


@pytest.mark.parametrize("form", list(densenet.FORMS))
def test_bfloat16_stays_close_to_float32(form):
    images, params = frames((3, 75, 91)), densenet.init(TINY, 0)
    exact, reduced = (
        np.asarray(jax.jit(partial(densenet.apply, TINY, precision=precision, form=form))(weights, images))
        for precision, weights in (("float32", params), ("bfloat16", cast_kernels(params, "bfloat16")))
    )
    assert reduced.dtype == np.float32
    assert not np.array_equal(reduced, exact)
    cosines = (reduced * exact).sum(1) / np.linalg.norm(reduced, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999
