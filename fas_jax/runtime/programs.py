"""Programs that outlive the process, so that the next one need neither trace nor compile them."""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax import export

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path

T = TypeVar("T")
_DIGEST = 32
_traces: list[Path] = []
"""The folder of traced programs, once `keep_programs` has chosen it."""
_programs: dict[str, Callable[..., Any]] = {}
"""Those that this process has run."""


def keep_programs() -> None:
    """Keeps what JAX compiles from now on in the user's cache, and reads it from there, with what `run_kept` runs.

    The folder is `fas_jax/programs` in `XDG_CACHE_HOME`, or in `~/.cache`. JAX's own setting, such as the variable
    `JAX_COMPILATION_CACHE_DIR`, goes first. A folder that cannot be written to costs a warning of JAX and the time of
    compiling.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # it is not typed
    folder = _folder() if chosen is None else Path(chosen)
    if chosen != "":
        _traces[:] = [folder / "traces"]
    if chosen is not None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # The first verdict waits for many small programs as well as for the backbone.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def run_kept(name: str, function: Callable[..., T], *args: Any, code: type | None = None) -> T:
    """What a traceable function makes of these arguments; after `keep_programs`, not traced again in every process.

    Tracing and lowering a deep network take seconds in Python. The program is the same, and so are the results' bits.
    It is kept for as long as the code of this package is what it was. With several devices the function itself runs.

    Args:
        name: What decides the program besides code and the arguments' shapes and types, such as a network's settings.
        function: Pure; best jitted, because it may be called as it is. It gives an array, or a plain tuple of arrays.
        args: Trees of arrays.
        code: A class whose package decides the program as well.
    """
    if not _traces or jax.device_count() > 1:
        return function(*args)
    leaves, tree = jax.tree.flatten(args)
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    settings = [getattr(jax.config, each) for each in ("jax_enable_x64", "jax_default_matmul_precision")]
    backend = (jax.__version__, jax.default_backend(), *map(str, settings))
    described = (name, _code_of(code), *backend, str(tree), *map(str, shapes))
    key = hashlib.sha256("\n".join(described).encode()).hexdigest()
    if key not in _programs:
        # Of leaves alone: a file cannot hold what it does not know, such as our named tuples.
        flat = jax.jit(lambda *leaves: function(*jax.tree.unflatten(tree, leaves)))
        _programs[key] = jax.jit(_exported(_traces[0] / key, flat, shapes).call)
    found: T = _programs[key](*leaves)
    return found


def _exported(path: Path, function: jax.stages.Wrapped, shapes: Sequence[jax.ShapeDtypeStruct]) -> export.Exported:
    """The traced program that the file holds, or which it will hold from now on if it can be written."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        digest, program = content[:_DIGEST], content[_DIGEST:]
        # A damaged program could be another one.
        if hashlib.sha256(program).digest() == digest:
            return export.deserialize(bytearray(program))
    traced = export.export(function)(*shapes)
    program = bytes(traced.serialize())
    with contextlib.suppress(UserError), atomic_path(path) as temporary:
        temporary.write_bytes(hashlib.sha256(program).digest() + program)
    return traced


@lru_cache
def _code_of(code: type | None) -> str:
    """Of whole packages: finer bookkeeping could miss what a program depends on."""
    total = hashlib.sha256()
    for name in dict.fromkeys([__name__, *([code.__module__] if code else [])]):
        file = Path(str(sys.modules[name.partition(".")[0]].__file__))
        for path in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            total.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


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
