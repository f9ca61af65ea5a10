"""CPU and memory limits of containers and batch systems: Linux control groups, versions 1 and 2."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cpu_limit(root: Path = _ROOT) -> float:
    """Cores' worth of time that this process's groups allow; infinite if they do not limit it.

    Args:
        root: Of the file system, for tests.
    """
    limits = [math.inf]
    for folder in _folders("cpu", root):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (float(each) for each in (folder / "cpu.max").read_text().split())
            limits.append(quota / period)
        with contextlib.suppress(OSError, ValueError):
            quota, period = (float((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:
                limits.append(quota / period)
    return min(limits)


def free_memory(root: Path = _ROOT) -> float:
    """Bytes that this process's groups leave; infinite if they do not limit it.

    Args:
        root: Of the file system, for tests.
    """
    free = [math.inf]
    for folder in _folders("memory", root):
        for limit, used, reclaimable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with contextlib.suppress(OSError, ValueError):
                most = int((folder / limit).read_text())
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # Files that the kernel drops when memory is short count as used.
                taken = int((folder / used).read_text()) - int(statistics.get(reclaimable, 0))
                free.append(max(0, most - taken))
    return min(free)


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's group and of those around it, as far as they can be seen from here."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if names else "")
        # A container may see its own group as the root, and be told its path on the host.
        place = mount / path.lstrip("/")
        yield from (folder for folder in (place, *place.parents) if folder.is_relative_to(mount))
