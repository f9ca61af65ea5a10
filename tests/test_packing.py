"""Batches without their padding, and runs one by one: the same training by another route."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import devices
from fas_jax.training import steps
from fas_jax.training.sampling import batched, frames_to_compute
from fas_jax.training.steps import Clips, Form, HyperParameters

KINDS = ("lstm", "bilstm", "gru")
LENGTHS = np.array([5, 1, 3, 2, 5, 4, 1, 1, 2])


def clips() -> Clips:
    rng = np.random.default_rng(0)
    mask = np.arange(6) < LENGTHS[:, None]
    values = rng.normal(size=(len(LENGTHS), 6, 7)).astype(np.float32) * mask[..., None]
    return Clips(*map(jnp.asarray, (values, mask, np.arange(len(LENGTHS), dtype=np.int32) % 2)))


def trained(kind: str, form: Form, order: np.ndarray) -> steps.State:
    """Two runs, a step for each of the order's batches."""
    architecture = RecurrentClassifier(kind, 7, 3, "he")  # type: ignore[arg-type]
    state = steps.fresh(architecture.init_each(jax.random.split(jax.random.key(0), 2)))
    hyper = HyperParameters(*map(jnp.asarray, ([0.01, 0.02], [0.1, 0.0], [[1.0, 1.0], [0.5, 1.5]])))
    train = devices.parallel(
        partial(steps.train, architecture, form),
        devices.one_device(),
        (devices.BY_RUN, devices.SAME, devices.BY_RUN, devices.BY_RUN, devices.BY_ROW_AND_RUN),
        devices.BY_RUN,
    )
    return train(state, clips(), hyper, jnp.ones(2, bool), order)


def assert_close(found: steps.State, wanted: steps.State) -> None:
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lstm", "bilstm")), "gru"])
@pytest.mark.slow
@pytest.mark.optimised
def test_leaving_padding_out_changes_no_training(kind):
    order = batched([np.arange(9), np.array([8, 1, 3, 0, 2])], 4, 1)
    plain = trained(kind, Form(False, False), order)
    tight = int(np.where(order >= 0, LENGTHS[order], 0).sum(-1).max())
    for frames in (tight, tight + 3):
        assert_close(trained(kind, Form(False, False, frames=(frames,)), order), plain)
    with pytest.raises(AssertionError):  # a frame too few is noticed here
        assert_close(trained(kind, Form(False, False, frames=(tight - 1,)), order), plain)


@pytest.mark.slow
def test_a_batch_takes_the_first_number_of_frames_that_holds_it():
    order = batched([np.arange(9), np.array([8, 1, 3, 0, 2])], 4, 1)
    counts = np.unique(np.where(order >= 0, LENGTHS[order], 0).sum(-1))
    plain = trained("gru", Form(False, False, True), order)
    usual, most = int(counts[len(counts) // 2]), int(counts[-1])
    assert_close(trained("gru", Form(False, False, True, (usual, most)), order), plain)
    with pytest.raises(AssertionError):  # most batches come to the first, and the longest to the last
        assert_close(trained("gru", Form(False, False, True, (1, usual)), order), plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("same_rows", [False, True])
@pytest.mark.slow
@pytest.mark.optimised
def test_runs_one_by_one_are_the_runs_side_by_side(kind, same_rows):
    rows = [np.arange(9)] if same_rows else [np.arange(9), np.arange(9)[::-1]]
    order = batched(rows, 4, 1)
    beside = Form(False, same_rows)
    architecture = RecurrentClassifier(kind, 7, 3, "he")
    params = architecture.init_each(jax.random.split(jax.random.key(0), 2))
    found = [
        np.asarray(jax.jit(partial(steps.probabilities, architecture, form))(params, clips(), order[0]))
        for form in (beside, beside._replace(one_by_one=True))
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    if not same_rows:
        assert_close(trained(kind, beside._replace(one_by_one=True), order), trained(kind, beside, order))


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    batch=st.integers(1, 8),
    parts=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_there_is_room_for_every_batch(lengths, batch, parts, seed):
    rows = np.random.default_rng(seed).permutation(len(lengths))
    order = batched([rows, rows[: len(rows) // 2 + 1]], batch, parts)
    capacity = frames_to_compute(order, np.array(lengths), 9)
    whole = order.shape[-1] * 9
    needed = max(sum(lengths[i] for i in index if i >= 0) for index in order.reshape(-1, order.shape[-1]))
    assert needed <= (capacity or whole)
    assert capacity < whole
    usual = frames_to_compute(order, np.array(lengths), 9, 0.5)
    held = [
        sum(lengths[i] for i in index if i >= 0) <= (usual or whole) for index in order.reshape(-1, order.shape[-1])
    ]
    assert 2 * sum(held) >= len(held)
    assert (usual or whole) <= (capacity or whole)
    if 8 * needed <= 5 * whole and whole >= 64:
        assert 0 < capacity <= needed + whole / 4
