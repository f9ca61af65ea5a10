"""Bars in a log are few whole lines, and say how far every run is."""

import io
import re

import pytest

from fas_jax.base.settings import Training
from fas_jax.runtime import progress
from fas_jax.runtime.progress import progress_bar
from fas_jax.training import fitting
from tests.device_trial import ARCHITECTURE, RUNS, clips


def test_thousands_of_steps_are_few_lines_where_nobody_watches(capsys):
    with progress_bar(total=5000, desc="training", unit="epoch") as bar:
        for step in range(5000):
            bar.update()
            bar.set_postfix({"loss": step}, refresh=False)
    text = capsys.readouterr().err
    assert "\r" not in text
    assert "\n\n" not in text
    lines = text.splitlines()
    assert len(lines) <= 3
    assert lines[-1].startswith("training: 100% 5000/5000")
    assert "loss=4999" in lines[-1]


def test_a_terminal_gets_a_moving_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress_bar(total=3, mininterval=0, miniters=1) as bar:
        bar.update()
    assert terminal.getvalue().count("\r") >= 2


@pytest.mark.parametrize("patience", [2, 99])
def test_the_bar_of_a_training_says_how_many_runs_have_finished(capsys, patience):
    settings = Training(
        batch_size=12, max_epochs=12, validate_every=1, patience=patience, learning_rate=0.1, monitor="accuracy"
    )
    validations = []
    found = fitting.fit(ARCHITECTURE, RUNS, clips(), settings, title="gru", watch=validations.append)
    last = capsys.readouterr().err.splitlines()[-1]
    ended = int(found.history["epoch"][-1])
    assert ended < 12 if patience == 2 else ended == 12
    assert f"gru: {round(100 * ended / 12):3}% {ended}/12" in last
    assert "finished=2/2" in last
    assert f"ends=epoch {ended}" in last
    assert re.search(r"loss=[\d.]+, validation=[\d.]+, accuracy=[\d.]+, steps/s=\d+", last)
    assert validations[-1].running == 0
