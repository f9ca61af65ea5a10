"""Orders and weights under imbalance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.training.sampling import batched, class_weights, epoch_order

BALANCES = ("none", "sampling", "weights", "both")


def labels_of(attacks: int, bona_fide: int) -> np.ndarray:
    return np.array([0] * attacks + [1] * bona_fide)


@pytest.mark.parametrize("balance", ["sampling", "weights", "both"])
@pytest.mark.parametrize("counts", [(1000, 1), (40, 10), (3, 900)])
def test_classes_weigh_the_same_over_an_epoch_and_a_clip_one_on_average(balance, counts):
    labels = labels_of(*counts)
    order = epoch_order(np.arange(len(labels)), labels, 0, 0, balance)
    weights = class_weights(labels, balance)[labels[order]]
    share = weights[labels[order] == 1].sum() / weights.sum()
    # One clip more or less of the rare class is all that rounding may do.
    rare = np.bincount(labels[order]).min()
    assert abs(share - 0.5) <= 0.5 / rare
    assert abs(weights.mean() - 1) <= 1 / rare


def test_both_divides_the_work_evenly():
    """1 in 1000: of the factor 1000, draws take a root and weights the other."""
    labels = labels_of(1000, 1)
    draws = np.bincount(labels[epoch_order(np.arange(1001), labels, 0, 0, "both")])
    weights = class_weights(labels, "both")
    assert draws[0] / draws[1] == pytest.approx(1000**0.5, rel=0.05)
    assert weights[1] / weights[0] == pytest.approx(1000**0.5, rel=1e-6)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5), st.sampled_from(["none", "weights"]))
def test_unbalanced_draws_see_every_clip_once(attacks, bona_fide, epoch, balance):
    labels = labels_of(attacks, bona_fide)
    order = epoch_order(np.arange(len(labels)), labels, 3, epoch, balance)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(labels)))


def test_all_clips_of_the_frequent_class_take_their_turn():
    """In each epoch half as many draws of either class; after n epochs no clip was seen twice more than another."""
    labels = labels_of(90, 10)
    seen = np.zeros(100, int)
    for epoch in range(18):
        seen += np.bincount(epoch_order(np.arange(100), labels, 7, epoch, "sampling"), minlength=100)
    assert np.ptp(seen[:90]) <= 1
    assert np.ptp(seen[90:]) <= 1


@pytest.mark.parametrize("balance", BALANCES)
def test_orders_are_functions_of_seed_and_epoch(balance):
    labels = labels_of(50, 20)
    rows = np.arange(100, 170)
    one = epoch_order(rows, labels, 1, 4, balance)
    np.testing.assert_array_equal(one, epoch_order(rows, labels, 1, 4, balance))
    assert (one != epoch_order(rows, labels, 1, 5, balance)).any()
    assert (one != epoch_order(rows, labels, 2, 4, balance)).any()


def test_batches_hold_every_row_once():
    found = batched([np.arange(10), np.arange(5)], 4, 3)
    assert found.shape == (3, 2, 3, 2)
    for run, rows in enumerate((10, 5)):
        own = found[:, run]
        np.testing.assert_array_equal(np.sort(own[own >= 0]), np.arange(rows))
        # A batch's rows lie on all devices together.
        assert sorted(own[:, 0][own[:, 0] >= 0]) == [0, 1, 2, 3]
