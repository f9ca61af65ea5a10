"""Properties of the whole chain, from features to figures: what may change a score, and what may not."""

import dataclasses

import jax
import numpy as np
import pytest

from fas_jax import crossdataset
from fas_jax.base.settings import Evaluation, Experiment, Models, Stacking, Training
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.features.corpus import Corpus
from fas_jax.reporting.learning import read_histories
from fas_jax.studies import oracle
from tests.synthetic_stores import make_stores

EXPERIMENT = Experiment(
    models=Models(lstm=4, bilstm=3, gru=4, meta=3),
    training=Training(learning_rate=2e-2, max_epochs=6, validate_every=2, patience=4, monitor="loss", batch_size=16),
    stacking=Stacking(folds=2, max_epochs=6, learning_rate=2e-2),
    evaluation=Evaluation(targets=("M",)),
)


def run(folder, stores, experiment=EXPERIMENT):
    """The trained models, all scores, and everything that leads to them."""
    corpus = Corpus.of(stores)
    trials = crossdataset.plan(experiment, corpus.videos)
    trained = crossdataset.train(experiment, trials, corpus, folder)
    scores = crossdataset.score(experiment, trials, corpus, trained)
    return trained, scores, (trials, corpus)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return folder, *run(folder, make_stores(folder / "stores"))


def by_video(scores):
    keys = zip(scores.role, scores.model, scores.dataset, scores.video, scores.score, strict=True)
    return {(role, model, dataset, video): score for role, model, dataset, video, score in keys}


def assert_same_models(one, other):
    for a, b in zip(jax.tree.leaves(one.ensemble.params), jax.tree.leaves(other.ensemble.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    for name in one.baselines[0]:
        for field in dataclasses.fields(one.baselines[0][name]):
            values = (getattr(each.baselines[0][name], field.name) for each in (one, other))
            np.testing.assert_array_equal(*values)


def test_what_selects_cannot_see_the_targets_labels(plain, tmp_path):
    """With the target's labels drawn anew: the same models, scores and thresholds to the bit; other final figures."""
    _, trained, scores, _ = plain
    scrambled, others, _ = run(tmp_path, make_stores(tmp_path / "stores", scramble="M"))
    assert_same_models(trained, scrambled)
    assert by_video(scores) == by_video(others)
    one, other = evaluate(scores), evaluate(others)
    assert [each.values["threshold"] for each in one.figures] == [each.values["threshold"] for each in other.figures]
    for a, b in zip(one.figures, other.figures, strict=True):
        # The metadata of the made-up videos are all the same, so that their AUC is 0.5 for any labels.
        assert (a.values["auc"] != b.values["auc"]) == (a.model != "metadata")


def test_a_source_label_does_change_the_models(plain, tmp_path):
    """The counterpart, without which the test above could pass by reading nothing."""
    _, trained, _, _ = plain
    other, _, _ = run(tmp_path, make_stores(tmp_path / "stores", scramble="O"))
    with pytest.raises(AssertionError):
        assert_same_models(trained, other)


def test_the_order_of_the_files_changes_nothing(plain, tmp_path):
    """Videos in another order in every store: the same folds, models and scores, to the bit."""
    _, trained, scores, _ = plain
    other, others, _ = run(tmp_path, make_stores(tmp_path / "stores", order=5))
    assert_same_models(trained, other)
    assert by_video(scores) == by_video(others)


def test_the_order_of_the_test_files_changes_no_bit(plain, tmp_path):
    """The same models, scoring the target's videos in another order and with others beside them."""
    _, trained, scores, _ = plain
    shuffled = Corpus.of(make_stores(tmp_path / "stores", order=3))
    again = crossdataset.score(EXPERIMENT, crossdataset.plan(EXPERIMENT, shuffled.videos), shuffled, trained)
    assert by_video(scores) == by_video(again)


def test_mates_and_padding_change_no_score(plain):
    """A video alone, with less padding or with more, gets its score."""
    _, trained, _, (trials, corpus) = plain
    pool = corpus.open(np.flatnonzero(corpus.videos.split == "test")).loaded()
    rows = pool.find(trials[0].assignment.test)
    together = crossdataset.predict_ensemble(trained.ensemble, pool.clips(), [rows])
    lengths = pool.mask[rows].sum(1)
    for row in rows[[int(np.argmin(lengths)), int(np.argmax(lengths))]]:
        length = int(pool.mask[row].sum())
        # At least one padded frame less, or more, than the longest clip has.
        for frames in {int(lengths.max()), 9}:
            alone = pool.take(np.array([row]))
            padded = np.zeros((1, frames, alone.features.shape[2]), np.float32)
            padded[:, :length] = alone.features[:, :length]
            clips = dataclasses.replace(alone, features=padded, mask=np.arange(frames)[None] < length).clips()
            found = crossdataset.predict_ensemble(trained.ensemble, clips, [np.array([0])])
            for model, values in found.items():
                expected = together[model][0][list(rows).index(row), :length]
                np.testing.assert_allclose(values[0][0, :length], expected, rtol=1e-5, atol=1e-6)


def test_the_oracle_watches_and_changes_nothing(plain, tmp_path):
    """A second training, watched, ends with the first one's bits; the chosen epoch's look is the run's own figure."""
    folder, trained, scores, (trials, corpus) = plain
    looks = oracle.watch(EXPERIMENT, trials, corpus, tmp_path / "again", trained)
    assert not (tmp_path / "again").exists()
    figures = {each.model: each.values for each in evaluate(scores).figures}
    chosen = {(each.model, 0): each.best_epoch for each in read_histories(folder)}
    for (model, _), epoch in chosen.items():
        (look,) = [each for each in looks if (each.model, each.epoch) == (model, epoch)]
        assert (look.hter, look.target_eer, look.auc) == tuple(
            figures[model][name] for name in ("hter", "oracle_eer", "auc")
        )
    table = oracle.table(looks, trials, chosen)
    for row in table.grid.rows:
        honest, epoch, both, gap = map(float, row[2:])
        assert honest >= epoch
        assert gap == pytest.approx(honest - both, abs=0.011)
