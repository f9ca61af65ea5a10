"""Random search: what is drawn, who is scored on what, and that neither the target nor an interruption has a say."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation, Execution, Folds, Search
from fas_jax.evaluation import metrics
from fas_jax.evaluation.effects import fold_noise, rank_effect
from fas_jax.experiment import planning
from fas_jax.experiment.configuration import Experiment, load_experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import fit_methods
from fas_jax.experiment.run import Seconds
from fas_jax.features.frame_scores import FrameScores
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import Method, Range
from fas_jax.methods.data import Scores
from fas_jax.methods.heads import HeadMethod
from fas_jax.methods.logistic import Colour, MeanFeature
from fas_jax.methods.recurrent import Gru, Lstm, RecurrentSearch
from fas_jax.methods.stack import LstmStack
from fas_jax.models.logistic import fit_logistic
from fas_jax.protocols.presets import make_protocol
from fas_jax.studies.search import crossvalidation, space
from fas_jax.studies.search import run as stage
from fas_jax.studies.search.outcomes import Figures
from fas_jax.studies.search.report import trial_table, what_mattered, write_search
from fas_jax.studies.search.space import Setting
from fas_jax.training.checkpoints import Checkpoints
from tests import stores

# Whole runs and many processes: too long for the default suite.
pytestmark = pytest.mark.slow

PROTOCOL = "IC_to_M"
SMALL = Search(trials=8, folds=2)
RANGES = RecurrentSearch(hidden=(3, 5), initialisation=("he",), learning_rate=(1e-3, 1e-1))
QUICK = {"batch_size": 16, "max_epochs": 40, "validate_every": 4, "patience": 40, "monitor": "loss"}
METHODS = {"gru": Gru(**QUICK, search=RANGES), "mean-feature": MeanFeature()}
GOOD_VALUES = {
    "hidden": 4,
    "initialisation": "glorot",
    "learning_rate": 1e-2,
    "weight_decay": 1e-3,
    "balance": "none",
}
GOOD = Setting("gru", GOOD_VALUES)


def good(method="gru", **values):
    return Setting(method, {**GOOD_VALUES, **values})


def mean(c):
    return Setting("mean-feature", {"c": c})


def settings(search=SMALL, **changes):
    given = {"methods": METHODS, "evaluation": Evaluation(targets=("M",)), "search": search}
    return stores.experiment(**{**given, **changes})


def run(made, folder, own=None):
    own = own or settings()
    corpus = Corpus.of({"whole": made})
    return crossvalidation.search_protocol(own, planning.plan(own, corpus.videos), corpus, folder)


def drawn(monkeypatch, *given, **changes):
    """Search exactly these settings."""
    monkeypatch.setattr(space, "draw", lambda experiment, names, number: given[number])
    return settings(dataclasses.replace(SMALL, trials=len(given)), **changes)


def search_tasks(own, made):
    """The clips and the tasks that a search fits on."""
    corpus = Corpus.of({"whole": made})
    plans = planning.plan(own, corpus.videos)
    clips = corpus.open(planning.source_videos(plans))
    return clips, [task for parts in planning.tasks_of(plans, clips, own.search.folds) for task in parts[1:]]


def assert_same(one, other):
    assert [each.number for each in one.outcomes] == [each.number for each in other.outcomes]
    for a, b in zip(one.outcomes, other.outcomes, strict=True):
        np.testing.assert_array_equal(a.figures.hter, b.figures.hter)
        np.testing.assert_array_equal(a.figures.auc, b.figures.auc)
        assert a.figures.failed == b.figures.failed


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
    own = Experiment(search=Search(seed=seed))
    names = space.drawn_methods(own)
    assert names == ("lstm", "bilstm", "gru", "mean-feature")
    setting = space.draw(own, names, number)
    variants = own.methods[setting.method].variants()
    assert set(setting.values) == set(variants)
    for name, value in setting.values.items():
        among = variants[name]
        assert among.low <= value <= among.high if isinstance(among, Range) else value in among
    varied = setting.apply(own.methods[setting.method])
    assert {**vars(own.methods[setting.method]), **setting.values} == vars(varied)


def test_draws_are_even_on_a_logarithmic_scale_and_over_names():
    own = Experiment()
    names = space.drawn_methods(own)
    found = [space.draw(own, names, number) for number in range(2000)]
    rates = np.log10([each.values["learning_rate"] for each in found if "learning_rate" in each.values])
    assert stats.kstest((rates + 5) / 3, "uniform").pvalue > 0.01
    counts = [sum(each.method == name for each in found) for name in names]
    assert stats.chisquare(counts).pvalue > 0.01


def test_two_methods_of_one_kind_draw_from_their_own_ranges():
    narrow = RecurrentSearch(learning_rate=(3e-4, 3e-4))
    own = settings(methods={"one": Gru(search=narrow), "other": Gru(), "fixed": LstmStack(over=("one",))})
    names = space.drawn_methods(own)
    assert names == ("one", "other")
    found = [space.draw(own, names, number) for number in range(40)]
    rates = {name: {each.values["learning_rate"] for each in found if each.method == name} for name in names}
    assert rates["one"] == {3e-4}
    assert len(rates["other"]) > 5


def gru(**ranges):
    return {"methods": {"gru": Gru(search=dataclasses.replace(RecurrentSearch(), **ranges))}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": Search(methods=("grru",))}, "unknown method 'grru'; did you mean 'gru'"),
        (
            {"search": Search(methods=("meta",)), "methods": {"gru": Gru(), "meta": LstmStack(over=("gru",))}},
            "meta reads the scores of other methods",
        ),
        ({"search": Search(methods=("colour",)), "methods": {"colour": Colour()}}, "colour has nothing to tune"),
        ({"methods": {"colour": Colour()}}, "none of the methods colour has anything to tune"),
        (gru(hidden=()), "methods.gru: search.hidden is empty"),
        (gru(hidden=(0, 4)), "methods.gru.search.hidden must be at least 1, not 0"),
        (gru(learning_rate=(1e-2, 1e-4)), "search.learning_rate runs from 0.01 down to 0.0001"),
        (gru(weight_decay=(0.0, 1e-4)), "methods.gru.search.weight_decay must be above 0, not 0"),
        ({"search": Search(trials=0)}, "search.trials must be at least 1, not 0"),
        ({"search": Search(folds=1)}, "search.folds must be at least 2, not 1"),
    ],
)
def test_wrong_ranges_are_told_before_anything_is_read(changes, message, monkeypatch):
    monkeypatch.setattr(stage.stages, "check", lambda *_: pytest.fail("went on"))
    with pytest.raises(UserError) as error:
        stage.search(settings(**changes))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (
            {"c": Range(0.0, 1.0)},
            "methods.mean-feature: search.c is drawn on a logarithmic scale: 0 and 1 must be above 0",
        ),
        ({"c": Range(1.0, np.inf)}, "1 and inf must be above 0 and finite"),
        ({"cc": (1.0,)}, "unknown setting 'cc'; did you mean 'c'"),
        ({"c": (-1.0,)}, "methods.mean-feature.c must be above 0, not -1"),
    ],
)
def test_a_method_that_declares_nonsense_is_told_so(variants, message, monkeypatch):
    monkeypatch.setattr(MeanFeature, "variants", lambda self: variants)
    with pytest.raises(UserError) as error:
        space.draw_all(settings(methods={"mean-feature": MeanFeature()}))
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
    clips, tasks = search_tasks(settings(dataclasses.replace(SMALL, folds=3)), made)
    assert {video.dataset for video in clips.videos} == {"synth-C", "synth-I"}
    assert sorted(np.concatenate([task.held for task in tasks]).tolist()) == sorted(
        tasks[0].train.tolist() + tasks[0].held.tolist()
    )
    for task in tasks:
        parts = [
            {(clips.videos[i].dataset, clips.videos[i].subject) for i in part}
            for part in (task.train, task.validation, task.held)
        ]
        assert all(parts)
        assert len(set.union(*parts)) == sum(map(len, parts))
        assert {clips.videos[i].label for i in task.held} == {0, 1}


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
        Corpus.of({"whole": [other]}).open().features("whole")


def test_more_trials_keep_the_first_ones(made, plain, tmp_path, monkeypatch):
    """Trial k is the same whatever the total, and is not trained again."""
    few = run(made, tmp_path, settings(dataclasses.replace(SMALL, trials=3)))
    fitted = []
    fit = HeadMethod.fit.__func__

    def counting(kind, jobs, *rest):
        fitted.extend(jobs)
        return fit(kind, jobs, *rest)

    monkeypatch.setattr(HeadMethod, "fit", classmethod(counting))
    more = run(made, tmp_path)
    new = [each for each in more.outcomes if each.number > 2 and each.setting.method == "gru"]
    assert len(fitted) == 2 * len(new) > 0
    by_number = [{each.number: each for each in found.outcomes} for found in (few, more, plain)]
    for number, outcome in by_number[0].items():
        assert by_number[1][number].setting == outcome.setting == by_number[2][number].setting
        np.testing.assert_array_equal(by_number[1][number].figures.hter, outcome.figures.hter)
    for number, outcome in by_number[1].items():
        np.testing.assert_allclose(outcome.figures.auc, by_number[2][number].figures.auc, atol=0.02)


def test_what_decides_a_setting_decides_what_is_known_of_it(made, tmp_path, monkeypatch):
    """Another fixed setting of a method scores it anew; another method in the search does not."""
    one = drawn(monkeypatch, GOOD)
    first = run(made, tmp_path, one)
    fitted = []
    fit = HeadMethod.fit.__func__
    monkeypatch.setattr(
        HeadMethod, "fit", classmethod(lambda kind, jobs, *rest: fitted.extend(jobs) or fit(kind, jobs, *rest))
    )
    with_another = dataclasses.replace(one, methods={**METHODS, "colour": Colour()})
    assert_same(first, run(made, tmp_path, with_another))
    assert not fitted
    other = dataclasses.replace(METHODS["gru"], batch_size=8)
    run(made, tmp_path, dataclasses.replace(one, methods={"gru": other}))
    assert {job.method.batch_size for job in fitted} == {8}


@pytest.mark.parametrize("after", [4, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 9))])
def test_an_interrupted_search_ends_with_the_same_bits(made, tmp_path, monkeypatch, after):
    own = settings(training=Execution(checkpoint_every=1))
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


def test_what_was_scored_on_other_data_is_not_used(made, tmp_path):
    own = settings(methods={"mean-feature": MeanFeature()})
    alone = run(made, tmp_path / "alone", own)
    other = [made[0], *(stores.make_store(tmp_path, f"synth-{name}", shift=0.0, seed=3) for name in "CI")]
    run(other, tmp_path / "run", own)
    assert_same(alone, run(made, tmp_path / "run", own))


def test_a_trial_among_others_equals_the_trial_alone(made, tmp_path, monkeypatch):
    others = (
        good(learning_rate=3e-2, weight_decay=0.1, balance="weights"),
        good(initialisation="he", learning_rate=1e-4, weight_decay=1.0),
        mean(0.1),
    )
    together = run(made, tmp_path / "a", drawn(monkeypatch, *others, GOOD))
    alone = run(made, tmp_path / "b", drawn(monkeypatch, GOOD))
    (one,) = (each for each in together.outcomes if each.number == 3)
    (other,) = alone.outcomes
    np.testing.assert_allclose(one.figures.hter, other.figures.hter, atol=1e-6)
    np.testing.assert_allclose(one.figures.auc, other.figures.auc, atol=1e-6)


def test_many_settings_are_fitted_in_batches_of_one_method(made, tmp_path, monkeypatch):
    """Each batch is of one method; settings whose named values agree are neighbours; none is lost."""
    given = [good(hidden=3 + number % 2, learning_rate=1e-3 * (number + 1)) for number in range(11)]
    given += [mean(0.1), good("other", hidden=3)]
    methods = {**METHODS, "other": METHODS["gru"]}
    own = drawn(monkeypatch, *given, methods=methods)
    batches = crossvalidation._batches([(each.method, each.apply(methods[each.method])) for each in given])
    assert [(name, len(batch)) for name, batch in batches] == [
        ("gru", 8),
        ("gru", 3),
        ("mean-feature", 1),
        ("other", 1),
    ]
    assert [method.hidden for name, batch in batches if name == "gru" for method in batch] == [3] * 6 + [4] * 5
    # Each setting's figures find their way back to it.
    numbered = {}

    def score(methods, numbers, *_):
        numbered.update(zip(numbers, methods, strict=True))
        return [Figures(np.full(2, getattr(each, "learning_rate", 0.5)), np.full(2, 0.5), ("", "")) for each in methods]

    monkeypatch.setattr(crossvalidation, "_score", score)
    found = run(made, tmp_path, own)
    # Messages name a trial by the number that the report gives it.
    assert numbered == {number: each.apply(methods[each.method]) for number, each in enumerate(given)}
    assert {each.number: each.score for each in found.outcomes} == {
        number: each.values.get("learning_rate", 0.5) for number, each in enumerate(given)
    }


@pytest.mark.parametrize(
    "setting", [GOOD, good("lstm", hidden=3, initialisation="orthogonal", learning_rate=2e-2, weight_decay=0.03)]
)
def test_the_best_setting_trains_as_it_was_scored(made, tmp_path, monkeypatch, setting):
    """The TOML file gives a method whose out-of-fold detectors, for a stack, are the search's own: the same figures."""
    name = setting.method
    methods = {"gru": Gru(**QUICK), "lstm": Lstm(**QUICK), "meta": LstmStack(over=(name,), max_epochs=1)}
    base = drawn(monkeypatch, setting, methods=methods, folds=Folds(count=2))
    found = run(made, tmp_path / "search", base)
    write_search(tmp_path / "search", base, found)
    best = tmp_path / "search/best.toml"
    assert best.read_bytes() == (tmp_path / f"search/best-{name}.toml").read_bytes()
    own = load_experiment(best)
    assert own.methods == {**methods, name: setting.apply(methods[name])}
    corpus = Corpus.of({"whole": made})
    plans = planning.plan(own, corpus.videos)
    assert [each.protocol.name for each in plans] == [found.protocol.name]
    fit_methods(own, plans, corpus, tmp_path / "run")
    clips, tasks = search_tasks(own, made)
    # The whole detector scores the validation clips, which are in no fold.
    mask = clips.mask(own.methods[name].inputs()[0])
    scores = FrameScores(tmp_path / f"run/out-of-fold/{name}.f32", 1, mask)
    for fold, task in enumerate(tasks):
        held = scores.of_task(0, task.held)
        means = np.where(mask[task.held], held, 0).sum(1) / mask[task.held].sum(1)
        assert metrics.auc(means, clips.labels[task.held]) == pytest.approx(found.outcomes[0].figures.auc[fold])


