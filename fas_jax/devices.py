"""Spreading one per-device function over the local devices."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fas_jax.errors import UserError

AXIS = "data"


def connect(coordinator: str, processes: int, index: int) -> None:
    """Joins several processes, on one machine or many; to be called before anything else of JAX.

    When one of them dies, JAX ends the others within some two minutes; which one it was, the launcher has to say.

    Args:
        coordinator: HOST:PORT of the first process; `auto` takes all three from the cluster that JAX finds itself in
            (Slurm, Open MPI, Kubernetes, TPU pods); empty does nothing.
        processes: How many there are.
        index: Which one this is, from 0.

    Raises:
        UserError: The numbers do not fit, or the others cannot be reached.
    """
    if not coordinator:
        if processes not in (0, 1) or index:
            raise UserError("--processes and --process-index need --coordinator HOST:PORT")
        return
    if coordinator != "auto" and not 0 <= index < processes:
        raise UserError(f"--process-index {index} must lie in [0, --processes), which is {processes}")
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, processes, index)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"--coordinator {coordinator}: {error}") from error


def local_mesh() -> Mesh:
    """All local devices along `AXIS`."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """Puts a copy of every array on every local device."""
    return jax.device_put(tree, NamedSharding(local_mesh(), PartitionSpec()))


def data_parallel(
    function: Callable[..., Any],
    *,
    sharded: tuple[int, ...],
    arguments: int,
    mapping: Literal["shard_map", "pmap"] = "shard_map",
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Compiles `function` to run on every local device at once.

    `function` sees one device's share and may use collectives over the axis `AXIS`; its results must be equal on
    all devices. Gradients have to be taken of `varying` weights: see there.

    Args:
        function: Takes `arguments` positional arguments.
        sharded: Which arguments have a leading axis of devices; the function gets its own device's entry. All
            others are the same everywhere.
        arguments: How many there are.
        mapping: `shard_map`, or its predecessor `pmap`.
        donate: Arguments whose buffers the result may reuse.
    """
    if mapping == "pmap":
        axes = tuple(0 if i in sharded else None for i in range(arguments))
        return jax.pmap(function, AXIS, in_axes=axes, out_axes=None, donate_argnums=donate)

    def local(*args: Any) -> Any:
        # shard_map keeps the sharded axis, of length 1 here, where pmap drops it.
        own = (jax.tree.map(lambda x: x[0], arg) if i in sharded else arg for i, arg in enumerate(args))
        return function(*own)

    specs = tuple(PartitionSpec(AXIS) if i in sharded else PartitionSpec() for i in range(arguments))
    mapped = jax.shard_map(local, mesh=local_mesh(), in_specs=specs, out_specs=PartitionSpec())
    return jax.jit(mapped, donate_argnums=donate)


def varying(tree: Any) -> Any:
    """Marks replicated arrays as differing between devices, so that `grad` gives each device's own gradient.

    Without it shard_map sums the gradients of replicated weights by itself and pmap does not; with it, both leave
    the sum to an explicit `psum`.
    """
    return jax.tree.map(lambda x: jax.lax.pcast(x, AXIS, to="varying"), tree)


def describe() -> dict[str, Any]:
    """What computes: for the report, so that nobody takes a CPU's figures for a GPU's."""
    devices = jax.local_devices()
    return {"platform": devices[0].platform, "device": devices[0].device_kind, "count": len(devices)}
