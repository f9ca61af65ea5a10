"""The method `quality` and its boosted trees."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from fas_jax.base.errors import UserError
from fas_jax.base.parameters import load_tree, save_tree
from fas_jax.base.record import Video
from fas_jax.base.settings import Execution
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Desk, Failed, Job
from fas_jax.methods.data import Batch, Task
from fas_jax.methods.inputs import Input
from fas_jax.methods.quality import Quality
from fas_jax.methods.quality_fitting import QualityDetector
from fas_jax.methods.quality_settings import CLASSIFIERS
from fas_jax.models.boosted_trees import fit_trees, tree_logits
from tests.stores import clip_info

ITEM = Input("features", "native")
METHOD = Quality(trees=8, c=1.0)


def made_clips(count: int = 240, width: int = 5, sources: str = "AB") -> CorpusClips:
    """Bona fide clips lie between two PAI species in measure 0; measure 1 tells the dataset alone."""
    rng = np.random.default_rng(3)
    videos, middle = [], []
    for row in range(count):
        kind = ("bonafide", "print", "replay")[row % 3]
        dataset = sources[row % len(sources)]
        videos.append(Video(f"{row}", dataset, f"{dataset}{row}", "train", int(row % 3 == 0), kind, kind, "", ""))
        middle.append([(0, -3, 3)[row % 3], 9 * sources.index(dataset), 0, 0, 0])
    features = np.asarray(middle, np.float32)[:, None, :width] + rng.normal(size=(count, 3, width)).astype(np.float32)
    features[:, :, 4] = np.nan  # a measure that is never defined
    features[::7, 0, 2] = np.nan  # one that some frames do not define
    mask = np.ones((count, 3), bool)
    mask[1::2, 2] = False
    infos = [clip_info(3 - row % 2) for row in range(count)]
    return CorpusClips(VideoTable.of(videos), np.arange(count), lambda _: ClipFeatures(features, mask, infos))


def fitted(method: Quality, clips: CorpusClips) -> QualityDetector:
    task = Task(0, "task", "A_to_B", 0, "whole", np.arange(180), np.arange(180, 240), np.arange(180, 240))
    (found,) = Quality.fit([Job(method, task)], clips, Desk("quality", Execution()))
    assert isinstance(found, QualityDetector)
    return found


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_scores_are_the_same_bits_after_storing(classifier, tmp_path):
    clips = made_clips()
    detector = fitted(replace(METHOD, classifier=classifier), clips)
    batch = clips.read(np.arange(240), [ITEM])
    save_tree(tmp_path / "d.safetensors", dict(detector.params), {"about": detector.about})
    params, about = load_tree(tmp_path / "d.safetensors")
    again = detector.method.rebuild(params, about["about"])
    found = detector.score(batch)
    np.testing.assert_array_equal(again.score(batch).logit, found.logit)
    # Two species on both sides: no line divides them, trees and one line for each species do.
    right = ((found.clip >= 0.5) == (clips.labels == 1))[180:].mean()
    assert right > 0.85 if classifier != "logistic" else right < 0.75


def test_what_is_chosen_is_best_on_sources_that_it_has_not_seen():
    detector = fitted(METHOD, made_clips())
    assert set(detector.about["auc"]) == set(CLASSIFIERS)
    assert detector.about["classifier"] == max(detector.about["auc"], key=detector.about["auc"].get) != "logistic"
    assert detector.about["auc"]["species"] > 0.9 > 0.7 > detector.about["auc"]["logistic"]


def test_with_one_source_validation_chooses():
    assert fitted(METHOD, made_clips(sources="A")).about["classifier"] != "logistic"


def test_a_class_without_clips_fails():
    clips = made_clips()
    task = Task(0, "task", "A_to_B", 0, "whole", np.arange(0, 180, 3), np.arange(3), np.arange(3))
    (found,) = Quality.fit([Job(METHOD, task)], clips, Desk("quality", Execution()))
    assert isinstance(found, Failed)


def test_a_clip_of_flat_frames_has_no_decision():
    detector = fitted(replace(METHOD, classifier="species"), made_clips())
    values = np.full((2, 1, 5), np.nan, np.float32)
    values[0, 0, :3] = 0
    found = detector.score(Batch({ITEM: values}, {ITEM: np.ones((2, 1), bool)}))
    assert np.isfinite(found.clip[0])
    assert np.isnan(found.clip[1])
    assert found.reason[1] == "100 % of the measures of its frames are undefined, as of flat frames"


def test_parameters_of_another_classifier_are_refused():
    detector = fitted(replace(METHOD, classifier="trees"), made_clips())
    with pytest.raises(UserError, match="parameters of a quality are not those of logistic"):
        METHOD.rebuild(detector.params, {"classifier": "logistic"})
    with pytest.raises(UserError, match=r"methods\.q\.renditions must name each rendition once"):
        Quality(renditions=("a", "a")).check("q")


def test_trees_are_evaluated_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 6)).round(1)
    labels = ((inputs[:, 0] * inputs[:, 1] + inputs[:, 2]) > 0).astype(int)
    params = fit_trees(inputs, labels, 12, 6, 0.2, 0)
    model = HistGradientBoostingClassifier(
        learning_rate=0.2, max_iter=12, max_leaf_nodes=6, early_stopping=False, random_state=0
    ).fit(inputs, labels)
    others = rng.normal(size=(200, 6)).round(1)
    np.testing.assert_allclose(tree_logits(params, others), model.decision_function(others), rtol=1e-12)