def test_a_setting_of_a_regression_reaches_it(made, tmp_path, monkeypatch):
    base = drawn(monkeypatch, mean(0.02))
    found = run(made, tmp_path / "search", base)
    own = space.apply(base, found.protocol, found.outcomes[0].setting)
    assert own.methods == {**METHODS, "mean-feature": MeanFeature(c=0.02)}
    clips, tasks = search_tasks(own, made)
    features, mask = clips.loaded("whole")
    means = np.where(mask[..., None], features, 0).sum(1, dtype=np.float64) / mask.sum(1)[:, None]
    for fold, task in enumerate(tasks):
        model = fit_logistic(means.astype(np.float32)[task.train], clips.labels[task.train], 0.02)
        validation, held = (model.scores(means[part]) for part in (task.validation, task.held))
        tau = metrics.eer_threshold(validation, clips.labels[task.validation])
        expected = metrics.rates(held, clips.labels[task.held], tau).hter
        assert found.outcomes[0].figures.hter[fold] == pytest.approx(expected)


def test_a_learning_rate_that_cannot_learn_ranks_low(made, tmp_path):
    ranges = dataclasses.replace(RANGES, hidden=(3,), learning_rate=(1e-6, 1e-1))
    methods = {"gru": Gru(**QUICK, search=ranges)}
    found = run(made, tmp_path, settings(dataclasses.replace(SMALL, trials=14), methods=methods))
    effects = {each.name: each.effect for each in what_mattered(found.outcomes)}
    assert effects["learning_rate"].clear
    assert effects["learning_rate"].size < -0.5
    assert np.median([each.setting.values["learning_rate"] for each in found.outcomes[:4]]) > 1e-3
    assert np.median([each.setting.values["learning_rate"] for each in found.outcomes[-4:]]) < 1e-4


