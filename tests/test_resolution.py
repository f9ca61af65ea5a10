"""The smallest difference that so few targets can show: against a t-test, and on the page."""

import numpy as np
import pytest
from scipy import stats

from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.resolution import hter_differences, smallest_difference
from fas_jax.reporting.domains import domains_note
from tests.test_reporting import MODELS, table


@pytest.mark.parametrize("targets", [2, 3, 8])
def test_a_difference_just_above_it_is_significant_and_one_below_is_not(targets):
    spread = np.random.default_rng(targets).normal(size=(1, targets))
    spread -= spread.mean()
    least = smallest_difference(spread)
    for factor, significant in ((1.001, True), (0.999, False)):
        assert (stats.ttest_1samp(spread[0] + factor * least, 0).pvalue < 0.05) == significant


def test_it_is_of_the_typical_pair_and_undefined_without_two_targets():
    several = np.array([[0.0, 0.0], [0.1, -0.1], [0.4, -0.4], [np.nan, 0.5]])
    assert smallest_difference(several) == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert np.isnan(smallest_difference(np.zeros((3, 1))))
    assert np.isnan(smallest_difference(np.full((2, 2), np.nan)))


def test_the_page_names_it():
    results = evaluate(table("", protocols=("OCI_to_M", "OMI_to_C"), subjects=5))
    differences = hter_differences(results)
    assert differences.shape == (len(MODELS) * (len(MODELS) - 1) // 2, 2)
    first, second = (results.summary("OCI_to_M", model) for model in results.models[:2])
    assert differences[0, results.protocols.index("OCI_to_M")] == first.mean["hter"] - second.mean["hter"]
    least = 100 * smallest_difference(differences)
    said = domains_note(results)
    assert (f"would have to exceed about {least:.2g} points" in said) or (least > 100 and "no difference of" in said)
    assert "95 % t-interval over the targets" in said
