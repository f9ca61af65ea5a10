"""Bootstrap over subjects against one written plainly, coverage, and the exact bounds."""

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from fas_jax.evaluation import intervals


def population(generator, subjects=12, spread=1.0):
    whose = np.repeat(np.arange(subjects), 6)
    labels = np.tile([1, 1, 0, 0, 0, 0], subjects)
    # Each subject is easier or harder in each class: a subject's videos are alike.
    ease = generator.normal(0, spread, (subjects, 2))[whose, labels]
    scores = np.round(generator.normal(labels + ease, 1.0), 1)
    return scores, labels, whose


def test_resamples_equal_plain_resampling():
    generator = np.random.default_rng(0)
    scores, labels, whose = population(generator)
    draws = intervals.draw_subjects(12, 40, seed=3)
    assert draws.shape == (40, 12)
    assert (draws.sum(1) == 12).all()
    threshold = 0.6
    hter = intervals.resampled_hter(scores >= threshold, labels, whose, draws)
    auc = intervals.resampled_auc(scores, labels, whose, draws)
    for row, found_hter, found_auc in zip(draws, hter, auc, strict=True):
        # The resample itself: every video as often as its subject was drawn.
        rows = np.repeat(np.arange(len(scores)), row[whose])
        far = np.mean(scores[rows][labels[rows] == 0] >= threshold)
        frr = np.mean(scores[rows][labels[rows] == 1] < threshold)
        assert found_hter == pytest.approx((far + frr) / 2)
        assert found_auc == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


def test_many_subjects_are_taken_in_blocks(monkeypatch):
    scores, labels, whose = population(np.random.default_rng(1), subjects=11)
    draws = intervals.draw_subjects(11, 9, seed=0)
    whole = intervals.resampled_auc(scores, labels, whose, draws)
    monkeypatch.setattr(intervals, "_COLUMNS_AT_ONCE", 4)
    np.testing.assert_allclose(intervals.resampled_auc(scores, labels, whose, draws), whole, rtol=1e-12)


def test_a_resample_without_a_class_is_undefined_and_left_out():
    draws = np.array([[2, 0], [0, 2], [1, 1]])
    scores, labels, whose = np.array([0.9, 0.1]), np.array([1, 0]), np.array([0, 1])
    auc = intervals.resampled_auc(scores, labels, whose, draws)
    np.testing.assert_array_equal(auc, [np.nan, np.nan, 1])
    hter = intervals.resampled_hter(scores >= 0.5, labels, whose, draws)
    np.testing.assert_array_equal(hter, [np.nan, np.nan, 0])
    assert intervals.percentile_interval(auc) == intervals.Interval(1, 1)
    assert np.isnan(intervals.percentile_interval(auc[:2]).low)


def test_intervals_cover_the_truth_and_those_over_videos_do_not():
    generator = np.random.default_rng(2)
    # The truth, from very many subjects.
    scores, labels, _ = population(generator, subjects=40_000, spread=0.8)
    truth = (np.mean(scores[labels == 0] >= 0.5) + np.mean(scores[labels == 1] < 0.5)) / 2
    covered = {"subjects": 0, "videos": 0}
    rounds = 150
    for _ in range(rounds):
        scores, labels, whose = population(generator, subjects=30, spread=0.8)
        for unit, groups in (("subjects", whose), ("videos", np.arange(len(scores)))):
            draws = intervals.draw_subjects(len(np.unique(groups)), 200, seed=0)
            values = intervals.resampled_hter(scores >= 0.5, labels, groups, draws)
            found = intervals.hter_interval(values, intervals.Slack(0, 0))
            covered[unit] += found.low <= truth <= found.high
    assert 0.88 <= covered["subjects"] / rounds <= 0.99
    assert covered["videos"] < 0.85 * rounds


def test_exact_bounds():
    for subjects in (1, 5, 20, 900):
        wanted = beta.ppf(0.975, 1, subjects)  # Clopper-Pearson for no error among them
        assert intervals.zero_error_bound(subjects) == pytest.approx(wanted)
    assert intervals.zero_error_bound(0) == 1
    none = np.zeros(100)
    slack = intervals.hter_slack(0.0, 0.0, 20, 10)
    found = intervals.hter_interval(none, slack)
    assert found.low == 0
    assert found.high == pytest.approx((beta.ppf(0.975, 1, 20) + beta.ppf(0.975, 1, 10)) / 2)
    assert intervals.hter_slack(0.3, 0.2, 20, 10) == intervals.Slack(0, 0)
    assert intervals.hter_slack(1.0, 0.2, 20, 10) == intervals.Slack(intervals.zero_error_bound(20) / 2, 0)
    perfect = intervals.auc_interval(np.ones(100), 1.0, 20, 15)
    assert perfect.high == 1
    assert perfect.low == pytest.approx(1 - beta.ppf(0.975, 1, 15))
    assert intervals.auc_interval(np.zeros(100), 0.0, 20, 20).low == 0


def test_differences_are_paired_and_keep_the_slack():
    values = np.random.default_rng(3).normal(0.3, 0.1, 1000)
    none = intervals.Slack(0, 0)
    found = intervals.difference_interval(values - 0.01, values, none, none)
    assert (found.low, found.high) == (pytest.approx(-0.01), pytest.approx(-0.01))
    found = intervals.difference_interval(values, values, intervals.Slack(0.0, 0.1), intervals.Slack(0.0, 0.02))
    assert (found.low, found.high) == (pytest.approx(-0.02), pytest.approx(0.1))


@pytest.mark.parametrize(("attacks", "bona_fide"), [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_subjects_of_a_class_give_no_interval(attacks, bona_fide):
    undefined = np.full(100, np.nan)
    for auc in (0.0, 0.7, 1.0):
        assert np.isnan(intervals.auc_interval(undefined, auc, attacks, bona_fide).low)
    slack = intervals.hter_slack(0.0, 1.0, attacks, bona_fide)
    for found in (
        intervals.hter_interval(undefined, slack),
        intervals.difference_interval(undefined, undefined, slack, slack),
    ):
        assert np.isnan(found.low)
        assert np.isnan(found.high)
        assert str(found) == ""
