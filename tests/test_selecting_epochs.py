"""Which epoch is kept: who has a say in it under each name, and that the choice is what was asked for."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree
from fas_jax.base.settings import Evaluation, Execution
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.experiment import planning, scoring
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted, cross_source_folder, fit_methods
from fas_jax.experiment.selection import Quality, _weak, best_epoch, check_selection, fit_selected
from fas_jax.features.frame_scores import FrameScores
from fas_jax.methods.finetune import Finetune
from fas_jax.methods.heads import HeadMethod
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.recurrent import Gru
from fas_jax.methods.stack import LstmStack
from fas_jax.protocols.presets import make_protocol
from fas_jax.protocols.subjects import number_people
from fas_jax.reporting.extra_tables import read_extra_tables
from fas_jax.training.snapshots import read_snapshots
from tests import stores

# Whole runs and many processes: too long for the default suite.
pytestmark = pytest.mark.slow

QUICK = {
    "learning_rate": 2e-2, "batch_size": 16, "max_epochs": 8, "validate_every": 2, "patience": 8, "monitor": "loss"
}  # fmt: skip
METHODS = {
    "small": Gru(hidden=4, **QUICK),
    "over": LstmStack(over=("small",), hidden=3, **QUICK),
    "mean": MeanFeature(),
}
SOURCES = ("synth-C", "synth-I")


def settings(selection, methods=("small", "over", "mean"), **evaluation):
    own = {"targets": ("M",), **evaluation}
    return stores.experiment(
        methods={name: METHODS[name] for name in methods},
        evaluation=Evaluation(selection=selection, **own),
        training=Execution(events=False),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Sources that pull apart, and a target."""
    place = tmp_path_factory.mktemp("made")
    return [stores.make_store(place, f"synth-{name}", shift) for name, shift in (("M", 0.3), ("C", 1.0), ("I", 0.2))]


def fit(made, folder, experiment):
    corpus = Corpus.of({"whole": made})
    plans = planning.plan(experiment, corpus.videos)
    return corpus, plans, fit_selected(experiment, plans, corpus, folder)


def spied(monkeypatch):
    """All rows of the corpus that are opened from now on."""
    opened = []
    really = Corpus.open

    def noted(self, numbers=None):
        found = really(self, numbers)
        opened.append(found.numbers)
        return found

    monkeypatch.setattr(Corpus, "open", noted)
    return opened


epochs = st.integers(1, 8)
shares = st.integers(0, 20).map(lambda count: count / 20)
qualities = st.dictionaries(epochs, st.builds(Quality, shares, shares), min_size=1)


@given(st.lists(epochs, min_size=1, unique=True).map(sorted), st.dictionaries(st.sampled_from("CIO"), qualities))
def test_the_best_epoch_is_that_of_the_lowest_mean(candidates, judged):
    found = best_epoch(candidates, judged)

    def value(epoch):
        """By other means: a training that has ended stays as it is."""
        reached = []
        for own in judged.values():
            now = None
            for step in range(1, epoch + 1):
                now = own.get(step, now)
            reached.append(now)
        if not reached or None in reached:
            return None
        return [np.round(np.mean([getattr(each, name) for each in reached]), 9) for name in ("hter", "auc")]

    able = {epoch: value(epoch) for epoch in candidates if value(epoch) is not None}
    if not able:
        assert found is None
        return
    assert able[found][0] == min(each[0] for each in able.values())
    rivals = [epoch for epoch in able if able[epoch][0] == able[found][0]]
    assert able[found][1] == max(able[epoch][1] for epoch in rivals)
    assert found == min(epoch for epoch in rivals if able[epoch] == able[found])


@given(st.lists(epochs, min_size=1, unique=True).map(sorted), qualities)
def test_one_judge_that_knows_nothing_keeps_an_epoch_from_being_chosen(candidates, own):
    assert best_epoch(candidates, {"C": own, "I": {}}) is None
    assert best_epoch(candidates, {"C": {each: Quality(np.nan, np.nan) for each in own}}) is None


