"""A verdict in a bundle: its experts' scores, experts without a score, the path in words, and the exported program."""

import dataclasses

import jax
import numpy as np
import pytest

from fas_jax.base.record import RenditionInfo
from fas_jax.base.rendition import Rendition
from fas_jax.commands.predict import in_words
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.export import scorer, serving_weights
from fas_jax.features.quality.measures import names
from fas_jax.methods.quality_fitting import QualityDetector
from fas_jax.methods.verdicts import Tree
from fas_jax.runtime.flops import flops_of
from fas_jax.studies.verdict.costs import costs_of, noise
from tests.made_up import METHODS, make_bundle
from tests.stores import clip_info

NAMES = ("mean-feature", "gru")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    methods = {name: METHODS[name] for name in NAMES} | {"tree": Tree(over=NAMES)}
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", methods)


@pytest.fixture(scope="module")
def frames():
    return {"whole": np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)}


def test_the_verdict_tells_the_experts_scores_and_its_path(bundle, frames):
    assert bundle.default == "tree"
    told = bundle.explain(frames, name="tree")
    for name in NAMES:
        assert told["experts"][name] == {"score": float(bundle.score(frames, name=name).clip[0])}
    assert "are bona fide (classes balanced)" in told["because"][-2]
    assert bundle.explain(frames, name="gru") == {}


def test_an_expert_that_the_bundle_lacks_is_named_and_the_verdict_goes_on(bundle, frames):
    detectors = {name: each for name, each in bundle.detectors.items() if name != "gru"}
    about = {**bundle.about, "failed": {"gru": "on purpose"}}
    decisions = {name: each for name, each in bundle.decisions.items() if name != "gru"}
    without = dataclasses.replace(bundle, detectors=detectors, decisions=decisions, about=about)
    told = without.explain(frames)
    assert told["experts"]["gru"] == {"reason": "its training failed: on purpose"}
    assert told["experts"]["mean-feature"] == bundle.explain(frames)["experts"]["mean-feature"]
    assert np.isfinite(without.score(frames).clip[0])


def test_the_exported_program_gives_the_verdict(bundle, frames):
    clip, mask = frames["whole"][None], np.ones((1, 3), bool)
    weights, program = serving_weights(bundle, "tree"), jax.jit(scorer(bundle, "tree"))
    np.testing.assert_allclose(program(weights, clip, mask), bundle.score(frames).clip, atol=1e-4)
    assert np.isnan(program(weights, clip, ~mask)).all()


def test_experts_that_are_sure_are_exported_without_rounding(bundle, frames):
    """A tree orders the clips of a leaf by the mean logit, also where scores are rounded to 0 or 1."""
    detectors = dict(bundle.detectors)
    mean = detectors["mean-feature"]
    scores = []
    for bias in (30.0, 40.0):
        params = {**mean.params, "weights": 0 * mean.params["weights"], "bias": np.float64(bias)}
        sure = dataclasses.replace(bundle, detectors={**detectors, "mean-feature": mean.method.rebuild(params, {})})
        program = jax.jit(scorer(sure, "tree"))
        (score,) = program(serving_weights(sure, "tree"), frames["whole"][None], np.ones((1, 3), bool))
        np.testing.assert_allclose(score, sure.score(frames, name="tree").clip[0], atol=1e-6)
        scores.append(float(score))
    assert scores[0] < scores[1]


def test_the_cost_of_a_face_is_that_of_its_crop(bundle):
    """A face with native pixels is a part of the frame; noise of the frame's size would cost many times more."""
    faces = dataclasses.replace(bundle, renditions={"face": Rendition(size=0, crop="detector", face_model="mtcnn")})
    info = dataclasses.replace(clip_info(0), width=400, height=300)
    boxes = (50.0, 60.0, 80.0, 70.0, 50.0, 60.0, 130.0, 120.0)
    info = dataclasses.replace(info, renditions={"face": RenditionInfo((0, 16), (), boxes)})
    assert [frame.shape for frame in noise(faces, "face", info)] == [(128, 128, 3), (192, 192, 3)]
    whole = dataclasses.replace(info, renditions={"face": RenditionInfo((0, 16), ())})
    assert noise(faces, "face", whole).shape == (2, 300, 400, 3)


