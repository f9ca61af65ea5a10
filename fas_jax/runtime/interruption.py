"""SIGTERM and SIGUSR1: the program notes the signal and stops at the next point where it loses nothing.

Schedulers send the one before they take a machine away, and the other, where a job asks for it, some time before the
job's time is up.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Systems other than POSIX have no SIGUSR1.
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""The signals after which a training saves what it has and ends."""


class TerminatedError(SystemExit):
    """Ends the program once everything is saved, with the exit code of a process that the signal ended: 128 + number.

    Args:
        saved: What was saved, for people.
        number: Of the signal.
    """

    def __init__(self, saved: str, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + number)
        print(f"terminated; {saved}; run the same command again to go on", file=sys.stderr, flush=True)


class Asked(threading.Event):
    """Set when the program was asked to stop."""

    number: int = signal.SIGTERM
    """Of the signal that asked."""


@contextmanager
def termination() -> Iterator[Asked]:
    """Yields an event that SIGTERM or SIGUSR1 sets instead of ending the process.

    Signals reach the main thread only: in any other thread the event is never set, and signals act as before.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.number = number
        asked.set()

    with contextlib.ExitStack() as stack:
        for number in STOPPING:
            stack.callback(signal.signal, number, signal.signal(number, note))
        yield asked
