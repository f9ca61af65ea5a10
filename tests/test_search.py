"""Random search: what is drawn, who is scored on what, and that neither the target nor an interruption has a say."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fas_jax import crossdataset, experiment
from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree
from fas_jax.base.settings import Evaluation, Search, load_experiment
from fas_jax.evaluation import metrics
from fas_jax.evaluation.effects import fold_noise, rank_effect
from fas_jax.features.corpus import Corpus
from fas_jax.features.store import FeatureStore
from fas_jax.methods import stacking
from fas_jax.methods.stacking import BASE_MODELS
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.protocols.presets import make_protocol
from fas_jax.studies.search import crossvalidation, space
from fas_jax.studies.search.report import trial_table, what_mattered, write_search
from fas_jax.studies.search.space import Setting
from fas_jax.training.checkpoints import Checkpoints
from fas_jax.training.fitting import predict
from tests import stores

PROTOCOL = "IC_to_M"
SMALL = Search(
    trials=8,
    folds=2,
    hidden=(3, 5),
    algorithms=("gru", "mean-feature"),
    initialisation=("he",),
    learning_rate=(1e-3, 1e-1),
)
GOOD = Setting("gru", 4, "glorot", 1e-2, 1e-3, "none")


def settings(search=SMALL, **changes):
    return stores.experiment(evaluation=Evaluation(targets=("M",)), search=search, **changes)


def run(made, folder, own=None):
    own = own or settings()
    corpus = Corpus.of(made)
    return crossvalidation.search_protocol(own, crossdataset.plan(own, corpus.videos), corpus, folder)


def drawn(monkeypatch, *given):
    """Search exactly these settings."""
    monkeypatch.setattr(crossvalidation, "draw", lambda search, number: given[number])
    return settings(dataclasses.replace(SMALL, trials=len(given)))


def assert_same(one, other):
    assert [each.number for each in one.outcomes] == [each.number for each in other.outcomes]
    for a, b in zip(one.outcomes, other.outcomes, strict=True):
        for name in ("hter", "auc", "epoch", "failed"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stores.make_stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def plain(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    found = run(made, folder)
    assert {path.name for path in folder.iterdir()} == {"scored.json"}
    return found


@given(st.integers(0, 10_000), st.integers(0, 5))
def test_what_is_drawn_lies_in_the_declared_ranges(number, seed):
    search = dataclasses.replace(Search(), seed=seed)
    found = space.describe(space.draw(search, number))
    algorithm = found.pop("algorithm")
    assert algorithm in search.algorithms
    assert set(found) == (
        {"regularisation"}
        if algorithm == "mean-feature"
        else {"hidden", "initialisation", "learning_rate", "weight_decay", "balance"}
    )
    for name, value in found.items():
        among = getattr(search, name)
        assert among[0] <= value <= among[1] if isinstance(value, float) else value in among


def test_draws_are_even_on_a_logarithmic_scale_and_over_names():
    found = [space.draw(Search(), number) for number in range(2000)]
    rates = np.log10([each.learning_rate for each in found if each.learning_rate])
    assert stats.kstest((rates + 5) / 3, "uniform").pvalue > 0.01
    counts = [sum(each.algorithm == name for each in found) for name in Search().algorithms]
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_range_of_one_value_is_that_value():
    search = dataclasses.replace(Search(), learning_rate=(3e-4, 3e-4), algorithms=("gru",))
    assert {space.draw(search, number).learning_rate for number in range(20)} == {3e-4}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"algorithms": ("lstmm",)}, "unknown value 'lstmm'; did you mean 'lstm'"),
        ({"algorithms": ()}, "search.algorithms is empty"),
        ({"hidden": ()}, "search.hidden is empty"),
        ({"hidden": (0, 4)}, "search.hidden must be numbers of units above 0"),
        ({"balance": ("wieghts",)}, "unknown value 'wieghts'; did you mean 'weights'"),
        ({"learning_rate": (1e-2, 1e-4)}, "search.learning_rate runs from 0.01 down to 0.0001"),
        ({"weight_decay": (0.0, 1e-4)}, "search.weight_decay is drawn on a logarithmic scale"),
        ({"regularisation": (1e-4,)}, "search.regularisation must be a range of two numbers"),
        ({"trials": 0}, "search.trials must be at least 1, not 0"),
        ({"folds": 1}, "search.folds must be at least 2, not 1"),
    ],
)
def test_wrong_ranges_are_told_before_anything_is_read(wrong, message, monkeypatch):
    monkeypatch.setattr(experiment, "check", lambda *_: pytest.fail("went on"))
    own = settings(Search(**wrong))
    with pytest.raises(UserError) as error:
        experiment.search(own)
    assert message in str(error.value)


def test_protocols_are_chosen_by_name_and_none_may_validate_on_its_target():
    known = [make_protocol("strict", "OC", "M"), make_protocol("strict", "OM", "C")]
    assert space.chosen(Search(), known) == tuple(known)
    assert space.chosen(Search(protocols=("OM_to_C",)), known) == (known[1],)
    with pytest.raises(UserError, match="unknown protocol 'OM_to_CC'; did you mean 'OM_to_C'"):
        space.chosen(Search(protocols=("OM_to_CC",)), known)
    with pytest.raises(UserError, match="ssdg2020 validates on the target"):
        space.chosen(Search(), [make_protocol("ssdg2020", "OC", "M")])


def test_more_folds_than_subjects_is_an_error(made, tmp_path):
    with pytest.raises(UserError, match=r"search\.folds is 50, but there are only \d+ subjects"):
        run(made, tmp_path, settings(dataclasses.replace(SMALL, folds=50)))


def test_parts_of_a_fold_share_no_subject(made):
    own = settings()
    corpus = Corpus.of(made)
    (trial,) = crossdataset.plan(own, corpus.videos)
    pool = corpus.open(crossdataset.source_videos([trial]))
    cuts = crossvalidation._cuts(3, trial, pool)
    assert {video.dataset for video in pool.videos} == {"synth-C", "synth-I"}
    assert sorted(np.concatenate([cut.held for cut in cuts]).tolist()) == sorted(
        cuts[0].train.tolist() + cuts[0].held.tolist()
    )
    for cut in cuts:
        parts = [
            {(pool.videos[i].dataset, pool.videos[i].subject) for i in part}
            for part in (cut.train, cut.validation, cut.held)
        ]
        assert all(parts)
        assert len(set.union(*parts)) == sum(map(len, parts))
        assert {pool.videos[i].label for i in cut.held} == {0, 1}


def test_the_target_has_no_say_and_is_not_opened(made, plain, tmp_path, monkeypatch):
    """Other features and other labels in the target, and a store that may not be read: the same bits."""
    other = stores.make_store(tmp_path / "stores", "synth-M", shift=-40, seed=9, scramble=True)
    rows = FeatureStore.rows

    def guarded(self, *wanted):
        assert self.provenance["dataset"] != "synth-M", "the target was opened"
        return rows(self, *wanted)

    monkeypatch.setattr(FeatureStore, "rows", guarded)
    monkeypatch.setattr(FeatureStore, "load", lambda *_: pytest.fail("loads past the guard"))
    assert_same(plain, run([other, *made[1:]], tmp_path / "run"))
    with pytest.raises(AssertionError, match="the target was opened"):
        Corpus.of([other]).open()


def test_more_trials_keep_the_first_ones(made, plain, tmp_path, monkeypatch):
    """Trial k is the same whatever the total, and is not trained again."""
    few = run(made, tmp_path, settings(dataclasses.replace(SMALL, trials=3)))
    trained = []
    train = crossvalidation.train_in_waves
    monkeypatch.setattr(
        crossvalidation, "train_in_waves", lambda *rest, **named: trained.extend(rest[2]) or train(*rest, **named)
    )
    more = run(made, tmp_path)
    assert len(trained) == 2 * len({each.setting for each in more.outcomes if each.number > 2 and each.setting.hidden})
    by_number = [{each.number: each for each in found.outcomes} for found in (few, more, plain)]
    for number, outcome in by_number[0].items():
        assert by_number[1][number].setting == outcome.setting == by_number[2][number].setting
        np.testing.assert_array_equal(by_number[1][number].hter, outcome.hter)
    for number, outcome in by_number[1].items():
        np.testing.assert_allclose(outcome.auc, by_number[2][number].auc, atol=0.02)


@pytest.mark.parametrize("after", [4, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 9))])
def test_an_interrupted_search_ends_with_the_same_bits(made, tmp_path, monkeypatch, after):
    own = settings(training=dataclasses.replace(settings().training, checkpoint_every=1))
    whole = run(made, tmp_path / "whole", own)
    saves = []
    save = Checkpoints.save

    def breaking(self, *rest):
        save(self, *rest)
        saves.append(1)
        if len(saves) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "broken", own)
    assert_same(whole, run(made, tmp_path / "broken", own))
    assert {path.name for path in (tmp_path / "broken").iterdir()} == {"scored.json"}


def test_what_was_scored_on_other_data_is_not_used(made, plain, tmp_path):
    other = [made[0], *(stores.make_store(tmp_path, f"synth-{name}", shift=0.0, seed=3) for name in "CI")]
    run(other, tmp_path / "run")
    assert_same(plain, run(made, tmp_path / "run"))


def test_a_trial_among_others_equals_the_trial_alone(made, tmp_path, monkeypatch):
    others = (
        Setting("gru", 4, "glorot", 3e-2, 0.1, "weights"),
        Setting("gru", 4, "he", 1e-4, 1.0, "none"),
        Setting("mean-feature", regularisation=0.1),
    )
    together = run(made, tmp_path / "a", drawn(monkeypatch, *others, GOOD))
    alone = run(made, tmp_path / "b", drawn(monkeypatch, GOOD))
    (one,) = (each for each in together.outcomes if each.number == 3)
    (other,) = alone.outcomes
    for name in ("hter", "auc", "epoch"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "models"),
    [(GOOD, ("gru",)), (Setting("lstm", 3, "orthogonal", 2e-2, 0.03, "weights"), BASE_MODELS)],
)
def test_the_best_setting_trains_as_it_was_scored(made, tmp_path, monkeypatch, setting, models):
    """The TOML file gives the ensemble's out-of-fold models, which are the search's own runs: the same figures."""
    monkeypatch.setattr(stacking, "BASE_MODELS", models)
    base = drawn(monkeypatch, setting)
    found = run(made, tmp_path / "search", base)
    write_search(tmp_path / "search", base, found)
    assert (tmp_path / "search/best.toml").read_bytes() == (
        tmp_path / f"search/best-{setting.algorithm}.toml"
    ).read_bytes()
    own = load_experiment(tmp_path / "search/best.toml")
    corpus = Corpus.of(made)
    trials = crossdataset.plan(own, corpus.videos)
    assert [trial.protocol.name for trial in trials] == [found.protocol.name]
    crossdataset.train(own, trials, corpus, tmp_path / "run")
    tree, about = load_tree(tmp_path / f"run/models/{setting.algorithm}-0000.safetensors")
    architecture = RecurrentClassifier(**about["architecture"])
    assert (architecture.hidden, architecture.initialisation) == (setting.hidden, setting.initialisation)
    pool = corpus.open(crossdataset.source_videos(trials))
    cuts = crossvalidation._cuts(own.stacking.folds, trials[0], pool)
    labels = pool.videos.label
    for fold, cut in enumerate(cuts):
        params = jax.tree.map(lambda leaf, at=fold + 1: leaf[at : at + 1].repeat(2, 0), tree["params"])
        held, scored = predict(architecture, params, pool.clips(), [cut.validation, cut.held])
        means = [
            np.where(pool.mask[part], values, 0).sum(1) / pool.mask[part].sum(1)
            for part, values in ((cut.validation, held), (cut.held, scored))
        ]
        tau = metrics.eer_threshold(means[0], labels[cut.validation])
        assert metrics.rates(means[1], labels[cut.held], tau).hter == pytest.approx(found.outcomes[0].hter[fold])
        assert metrics.auc(means[1], labels[cut.held]) == pytest.approx(found.outcomes[0].auc[fold])
    assert tree["best_epoch"][1:].tolist() == found.outcomes[0].epoch.tolist()


def test_the_mean_features_setting_reaches_its_baseline(made, tmp_path, monkeypatch):
    base = drawn(monkeypatch, Setting("mean-feature", regularisation=0.02))
    found = run(made, tmp_path, base)
    own = space.apply(base, found.protocol, found.outcomes[0].setting)
    assert own.models.mean_feature == 0.02
    seen = []
    fit = crossdataset.fit_logistic
    monkeypatch.setattr(crossdataset, "fit_logistic", lambda *rest: seen.append(rest[2]) or fit(*rest))
    monkeypatch.setattr(crossdataset, "train_ensemble", lambda *_: None)
    corpus = Corpus.of(made)
    crossdataset.train(own, crossdataset.plan(own, corpus.videos), corpus, tmp_path / "run")
    assert sorted(seen) == [0.02, 1.0, 1.0]


@pytest.mark.slow
def test_a_learning_rate_that_cannot_learn_ranks_low(made, tmp_path):
    search = dataclasses.replace(SMALL, trials=14, algorithms=("gru",), hidden=(3,), learning_rate=(1e-6, 1e-1))
    found = run(made, tmp_path, settings(search))
    effects = {each.name: each.effect for each in what_mattered(found.outcomes)}
    assert effects["learning_rate"].clear
    assert effects["learning_rate"].size < -0.5
    assert np.median([each.setting.learning_rate for each in found.outcomes[:4]]) > 1e-3
    assert np.median([each.setting.learning_rate for each in found.outcomes[-4:]]) < 1e-4


@pytest.mark.parametrize(("ordered", "best"), [(True, "gru"), (False, "mean-feature")])
def test_the_algorithm_that_fits_the_data_wins(made, tmp_path, monkeypatch, ordered, best):
    """Where only the order of the frames tells the classes apart, a mean cannot; where it says nothing, it suffices."""
    opened = Corpus.open

    def planted(*given):
        pool = opened(*given)
        rng = np.random.default_rng(0)
        sign = 2 * pool.videos.label[:, None, None] - 1
        mask = np.ones((len(sign), 4), bool)
        features = rng.normal(size=(len(sign), 4, stores.DIMENSION))
        features += 2 * sign * np.sign(np.arange(4) - 1.5)[:, None] if ordered else 0.7 * sign
        features = features.astype(np.float32)
        return dataclasses.replace(pool, features=features, mask=mask, infos=tuple(pool.infos))

    monkeypatch.setattr(Corpus, "open", planted)
    rates = (1e-2,) if ordered else (1e-6, 1e-5)
    given = [dataclasses.replace(GOOD, learning_rate=rate) for rate in rates]
    given += [Setting("mean-feature", regularisation=c) for c in (0.01, 1.0)]
    found = run(made, tmp_path, drawn(monkeypatch, *given))
    assert found.outcomes[0].setting.algorithm == best
    means = [each.score for each in found.outcomes if each.setting.algorithm == "mean-feature"]
    assert min(means) > 0.3 if ordered else min(means) < 0.15
    assert found.outcomes[0].score < 0.1


@pytest.mark.slow
def test_trials_whose_loss_is_not_finite_are_shown_last(made, tmp_path, monkeypatch):
    """One that shares its program with a good one, and one that has a program of its own."""
    broken = dataclasses.replace(GOOD, learning_rate=1e3, weight_decay=1e6)
    alone = dataclasses.replace(broken, algorithm="lstm")
    base = drawn(monkeypatch, alone, broken, GOOD)
    found = run(made, tmp_path, base)
    assert [each.number for each in found.outcomes] == [2, 0, 1]
    text = write_search(tmp_path, base, found)
    assert "2 of 3 trials failed" in text
    rows = list(csv.reader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row[9] for row in rows[1:]][1:] == ["failed", "failed"]
    assert "loss not finite at epoch" in rows[-1][-1]
    table = json.loads((tmp_path / "trials.json").read_text())
    assert [each["failed"] for each in table["trials"]] == [False, True, True]
    assert table["trials"][-1]["hter"] is None
    assert {path.name for path in tmp_path.glob("best*")} == {"best.toml", "best-gru.toml"}
    assert_same(found, run(made, tmp_path, base))


def test_a_search_in_which_all_fail_is_shown_too(made, tmp_path, monkeypatch):
    base = drawn(monkeypatch, dataclasses.replace(GOOD, learning_rate=1e3, weight_decay=1e6))
    found = run(made, tmp_path, base)
    assert "1 of 1 trials failed" in write_search(tmp_path, base, found)
    assert (tmp_path / "mattered.png").exists()
    assert not list(tmp_path.glob("best*"))


def test_a_fold_without_a_class_is_undefined_and_said(made, tmp_path, monkeypatch):
    def folds(videos, rows, count, seed, name):
        """All attacks in fold 0."""
        found = np.arange(len(rows)) % count
        return np.where([videos[i].label for i in rows], found, 0)

    monkeypatch.setattr(crossvalidation, "subject_folds", folds)
    search = dataclasses.replace(SMALL, folds=2)
    base = dataclasses.replace(drawn(monkeypatch, Setting("mean-feature", regularisation=1.0)), search=search)
    base = dataclasses.replace(base, search=dataclasses.replace(search, trials=1))
    monkeypatch.setattr(crossvalidation, "fit_logistic", lambda *_: Constant())
    found = run(made, tmp_path, base)
    (outcome,) = found.outcomes
    assert np.isnan(outcome.hter).tolist() == [False, True]
    assert outcome.score == outcome.hter[0] == 0.5
    text = write_search(tmp_path, base, found)
    assert "seed 0 fold 1 holds no attack video" in text
    assert "| undefined |" in text

    monkeypatch.setattr(
        crossvalidation, "subject_folds", lambda videos, rows, *_: np.array([videos[i].label for i in rows])
    )
    with pytest.raises(UserError, match="no fold can be scored"):
        run(made, tmp_path / "none", base)


class Constant:
    def scores(self, inputs):
        return np.full(len(inputs), 0.5)


def test_everything_is_written_and_twice_the_same(made, plain, tmp_path, monkeypatch):
    own = settings()
    monkeypatch.setattr(experiment, "check", lambda *_: (plain.protocol,))
    monkeypatch.setattr(
        experiment,
        "_extract",
        lambda own: (tmp_path / "run", experiment._Seconds(tmp_path / "run/t.json"), (), tuple(made)),
    )
    (folder,) = experiment.search(own)
    assert folder == tmp_path / "run/search" / plain.protocol.name
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"search.md", "trials.csv", "trials.json", "mattered.png", "best.toml"} < set(files)
    assert files["mattered.png"][:4] == b"\x89PNG"
    assert len(files["trials.csv"].splitlines()) == SMALL.trials + 1
    experiment.search(own)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    table = json.loads(files["trials.json"])
    scores = [each["hter"] for each in table["trials"]]
    assert scores == sorted(scores)
    assert [each["trial"] for each in table["trials"]] == [each.number for each in plain.outcomes]
    grid = trial_table(plain.outcomes, np.nan)
    assert grid.rows[0][9] == f"{100 * scores[0]:.2f}"
    assert "says nothing about real attacks" in files["search.md"].decode()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=30))
def test_effects_are_the_known_statistics(pairs):
    values, scores = (np.array(each, float) for each in zip(*pairs, strict=True))
    effect = rank_effect(values.tolist(), scores)
    if len(set(values)) == 1 or len(set(scores)) == 1:
        assert np.isnan(effect.size)
        return
    assert effect.size == pytest.approx(stats.spearmanr(values, scores).statistic, abs=1e-9)
    names = [f"v{value:.0f}" for value in values]
    groups = [scores[values == value] for value in set(values)]
    h = stats.kruskal(*groups).statistic
    assert rank_effect(names, scores).size ** 2 == pytest.approx(h / (len(scores) - 1), abs=1e-9)


@pytest.mark.parametrize("name", [False, True])
def test_chance_passes_the_noise_one_time_in_twenty(name):
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(200):
        values = rng.integers(0, 3, 15).tolist() if not name else rng.choice(["a", "b", "c"], 15).tolist()
        passed += rank_effect(values, rng.normal(size=15)).clear
    assert 2 <= passed <= 20


def test_noise_of_folds_leaves_their_difficulty_out():
    rng = np.random.default_rng(2)
    own, folds = rng.normal(size=(300, 1)), np.array([0.0, 5.0, -3.0, 1.0])
    found = fold_noise(own + folds + rng.normal(scale=0.1, size=(300, 4)))
    assert found == pytest.approx(2 * 0.1 * np.sqrt(2 / 4), rel=0.1)
    assert np.isnan(fold_noise(np.zeros((1, 4))))
    assert np.isnan(fold_noise(np.zeros((4, 1))))
