"""What tests start beside themselves is ended with all that belongs to it."""

import time
import warnings
from pathlib import Path

import pytest

from tests import background

STUCK = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', file=sys.stderr); "


def test_a_stuck_job_is_killed_with_its_processes_and_its_words_are_shown():
    job = background.launch(2, "-c", STUCK + "time.sleep(99)")
    background.wait_until(lambda: len(background.children(job)) == 2, job)
    own = background.children(job)
    with pytest.raises(pytest.fail.Exception, match="has not ended after 5 s"):
        background.ended(job, limit=5)
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in own):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_nobody_waited_for_is_ended_and_its_pipes_are_closed():
    left = background.start("-c", "import time; time.sleep(99)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        background.end_all()
    assert left.returncode
    assert left.stdout.closed
    assert left.stderr.closed


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
