"""Locks that survive a dead owner and need no `flock`: files whose names say who holds them.

A process claims a lock by a file of its own (made with `O_EXCL`) and holds it once it sees no other living process's
claim. Of two processes whose claims are there at the same time, neither holds the lock before the other's is gone.
A dead process's claim is ignored and deleted by whoever finds it; as no two claims share a name, nobody can delete a
living one by mistake. While a lock is held, its file is renewed every few seconds, for readers on other machines.
"""

import contextlib
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.owners import STALE_SECONDS, is_alive, my_tag, owner_of

LOCK = ".lock"
_RENEW_SECONDS = 10.0
_POLL_SECONDS = 0.5

log = logging.getLogger(__name__)
# What is held, and by which process (of which this may be a fork) and thread.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def locked(folder: Path, refusal: str = "", name: str = LOCK) -> Iterator[None]:
    """Runs the block while no other process is in a block with the same lock.

    A thread that holds the lock enters further blocks at once.

    Args:
        folder: Holds the lock's files; made if needed.
        refusal: What the error tells to do if another process holds the lock; without it, this process waits.
        name: Of the lock, for several in one folder.

    Raises:
        UserError: The folder cannot be written, or, with `refusal`, another process holds the lock. A dead process
            holds none, but one that was killed on another machine or in another container is known to be dead only
            after two minutes.
    """
    place = Path(folder).resolve() / name
    me = os.getpid(), threading.get_ident()
    if _held.get(place) == me:
        yield
        return
    claim = _acquire(place, folder, refusal)
    done = threading.Event()
    threading.Thread(target=_renew, args=(claim, done), daemon=True).start()
    _held[place] = me
    try:
        yield
    finally:
        del _held[place]
        done.set()
        claim.unlink(missing_ok=True)


def is_lock(path: Path) -> bool:
    """Whether a file belongs to a folder's own lock."""
    return path.name.startswith(f"{LOCK}-")


def _acquire(place: Path, folder: Path, refusal: str) -> Path:
    told = False
    while True:
        try:
            claim = _claim(place)
            holder = _contend(claim, place)
        except OSError as error:
            raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error
        if holder is None:
            return claim
        if refusal:
            raise UserError(f"{folder} is in use by {_describe(holder)}; {refusal}")
        if not told:
            log.warning("waiting for %s, which is at work in %s", _describe(holder), folder)
            told = True
        time.sleep(_POLL_SECONDS * (1 + random.random()) / 2)


def _claim(place: Path) -> Path:
    claim = place.with_name(f"{place.name}-{my_tag()}-{secrets.token_hex(4)}")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return claim


def _contend(claim: Path, place: Path) -> Path | None:
    """Waits until the lock is ours, and returns None; or withdraws before another's claim, and returns that."""
    won = False
    try:
        while others := _others(claim, place):
            # Whoever holds the lock has written into its file; of those that only claim it, the first by name goes on.
            if before := [other for other in others if other < claim or _text(other)]:
                return before[0]
            time.sleep(0.01)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        claim.write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
        won = True
        return None
    except FileNotFoundError:  # another machine took this process for dead, which had stood still
        return claim
    finally:
        if not won:
            claim.unlink(missing_ok=True)


def _others(claim: Path, place: Path) -> list[Path]:
    """The claims of other living owners, in the order of their names; those of dead ones are deleted."""
    found = []
    os.utime(claim)
    # By the file server's clock, which gives the other claims their times, too.
    now = claim.stat().st_mtime
    for other in sorted(place.parent.glob(f"{place.name}-*")):
        if other == claim:
            continue
        with contextlib.suppress(FileNotFoundError):
            if is_alive(other.name, now - other.stat().st_mtime):
                found.append(other)
            else:
                other.unlink()
    return found


def _renew(claim: Path, done: threading.Event) -> None:
    while not done.wait(_RENEW_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(claim)


def _describe(holder: Path) -> str:
    pid, elsewhere = owner_of(holder.name)
    text = _text(holder) or f"process {pid}"
    return f"{text} (if it was killed there, this is noticed within {STALE_SECONDS:g} s)" if elsewhere else text


def _text(claim: Path) -> str:
    try:
        return claim.read_text().strip()
    except OSError:
        return ""
