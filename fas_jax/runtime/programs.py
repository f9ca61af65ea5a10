"""Compiled programs that outlive the process, so that the next one need not compile them."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import jax


def keep_programs() -> None:
    """Keeps what JAX compiles from now on in the user's cache, and reads it from there.

    The folder is `fas_jax/programs` in `XDG_CACHE_HOME`, or in `~/.cache`. JAX's own setting, such as the variable
    `JAX_COMPILATION_CACHE_DIR`, goes first. A folder that cannot be written to costs a warning of JAX and the time of
    compiling.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # it is not typed
    if chosen is not None:
        return
    jax.config.update("jax_compilation_cache_dir", str(_folder()))
    # The first verdict waits for many small programs as well as for the backbone.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # A home may be shared by machines, and programs for one's processor can be wrong for another's.
    return Path(base) / "fas_jax" / "programs" / hashlib.sha256(_processor().encode()).hexdigest()[:16]


def _processor() -> str:
    """What kind of processor this is, with the instructions that it knows where the system says so."""
    known = [platform.machine(), platform.processor()]
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known += sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return "\n".join(known)
