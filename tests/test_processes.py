"""Several processes that train together: as one; and when one is lost or all are stopped, nothing is lost by it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.test_scripts import TINY

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "scripts" / "launch.py"
pytestmark = pytest.mark.slow


def launch(processes: int, *command: str, cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(LAUNCH), "--processes", str(processes), "--", sys.executable, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trial(folder: Path, processes: int, epochs: int, run_devices: int) -> subprocess.Popen:
    options = [str(folder / "steps"), str(folder / "out.npz"), str(epochs), str(run_devices)]
    return launch(processes, "-m", "tests.process_trial", *options)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-3000:]


def result(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "out.npz"))


def wait_for(process: subprocess.Popen, folder: Path, pattern: str, count: int) -> None:
    while len(list(folder.glob(pattern))) < count:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)


def kill_one(process: subprocess.Popen, number: int) -> str:
    """Kills one of the job's processes; returns what the launcher said, which has to end in 30 seconds."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[number]), signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert process.returncode == 128 + signal.SIGKILL
    return errors


@pytest.mark.parametrize("run_devices", [1, 2])
def test_two_processes_equal_one(tmp_path, run_devices):
    """The batch divided between them, or the runs."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    finish(trial(tmp_path / "one", 1, 6, 1))
    finish(trial(tmp_path / "two", 2, 6, run_devices))
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    for name, value in one.items():
        assert np.abs(two[name] - value).max() <= 1e-5 * np.abs(value).max()


def test_a_batch_of_frames_on_two_processes_of_two_devices_equals_one_device(tmp_path):
    """The gradient of one batch, and what a few steps make of a network."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, processes in ((one, 1), (two, 2)):
        own = {"JAX_NUM_CPU_DEVICES": str(processes)}
        finish(launch(processes, "-m", "tests.network_trial", str(folder.with_suffix(".npz")), **own))
    wanted, found = (dict(np.load(folder.with_suffix(".npz"))) for folder in (one, two))
    assert (wanted.pop("devices"), found.pop("devices")) == (1, 4)
    largest = max(np.abs(value).max() for key, value in wanted.items() if key.startswith("gradient"))
    for key, value in wanted.items():
        if key.startswith("gradient"):
            # The scale before another normalisation has a gradient that is zero but for rounding.
            assert np.abs(found[key] - value).max() <= 1e-5 * max(np.abs(value).max(), 1e-2 * largest)
        else:
            # Adam makes steps of such a gradient that are as large as any.
            np.testing.assert_allclose(found[key], value, atol=1e-3)


@pytest.mark.parametrize("how", ["lose 0", "lose 1", "stop"])
def test_a_job_that_was_broken_goes_on_to_the_same_bits(tmp_path, how):
    """One process is killed, or all are told to stop."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    finish(trial(whole, 2, 30, 1))
    process = trial(broken, 2, 30, 1)
    wait_for(process, broken, "steps/*/sha256.json", 2)
    if how == "stop":
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors[-3000:]
        assert "[0] terminated; the training was saved" in errors
        assert "lost" not in errors
    else:
        lost = int(how[-1])
        assert f"process {lost} of 2 (counted from 0) was lost: killed by SIGKILL" in kill_one(process, lost)
    assert list(broken.glob("steps/*/sha256.json"))
    assert not (broken / "out.npz").exists()
    finish(trial(broken, 2, 30, 1))
    for name, value in result(whole).items():
        np.testing.assert_array_equal(result(broken)[name], value)


def test_the_whole_stage_by_two_processes(tmp_path):
    """From videos to trained models: as by one process; and the same bits when one was killed on the way."""
    (tmp_path / "tiny.toml").write_text(
        TINY.replace("validate_every = 2", "validate_every = 1") + "[training]\ncheckpoint_every = 1\n"
    )

    def train(name: str, processes: int) -> subprocess.Popen:
        script = str(ROOT / "scripts" / "train.py")
        return launch(processes, script, "--config", "tiny.toml", "--name", name, cwd=tmp_path)

    # Rendering, preparation and extraction, too, are done under two processes first.
    finish(train("two", 2))
    finish(train("one", 1))
    process = train("broken", 2)
    wait_for(process, tmp_path, "runs/broken/checkpoints/bilstm-0000/*/sha256.json", 1)
    assert "process 1 of 2 (counted from 0) was lost" in kill_one(process, 1)
    finish(train("broken", 2))
    models = sorted((tmp_path / "runs" / "two" / "models").iterdir())
    assert len(models) == 4
    for path in models:
        one, two, broken = (
            load_file(tmp_path / "runs" / name / "models" / path.name) for name in ("one", "two", "broken")
        )
        for key, value in two.items():
            np.testing.assert_array_equal(broken[key], value)
            # Where a unit has next to no gradient, Adam makes steps of rounding; a tenth of one step is the bound.
            bound = {"rtol": 1e-4, "atol": 1e-6} if key.startswith("history/") else {"rtol": 1e-3, "atol": 1e-3}
            np.testing.assert_allclose(one[key], value, **bound)
