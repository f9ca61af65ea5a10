"""From detectors to a score for each video, plan and method, and nothing dropped."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.record import Failure
from fas_jax.base.settings import Evaluation
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import SHIFTED, TEST, VALIDATION
from fas_jax.experiment import planning, scoring
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted
from fas_jax.methods.base import Failed
from tests import stores

EVERYONE = stores.videos("synth-M")
FAILED_TEST = next(video for video in EVERYONE if video.split == "test" and video.label == 1)
FAILED_TRAIN = next(video for video in EVERYONE if video.split == "train" and video.label == 0)
FAILURES = tuple(Failure(video, "does not open") for video in (FAILED_TEST, FAILED_TRAIN))
EXPERIMENT = stores.experiment()


def of_prepared(scores):
    return scores.rows(scores.reason != "does not open")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stores.make_stores(tmp_path_factory.mktemp("made"), failures=FAILURES)


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    return stores.outcome(EXPERIMENT, made, tmp_path_factory.mktemp("plain"))


def test_every_video_of_every_plan_and_method_has_one_row(plain):
    scores = plain.scores
    assert set(scores.distinct("model")) == {"lstm", "bilstm", "gru", "meta", "mean-feature", "colour", "metadata"}
    for each in plain.plans:
        mine = scores.select(protocol=each.protocol.name, model="meta", role=TEST)
        (dataset,) = set(mine.dataset)
        assert each.protocol.name.endswith(dataset.removeprefix("synth-"))
        assert sorted(mine.video) == sorted(video.path for video in stores.videos("x") if video.split == "test")


def test_informative_features_are_learnt(plain):
    """Bona fide is shifted by one standard deviation in six features: far from chance, for every sequence model."""
    results = evaluate(plain.scores)
    for model in ("lstm", "bilstm", "gru", "meta", "mean-feature"):
        assert np.mean([f.values["auc"] for f in results.figures if f.model == model]) > 0.8
    assert 0.2 < np.mean([f.values["auc"] for f in results.figures if f.model == "colour"]) < 0.8


def test_order_of_datasets_does_not_change_scores(plain, made):
    turned = Corpus.of({"whole": made[::-1]})
    found = scoring.score(EXPERIMENT, planning.plan(EXPERIMENT, turned.videos), turned, plain.fitted)

    def key(table):
        rows = zip(table.protocol, table.role, table.model, table.dataset, table.video, table.score, strict=True)
        return {tuple(row[:5]): row[5] for row in rows}

    one, other = key(plain.scores), key(found)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, abs=1e-5, nan_ok=True)


def test_failed_videos_are_counted_not_dropped(plain):
    """A test video that could not be prepared is a row without a score; one of the sources trains nobody."""
    rows = plain.scores.select(dataset="synth-M", video=FAILED_TEST.path, role=TEST)
    assert len(rows) == 7
    assert np.isnan(rows.score).all()
    assert set(rows.reason) == {"does not open"}
    validation = plain.scores.select(dataset="synth-M", video=FAILED_TRAIN.path, role=VALIDATION)
    assert np.isnan(validation.score).all()
    results = evaluate(plain.scores)
    counts = next(f for f in results.figures if f.model == "meta" and f.protocol.endswith("_to_M"))
    assert counts.values["bpnrr"] == pytest.approx(1 / 8)


def test_a_target_of_which_nothing_could_be_prepared_is_all_non_responses(plain, tmp_path):
    gone = tuple(Failure(video, "does not open") for video in EVERYONE if video.split == "test")
    corpus = Corpus.of({"whole": stores.make_stores(tmp_path, failures=gone)})
    settings = dataclasses.replace(EXPERIMENT, evaluation=Evaluation(targets=("M",)))
    plans = planning.plan(settings, corpus.videos)
    fitted = Fitted({name: found[:1] for name, found in plain.fitted.detectors.items()})
    scores = scoring.score(settings, plans, corpus, fitted)
    test, validation = scores.select(role=TEST), scores.select(role=VALIDATION)
    assert len(test) == len(gone) * len(validation.distinct("model")) > 0
    assert set(test.reason) == {"does not open"}
    assert np.isfinite(validation.score).all()


def test_a_method_whose_training_failed_has_no_decision_and_the_others_do(plain):
    """Nor has the stack that reads its scores: non-responses with a reason, not zeros."""
    broken = {
        **plain.fitted.detectors,
        "gru": [Failed("its loss was no longer finite"), plain.fitted.detectors["gru"][1]],
    }
    scores = scoring.score(EXPERIMENT, plain.plans, plain.corpus, Fitted(broken))
    first, second = (scores.select(protocol=each.protocol.name) for each in plain.plans)
    for name in ("gru", "meta"):
        assert np.isnan(first.select(model=name).score).all()
        assert set(of_prepared(first.select(model=name)).reason) == {f"the training of {name} failed"}
        assert np.isfinite(of_prepared(second.select(model=name)).score).all()
    assert np.isfinite(of_prepared(first.select(model="lstm")).score).all()
    figures = {(each.protocol, each.model): each for each in evaluate(scores).figures}
    assert np.isnan(figures[plain.plans[0].protocol.name, "gru"].values["hter"])


def test_the_stack_scores_what_the_methods_below_it_say_now(plain):
    """Not what was stored for its training: with other detectors below it, its scores are others."""
    swapped = {**plain.fitted.detectors, "lstm": plain.fitted.detectors["lstm"][::-1]}
    scores = scoring.score(EXPERIMENT, plain.plans, plain.corpus, Fitted(swapped))
    for model, moves in (("lstm", True), ("meta", True), ("gru", False)):
        before, after = (of_prepared(each.select(model=model)).score for each in (plain.scores, scores))
        assert (before != after).any() == moves


def test_shifted_validation_videos_are_scored_in_place_of_their_originals(made, plain):
    """Whatever the order of their stores; with frames that are as they were the scores are, too."""
    shifted = Corpus.of({"whole": made[::-1]})
    scores = scoring.score_shifted(EXPERIMENT, plain.plans, plain.corpus, shifted, plain.fitted)
    validation = plain.scores.select(role=VALIDATION)
    assert set(scores.role) == {SHIFTED}
    for name in ("protocol", "seed", "model", "dataset", "video", "label", "score"):
        mine, original = (np.asarray(getattr(each, name)) for each in (scores, validation))
        np.testing.assert_array_equal(mine, original, err_msg=name)