@pytest.fixture(scope="module")
def left_out(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("left-out")
    with pytest.MonkeyPatch.context() as patch:
        opened = spied(patch)
        found = fit(made, folder, settings("leave-one-source-out"))
    return folder, *found, np.unique(np.concatenate(opened))


def test_the_target_is_not_opened(left_out):
    _, corpus, plans, _, opened = left_out
    assert set(corpus.videos.dataset[opened]) == set(SOURCES)
    assert not set(opened) & set(plans[0].assignment.test)


def test_the_epoch_that_is_kept_is_the_best_on_sources_that_the_judges_have_not_seen(left_out, made, tmp_path):
    """Found again by hand: each source left out, every snapshot scored on it, the lowest mean taken."""
    folder, corpus, (plan,), fitted, _ = left_out
    experiment = settings("training-domain", ("small",))
    kept = dataclasses.replace(experiment, training=Execution(events=False, snapshots=True))
    inner = [each for _, each in planning.cross_source_plans([plan], corpus.videos)]
    fit_methods(kept, inner, corpus, tmp_path / "inner")
    final = fit_methods(kept, [plan], corpus, tmp_path / "outer")
    errors: dict[int, list[float]] = {}
    for snapshot in read_snapshots(tmp_path / "inner", "small"):
        for row, name in enumerate(snapshot.runs):
            own = next(each for each in inner if each.name == name)
            params = jax.tree.map(lambda leaf, row=row: leaf[row], snapshot.params)
            detector = METHODS["small"].rebuild(params, {"width": stores.DIMENSION})
            scores = scoring.score(kept, [own], corpus, Fitted({"small": [detector]}))
            validation, test = scores.select(role=VALIDATION), scores.select(role=TEST)
            assert set(test.dataset).isdisjoint(validation.dataset)
            tau = metrics.eer_threshold(validation.score, validation.label)
            errors.setdefault(snapshot.epoch, []).append(metrics.rates(test.score, test.label, tau).hter)
    means = {epoch: np.mean(each) for epoch, each in errors.items()}
    assert all(len(each) == len(SOURCES) for each in errors.values())
    (chosen,) = (each for each in json.loads((folder / "selection.json").read_text()) if each["method"] == "small")
    assert means[chosen["epoch"]] == pytest.approx(min(means.values()), abs=1e-9)
    assert sorted(chosen["hter"].values()) == pytest.approx(sorted(errors[chosen["epoch"]]), abs=1e-9)
    (snapshot,) = (each for each in read_snapshots(tmp_path / "outer", "small") if each.epoch == chosen["epoch"])
    mine, theirs = (jax.tree.leaves(each) for each in (fitted.detectors["small"][0].params, snapshot.params))
    for one, other in zip(mine, theirs, strict=True):
        # Beside other runs, sums may be rounded otherwise.
        np.testing.assert_allclose(one, other[0], rtol=0, atol=1e-4)
    assert final.detectors["small"]


def test_no_source_has_a_say_in_the_detectors_that_judge_it(made, left_out, tmp_path):
    """They stay as they are when that source's videos are others, and so do they alone."""
    folder, corpus, (plan,), _, _ = left_out
    (other,) = [stores.make_store(tmp_path, "synth-C", shift=-2.0, seed=7)]
    changed = Corpus.of({"whole": [other if each.provenance["dataset"] == "synth-C" else each for each in made]})
    experiment = settings("leave-one-source-out", ("small", "over"))
    fit_selected(experiment, planning.plan(experiment, changed.videos), changed, tmp_path / "run")

    def judges(place, method):
        found = {}
        for path in (cross_source_folder(place) / "detectors" / method).glob("*.safetensors"):
            found["C" if "without synth-C" in path.name else "I"] = path
        return found

    for method in ("small", "over"):
        before, after = judges(folder, method), judges(tmp_path / "run", method)
        assert set(before) == set(after) == {"C", "I"}

        def distance(name, before=before, after=after):
            ours, theirs = (jax.tree.leaves(load_tree(each[name])[0]) for each in (before, after))
            return max(np.abs(one - two).max() for one, two in zip(ours, theirs, strict=True))

        # Other lengths of clips are other programs, which round otherwise.
        assert distance("C") < 1e-5
        assert distance("I") > 1e-3


def test_folds_of_stacks_are_the_sources(left_out, made, tmp_path, monkeypatch):
    jobs = []
    really = HeadMethod.fit.__func__

    def noted(cls, own, clips, desk):
        jobs.extend((job.task, clips.videos) for job in own if cls is Gru)
        return really(cls, own, clips, desk)

    monkeypatch.setattr(HeadMethod, "fit", classmethod(noted))
    experiment = settings("leave-one-source-out")
    corpus = Corpus.of({"whole": made})
    fit_methods(experiment, planning.plan(experiment, corpus.videos), corpus, tmp_path)
    whole, *folds = [task for task, _ in jobs]
    videos = jobs[0][1]
    assert [task.part for task in folds] == [f"without {name}" for name in SOURCES]
    for task, name in zip(folds, SOURCES, strict=True):
        assert set(videos.dataset[task.held]) == {name}
        assert name not in set(videos.dataset[task.train]) | set(videos.dataset[task.validation])
    # Every training clip has one score out of fold.
    assert sorted(np.concatenate([task.held for task in folds])) == sorted(whole.train)


def test_the_report_gets_the_choice_and_its_cost(left_out, capsys):
    folder, *_ = left_out
    (table,) = read_extra_tables(folder)
    assert table.title == "Epochs by leave-one-source-out"
    assert "It cost 2 further fittings" in table.text
    assert [row[2] for row in table.grid.rows] == ["small", "over"]
    assert not (folder / "snapshots").exists()
    assert not (cross_source_folder(folder) / "snapshots").exists()


def test_what_is_fitted_is_read_again(left_out, made, monkeypatch):
    folder, _, _, fitted, _ = left_out
    monkeypatch.setattr(HeadMethod, "fit", classmethod(lambda *_: pytest.fail("trained")))
    _, _, again = fit(made, folder, settings("leave-one-source-out"))
    for name in ("small", "over"):
        ours, theirs = (jax.tree.leaves(each.detectors[name][0].params) for each in (fitted, again))
        assert all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_one_source_falls_back_and_says_so(made, tmp_path, capsys):
    experiment = settings("leave-one-source-out", ("small",), protocols=("synth-C_to_synth-M",))
    corpus, plans, found = fit(made, tmp_path / "one", experiment)
    usual = fit_methods(settings("training-domain", ("small",)), plans, corpus, tmp_path / "usual")
    for one, two in zip(*(jax.tree.leaves(each.detectors["small"][0].params) for each in (found, usual)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert "1 with one source fall back to training-domain" in capsys.readouterr().out
    (table,) = read_extra_tables(tmp_path / "one")
    assert "It has one source, so that training-domain chose." in table.text


def test_weak_judges_are_named(tmp_path, made):
    few = stores.make_store(tmp_path, "synth-I")
    videos = Corpus.of({"whole": [few]}).videos
    people = number_people(videos)
    three = np.flatnonzero(people < 3)
    assert _weak("I", videos, people, three) == ["I has only 3 subjects: what it says of an epoch is close to chance."]
    attacks = np.flatnonzero(videos.label == 0)
    (note,) = _weak("I", videos, people, attacks)
    assert "holds no bona fide video" in note
    assert _weak("I", videos, people, np.arange(len(videos))) == []


def test_the_oracle_keeps_the_best_epoch_on_the_target(made, tmp_path, monkeypatch):
    experiment = settings("oracle", ("small", "over"))
    opened = spied(monkeypatch)
    corpus, (plan,), fitted = fit(made, tmp_path / "oracle", experiment)
    assert set(plan.assignment.test) <= set(np.concatenate(opened))
    chosen = json.loads((tmp_path / "oracle" / "selection.json").read_text())
    scores = scoring.score(experiment, [plan], corpus, fitted)
    for row in chosen:
        own = scores.select(model=row["method"])
        validation, test = own.select(role=VALIDATION), own.select(role=TEST)
        tau = metrics.eer_threshold(validation.score, validation.label)
        (claimed,) = row["hter"].values()
        assert metrics.rates(test.score, test.label, tau).hter == pytest.approx(claimed, abs=1e-9)
    (table,) = read_extra_tables(tmp_path / "oracle")
    assert table.title == "Epochs chosen on the target (oracle)"
    assert table.text.startswith("ORACLE")
    usual = scoring.score(
        experiment,
        [plan],
        corpus,
        fit_methods(settings("training-domain", ("small", "over")), [plan], corpus, tmp_path / "usual"),
    )
    own = usual.select(model="small")
    tau = metrics.eer_threshold(own.select(role=VALIDATION).score, own.select(role=VALIDATION).label)
    honest = metrics.rates(own.select(role=TEST).score, own.select(role=TEST).label, tau).hter
    assert honest >= next(iter(chosen[0]["hter"].values())) - 1e-9


def test_methods_that_read_frames_have_no_shifted_validation():
    experiment = Experiment(methods={"tuned": Finetune()}, evaluation=Evaluation(threshold_from="shifted-validation"))
    with pytest.raises(UserError, match="tuned reads frames"):
        check_selection(experiment, [make_protocol("strict", "OCI", "M")])


def test_a_preset_that_chooses_on_the_target_is_refused():
    protocol = make_protocol("ssdg2020", "OCI", "M")
    check_selection(settings("training-domain"), [protocol])
    with pytest.raises(UserError, match="ssdg2020 chooses epochs on the target"):
        check_selection(settings("oracle"), [protocol])


def test_frame_scores_are_whole(left_out):
    """What a stack trains on is known for every training clip."""
    folder, corpus, (plan,), _, _ = left_out
    path = folder / "out-of-fold" / "small.f32"
    about = json.loads(path.with_suffix(".json").read_text())
    clips = corpus.open(np.concatenate([plan.assignment.train, plan.assignment.validation]))
    mask = clips.features("whole")[1]
    scores = FrameScores(path, 1, mask).of_task(0, np.arange(len(clips)))
    assert about["failed"] == []
    assert np.all(scores[mask] > 0)
