"""Several processes that train together: as one; and when one is lost or all are stopped, nothing is lost by it."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import frame_trial
from tests.background import ROOT, children, ended, launch, wait_until

pytestmark = pytest.mark.slow
# Two processes on two cores spend nearly all their time on compiling, and this is about processes.
QUICKLY = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
# As little of everything as a protocol with folds can do with, since each dataset starts workers of its own.
STAGE = """
[data]
synthesize = true
[synthesis]
subjects = 6
videos_per_subject = 4
frames = 4
scale = 0.05
workers = 1
[preparation]
videos_per_shard = 16
workers = 1
[renditions.whole]
segment = 2
size = 64
[features]
backbone = "efficientnet_lite0"
weights = "random"
batch_size = 16
[folds]
count = 2
[evaluation]
protocols = ["CI_to_M"]
validation_fraction = 0.3
[training]
checkpoint_every = 1
[methods.colour]
kind = "colour"
[methods.bilstm]
kind = "bilstm"
hidden = 4
learning_rate = 1e-2
max_epochs = 4
validate_every = 1
patience = 4
monitor = "loss"
[methods.meta]
kind = "lstm-stack"
over = ["bilstm"]
hidden = 4
learning_rate = 1e-2
max_epochs = 4
validate_every = 1
patience = 4
monitor = "loss"
"""


def trial(folder: Path, processes: int, epochs: int, run_devices: int) -> subprocess.Popen:
    return launch(
        processes, "-m", "tests.process_trial", folder / "steps", folder / "out.npz", epochs, run_devices, **QUICKLY
    )


def result(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "out.npz"))


def wait_for(process: subprocess.Popen, folder: Path, pattern: str, count: int) -> None:
    wait_until(lambda: len(list(folder.glob(pattern))) >= count, process)


def kill_one(process: subprocess.Popen, number: int) -> str:
    """Kills one of the job's processes; returns what the launcher said, which has to end in two minutes."""
    os.kill(children(process)[number], signal.SIGKILL)
    return ended(process, 128 + signal.SIGKILL, limit=120)[1]


@pytest.mark.parametrize("run_devices", [1, 2])
def test_two_processes_equal_one(tmp_path, run_devices):
    """The batch divided between them, or the runs."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    ended(trial(tmp_path / "one", 1, 6, 1))
    ended(trial(tmp_path / "two", 2, 6, run_devices))
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    for name, value in one.items():
        assert np.abs(two[name] - value).max() <= 1e-5 * np.abs(value).max()


def test_a_batch_of_frames_on_two_processes_of_two_devices_equals_one_device(tmp_path):
    """The gradient of one batch, and what a few steps make of a network."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, processes in ((one, 1), (two, 2)):
        own = {"JAX_NUM_CPU_DEVICES": str(processes)}
        ended(launch(processes, "-m", "tests.network_trial", folder.with_suffix(".npz"), **QUICKLY, **own))
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
    ended(trial(whole, 2, 30, 1))
    process = trial(broken, 2, 30, 1)
    wait_for(process, broken, "steps/*/sha256.json", 2)
    if how == "stop":
        process.send_signal(signal.SIGTERM)
        _, errors = ended(process, 143)
        assert "[0] terminated; the training was saved" in errors
        assert "lost" not in errors
    else:
        lost = int(how[-1])
        assert f"process {lost} of 2 (counted from 0) was lost: killed by SIGKILL" in kill_one(process, lost)
    assert list(broken.glob("steps/*/sha256.json"))
    assert not (broken / "out.npz").exists()
    ended(trial(broken, 2, 30, 1))
    for name, value in result(whole).items():
        np.testing.assert_array_equal(result(broken)[name], value)


def test_the_whole_stage_by_two_processes(tmp_path):
    """From videos to trained models: as by one process; and the same bits when one was killed on the way."""
    (tmp_path / "tiny.toml").write_text(STAGE)

    def train(name: str, processes: int) -> subprocess.Popen:
        script = ROOT / "scripts" / "train.py"
        return launch(processes, script, "--config", "tiny.toml", "--name", name, cwd=tmp_path, **QUICKLY)

    # Rendering, preparation and extraction, too, are done under two processes first.
    ended(train("two", 2))
    ended(train("one", 1))
    process = train("broken", 2)
    wait_for(process, tmp_path, "runs/broken/checkpoints/bilstm-0000/*/sha256.json", 1)
    assert "process 1 of 2 (counted from 0) was lost" in kill_one(process, 1)
    ended(train("broken", 2))
    models = sorted((tmp_path / "runs" / "two" / "models").iterdir())
    assert len(models) == 2
    for path in models:
        one, two, broken = (
            load_file(tmp_path / "runs" / name / "models" / path.name) for name in ("one", "two", "broken")
        )
        for key, value in two.items():
            np.testing.assert_array_equal(broken[key], value)
            # Where a unit has next to no gradient, Adam makes steps of rounding; a tenth of one step is the bound.
            bound = {"rtol": 1e-4, "atol": 1e-6} if key.startswith("history/") else {"rtol": 1e-3, "atol": 1e-3}
            np.testing.assert_allclose(one[key], value, **bound)


def test_a_network_on_frames_by_two_processes(tmp_path):
    """As by one process, in both; saved once; and the same bits when one was killed on the way."""

    def job(name: str) -> subprocess.Popen:
        return launch(2, "-m", "tests.frame_trial", tmp_path / name, tmp_path / name, **QUICKLY)

    ended(job("two"))
    process = job("broken")
    wait_for(process, tmp_path, "broken/checkpoints/*/*/sha256.json", 1)
    assert "process 1 of 2 (counted from 0) was lost" in kill_one(process, 1)
    assert not list(tmp_path.glob("broken/models/*"))
    ended(job("broken"))
    wanted = frame_trial.fit(tmp_path / "one")
    two, second, broken = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("two-0", "two-1", "broken-1"))
    for name, value in wanted.items():
        np.testing.assert_array_equal(second[name], two[name])
        np.testing.assert_array_equal(broken[name], two[name])
        # As above, Adam makes steps of rounding.
        np.testing.assert_allclose(two[name], value, atol=1e-3)
    histories = []
    for name in ("one", "two", "broken"):
        (model,) = (tmp_path / name / "models").iterdir()
        assert not list((tmp_path / name / "checkpoints").iterdir())
        histories.append({key: value for key, value in load_file(model).items() if key.startswith("history/")})
    for key, value in histories[1].items():
        np.testing.assert_array_equal(histories[2][key], value)
        np.testing.assert_allclose(histories[0][key], value, rtol=1e-3)
