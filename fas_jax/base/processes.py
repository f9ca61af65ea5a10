"""Worker processes that import neither JAX nor the script that starts them."""

import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def without_main() -> Iterator[None]:
    """Hides the running script from spawned processes, each of which would otherwise import it, and JAX with it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
