"""The host's memory: how much is free, returning freed memory, and arrays that CPU devices need not copy."""

import ctypes
import math
import os
import sys
from pathlib import Path

import numpy as np

from fas_jax.base import cgroups

# glibc's M_MMAP_THRESHOLD, and the size from which a block gets a mapping of its own. With a smaller one, the arrays of
# a step would be mapped and cleared again at every call.
_MMAP_THRESHOLD, _OWN_MAPPING = -3, 8 << 20
_ALIGNMENT = 64


def free_host_memory() -> int:
    """Bytes of memory that are free on this machine, and that a container's limit leaves."""
    return int(min(_free_on_machine(), cgroups.free_memory()))


def _free_on_machine() -> int:
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":  # which has no sysconf; the memory of a small machine
        return 4 << 30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes.

    JAX uses such an array on CPU devices, even on several, without a copy, and copies any other for each. Do not write
    to it once it is on a device.
    """
    size = math.prod(shape) * dtype.itemsize
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def return_free_memory() -> None:
    """Returns freed memory to the system now, and from now on returns large blocks when they are freed.

    By default glibc keeps blocks of up to 32 MB for the thread that freed them. Where several threads read parts of
    features in turn, the process then grows with every epoch: by 200 MB in six epochs with parts of 16 MB. With other
    C libraries this function does nothing.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
