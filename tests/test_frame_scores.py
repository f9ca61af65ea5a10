"""Methods' scores of frames in a file, in memory, and streamed are the same numbers."""

import errno
import os
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Training
from fas_jax.features import frame_scores
from fas_jax.features.frame_scores import FrameScores, StackedScores
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.training import fitting, program, streaming
from fas_jax.training.chunks import train_in_chunks
from fas_jax.training.fitting import Clips, Run

TASKS, CLIPS, FRAMES = 3, 40, 4
MASK = np.broadcast_to(np.arange(FRAMES) < 3, (CLIPS, FRAMES))


@given(data=st.data())
def test_what_is_put_is_there_and_nothing_else(tmp_path_factory, data):
    puts = data.draw(
        st.lists(st.tuples(st.integers(0, TASKS - 1), st.lists(st.integers(0, CLIPS - 1), unique=True)), max_size=6)
    )
    rows = np.array(data.draw(st.lists(st.integers(0, CLIPS - 1))), int)
    tasks = np.array(data.draw(st.lists(st.integers(0, TASKS - 1), min_size=1)), int)
    expected = np.zeros((TASKS, CLIPS, FRAMES), np.float32)
    folder = tmp_path_factory.mktemp("scores")
    every = [FrameScores.in_file(folder / "some.f32", TASKS, MASK), FrameScores.in_memory(TASKS, MASK)]
    for number, (task, own) in enumerate(puts):
        values = np.random.default_rng(number).uniform(size=(len(own), FRAMES)).astype(np.float32)
        expected[task, own] = values
        for scores in every:
            scores.put(task, np.array(own, int), values)
    for scores in every:
        np.testing.assert_array_equal(scores.read(rows, tasks), expected[tasks][:, rows])
        np.testing.assert_array_equal(scores.of_task(int(tasks[0]), rows), expected[tasks[0], rows])


def drawn(tmp_path, names="abc"):
    """Scores of several methods, in files."""
    found = []
    for number, name in enumerate(names):
        scores = FrameScores.in_file(tmp_path / f"{name}.f32", TASKS, MASK)
        for task in range(TASKS):
            values = np.random.default_rng([number, task]).uniform(size=(CLIPS, FRAMES)).astype(np.float32)
            scores.put(task, np.arange(CLIPS), values)
        found.append(scores)
    return tuple(found)


def test_a_stack_reads_attack_and_bona_fide_of_every_method(tmp_path):
    methods = drawn(tmp_path)
    rows = np.array([4, 0, 6, 2, 1])
    beside, summed = (StackedScores(methods, (2, 0), combine) for combine in ("concat", "sum"))
    assert beside.shape == (2, CLIPS, FRAMES, 6)
    assert summed.shape == (2, CLIPS, FRAMES, 2)
    pairs = beside[rows].reshape(2, 5, FRAMES, 3, 2)
    np.testing.assert_allclose(pairs.sum(-1), 1, atol=1e-6)
    for number, scores in enumerate(methods):
        for run, task in enumerate((2, 0)):
            np.testing.assert_array_equal(pairs[run, :, :, number, 1], scores.of_task(task, rows))
    np.testing.assert_allclose(summed[rows], pairs.sum(3), atol=1e-6)
    turned = beside.of_runs(np.array([1, 0, 1]))
    np.testing.assert_array_equal(turned[rows], beside[rows][[1, 0, 1]])
    np.testing.assert_array_equal(beside.mask, MASK)


def test_nan_at_a_padded_frame_reaches_no_stack_and_at_a_real_one_stays(tmp_path):
    scores = FrameScores.in_file(tmp_path / "some.f32", 1, MASK)
    values = np.full((CLIPS, FRAMES), np.nan, np.float32)
    values[1:, :3] = 0.25
    scores.put(0, np.arange(CLIPS), values)
    pairs = StackedScores((scores,), (0,), "concat")[np.arange(CLIPS)]
    assert np.isnan(pairs[0, 0, :3]).all()
    assert np.isfinite(pairs[0][~MASK]).all()
    np.testing.assert_array_equal(pairs[0, 1:, :3, 1], 0.25)


