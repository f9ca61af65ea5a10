"""Maps of what decides: the chain's logits and derivatives, rectifiers, occlusion, and who has no such map."""

import dataclasses
import json
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from fas_jax.base.errors import UserError
from fas_jax.base.logits import nearest_logit, sigmoid
from fas_jax.base.rendition import Rendition
from fas_jax.commands import predict
from fas_jax.deployment.attribution import CELLS, Maps, has_rectifiers
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.chain import Chain, chain_of, make_chain
from fas_jax.methods.base import Method
from fas_jax.methods.data import Batch
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.fusion import fuse_logits, traced_fuse_logits
from fas_jax.methods.recurrent import Gru
from fas_jax.models import backbones
from fas_jax.models.rectifiers import guided, relu, relu6
from fas_jax.models.trainable import NETWORKS
from fas_jax.reporting.overlays import Overlay, blended, overlay_figure
from tests.made_up import FEATURES, METHODS, WHOLE, make_bundle, make_detector
from tests.small_networks import SMALL

ROOT = Path(__file__).resolve().parents[1]
ON_FRAMES = ("finetune", "ssdg", "safas", "deeppixbis", "end2end")
SIDE = 32
SMALL_FRAMES = {"whole": Rendition(size=SIDE, max_frames=3)}


def clip(count: int = 3, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Frames away from 0 and 255, so that steps stay inside."""
    return np.random.default_rng(seed).integers(40, 210, (count, side, side, 3)).astype(np.uint8)


def chain_for(method: Method, seed: int = 0, threshold: float = 0.5) -> Chain:
    backbone = backbones.get("none")
    return make_chain({"it": make_detector(method, seed=seed)}, "it", threshold, SMALL_FRAMES, backbone, {})


def logit(chain: Chain, frames: np.ndarray) -> float:
    own = jnp.asarray(frames, jnp.float32)[None]
    return float(jax.jit(chain.logits)(chain.weights, own, jnp.ones(own.shape[:2], bool))[0])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    methods = {name: METHODS[name] for name in ("lstm", "bilstm", "gru", "meta", "mean-feature", "colour", "tree")}
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", methods)


@pytest.mark.parametrize("name", ON_FRAMES)
def test_the_logit_is_that_of_the_score(name: str) -> None:
    for method in (METHODS[name], dataclasses.replace(METHODS[name], fusion="mean")):  # type: ignore[type-var]
        chain, frames = chain_for(method), clip()
        detector = make_detector(method)
        (item,) = method.inputs()
        wanted = detector.score(Batch({item: frames[None]}, {item: np.ones((1, 3), bool)})).clip[0]
        assert sigmoid(logit(chain, frames)) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", ["lstm", "meta", "mean-feature"])
def test_so_is_that_of_features_and_what_reads_them(bundle: Bundle, name: str) -> None:
    frames = clip(side=48)
    wanted = float(bundle.score({"whole": frames}, name=name).clip[0])
    # Scoring rounds features to float16.
    assert logit(chain_of(bundle, name), frames) == pytest.approx(nearest_logit(wanted), abs=0.02)


def test_padding_changes_nothing(bundle: Bundle) -> None:
    chain, frames = chain_of(bundle, "bilstm"), clip(2, 48)
    padded = jnp.asarray(np.concatenate([frames, clip(1, 48, seed=5)]), jnp.float32)[None]
    found = jax.jit(chain.logits)(chain.weights, padded, jnp.array([[True, True, False]]))
    assert float(found[0]) == pytest.approx(logit(chain, frames), abs=1e-4)


@pytest.mark.parametrize("name", ["finetune", "end2end", "deeppixbis"])
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    chain, frames = chain_for(METHODS[name]), jnp.asarray(clip(2), jnp.float32)
    mask = jnp.ones((1, 2), bool)
    value = jax.jit(lambda own: chain.logits(chain.weights, own[None], mask)[0])
    slope = jax.jit(jax.grad(value))(frames)
    rng = np.random.default_rng(1)
    for _ in range(4):
        way = rng.normal(size=frames.shape).astype(np.float32)
        step = 0.05
        wanted = (float(value(frames + step * way)) - float(value(frames - step * way))) / (2 * step)
        assert float(jnp.sum(slope * way)) == pytest.approx(wanted, rel=0.05, abs=2e-3)


def test_guided_derivatives_by_hand() -> None:
    x, slope = jnp.array([-1.0, 2.0, 3.0, 7.0]), jnp.array([1.0, 1.0, -1.0, 1.0])

    def passed(function, **options) -> list[float]:
        with guided(**options):
            return jax.vjp(function, x)[1](slope)[0].tolist()

    assert passed(relu) == [0, 1, 0, 1]
    assert passed(relu6) == [0, 1, 0, 0]
    assert jax.vjp(relu, x)[1](slope)[0].tolist() == [0, 1, -1, 1]
    np.testing.assert_allclose(passed(relu, sharpness=2.0)[0], 1 / (1 + np.exp(2.0)), rtol=1e-5)
    for function, top in ((relu, np.inf), (relu6, 6)):
        with guided():
            np.testing.assert_array_equal(function(x), np.clip(x, 0, top))
    # With an edge that is not sharp, the derivative has one of its own; with a sharp one it has none.
    for sharpness, moves in ((0.0, False), (2.0, True)):

        def first(values: jax.Array, sharpness: float = sharpness) -> jax.Array:
            with guided(sharpness):
                return jnp.sum(jax.grad(lambda own: jnp.sum(relu(own)))(values))

        assert bool(jnp.any(jax.grad(first)(x) != 0)) is moves


@pytest.mark.parametrize("name", SMALL)
def test_networks_with_rectifiers_are_known(name: str) -> None:
    NETWORKS[f"small-{name}"] = SMALL[name].ours
    try:
        method = Finetune(network=f"small-{name}", weights="random", score_frames=8)
        chain = chain_for(method)
        assert has_rectifiers(chain) is (name != "vit")
        if name == "vit":
            with pytest.raises(UserError, match=r"has no rectifiers .* choose gradient or occlusion"):
                Maps.of(chain, "guided")
    finally:
        del NETWORKS[f"small-{name}"]


def test_no_network_has_rectifiers_of_its_own() -> None:
    for path in (ROOT / "fas_jax" / "models").rglob("*.py"):
        assert "nn.relu" not in path.read_text() or path.name == "rectifiers.py", path


def test_guided_gradients_are_others_and_change_no_program_that_was_compiled() -> None:
    chain, frames = chain_for(METHODS["finetune"]), clip()
    plain = Maps.of(chain, "gradient")
    before, by_guide = plain(frames, True), Maps.of(chain, "guided")
    found = by_guide(frames, True)
    assert found.shape == before.shape == frames.shape[:3]
    assert (found >= 0).all()
    assert found.max() > 0
    assert not np.allclose(found, before)
    np.testing.assert_array_equal(plain(frames, True), before)
    # What speaks for attack is another thing; a gradient's size has no direction.
    assert not np.allclose(by_guide(frames, False), found)
    np.testing.assert_allclose(plain(frames, False), before)


@pytest.mark.parametrize("way", ["gradient", "guided", "occlusion"])
def test_other_weights_give_another_map(way: str) -> None:
    """Adebayo et al., Sanity Checks for Saliency Maps, 2018."""
    frames = clip()
    maps = [Maps.of(chain_for(METHODS["deeppixbis"], seed=seed), way)(frames, True) for seed in (0, 1)]
    again = Maps.of(chain_for(METHODS["deeppixbis"], seed=0), way)(frames, True)
    assert spearmanr(maps[0].ravel(), again.ravel()).statistic > 0.999
    assert spearmanr(maps[0].ravel(), maps[1].ravel()).statistic < 0.7


def test_occlusion_is_what_covering_takes_away() -> None:
    chain, frames = chain_for(METHODS["finetune"]), clip()
    found = Maps.of(chain, "occlusion")(frames, False)
    side = SIDE // CELLS

    def lost(top: int, left: int) -> float:
        covered = frames.astype(np.float32)
        mean = covered.mean((1, 2), keepdims=True)
        covered[:, top * side : (top + 2) * side, left * side : (left + 2) * side] = mean
        return -(logit(chain, frames) - logit(chain, covered))

    assert found[0, 0, 0] == pytest.approx(lost(0, 0), abs=1e-3)
    inner = np.mean([lost(top, left) for top in (2, 3) for left in (4, 5)])
    assert found[2, 3 * side + 1, 5 * side + 2] == pytest.approx(inner, abs=1e-3)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colour", "reads more than the pixels of frames"),
        ("tree", r"decides over other detectors' scores .* name one of them: mean-feature, gru"),
        ("mta", "did you mean 'meta'"),
    ],
)
def test_who_reads_no_pixels_is_refused(bundle: Bundle, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chain_of(bundle, name)


def test_further_refusals(tmp_path: Path) -> None:
    methods = {"one": Gru(hidden=3), "patches": METHODS["patches"]}
    made = make_bundle(tmp_path / "bundle", methods, features=FEATURES, renditions=WHOLE)
    with pytest.raises(UserError, match="reads more than the pixels"):
        chain_of(made, "patches")
    with pytest.raises(UserError, match="unknown way to explain 'guide'; did you mean 'guided'"):
        Maps.of(chain_of(made, "one"), "guide")
    # A recurrent head has no rectifiers, and the network of its features has.
    assert has_rectifiers(chain_of(made, "one"))


@pytest.mark.parametrize("fusion", ["mean", "last", "minimum", "median"])
def test_logits_are_fused_as_scores_are(fusion) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (5, 6)).astype(np.float32)
    mask = np.arange(6) < np.array([6, 5, 3, 2, 1])[:, None]
    found = traced_fuse_logits(jnp.asarray(logits), jnp.asarray(mask), fusion)
    np.testing.assert_allclose(found, fuse_logits(logits, mask, fusion), rtol=1e-4, atol=1e-5)
    mean = traced_fuse_logits(jnp.asarray(logits), jnp.asarray(mask), "mean-logit")
    np.testing.assert_allclose(mean, np.where(mask, logits, 0).sum(1) / mask.sum(1), rtol=1e-5)


def test_overlays_show_what_matters_in_red_and_what_is_against_it_in_blue() -> None:
    frames = np.full((2, 64, 64, 3), 120, np.uint8)
    maps = np.zeros((2, 64, 64), np.float32)
    maps[0, 8:24, 8:24], maps[1, 40:56, 40:56] = 2.0, -1.0
    overlay = Overlay("a $clip$", frames, maps)
    strengths = overlay.strengths()
    assert strengths.max() == pytest.approx(1)
    assert strengths.min() == pytest.approx(-0.5, abs=0.01)
    red, blue = (
        blended(frames[0], strengths[0])[16, 16].astype(int),
        blended(frames[1], strengths[1])[48, 48].astype(int),
    )
    assert red[0] > red[2] + 40
    assert blue[2] > blue[0] + 25
    np.testing.assert_array_equal(blended(frames[0], strengths[0])[60, 60], [120] * 3)
    figure = overlay_figure([overlay, Overlay("one frame", frames[:1], 0 * maps[:1])])
    assert len(figure.subfigs) == 2


def test_predict_writes_an_overlay_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bundle"
    make_bundle(folder, {"finetune": METHODS["finetune"], "colour": METHODS["colour"]}, renditions=SMALL_FRAMES)
    paths = [tmp_path / name for name in ("a.png", "b/a.png", "text.png")]
    (tmp_path / "b").mkdir()
    for number, path in enumerate(paths[:2]):
        cv2.imwrite(str(path), clip(1, 60, number)[0])
    paths[2].write_text("no picture")
    why = tmp_path / "why"
    assert predict.main(tuple(paths), bundle=folder, detector="finetune", explain=why, explain_by="guided") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("overlay") for each in told] == [str(why / "a.png"), str(why / "a-2.png"), None]
    pictures = [(why / name).read_bytes() for name in ("a.png", "a-2.png")]
    assert all(each.startswith(b"\x89PNG") for each in pictures)
    assert pictures[0] != pictures[1]
    with pytest.raises(UserError, match=r"detector colour .* reads more than the pixels"):
        predict.main((paths[0],), bundle=folder, detector="colour", explain=tmp_path / "other")
    assert not (tmp_path / "other").exists()
