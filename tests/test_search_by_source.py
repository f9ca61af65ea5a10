"""A search whose folds are the sources: each is scored by what has not seen it, and the target is never asked."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation, Search
from fas_jax.evaluation import metrics
from fas_jax.experiment import planning
from fas_jax.experiment.corpus import Corpus
from fas_jax.methods.logistic import MeanFeature
from fas_jax.models.logistic import fit_logistic
from fas_jax.studies.search import crossvalidation, space
from fas_jax.studies.search import run as stage
from fas_jax.studies.search.report import write_search
from fas_jax.studies.search.space import Setting
from tests import stores

VALUES = (0.02, 5.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("stores")
    return [stores.make_store(place, f"synth-{name}", shift) for name, shift in (("M", 0.3), ("C", 1.0), ("I", 0.2))]


def settings(**evaluation):
    return stores.experiment(
        methods={"mean-feature": MeanFeature()},
        evaluation=Evaluation(**{"targets": ("M",), "selection": "leave-one-source-out", **evaluation}),
        search=Search(trials=len(VALUES), folds=2),
    )


def search(made, folder, monkeypatch, own):
    drawn = [Setting("mean-feature", {"c": value}) for value in VALUES]
    monkeypatch.setattr(space, "draw", lambda experiment, names, number: drawn[number])
    corpus = Corpus.of({"whole": made})
    return corpus, crossvalidation.search_protocol(own, planning.plan(own, corpus.videos), corpus, folder)


def test_settings_are_ranked_by_sources_that_their_detectors_have_not_seen(made, tmp_path, monkeypatch, capsys):
    own = settings()
    opened = []
    really = Corpus.open

    def noted(self, numbers=None):
        found = really(self, numbers)
        opened.extend(set(found.videos.dataset))
        return found

    monkeypatch.setattr(Corpus, "open", noted)
    corpus, found = search(made, tmp_path, monkeypatch, own)
    assert set(opened) == {"synth-C", "synth-I"}
    assert found.folds == ("seed 0 without synth-C", "seed 0 without synth-I")
    assert "2 fittings of every setting, one for each source and seed" in capsys.readouterr().out
    (plan,) = planning.plan(own, corpus.videos)
    clips = really(corpus)
    features, mask = clips.loaded("whole")
    means = (np.where(mask[..., None], features, 0).sum(1, dtype=np.float64) / mask.sum(1)[:, None]).astype(np.float32)
    datasets = np.asarray(corpus.videos.dataset)
    train, validation = plan.assignment.train, plan.assignment.validation
    for outcome in found.outcomes:
        for fold, source in enumerate(("synth-C", "synth-I")):
            rows, held = train[datasets[train] != source], train[datasets[train] == source]
            model = fit_logistic(means[rows], clips.labels[rows], outcome.setting.values["c"])
            others = validation[datasets[validation] != source]
            tau = metrics.eer_threshold(model.scores(means[others]), clips.labels[others])
            expected = metrics.rates(model.scores(means[held]), clips.labels[held], tau).hter
            assert outcome.figures.hter[fold] == pytest.approx(expected)
    text = write_search(tmp_path, own, found)
    assert "leave-one-source-out; 2 fittings of each setting" in text
    assert "folds of the sources' training videos" not in text


def test_one_source_falls_back_to_folds_by_subject_and_says_so(made, tmp_path, monkeypatch, capsys):
    own = settings(protocols=("synth-C_to_synth-M",))
    _, found = search(made, tmp_path, monkeypatch, own)
    assert found.folds == ("seed 0 fold 1/2", "seed 0 fold 2/2")
    said = "has one source, so that its folds are cut by subject (training-domain)"
    assert said in capsys.readouterr().out
    assert said in write_search(tmp_path, own, found)


def test_a_search_by_the_oracle_is_refused(tmp_path):
    own = dataclasses.replace(settings(selection="oracle"), runs=str(tmp_path), cache=str(tmp_path / "cache"))
    with pytest.raises(UserError, match="a search must not read; take training-domain or leave-one-source-out"):
        stage.search(own)
    assert not list(tmp_path.iterdir())
