"""Several processes of one job: numbered output, one end for all, and the name of the one that was lost."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.runtime import launching
from tests import background
from tests.background import LAUNCH, ROOT, ended, launch

ME = "import os, signal, sys, time; me = int(os.environ['FAS_JAX_PROCESS']); "


def start(program: str, processes: int = 2) -> subprocess.Popen:
    return launch(processes, "-c", ME + program)


def test_each_process_knows_its_place_and_its_lines_are_numbered():
    output, errors = ended(start("print(os.environ['FAS_JAX_PROCESSES'], me); print('a\\rb', file=sys.stderr)", 3))
    assert sorted(output.splitlines()) == ["[0] 3 0", "[1] 3 1", "[2] 3 2"]
    assert sorted(errors.splitlines()) == [f"[{i}] {word}" for i in range(3) for word in "ab"]


def test_a_killed_process_ends_the_others_and_is_named():
    began = time.monotonic()
    process = start("print('the last words', file=sys.stderr); me == 1 and os.kill(os.getpid(), 9); time.sleep(99)")
    _, errors = ended(process, 128 + signal.SIGKILL)
    assert time.monotonic() - began < 60
    assert "process 1 of 2 (counted from 0) was lost: killed by SIGKILL" in errors
    assert "    the last words\n" in errors


def test_one_that_ends_badly_ends_what_the_others_have_started_too():
    """A survivor that does not listen is killed with its own processes."""
    program = (
        "me == 0 and sys.exit(3); import subprocess; "
        "child = subprocess.Popen(['sleep', '98']); print(child.pid); time.sleep(97)"
    )
    output, errors = ended(start(program), 3)
    assert "process 0 of 2 (counted from 0) was lost: it exited with code 3" in errors
    left = Path("/proc") / output.split()[1] / "stat"
    assert not left.exists() or left.read_text().split()[2] == "Z"


def test_sigterm_reaches_all_and_is_no_loss():
    process = start(
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143))); print('ready'); time.sleep(99)"
    )
    ready = [process.stdout.readline() for _ in range(2)]
    assert sorted(ready) == ["[0] ready\n", "[1] ready\n"]
    process.send_signal(signal.SIGTERM)
    output, errors = ended(process, 143)
    assert sorted(output.splitlines()) == ["[0] saved", "[1] saved"]
    assert "lost" not in errors


def test_what_cannot_be_run_is_an_error():
    for options in (["2", "--", "/nowhere"], ["0", "--", "true"], ["2"]):
        _, errors = ended(background.start(LAUNCH, "--processes", *options), 2)
        assert "error: " in errors
        assert "Traceback" not in errors


def test_processes_share_the_gpus_evenly():
    environments = launching._environments({"CUDA_VISIBLE_DEVICES": "0,2,5,GPU-7"}, 2)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0,2", "5,GPU-7"]
    assert len({each[launching.COORDINATOR] for each in environments}) == 1
    with pytest.raises(UserError, match="2 processes cannot share 3 GPUs"):
        launching._environments({"CUDA_VISIBLE_DEVICES": "0,1,2"}, 2)
    on_cpu = launching._environments({"CUDA_VISIBLE_DEVICES": "0,1,2", "JAX_PLATFORMS": "cpu"}, 2)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in on_cpu] == ["0,1,2"] * 2


def test_a_script_for_one_process_refuses_several():
    _, errors = ended(launch(2, ROOT / "scripts" / "evaluate.py", "anything"), 2)
    assert "evaluate.py runs in one process" in errors
