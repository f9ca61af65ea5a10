"""Processes that tests start beside themselves. None outlives its test: see `no_process_is_left` in `conftest.py`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "scripts" / "launch.py"
LIMIT = 900.0
"""Seconds until a process counts as stuck. Generous, because machines that run tests are often busy."""
_started: list[subprocess.Popen[str]] = []


def start(
    *arguments: object, cwd: Path = ROOT, env: Mapping[str, str] = os.environ, **environment: str
) -> subprocess.Popen[str]:
    """Starts Python with these arguments and the project on its path; its output waits in pipes."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**env, "PYTHONPATH": str(ROOT), **environment},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _started.append(process)
    return process


def launch(processes: int, *arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.Popen[str]:
    """As `start`, as a job of several processes on the CPU."""
    command = (LAUNCH, "--processes", processes, "--", sys.executable, *arguments)
    return start(*command, cwd=cwd, **{"JAX_PLATFORMS": "cpu", **environment})


def ended(process: subprocess.Popen[str], code: int | None = 0, limit: float = LIMIT) -> tuple[str, str]:
    """Waits for the end of a process with this exit code, or with any; returns what it said on both channels."""
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        kill(process)
        _, errors = process.communicate()
        pytest.fail(f"{process.args} has not ended after {limit:.0f} s:\n{errors[-3000:]}")
    assert code in (None, process.returncode), errors[-3000:]
    return output, errors


def wait_until(
    happened: Callable[[], bool], *processes: subprocess.Popen[str], limit: float = LIMIT, pause: float = 0.02
) -> None:
    """Waits until something has happened that these processes do, of which none may end before."""
    deadline = time.monotonic() + limit
    while not happened():
        for process in processes:
            assert process.poll() is None, f"it ended too early: {process.communicate()[1][-3000:]}"
        assert time.monotonic() < deadline, f"nothing has happened for {limit:.0f} s"
        time.sleep(pause)


def children(process: subprocess.Popen[str]) -> list[int]:
    """Numbers of the processes that this one has started and that still run, the first one first."""
    return _children(process.pid)


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a process with all that it started, in whatever process groups: a launcher gives each child its own."""
    pids = [process.pid]
    for pid in pids:
        pids += _children(pid)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_all() -> None:
    """Kills what still runs of all that was started, and closes the pipes."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            kill(process)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    # Each thread of a process has children of its own.
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return sorted(found)
