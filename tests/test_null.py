"""The study of the null: the truth that it compares with, and what it counts."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.reporting.grid import Strong
from fas_jax.studies import null
from fas_jax.studies.null import Coverage, Population


@pytest.mark.parametrize("separation", [0.0, 1.2])
def test_the_true_rates_are_those_of_a_large_sample(separation):
    population = Population(subjects=4000, videos=2, models=1, separation=separation)
    rows = null.draw_scores(population, np.random.default_rng(0)).select(role=TEST)
    found = metrics.rates(rows.score, rows.label, 0.6).hter
    assert found == pytest.approx(null.true_hter(population, 0.6), abs=0.02)
    assert metrics.auc(rows.score, rows.label) == pytest.approx(null.true_auc(population), abs=0.02)
    # By the normal distribution, written another way.
    far, frr = norm.sf(logit(0.6)), norm.cdf(logit(0.6), loc=separation)
    assert null.true_hter(population, 0.6) == pytest.approx((far + frr) / 2)


def test_random_labels_have_rates_of_a_half_at_every_threshold():
    for threshold in (0.01, 0.5, 0.99):
        assert null.true_hter(Population(), threshold) == pytest.approx(0.5)
    assert null.true_auc(Population()) == pytest.approx(0.5)


@pytest.mark.slow
def test_the_expected_auc_counts_pairs_within_a_subject():
    """With few subjects the pairs of one subject matter, whose common part cancels."""
    population = Population(subjects=4, videos=1, models=1, of_subject=0.8, of_class=0.0, separation=1.0)
    areas = []
    for seed in range(3000):
        rows = null.draw_scores(population, np.random.default_rng(seed)).select(role=TEST)
        areas.append(metrics.auc(rows.score, rows.label))
    assert np.mean(areas) == pytest.approx(null.true_auc(population), abs=4 * np.std(areas) / np.sqrt(len(areas)))
    assert abs(null.true_auc(population) - norm.cdf(1 / np.sqrt(2))) > 0.02


def test_videos_of_a_subject_are_alike_and_those_of_a_class_still_more():
    population = Population(subjects=3000, videos=2, models=1, of_subject=0.2, of_class=0.3)
    rows = null.draw_scores(population, np.random.default_rng(1)).select(role=TEST)
    values = logit(rows.score).reshape(population.subjects, 2, 2)
    assert np.corrcoef(values[:, 0, 0], values[:, 0, 1])[0, 1] == pytest.approx(0.5, abs=0.05)
    assert np.corrcoef(values[:, 0, 0], values[:, 1, 0])[0, 1] == pytest.approx(0.2, abs=0.05)


def test_no_subject_both_sets_the_threshold_and_is_tested():
    table = null.draw_scores(Population(subjects=6), np.random.default_rng(0))
    own, tested = (set(table.select(role=role).subject.tolist()) for role in (VALIDATION, TEST))
    assert (len(own), len(tested)) == (3, 6)
    assert not own & tested


def test_a_count_outside_of_what_is_allowed_is_marked():
    population = Population(models=2)
    good, bad = Coverage(population, 100, 190, 190, 95, 5), Coverage(population, 100, 183, 197, 99, 6)
    marked = [[isinstance(cell, Strong) for cell in row[-4:]] for row in null.table([good, bad]).rows]
    assert marked == [[False] * 4, [True] * 4]
    # Where the models differ in truth, nothing is said about bold.
    apart = Coverage(Population(models=2, separation=1.0), 100, 190, 190, 95, 60)
    assert not isinstance(null.table([apart]).rows[0][-1], Strong)


def test_the_counts_are_those_of_the_tables():
    """Two tables, counted by hand from `evaluate`."""
    population = Population(subjects=6, videos=2, models=2)
    found = null.measure(population, 2, seed=3)
    held = 0
    for repetition in range(2):
        scores = null.draw_scores(population, np.random.default_rng([3, repetition]))
        for each in null.evaluate(scores).figures:
            held += each.hter_interval.low <= 0.5 <= each.hter_interval.high
    assert found.hter == held
    assert 0 <= found.bold <= 2


@pytest.mark.parametrize(
    "population", [Population(subjects=2), Population(models=0), Population(of_subject=0.8), Population(of_class=-0.1)]
)
def test_an_impossible_population_is_refused(population):
    with pytest.raises(UserError):
        null.measure(population, 1, 0)


@pytest.mark.slow
def test_intervals_hold_the_truth_and_bold_stays_away():
    """With 50 subjects. Bounds are wider than the study's by what chance does to 200 tables."""
    found = null.measure(Population(subjects=50, models=2), 200, seed=1)
    assert 0.91 <= found.hter / 400 <= 0.98
    assert 0.91 <= found.auc / 400 <= 0.98
    assert 0.90 <= found.difference / 200 <= 0.99
    assert found.bold / 200 <= 0.10
