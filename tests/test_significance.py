"""Sign-flip tests and Holm's correction, against plain counting, published values and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.evaluation import intervals, significance


def test_holm_has_the_values_of_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") and the example of Holm's procedure with ties and a cap.
    np.testing.assert_allclose(significance.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(significance.holm(np.array([0.5, 0.02, 0.02, 0.9])), [1, 0.08, 0.08, 1])
    np.testing.assert_allclose(significance.holm(np.array([0.04])), [0.04])
    # What is undefined counts for none.
    np.testing.assert_allclose(significance.holm(np.array([np.nan, 0.02, 0.03])), [np.nan, 0.04, 0.04])
    assert len(significance.holm(np.zeros(0))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_as_its_steps_do(p_values):
    """Step down: the smallest against level / m, the next against level / (m - 1), and stop at the first that fails."""
    level = 0.05
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    found = significance.holm(np.array(p_values))
    assert {index for index, each in enumerate(found) if each <= level} == rejected
    assert (found >= p_values).all()


def test_few_subjects_are_counted_out():
    differences = np.array([[0.1, 0.2, -0.05, 0.0, 0.3], [0.1, 0.1, 0.1, 0.1, 0.1], [np.nan] * 5])
    found = significance.sign_flip_p(differences, seed=0)
    for row, p in zip(differences[:2], found[:2], strict=True):
        sums = [abs(np.dot(signs, row)) for signs in itertools.product((1, -1), repeat=5)]
        assert p == np.mean([each >= abs(row.sum()) - 1e-9 for each in sums])
    assert found[1] == 2 / 32
    assert np.isnan(found[2])


def test_many_subjects_are_drawn_and_no_p_value_is_zero(monkeypatch):
    differences = np.stack([np.random.default_rng(0).normal(0.3, 1, 14), np.full(14, 1.0)])
    exact = significance.sign_flip_p(differences, seed=0)
    monkeypatch.setattr(significance, "FLIPS", 8000)
    drawn = significance.sign_flip_p(differences, seed=0)
    assert drawn[0] == pytest.approx(exact[0], abs=0.02)
    assert 0 < drawn[1] < 0.002
    monkeypatch.setattr(significance, "_CELLS", 100)
    np.testing.assert_allclose(significance.sign_flip_p(differences, seed=0), drawn, atol=0.01)


def test_subjects_contributions_sum_to_hter():
    generator = np.random.default_rng(1)
    labels, subjects = generator.integers(0, 2, 80), generator.integers(0, 9, 80)
    accepted = generator.random(80) < 0.5
    found = significance.subject_errors(accepted, labels, subjects, 11)
    hter = (accepted[labels == 0].mean() + (~accepted[labels == 1]).mean()) / 2
    assert found.sum() == pytest.approx(hter)
    everybody = np.ones((1, 11), np.int64)
    assert found.sum() == pytest.approx(intervals.resampled_hter(accepted, labels, subjects, everybody)[0])
    assert np.isnan(significance.subject_errors(accepted, np.ones(80, np.int64), subjects, 11)).any()


def test_the_level_is_held_with_few_subjects():
    """Two models that differ by chance: decisions of single subjects are exchanged at random."""
    generator = np.random.default_rng(0)
    # As heavy tails and unequal subjects as they may be, symmetric about zero.
    differences = generator.standard_t(2, (20_000, 8)) * generator.gamma(0.5, 1, (20_000, 8))
    found = significance.sign_flip_p(differences, seed=0)
    for level in (0.01, 0.05, 0.2):
        assert np.mean(found <= level) <= level + 3 * np.sqrt(level / 20_000)
    assert np.mean(found <= 0.05) > 0.03