def test_methods_that_read_other_frames_cannot_be_stacked(tmp_path):
    one, other = FrameScores.in_memory(1, MASK), FrameScores.in_memory(1, MASK[:, :3])
    with pytest.raises(UserError, match="give them one rendition"):
        StackedScores((one, other), (0,), "concat").mask  # noqa: B018


def test_a_full_disk_is_told_before_anything_is_trained(tmp_path):
    many = np.broadcast_to(np.zeros((1, 1), bool), (1 << 50, 1))
    with pytest.raises(UserError, match=r"no room for .* MB of out-of-fold scores.*(space|large)"):
        FrameScores.in_file(tmp_path / "some.f32", 1, many)


def test_a_file_system_that_cannot_claim_room_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    scores = FrameScores.in_file(tmp_path / "some.f32", TASKS, MASK)
    assert not scores.read(np.arange(CLIPS), np.arange(TASKS)).any()


def test_blocks_of_any_size_write_and_read_the_same(tmp_path, monkeypatch):
    values = np.random.default_rng(0).uniform(size=(CLIPS, FRAMES)).astype(np.float32)
    found = []
    for block in (1, 7, CLIPS):
        monkeypatch.setattr(frame_scores, "_BLOCK", block)
        scores = FrameScores.in_file(tmp_path / f"{block}.f32", TASKS, MASK)
        scores.put(1, np.arange(CLIPS)[::-1], values)
        found.append(StackedScores((scores,), (0, 1), "concat")[np.arange(CLIPS)])
    assert found[0][1].all()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.slow
@pytest.mark.optimised
def test_streamed_scores_of_each_task_train_and_score_to_the_same_bits(tmp_path, monkeypatch):
    """Also where runs end early and the others go on, and where they are trained in chunks."""
    monkeypatch.setattr(program, "_COMPILATION", 0)
    # Clips of one length need one program for each number of runs.
    labels = np.arange(CLIPS, dtype=np.int32) % 2
    architecture = RecurrentClassifier("lstm", 6, 5, "he")
    rates = (1e-2, 10.0, 1e-3)
    runs = [Run(str(i), i, np.arange(i, 28), np.arange(28, CLIPS), learning_rate=rate) for i, rate in enumerate(rates)]
    settings = Training(batch_size=4, max_epochs=6, validate_every=1, patience=2, monitor="loss")
    found, streamed = [], []
    parts = streaming.parts
    monkeypatch.setattr(streaming, "parts", lambda clips, *rest: streamed.append(clips.features) or parts(clips, *rest))
    stacked = StackedScores(drawn(tmp_path), tuple(range(TASKS)), "concat")
    cases = ((stacked[np.arange(CLIPS)], 1 << 30), (stacked, 0))
    for number, (features, limit) in enumerate(cases):
        monkeypatch.setattr(streaming, "limit", lambda _, most=limit: most)
        streamed.clear()
        clips = Clips(features, MASK, labels)
        fitted = fitting.fit(architecture, runs, clips, settings)
        rows = [run.validation for run in runs]
        predicted = fitting.predict(architecture, fitted.params, clips, rows, 8, settings=settings)
        scores = [each.probabilities for each in predicted]
        assert all(isinstance(each, jax.Array) for each in streamed) == (limit > 0)
        own = replace(settings, runs_per_program=2)
        apart = train_in_chunks("meta", architecture, runs, clips, own, folder=tmp_path / str(number))
        found.append((fitted.params, scores, [chunk["params"] for chunk in apart]))
    assert len(set(fitted.best_epoch.tolist())) > 1
    assert any(each.shape[0] < TASKS for each in streamed)
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, found[0], other)
