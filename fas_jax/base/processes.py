"""Worker processes that import neither JAX nor the script that starts them."""

import math
import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from fas_jax.base.cgroups import cpu_limit


def core_count() -> int:
    """Cores that this process may use, in containers, too, whose share of the machine's time is limited."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, math.ceil(min(cores, cpu_limit()))) or 1


_starting = threading.Lock()


@contextmanager
def without_main() -> Iterator[None]:
    """Hides the running script while the block starts processes, which then do not import it.

    A script needs no `if __name__ == "__main__"` for them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802, the name is multiprocessing's
        # A pool starts processes in a thread of its own, whenever one has died.
        with _starting, without_main():
            return SpawnProcess._Popen(process_obj)


class SpawnWithoutMain(SpawnContext):
    """Spawns processes that do not import the running script, and JAX with it.

    The script is hidden only while a process is being started.
    """

    Process = _Process