@pytest.mark.parametrize(("ordered", "best"), [(True, "gru"), (False, "mean-feature")])
def test_the_method_that_fits_the_data_wins(made, tmp_path, monkeypatch, ordered, best):
    """Where only the order of the frames tells the classes apart, a mean cannot; where it says nothing, it suffices."""
    opened = Corpus.open

    def planted(*given):
        clips = opened(*given)
        rng = np.random.default_rng(0)
        sign = 2 * clips.labels[:, None, None] - 1
        features = rng.normal(size=(len(sign), 4, stores.DIMENSION))
        features += 2 * sign * np.sign(np.arange(4) - 1.5)[:, None] if ordered else 0.7 * sign
        return clips.with_features("whole", features.astype(np.float32), np.ones((len(sign), 4), bool))

    monkeypatch.setattr(Corpus, "open", planted)
    rates = (1e-2,) if ordered else (1e-6, 1e-5)
    given = [good(learning_rate=rate) for rate in rates]
    given += [mean(c) for c in (0.01, 1.0)]
    found = run(made, tmp_path, drawn(monkeypatch, *given))
    assert found.outcomes[0].setting.method == best
    means = [each.score for each in found.outcomes if each.setting.method == "mean-feature"]
    assert min(means) > 0.3 if ordered else min(means) < 0.15
    assert found.outcomes[0].score < 0.1


