"""Several processes that train together: as one, and none is left when another is lost."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def start(folder: Path, processes: int, epochs: int, run_devices: int) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [str(folder / "steps"), str(folder / "out.npz"), str(epochs), str(run_devices)]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.process_trial", str(port), str(processes), str(index), *options],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for index in range(processes)
    ]


def finish(folder: Path, processes: int, run_devices: int) -> dict[str, np.ndarray]:
    folder.mkdir()
    codes = [process.wait(timeout=200) for process in start(folder, processes, 6, run_devices)]
    assert codes == [0] * processes
    return dict(np.load(folder / "out.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("run_devices", [1, 2])
def test_two_processes_equal_one(tmp_path, run_devices):
    """The batch divided between them, or the runs."""
    one, two = finish(tmp_path / "one", 1, 1), finish(tmp_path / "two", 2, run_devices)
    for name, value in one.items():
        assert np.abs(two[name] - value).max() <= 1e-5 * np.abs(value).max()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_within_30_seconds(tmp_path, lost):
    processes = start(tmp_path, 2, 100_000, 1)
    steps = tmp_path / "steps"
    while not (steps.exists() and len(list(steps.glob("*/sha256.json"))) == 2):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[lost].kill()
    processes[lost].wait()
    killed = time.monotonic()
    assert processes[1 - lost].wait(timeout=60) != 0
    assert time.monotonic() - killed < 30
    assert list(steps.glob("*/sha256.json"))
