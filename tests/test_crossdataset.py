"""From features to scores: what may be seen by whom, and that nothing else changes a score."""

import dataclasses

import jax
import numpy as np
import pytest

from fas_jax import crossdataset
from fas_jax.base.errors import UserError
from fas_jax.base.record import Failure
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.features.corpus import Corpus
from fas_jax.features.store import FeatureStore
from fas_jax.methods import stacking
from tests import stores


def outcome(tmp_path, name, made, settings=None):
    settings = settings or stores.experiment()
    corpus = Corpus.of(made)
    trials = crossdataset.plan(settings, corpus.videos)
    trained = crossdataset.train(settings, trials, corpus, tmp_path / name)
    return trained, crossdataset.score(settings, trials, corpus, trained)


EVERYONE = stores.videos("synth-M")
FAILED_TEST = next(video for video in EVERYONE if video.split == "test" and video.label == 1)
FAILED_TRAIN = next(video for video in EVERYONE if video.split == "train" and video.label == 0)
FAILURES = tuple(Failure(video, "does not open") for video in (FAILED_TEST, FAILED_TRAIN))


def of_prepared(scores):
    return scores.rows(scores.reason != "does not open")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    made = stores.make_stores(folder / "stores", failures=FAILURES)
    return made, *outcome(folder, "run", made)


def test_every_video_of_every_trial_and_model_has_one_row(plain):
    _, trained, scores = plain
    assert trained.ensemble.architectures["meta"].features == 6  # attack and bona fide by each of three models
    assert set(scores.distinct("model")) == {"lstm", "bilstm", "gru", "meta", "mean-feature", "colour", "metadata"}
    for protocol, target in (("CI_to_M", "M"), ("MI_to_C", "C"), ("IC_to_M", "M"), ("IM_to_C", "C")):
        mine = scores.select(protocol=protocol, model="meta", role=TEST)
        if len(mine):
            assert set(mine.dataset) == {f"synth-{target}"}
            assert sorted(mine.video) == sorted(v.path for v in stores.videos("x") if v.split == "test")
    assert len(scores.distinct("protocol")) == 2


def test_informative_features_are_learnt(plain):
    """Bona fide is shifted by one standard deviation in six features: far from chance, for every sequence model."""
    _, _, scores = plain
    results = evaluate(scores)
    for model in ("lstm", "bilstm", "gru", "meta", "mean-feature"):
        assert np.mean([f.values["auc"] for f in results.figures if f.model == model]) > 0.8
    assert 0.2 < np.mean([f.values["auc"] for f in results.figures if f.model == "colour"]) < 0.8


def test_the_target_has_no_say_in_models_and_thresholds(plain, tmp_path):
    """Noise in place of the official test sets, labels too: the same models and thresholds, bit for bit."""
    _, trained, scores = plain
    made = stores.make_stores(tmp_path / "stores", failures=FAILURES, scramble=True)
    again, rescored = outcome(tmp_path, "run", made)
    for one, other in zip(
        jax.tree.leaves(trained.ensemble.params), jax.tree.leaves(again.ensemble.params), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    before, after = evaluate(scores), evaluate(rescored)
    for one, other in zip(before.figures, after.figures, strict=True):
        assert one.values["threshold"] == other.values["threshold"]
    assert any(a.values["auc"] != b.values["auc"] for a, b in zip(before.figures, after.figures, strict=True))


@pytest.fixture
def opened(monkeypatch):
    """Datasets and splits in the order in which they are opened."""
    found = []
    rows = FeatureStore.rows

    def spy(self, videos, wanted):
        found.append((self.provenance["dataset"], videos.split[wanted].present()))
        return rows(self, videos, wanted)

    monkeypatch.setattr(FeatureStore, "rows", spy)
    return found


def test_training_opens_no_test_video(plain, tmp_path, opened):
    made, _, _ = plain
    settings = stores.experiment()
    corpus = Corpus.of(made)
    crossdataset.train(settings, crossdataset.plan(settings, corpus.videos), corpus, tmp_path)
    assert opened
    assert all("test" not in splits for _, splits in opened)


def test_a_store_that_is_no_source_is_not_opened(plain, opened):
    made, _, _ = plain
    corpus = Corpus.of(made)
    trials = crossdataset.plan(stores.experiment(evaluation=stores.Evaluation(targets=("M",))), corpus.videos)
    corpus.open(crossdataset.source_videos(trials))
    assert [dataset for dataset, _ in opened] == ["synth-C", "synth-I"]


def test_order_of_datasets_does_not_change_scores(plain, tmp_path):
    made, _, scores = plain
    _, turned = outcome(tmp_path, "run", made[::-1])

    def key(table):
        rows = zip(table.protocol, table.role, table.model, table.dataset, table.video, table.score, strict=True)
        return {tuple(row[:5]): row[5] for row in rows}

    one, other = key(scores), key(turned)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, abs=1e-5, nan_ok=True)


