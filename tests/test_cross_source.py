"""Thresholds from sources that a detector has not seen: who is left out, and that the target has no say."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import CROSS_SOURCE
from fas_jax.experiment import fitting, planning, scoring
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted, cross_source_folder, detector_data, fit_cross_source
from fas_jax.experiment.results import stored_detectors
from tests import stores
from tests.populations import population

FOUR = {"M": (5, 5, 5), "C": (5, 5, 5), "I": (5, 5, 5), "O": (5, 5, 5)}


def settings(**evaluation):
    return stores.experiment(evaluation=dataclasses.replace(Evaluation(), **evaluation))


def test_each_source_is_left_out_once_and_tested_whole():
    videos = VideoTable.of(population(**FOUR))
    plans = planning.plan(settings(targets=("M", "C")), videos)
    inner = planning.cross_source_plans(plans, videos)
    assert [number for number, _ in inner] == [0, 0, 0, 1, 1, 1]
    for number, each in inner:
        outer, own = plans[number].assignment, each.assignment
        target = each.protocol.target
        assert target != plans[number].protocol.target
        assert set(np.asarray(videos.dataset[own.test])) == {target}
        for part in ("train", "validation"):
            kept, whole = getattr(own, part), getattr(outer, part)
            assert set(kept) == {row for row in whole if videos.dataset[row] != target}
        # Nothing of the real target, and every source video once.
        assert set(own.test) | set(own.train) | set(own.validation) == set(outer.train) | set(outer.validation)
        assert not set(own.test) & set(outer.test)


def test_one_source_and_presets_that_choose_on_the_target_have_none():
    videos = VideoTable.of(population(**FOUR))
    for chosen in ({"protocols": ("O_to_M",)}, {"targets": ("M",), "preset": "ssdg2020"}):
        assert planning.cross_source_plans(planning.plan(settings(**chosen), videos), videos) == []


def test_a_source_that_holds_a_class_alone_cannot_be_left_out():
    listed = [each for each in population(**FOUR) if each.dataset in ("M", "O") or each.label == 1]
    videos = VideoTable.of(listed)
    plans = planning.plan(settings(targets=("M",), allow_partial_sources=True), videos)
    with pytest.raises(UserError, match="without O: what is left to train on lacks"):
        planning.cross_source_plans(plans, videos)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stores.make_stores(tmp_path_factory.mktemp("cross"))


def cross_source_scores(experiment, corpus, folder):
    plans = planning.plan(experiment, corpus.videos)
    fit_cross_source(experiment, plans, corpus, folder)
    inner = planning.cross_source_plans(plans, corpus.videos)
    own = [each for _, each in inner]
    known = {"plans": [each.name for each in own], "detectors": detector_data(experiment, own, corpus)}
    fitted = stored_detectors(experiment, cross_source_folder(folder), known)
    assert isinstance(fitted, Fitted)
    return plans, scoring.score_cross_source(experiment, plans, inner, corpus, fitted)


@pytest.mark.parametrize("source", ["validation", "shifted-validation"])
def test_nothing_is_fitted_where_thresholds_come_from_elsewhere(made, tmp_path, source, monkeypatch):
    monkeypatch.setattr(fitting, "fit_methods", lambda *_: pytest.fail("fitted"))
    corpus = Corpus.of({"whole": made})
    experiment = settings(targets=("M",), threshold_from=source)
    fit_cross_source(experiment, planning.plan(experiment, corpus.videos), corpus, tmp_path)


def test_every_source_video_has_one_score_and_the_target_is_not_opened(made, tmp_path, monkeypatch):
    opened = []
    really = Corpus.open

    def noted(self, numbers):
        opened.append(np.asarray(numbers))
        return really(self, numbers)

    monkeypatch.setattr(Corpus, "open", noted)
    experiment = settings(targets=("M",), threshold_from="leave-one-source-out")
    experiment = dataclasses.replace(
        experiment, methods={name: experiment.methods[name] for name in ("mean-feature", "gru")}
    )
    corpus = Corpus.of({"whole": made})
    plans, scores = cross_source_scores(experiment, corpus, tmp_path / "all")
    (plan,) = plans
    rows = np.concatenate([plan.assignment.train, plan.assignment.validation])
    wanted = sorted((corpus.videos.dataset[row], corpus.videos.path[row]) for row in rows)
    for model in ("mean-feature", "gru"):
        mine = scores.select(model=model)
        assert set(mine.role) == {CROSS_SOURCE}
        assert set(mine.protocol) == {plan.protocol.name}
        assert sorted(zip(mine.dataset.tolist(), mine.video.tolist(), strict=True)) == wanted
    assert opened
    assert "synth-M" not in {corpus.videos.dataset[row] for rows in opened for row in rows.tolist()}
