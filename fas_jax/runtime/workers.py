"""Worker processes: how many there may be, and whether this machine can run any. Imports no JAX."""

import multiprocessing
import sys

from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.runtime.host_memory import free_host_memory

# A worker that decodes common videos stays below this.
_WORKER_BYTES = 512 << 20
# Libraries and their threads take three quarters of it before the first video is opened.
_LEAST_ADDRESSES = 2 << 30
JAX_ADDRESSES = 4 << 30
"""Bytes of address space without which JAX and its threads may fail without a word."""


def worker_count(asked: int) -> int:
    """Worker processes to start: `asked`, or with 0 one for each core, if there is memory for so many."""
    return asked or max(1, min(core_count(), free_host_memory() // _WORKER_BYTES))


def address_limit(wanted: int) -> int:
    """The limit of a process's address space, in bytes, that is nearest to `wanted` and allowed here; on Linux."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    return min([wanted, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])


def check_addresses(least: int, what: str) -> None:
    """Raises `UserError` where processes may use less than `least` bytes of address space, which `what` needs."""
    if sys.platform == "linux" and (found := address_limit(least)) < least:
        raise UserError(
            f"a process may use {found >> 20} MiB of address space here (ulimit -v), and {what} needs {least >> 20}; "
            "raise the limit"
        )


def check_workers() -> None:
    """Raises `UserError`, which says what to do, where worker processes could not be started."""
    check_addresses(_LEAST_ADDRESSES, "decoding")
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise UserError(
            f"worker processes need shared memory, which cannot be had here ({error.strerror}): make /dev/shm "
            "writable (in a container, mount a tmpfs on it)"
        ) from error
