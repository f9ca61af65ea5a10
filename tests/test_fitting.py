"""Fitting: what it may see, what it keeps, and what it does not do again."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation, Folds
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment import fitting, planning
from fas_jax.experiment.corpus import ClipFeatures, Corpus, CorpusClips
from fas_jax.features.frame_scores import FrameScores
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import Desk, Failed, Job
from fas_jax.methods.data import WHOLE
from fas_jax.methods.heads import HeadMethod
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.recurrent import Lstm
from fas_jax.methods.stack import LstmStack
from fas_jax.protocols.assignment import Assignment
from tests import stores

SMALL = {"batch_size": 16, "max_epochs": 8, "validate_every": 4, "monitor": "loss", "learning_rate": 1e-2}
BELOW = {"lstm": Lstm(hidden=3, **SMALL), "mean-feature": MeanFeature()}
STACK = {"meta": LstmStack(over=("lstm",), hidden=3, **SMALL)}
EXPERIMENT = stores.experiment(methods={**BELOW, **STACK}, evaluation=Evaluation(targets=("M",)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return Corpus.of({"whole": stores.make_stores(tmp_path_factory.mktemp("made"))})


@pytest.fixture
def jobs(monkeypatch):
    """What is fitted, in order: for each call the kind of method and the tasks."""
    found = []

    def spied(kind):
        original = kind.fit.__func__

        def fit(cls, jobs, clips, desk):
            found.append((cls.kind, [job.task for job in jobs]))
            return original(cls, jobs, clips, desk)

        monkeypatch.setattr(kind, "fit", classmethod(fit))

    spied(HeadMethod)
    spied(MeanFeature)
    return found


def fit(corpus, folder, methods, experiment=EXPERIMENT):
    settings = dataclasses.replace(experiment, methods=methods)
    return fitting.fit_methods(settings, planning.plan(settings, corpus.videos), corpus, folder)


def assert_same(one, other, atol=0.0):
    ours, theirs = (jax.tree.leaves(each.params) for each in (one, other))
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_finished_run_takes_further_methods_and_fits_only_those(corpus, tmp_path, jobs):
    """And a stack needs, of the methods that it reads, only the folds; the same detectors as if all came at once."""
    fit(corpus, tmp_path / "one", {"mean-feature": BELOW["mean-feature"]})
    fit(corpus, tmp_path / "one", BELOW)
    assert [(kind, [task.part for task in tasks]) for kind, tasks in jobs] == [
        ("mean-feature", [WHOLE]),
        ("lstm", [WHOLE]),
    ]
    before = files(tmp_path / "one")
    jobs.clear()
    grown = fit(corpus, tmp_path / "one", EXPERIMENT.methods)
    assert [(kind, [task.part for task in tasks]) for kind, tasks in jobs] == [
        ("lstm", ["fold 1/2", "fold 2/2"]),
        ("lstm-stack", [WHOLE]),
    ]
    after = files(tmp_path / "one")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)
    jobs.clear()
    fit(corpus, tmp_path / "one", EXPERIMENT.methods)
    assert not jobs
    assert files(tmp_path / "one") == after

    at_once = fit(corpus, tmp_path / "other", EXPERIMENT.methods)
    for name in EXPERIMENT.methods:
        # With other runs beside them, programs may round sums otherwise.
        assert_same(grown.detectors[name][0], at_once.detectors[name][0], atol=1e-4)


def test_detectors_of_other_settings_or_data_are_refused(corpus, tmp_path):
    fit(corpus, tmp_path, BELOW)
    with pytest.raises(UserError, match=r"method\.hidden: 3 there, 7 now"):
        fit(corpus, tmp_path, {"lstm": Lstm(hidden=7, **SMALL)})
    with pytest.raises(UserError, match=r"fitted otherwise \(data"):
        fit(
            corpus,
            tmp_path,
            BELOW,
            dataclasses.replace(EXPERIMENT, evaluation=Evaluation(targets=("M",), validation_fraction=0.4)),
        )


def test_one_method_may_come_twice_with_other_settings(corpus, tmp_path):
    found = fit(corpus, tmp_path, {"one": MeanFeature(), "two": MeanFeature(c=1e-3)})
    one, two = (found.detectors[name][0].params["weights"] for name in ("one", "two"))
    assert np.linalg.norm(two) < np.linalg.norm(one) / 2


@pytest.mark.slow
def test_a_loss_that_is_no_longer_finite_gives_no_detector(corpus):
    """Beside others that are fitted in the same program, as in a search; of all, it is an error."""
    plans = planning.plan(EXPERIMENT, corpus.videos)
    clips = corpus.open(fitting.source_videos(plans))
    ((task,),) = planning.tasks_of(plans, clips)
    good = BELOW["lstm"]
    broken = dataclasses.replace(good, learning_rate=3e38)
    desk = Desk("lstm", EXPERIMENT.training)
    with pytest.warns(UserWarning, match="lstm: .*CI_to_M"):
        failed, fitted = Lstm.fit([Job(broken, task), Job(good, task)], clips, desk)
    assert isinstance(failed, Failed)
    assert "no longer finite in epoch" in failed.reason
    assert not isinstance(fitted, Failed)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.params))
    with pytest.raises(UserError, match="no longer finite in CI_to_M"):
        Lstm.fit([Job(broken, task)], clips, desk)


@pytest.mark.parametrize("part", [WHOLE, "fold 2/2"])
def test_what_reads_scores_of_a_failed_fitting_has_no_detector_either(corpus, tmp_path, monkeypatch, part):
    """The note that it failed is kept, like a detector; methods that do not read it are fitted."""
    original = HeadMethod.fit.__func__

    def fail(cls, jobs, clips, desk):
        found = original(cls, jobs, clips, desk)
        return [
            Failed("on purpose") if cls is Lstm and job.task.part == part else each
            for job, each in zip(jobs, found, strict=True)
        ]

    monkeypatch.setattr(HeadMethod, "fit", classmethod(fail))
    found = fit(corpus, tmp_path, EXPERIMENT.methods)
    again = fit(corpus, tmp_path, EXPERIMENT.methods)
    for each in (found, again):
        assert isinstance(each.detectors["lstm"][0], Failed) == (part == WHOLE)
        (meta,), (mean,) = each.detectors["meta"], each.detectors["mean-feature"]
        assert isinstance(meta, Failed)
        assert "a method whose scores it reads failed" in meta.reason
        assert not isinstance(mean, Failed)


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


def test_fitting_opens_no_test_video_and_no_store_that_is_no_source(corpus, tmp_path, opened):
    fit(corpus, tmp_path, EXPERIMENT.methods)
    assert {dataset for dataset, _ in opened} == {"synth-C", "synth-I"}
    assert all("test" not in splits for _, splits in opened)


def test_the_target_and_all_test_videos_have_no_say_in_any_detector(corpus, tmp_path):
    """Noise in place of the official test sets, labels too: the same detectors, bit for bit."""
    scrambled = Corpus.of({"whole": stores.make_stores(tmp_path / "stores", scramble=True)})
    one, other = (fit(each, tmp_path / str(n), EXPERIMENT.methods) for n, each in enumerate((corpus, scrambled)))
    for name in EXPERIMENT.methods:
        assert_same(one.detectors[name][0], other.detectors[name][0])


def test_no_fold_holds_a_subject_that_its_detectors_saw(corpus, tmp_path, jobs):
    fit(corpus, tmp_path, EXPERIMENT.methods)
    plans = planning.plan(EXPERIMENT, corpus.videos)
    videos = corpus.open(fitting.source_videos(plans)).videos

    def people(rows):
        return {(video.dataset, video.subject) for video in videos[rows]}

    tasks = next(tasks for kind, tasks in jobs if kind == "lstm")
    (whole,) = (task for task in tasks if task.part == WHOLE)
    folds = [task for task in tasks if task.part != WHOLE]
    assert sorted(np.concatenate([task.held for task in folds])) == sorted(whole.train)
    for task in tasks:
        assert not people(task.train) & people(task.held)
        assert not set(task.train) & set(task.validation)


@pytest.mark.usefixtures("unchecked_types")
def test_out_of_fold_scores_come_from_detectors_that_have_not_seen_the_clip(tmp_path):
    """Random labels that a model can only know by heart: in-sample it does, out of fold it cannot."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    features = rng.normal(size=(120, 3, 40)).astype(np.float32)
    mask = np.ones((120, 3), bool)
    videos = VideoTable.of(
        Video(f"{i:03d}.avi", "X", f"s{i}", "train", int(label), "print", "print", "", "")
        for i, label in enumerate(labels)
    )
    clips = CorpusClips(videos, np.arange(120), lambda rendition: ClipFeatures(features, mask, ()))
    made_up = SimpleNamespace(open=lambda numbers: clips, videos=videos, fingerprints=["made up"])
    protocol = SimpleNamespace(name="heart")
    plan = planning.Plan(protocol, 0, Assignment(protocol, np.arange(80), np.arange(80, 120), np.arange(0)))
    below = Lstm(hidden=6, batch_size=16, max_epochs=40, validate_every=40, patience=99, learning_rate=1e-2)
    settings = stores.experiment(
        methods={"lstm": below, "meta": LstmStack(over=("lstm",), hidden=3, max_epochs=2)}, folds=Folds(count=4)
    )
    fitted = fitting.fit_methods(settings, [plan], made_up, tmp_path)

    stored = FrameScores(tmp_path / "out-of-fold" / "lstm.f32", 1, mask)
    (detector,) = fitted.detectors["lstm"]
    in_sample = detector.score(clips.read(np.arange(120), below.inputs())).frame
    out_of_fold = stored.of_task(0, np.arange(120))
    assert np.mean((in_sample[:80].mean(1) > 0.5) == labels[:80]) > 0.95
    assert 0.3 < np.mean((out_of_fold[:80].mean(1) > 0.5) == labels[:80]) < 0.7
    # Validation clips, which no detector has seen, are scored by the one that is kept.
    np.testing.assert_allclose(out_of_fold[80:], in_sample[80:], atol=1e-6)
