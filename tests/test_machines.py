"""Machines as they are: limits of containers are kept, and what cannot work is refused in one sentence."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fas_jax.base import cgroups, processes
from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.runtime import devices, host_memory, workers
from fas_jax.runtime.host_memory import free_host_memory
from fas_jax.runtime.workers import check_workers, worker_count
from tests.trees import moving_frames, write_video

ROOT = Path(__file__).parents[1]
GIB = 1 << 30


def machine(root: Path, groups: str, **files: str) -> Path:
    """A file system with control groups; `__` stands for a slash in the names of files below sys/fs/cgroup."""
    places = {f"sys/fs/cgroup/{name.replace('__', '/')}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **places}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_version_2_the_tightest_group_counts(tmp_path):
    files = {
        "job__cpu.max": "250000 100000\n",
        "job__step__cpu.max": "max 100000\n",
        "job__memory.max": f"{8 * GIB}\n",
        "job__memory.current": f"{5 * GIB}\n",
        "job__memory.stat": f"anon 1\ninactive_file {GIB}\n",
        "job__step__memory.max": "max\n",
        "job__step__memory.current": "5\n",
        "job__step__memory.stat": "inactive_file 0\n",
    }
    root = machine(tmp_path, "0::/job/step\n", **files)
    assert cgroups.cpu_limit(root) == 2.5
    assert cgroups.free_memory(root) == 4 * GIB


def test_version_1_in_a_container_that_is_told_its_path_on_the_host(tmp_path):
    files = {
        "cpu__cpu.cfs_quota_us": "50000\n",
        "cpu__cpu.cfs_period_us": "100000\n",
        "memory__memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory__memory.usage_in_bytes": f"{3 * GIB}\n",
        "memory__memory.stat": "cache 7\ntotal_inactive_file 0\n",
    }
    root = machine(tmp_path, "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n", **files)
    assert cgroups.cpu_limit(root) == 0.5
    assert cgroups.free_memory(root) == 0


def test_without_limits_or_groups_there_is_none(tmp_path):
    open_ended = {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000", "cpu.max": "max 100000"}
    for root in (tmp_path / "none", machine(tmp_path / "open", "1:cpu:/\n0::/\n", **open_ended)):
        assert cgroups.cpu_limit(root) == math.inf
        assert cgroups.free_memory(root) == math.inf


@pytest.mark.parametrize(("limit", "cores"), [(math.inf, 8), (2.5, 3), (0.5, 1), (16, 8)])
def test_cores_and_memory_are_those_that_the_limits_leave(limit, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(processes, "cpu_limit", lambda: limit)
    assert core_count() == cores
    monkeypatch.setattr(host_memory, "_free_on_machine", lambda: 6 * GIB)
    assert free_host_memory() <= 6 * GIB
    monkeypatch.setattr(cgroups, "free_memory", lambda: 1.5 * GIB)
    assert free_host_memory() == 1.5 * GIB
    # Each worker takes up to half a GiB.
    assert worker_count(0) == min(cores, 3)
    assert worker_count(7) == 7
    monkeypatch.setattr(cgroups, "free_memory", lambda: 0.0)
    assert worker_count(0) == 1


def limited(tmp_path: Path, mebibytes: int) -> subprocess.CompletedProcess[str]:
    """Decodes a video in a process whose address space has a hard limit."""
    write_video(tmp_path / "video.mp4", moving_frames(3))
    code = f"""
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({mebibytes} << 20, {mebibytes} << 20))
from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.pixels.decoding import decode_files
try:
    for found in decode_files([Path(sys.argv[1])], Preparation(workers=1), {{"whole": Rendition()}}):
        print(found.info.frame_count)
except UserError as error:
    print(error)
"""
    return subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "video.mp4")], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_a_hard_limit_of_the_address_space_is_kept_or_refused(tmp_path):
    """Workers used to ask for 8 GiB in any case, and none of them started."""
    assert limited(tmp_path, 4096).stdout == "3\n"
    done = limited(tmp_path, 1536)
    assert done.stdout == (
        "a process may use 1536 MiB of address space here (ulimit -v), and decoding needs 2048; raise the limit\n"
    ), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_a_limit_in_which_jax_dies_is_refused(tmp_path):
    """JAX ends with signal 11 there."""
    command = f"ulimit -v 1500000; exec {sys.executable} {ROOT}/scripts/run.py --config {ROOT}/configs/quickstart.toml"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: a process may use 1464 MiB of address space here (ulimit -v), and JAX needs")
    assert not list(tmp_path.iterdir())


def test_shared_memory_that_cannot_be_written(monkeypatch):
    def refuse() -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda _: SimpleNamespace(Lock=refuse))
    with pytest.raises(UserError, match=r"need shared memory.*Read-only file system.*make /dev/shm writable"):
        check_workers()


@pytest.mark.skipif(not shutil.which("unshare") or os.getuid(), reason="needs to mount")
def test_a_read_only_dev_shm(tmp_path):
    mount = "mount -t tmpfs -o ro tmpfs /dev/shm && exec "
    script = f"{sys.executable} -c 'from fas_jax.runtime.workers import check_workers; check_workers()'"
    done = subprocess.run(["unshare", "-m", "bash", "-c", mount + script], capture_output=True, text=True, cwd=ROOT)
    if "unshare" in done.stderr or "mount" in done.stderr.splitlines()[0]:
        pytest.skip("may not mount")
    assert "UserError: worker processes need shared memory" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("JAX_ENABLE_X64", "1", "error: JAX_ENABLE_X64 is set, and networks here compute in float32; unset it\n"),
        ("JAX_PLATFORMS", "rocm", "error: JAX finds no device with JAX_PLATFORMS='rocm'"),
    ],
)
def test_jax_that_cannot_compute_is_refused_before_work_begins(variable, value, message, tmp_path):
    """With 64 bits, training used to fail after everything had been extracted."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run.py"), "--config", str(ROOT / "configs" / "quickstart.toml")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), variable: value},
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_asked_for_and_not_there(monkeypatch):
    """JAX fails with an assertion that says nothing."""

    def fail() -> None:
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(devices.jax, "devices", fail)
    with pytest.raises(UserError, match=r"^JAX finds no device with JAX_PLATFORMS='cuda'; unset it, or install .*cuda"):
        devices.check()


def test_no_module_imports_what_only_one_system_has():
    """Functions may, after they have looked which system this is."""
    for path in (ROOT / "fas_jax").rglob("*.py"):
        imported = {line.split()[1] for line in path.read_text().splitlines() if line.startswith(("import ", "from "))}
        assert not imported & {"fcntl", "resource", "pwd", "grp", "termios", "msvcrt", "winreg"}, path