def test_failed_videos_are_counted_not_dropped(plain):
    """A test video that could not be prepared is a row without a score; one of the sources trains nobody."""
    _, _, scores = plain
    rows = scores.select(dataset="synth-M", video=FAILED_TEST.path, role=TEST)
    assert len(rows) == 7
    assert np.isnan(rows.score).all()
    assert set(rows.reason) == {"does not open"}
    validation = scores.select(dataset="synth-M", video=FAILED_TRAIN.path, role=VALIDATION)
    assert np.isnan(validation.score).all()
    results = evaluate(scores)
    counts = next(f for f in results.figures if f.model == "meta" and f.protocol.endswith("_to_M"))
    assert counts.values["bpnrr"] == pytest.approx(1 / 8)


def test_out_of_fold_predictions_come_from_models_that_have_not_seen_the_clip(tmp_path, monkeypatch):
    """Random labels that a model can only know by heart: in-sample it does, out of fold it cannot."""
    seen = {}
    train = stacking._train

    def spy(name, architecture, runs, clips, *rest):
        seen[name] = (runs, clips.features[np.arange(120)])
        return train(name, architecture, runs, clips, *rest)

    monkeypatch.setattr(stacking, "_train", spy)
    # One kind does, and spares two thirds of the compilations.
    monkeypatch.setattr(stacking, "BASE_MODELS", ("lstm",))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120).astype(np.int32)
    features = rng.normal(size=(120, 3, 40)).astype(np.float32)
    clips = stacking.Clips(features, np.ones((120, 3), bool), labels)
    task = stacking.Task("task", 0, np.arange(80), np.arange(80) % 4, np.arange(80, 120))
    training = stores.Training(batch_size=16, max_epochs=40, validate_every=40, patience=99, learning_rate=1e-2)
    settings = stores.experiment(training=training, stacking=stores.Stacking(folds=4, max_epochs=2))
    ensemble = stacking.train_ensemble([task], clips, settings, tmp_path, "data")

    runs, inputs = seen["meta"]
    bona_fide = inputs[0, :80, :, 1].mean(1)
    in_sample = stacking.predict_ensemble(ensemble, clips, [np.arange(80)])["lstm"][0].mean(1)
    assert np.mean((in_sample > 0.5) == labels[:80]) > 0.95
    assert 0.3 < np.mean((bona_fide > 0.5) == labels[:80]) < 0.7
    assert not set(runs[0].train) & set(runs[0].validation)
    # Two inputs a frame of the one base model: attack and bona fide, which sum to one.
    pairs = inputs[0].reshape(120, 3, 1, 2)
    np.testing.assert_allclose(pairs.sum(-1), 1, atol=1e-6)


def test_the_meta_learner_sees_attack_and_bona_fide_of_every_base_model():
    rng = np.random.default_rng(0)
    base = {kind: [rng.uniform(size=(5, 3)).astype(np.float32)] for kind in stacking.BASE_MODELS}
    rows = [np.array([4, 0, 6, 2, 1])]
    pairs = stacking.stack_predictions(base, rows, (7, 3), "concat")[0, rows[0]].reshape(5, 3, 3, 2)
    np.testing.assert_allclose(pairs.sum(-1), 1, atol=1e-6)
    for number, kind in enumerate(stacking.BASE_MODELS):
        np.testing.assert_array_equal(pairs[:, :, number, 1], base[kind][0])


