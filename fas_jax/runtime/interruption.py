"""SIGTERM: the program notes the signal and stops at the next point where it loses nothing."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TerminatedError(SystemExit):
    """Ends the program with the exit code of a SIGTERM once everything is saved."""

    def __init__(self, saved: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        print(f"terminated; {saved}; run the same command again to go on", file=sys.stderr, flush=True)


@contextmanager
def termination() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM sets instead of ending the process.

    Signals reach the main thread only: in any other thread the event is never set, and SIGTERM acts as before.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
