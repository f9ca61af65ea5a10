"""Compiled programs of earlier test sessions: compiling takes half of the tests' time, and most programs stay the same.

JAX finds a program by what it was compiled from and by its own version and flags, so that a changed program is compiled
anew. A session works in a folder of its own: tests kill processes while they write there, and a file that is cut off
must not last. Set `JAX_COMPILATION_CACHE_DIR` to go without.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

_MOST_BYTES = 2 << 30
_DAY = 24 * 3600
_SUFFIX = "-cache"


def home() -> Path:
    """Where programs stay; programs for one kind of processor can be wrong for another."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    processor = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    folder = Path(base) / "fas_jax" / "test-programs" / hashlib.sha256("\n".join(processor).encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written to
        return Path(tempfile.mkdtemp(prefix="fas-jax-tests-"))
    return folder


def open_session(kept: Path) -> Path:
    """A new folder for JAX's cache, which holds the kept programs as links."""
    sessions = kept / "sessions"
    sessions.mkdir(parents=True, exist_ok=True)
    for old in sessions.iterdir():
        with contextlib.suppress(OSError):
            if old.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=sessions))
    for path in kept.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another session removed it
            os.link(path, folder / path.name)
    return folder


def close_session(folder: Path, kept: Path) -> None:
    """Keeps the session's new programs that are whole, and removes its folder and the oldest of too many programs."""
    for path in folder.glob(f"*{_SUFFIX}"):
        if not (kept / path.name).exists() and _is_whole(path):
            with contextlib.suppress(FileExistsError):
                os.link(path, kept / path.name)
    shutil.rmtree(folder, ignore_errors=True)
    total = 0
    for path in sorted(kept.glob(f"*{_SUFFIX}"), key=_made, reverse=True):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
            if total > _MOST_BYTES:
                path.unlink()


def _is_whole(path: Path) -> bool:
    from jax._src import compilation_cache  # a public name does not exist; JAX must not be imported before its settings

    try:
        compilation_cache.decompress_executable(path.read_bytes())
    except Exception:  # whatever the compression raises, and there are several
        return False
    return True


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