@pytest.mark.parametrize("fusion", ["mean", "last", "median", "minimum"])
def test_fusion_sees_real_frames_only(fusion):
    probabilities = np.array([[0.2, 0.8, 0.6, 0.9], [0.5, 0.1, 0.2, 0.3]], np.float32)
    mask = np.array([[True, True, True, False], [True, False, False, False]])
    expected = {"mean": [1.6 / 3, 0.5], "last": [0.6, 0.5], "median": [0.6, 0.5], "minimum": [0.2, 0.5]}
    np.testing.assert_allclose(stacking.fuse(probabilities, mask, fusion), expected[fusion], rtol=1e-6)


def test_finished_models_are_read_and_those_of_other_settings_refused(plain, tmp_path, monkeypatch):
    made, _, _ = plain
    _, scores = outcome(tmp_path, "run", made)
    # Nothing is predicted for a meta-learner that is there.
    monkeypatch.setattr(stacking, "_stack", None)
    _, again = outcome(tmp_path, "run", made)
    np.testing.assert_array_equal(again.score, scores.score)
    other = stores.experiment(models=stores.Models(lstm=7, bilstm=4, gru=5, meta=4))
    with pytest.raises(UserError, match=r"architecture\.hidden: 6 there, 7 now"):
        outcome(tmp_path, "run", made, other)


def test_summed_probabilities_are_an_option(plain, tmp_path):
    made, _, _ = plain
    settings = stores.experiment(stacking=stores.Stacking(folds=2, combine="sum", max_epochs=4))
    trained, scores = outcome(tmp_path, "run", made, settings)
    assert trained.ensemble.architectures["meta"].features == 2
    assert np.isfinite(of_prepared(scores.select(model="meta")).score).all()


def test_a_target_of_which_nothing_could_be_prepared_is_all_non_responses(plain, tmp_path):
    _, trained, _ = plain
    gone = tuple(Failure(video, "does not open") for video in EVERYONE if video.split == "test")
    corpus = Corpus.of(stores.make_stores(tmp_path, failures=gone))
    settings = stores.experiment(evaluation=stores.Evaluation(targets=("M",)))
    trials = crossdataset.plan(settings, corpus.videos)
    own = dataclasses.replace(trained, ensemble=trained.ensemble.select(0), baselines=trained.baselines[:1])
    scores = crossdataset.score(settings, trials, corpus, own)
    test, validation = scores.select(role=TEST), scores.select(role=VALIDATION)
    assert len(test) == len(gone) * len(validation.distinct("model")) > 0
    assert set(test.reason) == {"does not open"}
    assert np.isfinite(validation.score).all()


def test_a_model_whose_training_failed_has_no_decision_and_the_others_do(plain, tmp_path):
    """NaN parameters, as a run leaves whose loss did not stay finite: non-responses with a reason, not zeros."""
    made, trained, _ = plain
    settings = stores.experiment()
    corpus = Corpus.of(made)
    trials = crossdataset.plan(settings, corpus.videos)
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(np.nan), trained.ensemble.params["gru"])
    params = {**trained.ensemble.params, "gru": broken}
    ensemble = dataclasses.replace(trained.ensemble, params=params)
    scores = crossdataset.score(settings, trials, corpus, dataclasses.replace(trained, ensemble=ensemble))
    first = scores.select(protocol=trials[0].protocol.name)
    assert np.isnan(first.select(model="gru").score).all()
    assert set(of_prepared(first.select(model="gru")).reason) == {"the training of gru failed"}
    assert np.isfinite(of_prepared(first.select(model="lstm")).score).all()
    assert np.isfinite(of_prepared(scores.select(protocol=trials[1].protocol.name, model="gru")).score).all()
    figures = {(each.protocol, each.model): each for each in evaluate(scores).figures}
    assert np.isnan(figures[trials[0].protocol.name, "gru"].values["hter"])
