"""Which process made a file, told by the file's name, and whether that process still lives.

A name holds a tag `MACHINE-PID-START`. On the same machine the tag is proof: no other process has this number and this
time of start. A process of another machine, or of another container, is alive as long as its file is renewed.
"""

import functools
import hashlib
import os
import re
import socket
import sys
import uuid
from pathlib import Path

STALE_SECONDS = 120.0
"""A file of another machine that has not been written for so long has lost its owner. Above the time for which network
file systems keep times of change in memory, which is 60 s by default."""
_TAG = re.compile(r"([0-9a-f]{12})-(\d+)-(\d+)")


@functools.cache
def machine() -> str:
    """Twelve hexadecimal digits for this boot of this machine and, in containers, for this container's processes."""
    parts = [socket.gethostname()]
    try:
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    except OSError:  # not Linux
        parts.append(str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def my_tag() -> str:
    """The tag of this process."""
    return f"{machine()}-{os.getpid()}-{_start(os.getpid()) or 0}"


def is_alive(name: str, age: float, stale: float = STALE_SECONDS) -> bool:
    """Whether the process lives that made a file.

    Args:
        name: The file's, with the process's tag; of a name without a tag the age alone counts.
        age: Seconds since the file was last written or renewed.
        stale: The age from which on a process of another machine counts as dead.
    """
    found = _TAG.search(name)
    if found is None or found[1] != machine() or sys.platform == "win32":
        return age < stale
    pid, start = int(found[2]), int(found[3])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's
    now = _start(pid)
    # Without times of start, another process may have the number by now.
    return now == start if now is not None and start else age < stale


def owner_of(name: str) -> tuple[int, bool]:
    """The process's number in a file's name, 0 if there is none, and whether it runs on another machine."""
    found = _TAG.search(name)
    return (int(found[2]), found[1] != machine()) if found else (0, True)


def _start(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; -1 if it has ended and waits for its parent to notice."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # not Linux, or hidden from this user
        return None
    # After the command's name, which may hold anything: the state, and 18 fields further on the start.
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])