def test_experts_of_several_renditions_answer_while_they_are_measured(tmp_path, monkeypatch):
    """Patches read facts of their own rendition; without them they would cost nothing and say nothing."""
    methods = {
        "mean-feature": METHODS["mean-feature"],
        "patches": dataclasses.replace(METHODS["patches"], rendition="tiles"),
    }
    tiles = Rendition(size=32, tiles=3, crop="detector", face_model="mtcnn")
    both = make_bundle(tmp_path / "bundle", methods, renditions={"whole": Rendition(size=48), "tiles": tiles})
    made = RenditionInfo((0, 0, 0), (), (5.0, 7.0, 80.0, 100.0) * 3)
    infos = {"whole": clip_info(3), "tiles": dataclasses.replace(clip_info(0), renditions={"tiles": made})}
    found, score = [], Bundle.score
    monkeypatch.setattr(Bundle, "score", lambda *given: found.append(score(*given)) or found[-1])
    costs = costs_of(both, list(methods), infos)
    assert list(costs) == list(methods)
    assert len(found) == 8
    assert np.isfinite([each.clip for each in found]).all()
    # A face of 100 pixels: one network reads all three tiles.
    counts = [part.frame_flops((32, 32, 3)) for part in both.detectors["patches"].parts.values()]
    assert costs["patches"].flops in [3 * count for count in counts]


def test_a_product_of_matrices_has_two_flops_for_each_pair_of_numbers():
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8, 16), (16, 4))]
    assert flops_of(lambda a, b: a @ b, *shapes) == 2 * 8 * 16 * 4


@pytest.mark.slow
def test_measures_of_native_pixels_are_counted_by_frame(tmp_path):
    methods = {"quality": dataclasses.replace(METHODS["quality"], renditions=("native",))}
    bundle = make_bundle(tmp_path / "bundle", methods, renditions={"native": Rendition(size=0)})
    width = len(names("formula"))
    params = {"mean": np.zeros(width), "scale": np.ones(width), "weights": np.zeros((1, width)), "bias": np.zeros(1)}
    about = {"classifier": "logistic", "auc": {}}
    own = dataclasses.replace(bundle, detectors={"quality": QualityDetector(methods["quality"], params, about)})
    costs = []
    for count, side in ((1, 40), (3, 40), (3, 80)):
        made = RenditionInfo(tuple(range(count)), (), ())
        info = dataclasses.replace(clip_info(0), width=side, height=side, renditions={"native": made})
        costs.append(costs_of(own, ["quality"], {"native": info})["quality"].flops)
    assert costs[0] > 40 * 40 * 500
    assert costs[1] == 3 * costs[0]
    assert 1.5 < costs[2] / costs[1] < 4


def test_words_hold_all_that_the_json_holds():
    verdict = {
        "path": "clip.mp4",
        "detector": "tree",
        "threshold": 0.4,
        "score": 0.75,
        "decision": "bona fide",
        "experts": {"a": {"score": 0.9}, "b": {"reason": "too dark"}, "c": {"score": 0.2, "left_out": "one class"}},
        "because": ["a 0.9 is above 0.5"],
    }
    assert in_words({**verdict}).splitlines() == [
        "clip.mp4: bona fide by tree (score 0.75, threshold 0.4)",
        "  a: 0.9",
        "  b: no score: too dark",
        "  c: 0.2 (left out: one class)",
        "  a 0.9 is above 0.5",
    ]


def test_costs_are_measured_and_flops_counted(bundle):
    found = costs_of(bundle, [*NAMES, "lacking"], {"whole": clip_info(3)})
    assert list(found) == list(NAMES)
    for each in found.values():
        assert each.milliseconds > 0
    # The backbone is by far the most of both; the recurrent head does more than a mean.
    mean, recurrent = (found[name].flops for name in NAMES)
    assert 1e7 < mean < recurrent
