"""Which setting of a search is the best."""

import numpy as np

from fas_jax.studies.search.outcomes import Figures, Outcome
from fas_jax.studies.search.space import Setting


def outcome(number, hter, auc):
    return Outcome(number, Setting("gru", {}), Figures(np.array(hter), np.array(auc), ("",) * len(hter)))


def test_equal_error_rates_are_equal_in_whatever_order_of_folds():
    """As floats, 0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1."""
    rising, falling = outcome(0, [0.1, 0.2, 0.3], [0.9] * 3), outcome(1, [0.3, 0.2, 0.1], [0.8] * 3)
    assert rising.score != falling.score
    assert sorted([falling, rising], key=lambda each: each.order) == [rising, falling]
    first, second = outcome(2, [0.3], [0.7]), outcome(3, [0.3], [0.7])
    assert sorted([second, first], key=lambda each: each.order) == [first, second]
