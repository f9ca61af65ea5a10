"""How much memory the devices have free, and how they say that it was not enough."""

import jax

from fas_jax.runtime.host_memory import free_host_memory


def free_memory() -> int:
    """Bytes free on the device with the least free memory."""
    found = []
    for device in jax.local_devices():
        stats = device.memory_stats() if device.platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            found.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if found:
        return min(found)
    return free_host_memory() // jax.local_device_count()


def lacks_memory(error: BaseException) -> bool:
    """Whether this is what the compiler or a device raises for want of memory, whatever the platform calls it."""
    said = str(error)
    known = "RESOURCE_EXHAUSTED" in said or "out of memory" in said.lower()
    return known and isinstance(error, jax.errors.JaxRuntimeError)
