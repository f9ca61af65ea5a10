"""One feature store by several processes and devices, killed and restarted with another number of them."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.datasets.prepared import Prepared
from fas_jax.runtime.devices import join
from tests import background
from tests.background import ROOT, ended
from tests.trees import msu_mfsd

OPTIONS = ["--backbone", "efficientnet_lite0", "--weights", "random", "--batch-size", "4"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """16 videos, 32 frames, in 6 shards."""
    root = msu_mfsd(tmp_path_factory.mktemp("videos"))
    settings = Preparation(videos_per_shard=3, workers=2, allow_partial=True)
    return prepare_dataset(root, tmp_path_factory.mktemp("prepared"), settings, {"whole": Rendition(size=64)})


def start(prepared: Prepared, out: Path, *options: str, processes: int = 1, devices: int = 1) -> list[subprocess.Popen]:
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
    }
    command = (ROOT / "scripts" / "extract.py", prepared.directory, "--out", out, *OPTIONS, *options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joined = {"FAS_JAX_COORDINATOR": address, "FAS_JAX_PROCESSES": str(processes)} if processes > 1 else {}
    return [background.start(*command, **environment, **joined, FAS_JAX_PROCESS=str(i)) for i in range(processes)]


def finish(running: list[subprocess.Popen]) -> list[str]:
    return [output + errors for output, errors in map(ended, running)]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*.*") if path.is_file() and ".tmp-" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_processes_killed_and_restarted_as_one_make_the_store_of_one(prepared: Prepared, tmp_path: Path) -> None:
    killed = start(prepared, tmp_path / "killed", processes=2, devices=2)
    while all(process.poll() is None for process in killed) and not list(tmp_path.glob("killed/*/*.json")):
        time.sleep(0.001)
    for process in killed:
        process.send_signal(signal.SIGKILL)
    for process in killed:
        process.communicate()
    assert not list(tmp_path.glob("killed/*/store.json"))
    both = start(prepared, tmp_path / "two", processes=2, devices=1)
    (resumed,) = start(prepared, tmp_path / "killed", devices=4)
    (alone,) = start(prepared, tmp_path / "one")
    texts = finish([*both, resumed, alone])
    assert all("32 frames (whole), weights random (seed 0)" in text for text in texts)
    # Each computed its own share: the bars count the frames of the shards that are theirs.
    assert sorted("process 1 of 2" in text for text in texts) == [False, False, False, True]
    wanted = contents(tmp_path / "one")
    assert len(wanted) == len(prepared.shards) + 1
    assert contents(tmp_path / "killed") == wanted
    assert contents(tmp_path / "two") == wanted


@pytest.mark.slow
def test_killed_at_many_points_and_restarted_with_changing_numbers(prepared: Prepared, tmp_path: Path) -> None:
    finish(start(prepared, tmp_path / "one"))
    processes = 2
    for units in range(1, len(prepared.shards)):
        running = start(prepared, tmp_path / "many", processes=processes, devices=units % 2 + 1)
        while all(process.poll() is None for process in running):
            if len(list(tmp_path.glob("many/*/*.json"))) >= units:
                break
            time.sleep(0.001)
        for process in running:
            process.kill()
        for process in running:
            process.communicate()
        processes = 3 - processes
    finish(start(prepared, tmp_path / "many", processes=processes))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"FAS_JAX_COORDINATOR": "127.0.0.1:1"}, "FAS_JAX_PROCESSES must then be a number"),
        ({"FAS_JAX_COORDINATOR": "127.0.0.1:1", "FAS_JAX_PROCESSES": "2"}, "FAS_JAX_PROCESS must then be a number"),
        ({"FAS_JAX_COORDINATOR": "127.0.0.1:1", "FAS_JAX_PROCESSES": "2", "FAS_JAX_PROCESS": "2"}, "PROCESS=2 must"),
        ({"FAS_JAX_COORDINATOR": "127.0.0.1:1", "FAS_JAX_PROCESSES": "0", "FAS_JAX_PROCESS": "0"}, "PROCESS=0 must"),
        ({"FAS_JAX_COORDINATOR": "nowhere", "FAS_JAX_PROCESSES": "2", "FAS_JAX_PROCESS": "1"}, "HOST:PORT"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(
    place: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        join()
