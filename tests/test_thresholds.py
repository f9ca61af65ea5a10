"""The comparison of source thresholds."""

import dataclasses

import numpy as np

from fas_jax.base.record import Video
from fas_jax.evaluation import metrics
from fas_jax.methods.logistic import MeanFeature
from fas_jax.models.logistic import fit_logistic
from fas_jax.studies import thresholds

METHOD = MeanFeature()


def turned(clips, dataset):
    """The same clips, with the labels of one dataset the other way round."""
    videos = [
        dataclasses.replace(each, label=1 - each.label) if each.dataset == dataset else each for each in clips.videos
    ]
    return thresholds.clips_of(videos, clips.features("whole")[0])


def test_the_rules_see_no_target_label():
    clips = thresholds.made_up(0.4, 0)
    honest = thresholds.compare(METHOD, clips, "0", 0.2, 0)
    other = thresholds.compare(METHOD, turned(clips, "0"), "0", 0.2, 0)
    for rule in thresholds.RULES:
        # The same decisions of the same detector: with all labels turned, every wrong one is right.
        assert np.isclose(honest[rule].hter, 1 - other[rule].hter)


def test_a_source_label_does_count():
    clips = thresholds.made_up(0.4, 0)
    honest = thresholds.compare(METHOD, clips, "0", 0.2, 0)
    other = thresholds.compare(METHOD, turned(clips, "1"), "0", 0.2, 0)
    assert all(honest[rule].hter != other[rule].hter for rule in thresholds.RULES)


def test_cross_fitted_scores_are_of_detectors_that_have_not_seen_the_subject():
    """On subjects that are their own giveaway: what training promises, no cross-fitted score does."""
    generator = np.random.default_rng(0)
    count = 60
    features = np.repeat(np.eye(count // 2), 2, axis=0) * 10 + generator.normal(size=(count, 30))
    labels = np.repeat(generator.integers(0, 2, count // 2), 2)
    videos = [
        Video(f"{i}.avi", dataset, f"s{i // 2}", "train", int(label), "", "", "", "")
        for dataset in ("source", "target")
        for i, label in enumerate(labels)
    ]
    clips = thresholds.clips_of(videos, np.concatenate([features, features])[:, None].astype(np.float32))
    assert metrics.auc(fit_logistic(features, labels).scores(features), labels) == 1.0
    found = thresholds.compare(METHOD, clips, "target", 0.2, 0)
    # Judged on the very videos that it trained on: far better than what the cross-fitted scores promised.
    assert found["pooled", "cross-fitted"].source_gap < -0.2


def test_parts_of_a_cut_share_no_subject():
    clips = thresholds.made_up(0.0, 1)
    datasets = np.asarray(clips.videos.dataset)
    subjects = np.array([f"{each.dataset}/{each.subject}" for each in clips.videos])
    held = thresholds._cut(datasets, subjects, 0.2, 3)
    assert not set(subjects[held]) & set(subjects[~held])
    assert {each.split("/")[0] for each in subjects[held]} == set("0123")
    folds = thresholds._folds(datasets, subjects, 3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(clips)))
    assert sum(len(set(subjects[own])) for own in folds) == len(set(subjects))


def test_balanced_rule_weighs_datasets_alike():
    clips = thresholds.made_up(1.0, 3, sizes=(60, 5, 5, 20))
    outcome = thresholds.compare(METHOD, clips, "3", 0.3, 0)
    assert outcome["pooled", "held-out"].hter != outcome["balanced", "held-out"].hter
    table = thresholds.table([outcome, outcome])
    assert [row[0] for row in table.rows] == [" on ".join(rule) for rule in thresholds.RULES]
