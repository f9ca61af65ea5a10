"""The meta-learner's inputs in a file, in memory, and streamed are the same numbers."""

import errno
import os
from dataclasses import replace

import jax
import numpy as np
import pytest
from fas_jax.methods.stacked_inputs import StackedInputs
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Training
from fas_jax.methods import stacked_inputs
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.training import chunks as waves
from fas_jax.training import fitting, program, streaming
from fas_jax.training.fitting import Clips, Run

SHAPE = RUNS, CLIPS, FRAMES, WIDTH = 3, 40, 4, 6


@given(data=st.data())
def test_what_is_added_is_there_and_nothing_else(tmp_path_factory, data):
    additions = data.draw(
        st.lists(
            st.tuples(st.integers(0, RUNS - 1), st.lists(st.integers(0, CLIPS - 1), unique=True), st.integers(0, 4))
        )
    )
    rows = np.array(data.draw(st.lists(st.integers(0, CLIPS - 1))), int)
    runs = np.array(data.draw(st.lists(st.integers(0, RUNS - 1), min_size=1)), int)
    expected = np.zeros(SHAPE, np.float32)
    folder = tmp_path_factory.mktemp("scratch")
    with StackedInputs.scratch(SHAPE, folder) as inputs:
        for number, (run, own, column) in enumerate(additions):
            scores = np.random.default_rng(number).uniform(size=(len(own), FRAMES)).astype(np.float32)
            inputs.add(run, np.array(own, int), column, scores)
            for row, values in zip(own, scores, strict=True):
                expected[run, row, :, column] += 1 - values
                expected[run, row, :, column + 1] += values
        assert inputs.shape == SHAPE
        np.testing.assert_array_equal(inputs[rows], expected[:, rows])
        some = inputs.of_runs(runs)
        assert some.shape == (len(runs), *SHAPE[1:])
        np.testing.assert_array_equal(some[rows], expected[runs][:, rows])
        np.testing.assert_array_equal(some.of_runs(np.array([-1]))[rows], expected[runs[-1:]][:, rows])
    assert not list(folder.iterdir())


def test_a_full_disk_is_told_before_anything_is_trained(tmp_path):
    with (
        pytest.raises(UserError, match=r"no room for .* MB.*meta-learner.*(space|large)"),
        StackedInputs.scratch((1, 1 << 50, 1, 1), tmp_path),
    ):
        pass


def test_a_file_system_that_cannot_claim_room_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with StackedInputs.scratch(SHAPE, tmp_path) as inputs:
        assert not inputs[np.arange(CLIPS)].any()


def test_blocks_of_any_size_write_the_same(tmp_path, monkeypatch):
    scores = np.random.default_rng(0).uniform(size=(CLIPS, FRAMES)).astype(np.float32)
    found = []
    for block in (1, 7, CLIPS):
        monkeypatch.setattr(stacked_inputs, "_BLOCK", block)
        with StackedInputs.scratch(SHAPE, tmp_path) as inputs:
            inputs.add(1, np.arange(CLIPS)[::-1], 2, scores)
            found.append(inputs[np.arange(CLIPS)])
    assert found[0][1, :, :, 2:4].all()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.slow
def test_streamed_inputs_of_each_run_train_and_score_to_the_same_bits(tmp_path, monkeypatch):
    """Also where runs end early and the others go on, and where they are trained in waves."""
    monkeypatch.setattr(program, "_COMPILATION", 0)
    rng = np.random.default_rng(0)
    # Clips of one length need one program for each number of runs.
    mask = np.broadcast_to(np.arange(FRAMES) < 3, (CLIPS, FRAMES))
    labels = np.arange(CLIPS, dtype=np.int32) % 2
    architecture = RecurrentClassifier("lstm", WIDTH, 5, "he")
    rates = (1e-2, 10.0, 1e-3)
    runs = [Run(str(i), i, np.arange(i, 28), np.arange(28, CLIPS), learning_rate=rate) for i, rate in enumerate(rates)]
    settings = Training(batch_size=4, max_epochs=6, validate_every=1, patience=2, monitor="loss")
    found, streamed = [], []
    parts = streaming.parts
    monkeypatch.setattr(streaming, "parts", lambda clips, *rest: streamed.append(clips.features) or parts(clips, *rest))
    with StackedInputs.scratch(SHAPE, tmp_path) as inputs:
        for run in range(RUNS):
            for column in (0, 2, 4):
                inputs.add(run, np.arange(CLIPS), column, rng.uniform(size=(CLIPS, FRAMES)).astype(np.float32))
        whole = inputs[np.arange(CLIPS)]
        cases = ((whole, 1 << 30), (inputs, 0))
        for number, (features, limit) in enumerate(cases):
            monkeypatch.setattr(streaming, "limit", lambda _, most=limit: most)
            streamed.clear()
            clips = Clips(features, mask, labels)
            fitted = fitting.fit(architecture, runs, clips, settings)
            rows = [run.validation for run in runs]
            scores = fitting.predict(architecture, fitted.params, clips, rows, 8, settings=settings)
            assert all(isinstance(each, jax.Array) for each in streamed) == (limit > 0)
            own = replace(settings, runs_per_program=2)
            apart = waves.train_in_waves("meta", architecture, runs, clips, own, tmp_path / str(number), "data")
            found.append((fitted.params, scores, [wave["params"] for wave in apart]))
    assert len(set(fitted.best_epoch.tolist())) > 1
    assert any(each.shape[0] < RUNS for each in streamed)
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, found[0], other)