def test_trials_whose_loss_is_not_finite_are_shown_last(made, tmp_path, monkeypatch):
    """One that shares its program with a good one, and one that has a program of its own."""
    broken = good(learning_rate=1e3, weight_decay=1e6)
    alone = Setting("lstm", broken.values)
    base = drawn(monkeypatch, alone, broken, GOOD, methods={**METHODS, "lstm": Lstm(**QUICK)})
    found = run(made, tmp_path, base)
    assert [each.number for each in found.outcomes] == [2, 0, 1]
    text = write_search(tmp_path, base, found)
    assert "2 of 3 trials failed" in text
    rows = list(csv.reader((tmp_path / "trials.csv").read_text().splitlines()))
    place = rows[0].index("HTER")
    assert [row[place] for row in rows[2:]] == ["failed", "failed"]
    assert "loss was no longer finite in epoch" in rows[-1][-1]
    table = json.loads((tmp_path / "trials.json").read_text())
    assert [each["failed"] for each in table["trials"]] == [False, True, True]
    assert table["trials"][-1]["hter"] is None
    assert {path.name for path in tmp_path.glob("best*")} == {"best.toml", "best-gru.toml"}
    assert_same(found, run(made, tmp_path, base))


def test_a_search_in_which_all_fail_is_shown_too(made, tmp_path, monkeypatch):
    base = drawn(monkeypatch, good(learning_rate=1e3, weight_decay=1e6))
    found = run(made, tmp_path, base)
    assert "1 of 1 trials failed" in write_search(tmp_path, base, found)
    assert (tmp_path / "mattered.png").exists()
    assert not list(tmp_path.glob("best*"))


