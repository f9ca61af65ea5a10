"""A training that is told to stop, or killed, ends with the same bits as an unbroken one."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fas_jax.runtime.interruption import TerminatedError, termination
from tests import background
from tests.background import ended, wait_until


def start(folder: Path, out: Path, cores: int = 1) -> subprocess.Popen:
    return background.start("-m", "tests.kill_trial", folder, out, JAX_NUM_CPU_DEVICES=str(cores))


def finish(folder: Path, out: Path) -> dict[str, np.ndarray]:
    ended(start(folder, out))
    return dict(np.load(out))


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def wait_for_step(process: subprocess.Popen, folder: Path) -> None:
    wait_until(lambda: bool(steps(folder)), process)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_is_noted_and_gives_the_exit_code(number, code):
    """That of a process that the signal ended; by it, a job's script knows whether to queue the job again."""
    with termination() as asked:
        os.kill(os.getpid(), number)
        assert asked.wait(5)
    assert TerminatedError("nothing was to be saved", asked.number).code == code


@pytest.mark.slow
def test_sigterm_saves_and_exits(tmp_path):
    whole = finish(tmp_path / "whole", tmp_path / "whole.npz")
    process = start(tmp_path / "broken", tmp_path / "broken.npz")
    wait_for_step(process, tmp_path / "broken")
    process.send_signal(signal.SIGTERM)
    _, errors = ended(process, 143)
    assert "terminated; the training was saved" in errors
    assert not (tmp_path / "broken.npz").exists()
    assert 1 <= len(steps(tmp_path / "broken")) <= 2
    assert_same(whole, finish(tmp_path / "broken", tmp_path / "broken.npz"))


@pytest.mark.slow
def test_a_training_goes_on_with_other_cores(tmp_path):
    # Three runs on two cores: a row fills up the mesh, which the checkpoint must not hold.
    whole = finish(tmp_path / "whole", tmp_path / "whole.npz")
    process = start(tmp_path / "broken", tmp_path / "broken.npz", cores=2)
    wait_for_step(process, tmp_path / "broken")
    process.send_signal(signal.SIGTERM)
    ended(process, 143)
    found = finish(tmp_path / "broken", tmp_path / "broken.npz")
    assert found.keys() == whole.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path):
    """Ten processes are killed, wherever they are; the last one is let end."""
    whole = finish(tmp_path / "whole", tmp_path / "whole.npz")
    rng, folder, out = np.random.default_rng(0), tmp_path / "broken", tmp_path / "broken.npz"
    kills = moved = 0
    while kills < 10:
        before = steps(folder)
        process = start(folder, out)
        # One in four anywhere, while it starts or restores; the others around a save.
        until = time.monotonic() + (rng.uniform(0, 5) if kills % 4 == 0 else 60)
        while steps(folder) == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        ended(process, -signal.SIGKILL)  # otherwise it ended before it was killed: make it longer
        kills += 1
        moved += steps(folder) != before
        # Two whole steps, one that is being written, and what is being removed or renamed.
        assert len(steps(folder)) <= 4
    assert moved >= 5
    assert_same(whole, finish(folder, out))
    assert len(steps(folder)) <= 2
