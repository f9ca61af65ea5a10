"""Two runs of one name: the second is refused while the first lives, and goes on once it was killed."""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Evaluation
from fas_jax.experiment import results, stages
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.run import CONFIG, only_job, open_run
from fas_jax.methods.logistic import Colour
from fas_jax.studies import oracle
from fas_jax.studies.search import run as search
from tests.background import children, ended, launch
from tests.test_locks import holder


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Settings that count as checked, because nothing is to be made of them."""
    monkeypatch.setattr(stages, "check", lambda *_: ())
    for name in ("chosen", "draw_all"):
        monkeypatch.setattr(search, name, lambda *_: ())
    monkeypatch.setattr(stages, "open_run", None)
    return Experiment(name="mine", methods={"colour": Colour()}, evaluation=Evaluation(), runs=str(tmp_path / "runs"))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen]:
    process = holder(tmp_path / "runs" / "mine")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("command", [stages.run, stages.train, search.search])
def test_the_second_of_one_name_is_refused(command, experiment, other):
    message = rf"runs/mine is in use by process {other.pid} on .*; wait until it has ended, or choose another --name"
    with pytest.raises(UserError, match=message):
        command(experiment)


@pytest.mark.parametrize("command", [results.report, oracle.watch_target])
def test_nothing_is_read_of_a_run_in_the_making(command, experiment, other, tmp_path, monkeypatch):
    module = results if command is results.report else oracle
    for name in ("read_run", "read_inputs"):
        monkeypatch.setattr(module, name, lambda *_: experiment)
    with pytest.raises(UserError, match="runs/mine is in use by process"):
        command(tmp_path / "runs" / "mine")


def test_a_killed_run_stands_in_nobodys_way(experiment, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with only_job(experiment):
        folder, _ = open_run(experiment)
        assert (folder / CONFIG).exists()
    assert [path.name for path in folder.iterdir()] == [CONFIG]
    # Another name is another run, while this one is at work.
    with only_job(experiment), only_job(dataclasses.replace(experiment, name="another")):
        pass


def test_a_folder_that_is_no_run_is_left_alone(experiment, tmp_path):
    own = tmp_path / "runs" / "mine" / "results.md"
    own.parent.mkdir(parents=True)
    own.write_text("my thesis")
    with pytest.raises(UserError, match="runs/mine is not empty and holds no run; choose another --name"):
        open_run(experiment)
    assert own.read_text() == "my thesis"
    own.unlink()
    open_run(experiment)
    assert json.loads((own.parent / CONFIG).read_text())["name"] == "mine"


def job(folder: Path, processes: int, seconds: float) -> subprocess.Popen:
    return launch(processes, "-m", "tests.lock_trial", folder, seconds)


@pytest.mark.slow
def test_the_processes_of_a_job_share_its_lock_and_a_killed_job_leaves_none(tmp_path):
    first = job(tmp_path, 2, 300)
    assert first.stdout is not None
    assert sorted(first.stdout.readline() for _ in range(2)) == ["[0] held\n", "[1] held\n"]
    _, errors = ended(job(tmp_path, 1, 0), 1)
    assert "is in use by process" in errors
    for child in children(first):
        os.kill(child, signal.SIGKILL)
    first.communicate(timeout=120)
    third = job(tmp_path, 2, 0)
    output, errors = third.communicate(timeout=120)
    assert third.returncode == 0, errors
    assert sorted(output.splitlines()) == ["[0] held", "[1] held"]
    assert not list(tmp_path.iterdir())
