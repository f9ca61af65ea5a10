"""The host's memory: how much is free, and that what was freed is given back."""

import ctypes
import os
import sys
from pathlib import Path

# glibc's M_MMAP_THRESHOLD, and the bytes from which a block is mapped by itself. Smaller, the arrays of a step are
# mapped and cleared anew for every call.
_MMAP_THRESHOLD, _OWN_MAPPING = -3, 8 << 20


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
