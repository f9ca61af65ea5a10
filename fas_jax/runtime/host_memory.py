"""The host's memory: how much is free, that what was freed is given back, and arrays that CPU devices need not copy."""

import ctypes
import math
import os
import sys
from pathlib import Path

import numpy as np

# glibc's M_MMAP_THRESHOLD, and the bytes from which a block is mapped by itself. Smaller, the arrays of a step are
# mapped and cleared anew for every call.
_MMAP_THRESHOLD, _OWN_MAPPING = -3, 8 << 20
_ALIGNMENT = 64


def free_host_memory() -> int:
    """Bytes that this machine's processes can still take."""
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":  # no sysconf there; what the smallest machine has
        return 4 << 30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes.

    JAX takes such an array for a CPU device's own, also for several devices'; any other it copies for each. Who puts it
    on a device must not write to it afterwards.
    """
    size = math.prod(shape) * dtype.itemsize
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def return_free_memory() -> None:
    """Makes this process give freed memory back to the system: what there is of it now, and from now on large blocks.

    By default glibc keeps blocks of up to 32 MB for the thread that freed them. Where several threads read parts of
    features in turn, the process then grows with every epoch: by 200 MB within six, of 16 MB a part. Other C libraries
    are left as they are.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