def test_a_fold_without_a_class_is_undefined_and_said(made, tmp_path, monkeypatch):
    def folds(videos, rows, count, *_, **__):
        """All attacks in fold 0."""
        found = np.arange(len(rows)) % count
        return np.where([videos[i].label for i in rows], found, 0)

    monkeypatch.setattr(planning, "subject_folds", folds)
    base = drawn(monkeypatch, mean(1.0))
    monkeypatch.setattr(MeanFeature, "fit", classmethod(lambda kind, jobs, *_: [Constant(job.method) for job in jobs]))
    found = run(made, tmp_path, base)
    (outcome,) = found.outcomes
    assert np.isnan(outcome.figures.hter).tolist() == [False, True]
    assert outcome.score == outcome.figures.hter[0] == 0.5
    text = write_search(tmp_path, base, found)
    assert "seed 0 fold 2/2 holds no attack video" in text
    assert "| undefined |" in text

    monkeypatch.setattr(
        planning, "subject_folds", lambda videos, rows, *_, **__: np.array([videos[i].label for i in rows])
    )
    with pytest.raises(UserError, match="no fold can be scored"):
        run(made, tmp_path / "none", base)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A detector that says nothing, and decides nothing where `silent`."""

    method: Method
    silent: bool = False
    params = about = {}  # noqa: RUF012

    def score(self, batch):
        if self.silent:
            return Scores.none(len(batch), "silent")
        return Scores(np.full(len(batch), 0.5))

    def apply(self):
        return None


def test_a_setting_that_decides_nothing_has_failed(made, tmp_path, monkeypatch):
    base = drawn(monkeypatch, mean(1.0))
    silent = classmethod(lambda kind, jobs, *_: [Constant(job.method, True) for job in jobs])
    monkeypatch.setattr(MeanFeature, "fit", silent)
    (outcome,) = run(made, tmp_path, base).outcomes
    assert outcome.failed
    assert np.isnan(outcome.score)


def test_everything_is_written_and_twice_the_same(made, plain, tmp_path, monkeypatch):
    own = dataclasses.replace(settings(), runs=str(tmp_path / "runs"))
    corpus = Corpus.of({"whole": made})
    plans = planning.plan(own, corpus.videos)
    seconds = Seconds(tmp_path)
    opened = stage.stages.Opened(own, tmp_path / "run", seconds, corpus, plans)
    monkeypatch.setattr(stage.stages, "check", lambda *_: (plain.protocol,))
    monkeypatch.setattr(stage.stages, "open_checked", lambda *_: opened)
    (folder,) = stage.search(own)
    assert folder == tmp_path / "run/search" / plain.protocol.name
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"search.md", "trials.csv", "trials.json", "mattered.png", "best.toml"} < set(files)
    assert files["mattered.png"][:4] == b"\x89PNG"
    assert len(files["trials.csv"].splitlines()) == SMALL.trials + 1
    stage.search(own)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    table = json.loads(files["trials.json"])
    scores = [each["hter"] for each in table["trials"]]
    assert scores == sorted(scores)
    assert [each["trial"] for each in table["trials"]] == [each.number for each in plain.outcomes]
    assert [each["settings"] for each in table["trials"]] == [dict(each.setting.values) for each in plain.outcomes]
    grid = trial_table(plain.outcomes, np.nan)
    assert grid.rows[0][grid.header.index("HTER")] == f"{100 * scores[0]:.2f}"
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
