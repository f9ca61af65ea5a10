"""Locks: one holder at a time among real processes, none that a dead one keeps, and messages that name the holder."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fas_jax.base import locks, owners
from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path, remove_leftovers
from fas_jax.base.locks import LOCK, is_lock, locked
from tests import background
from tests.background import ended

HOLD = """
import sys, time
from pathlib import Path
from fas_jax.base.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from fas_jax.base.locks import locked
counter = Path(sys.argv[1]) / "counter"
for _ in range(int(sys.argv[2])):
    with locked(Path(sys.argv[1])):
        value = int(counter.read_text())
        time.sleep(0.005)
        counter.write_text(str(value + 1))
"""


def start(program: str, *arguments: object) -> subprocess.Popen:
    return background.start("-c", program, *arguments)


def holder(folder: Path) -> subprocess.Popen:
    process = start(HOLD, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def claims(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_lock(path))


def foreign_claim(folder: Path, age: float) -> Path:
    claim = folder / f"{LOCK}-{'0' * 12}-{os.getpid()}-1-aaaaaaaa"
    claim.write_text("process 1 on elsewhere\n")
    os.utime(claim, (time.time() - age, time.time() - age))
    return claim


def test_a_living_process_keeps_the_lock_and_a_killed_one_does_not(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(UserError, match=rf"in use by process {process.pid} on .* since .*; choose another"):
        locked(tmp_path, "choose another").__enter__()
    process.send_signal(signal.SIGKILL)
    # Not waited for: a process that has ended holds nothing, even before its parent notices.
    began = time.monotonic()
    while time.monotonic() - began < 5:
        try:
            with locked(tmp_path, "choose another"):
                assert len(claims(tmp_path)) == 1
            break
        except UserError:
            time.sleep(0.01)
    else:
        pytest.fail("the dead process's lock stays")
    process.communicate()
    assert not claims(tmp_path)


def test_who_waits_goes_on_when_the_holder_is_killed(tmp_path, caplog):
    process = holder(tmp_path)
    threading.Timer(0.5, process.kill).start()
    began = time.monotonic()
    with locked(tmp_path):
        assert 0.4 < time.monotonic() - began < 10
    process.communicate()
    assert f"waiting for process {process.pid}" in caplog.text
    assert len(caplog.records) == 1


def test_four_processes_never_hold_it_at_once(tmp_path, monkeypatch):
    (tmp_path / "counter").write_text("0")
    processes = [start(COUNT, tmp_path, 10) for _ in range(4)]
    for process in processes:
        ended(process)
    assert (tmp_path / "counter").read_text() == "40"
    assert not claims(tmp_path)


def test_threads_exclude_each_other_and_a_thread_enters_again(tmp_path):
    entered = threading.Event()

    def other() -> None:
        with locked(tmp_path):
            entered.set()

    thread = threading.Thread(target=other)
    with locked(tmp_path), locked(tmp_path, "never refused"):
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    thread.join()
    assert not claims(tmp_path)


def test_another_machines_process_lives_as_long_as_it_renews_its_lock(tmp_path):
    """Its number means nothing here: this process's own stands in the name, and another machine's before it."""
    claim = foreign_claim(tmp_path, age=owners.STALE_SECONDS - 20)
    with pytest.raises(UserError, match=r"process 1 on elsewhere \(if it was killed there.* 120 s\); wait"):
        locked(tmp_path, "wait").__enter__()
    assert claim.exists()
    foreign_claim(tmp_path, age=owners.STALE_SECONDS + 1)
    with locked(tmp_path, "wait"):
        assert not claim.exists()


def test_a_held_lock_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_RENEW_SECONDS", 0.02)
    with locked(tmp_path):
        (claim,) = claims(tmp_path)
        os.utime(claim, (0, 0))
        began = time.monotonic()
        while claim.stat().st_mtime == 0 and time.monotonic() - began < 10:
            time.sleep(0.01)
        assert time.time() - claim.stat().st_mtime < 10


def test_a_process_number_that_was_given_again_holds_nothing(tmp_path):
    tag = f"{owners.machine()}-{os.getpid()}-{1}"
    assert not owners.is_alive(f"{LOCK}-{tag}-aaaaaaaa", age=0)
    assert owners.is_alive(f"{LOCK}-{owners.my_tag()}-aaaaaaaa", age=1e9)


def test_of_two_claims_made_at_once_exactly_one_is_refused(tmp_path):
    """Whoever sees a later claim beside its own waits until that is withdrawn."""
    later = tmp_path / f"{LOCK}-{owners.my_tag()}-zzzzzzzz"
    later.touch()
    threading.Timer(0.2, later.unlink).start()
    with locked(tmp_path, "wait"):
        assert not later.exists()
    first = tmp_path / f"{LOCK}-{owners.my_tag()}--"
    first.touch()
    with pytest.raises(UserError, match=f"in use by process {os.getpid()}; wait"):
        locked(tmp_path, "wait").__enter__()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write into"):
        locked(tmp_path / "file").__enter__()


def test_temporary_files_of_the_living_stay(tmp_path):
    dead = background.start(
        "-c",
        "import sys, os\nfrom pathlib import Path\nfrom fas_jax.base.files import atomic_path\n"
        "file = atomic_path(Path(sys.argv[1]))\nfile.__enter__()\nos._exit(0)",
        tmp_path / "dead.txt",
    )
    ended(dead)
    foreign = tmp_path / ".tmp-0123.mp4"
    foreign.touch()
    assert len(list(tmp_path.glob(".tmp-*"))) == 2
    with atomic_path(tmp_path / "mine.txt") as mine:
        remove_leftovers([tmp_path])
        assert sorted(tmp_path.iterdir()) == sorted([mine, foreign])
        os.utime(foreign, (0, 0))
        os.utime(mine, (0, 0))
        remove_leftovers([tmp_path])
        assert list(tmp_path.iterdir()) == [mine]
