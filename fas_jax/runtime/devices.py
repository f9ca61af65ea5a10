"""Spreading one per-device function over all devices: one mesh of runs by data, and the processes that hold it."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.runtime import launching
from fas_jax.runtime.host_memory import free_host_memory

RUNS, DATA = "runs", "data"
AXIS = DATA
# How an argument lies on the mesh: the same everywhere; runs apart; a leading axis of the devices that share the
# batch; or that axis and then the runs.
SAME, BY_RUN, BY_ROW, BY_ROW_AND_RUN = (
    PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(DATA), PartitionSpec(DATA, RUNS)
)  # fmt: skip
Mapping = Literal["shard_map", "pmap"]

# A process that nobody has heard of for so long is lost, and ends the others; so is one that does not come to the end.
HEARTBEAT_SECONDS = 15
_WEEK_MS = 7 * 24 * 3600 * 1000
# Numbers the occasions on which processes wait for each other; all come to the same ones in the same order.
_meetings = itertools.count()


def use_cores() -> None:
    """Makes a device of each core of this process, of up to four, for where JAX finds no accelerator.

    To be called before anything else of JAX. Devices work side by side where the parts of one product wait for each
    other at the end of each: two of them on two cores train small networks and compute features in half to five
    sixths of the time (docs/scaling.md, docs/backbones.md). A number that the environment gives stays, and so does
    one device a process in a job of several.
    """
    chosen: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # it is not typed
    given = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if given or chosen != -1 or launching.is_launched():
        return
    # No more than four: each has a copy of what all share, and a step of the feature stage has a batch for each.
    with contextlib.suppress(RuntimeError):  # JAX has begun, and keeps the devices that it has
        jax.config.update("jax_num_cpu_devices", min(core_count(), 4))


def join() -> None:
    """Joins the other processes of the job, on one machine or many, where the environment says that there is one.

    To be called before anything else of JAX; a process by itself uses its cores. When one of several dies, JAX ends
    the others within `HEARTBEAT_SECONDS` or so; which one it was, `launching.launch` says.

    Raises:
        UserError: The variables (see `launching`) do not fit, or the others cannot be reached.
    """
    if not launching.is_launched():
        use_cores()
        return
    if jax.distributed.is_initialized():
        return
    coordinator = os.environ[launching.COORDINATOR]
    given: dict[str, Any] = {}
    if coordinator != "auto":
        processes, index = _number(launching.PROCESSES), _number(launching.PROCESS)
        if not 0 <= index < processes:
            raise UserError(f"{launching.PROCESS}={index} must lie in [0, {launching.PROCESSES}), which is {processes}")
        if not coordinator.rpartition(":")[2].isdigit():
            raise UserError(f"{launching.COORDINATOR}={coordinator} must be HOST:PORT, or auto")
        given = {"coordinator_address": coordinator, "num_processes": processes, "process_id": index}
    # On CPU, programs in flight at once would meet their collectives in an order of each process's own.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, shutdown_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{launching.COORDINATOR}={coordinator}: {error}") from error


def _number(variable: str) -> int:
    try:
        return int(os.environ.get(variable, ""))
    except ValueError:
        raise UserError(f"{launching.COORDINATOR} is set; {variable} must then be a number") from None


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process has come here, however long that takes."""
    if jax.process_count() > 1:
        # JAX's own sync_global_devices is a collective, which gives up after half an hour on CPU; its coordinator's
        # barriers it shows to Orbax alone.
        from orbax.checkpoint import multihost  # only here: it takes a second to import

        multihost.get_barrier_sync_fn()(key=f"{next(_meetings)} {name}", timeout_ms=_WEEK_MS)


@contextmanager
def first_alone(name: str) -> Iterator[None]:
    """The first process does what is in the block, and then the others, which find its files there."""
    if not is_first():
        wait_for_all(name)
    yield
    if is_first():
        wait_for_all(name)


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process; all have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def least(number: int) -> int:
    """The least of all processes' numbers, of which each is below 2**62; all have to ask."""
    if jax.process_count() == 1:
        return number
    # In two parts: JAX would cut 64 bits to 32.
    parts = multihost_utils.process_allgather(np.array([[number >> 31, number & 0x7FFFFFFF]], np.int32))
    return min((int(high) << 31) + int(low) for high, low in parts.reshape(-1, 2))


def make_mesh(runs: int, batch_size: int, run_devices: int = 0) -> Mesh:
    """All devices of all processes, as `run_devices` by what that leaves for the rows of a batch.

    0 chooses the division under which a device has the least to do; of equals the one with the fewer devices to a
    batch, because runs need no communication and batches do. On the cores of one process it divides runs alone, among
    as many devices as that needs: what they would save on a batch they lose on its sum.

    Raises:
        UserError: `run_devices` does not divide the number of devices.
    """
    devices = np.array(jax.devices())
    if run_devices and len(devices) % run_devices:
        raise UserError(
            f"training.run_devices is {run_devices}, which does not divide the {len(devices)} devices; choose a "
            "divisor, or 0"
        )
    if not run_devices and are_cores():
        share = -(-runs // len(devices))
        return Mesh(devices[: -(-runs // share)].reshape(-1, 1), (RUNS, DATA))
    divisors = [k for k in range(1, len(devices) + 1) if len(devices) % k == 0]
    chosen = run_devices or min(divisors, key=lambda k: (-(-runs // k) * -(-batch_size // (len(devices) // k)), -k))
    return Mesh(devices.reshape(chosen, -1), (RUNS, DATA))


def are_cores() -> bool:
    """Whether the devices are cores of this process, which share its memory."""
    return jax.process_count() == 1 and jax.default_backend() == "cpu"


def place(tree: Any, mesh: Mesh, spec: PartitionSpec = SAME) -> Any:
    """Puts arrays, which every process has whole, on the mesh."""
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return _reshard(sharding)(leaf)
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(one, tree)


def fetch(tree: Any) -> Any:
    """The arrays as NumPy has them, whole, in every process."""

    def one(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = _whole(leaf)
            return np.array(leaf.addressable_data(0))
        return np.array(leaf)

    return jax.tree.map(one, tree)


def gather(tree: Any) -> Any:
    """The arrays whole, on this process's first device."""
    first = jax.local_devices()[0]
    return jax.device_put(tree if jax.process_count() == 1 else fetch(tree), first)


def _whole(leaf: jax.Array) -> jax.Array:
    sharding: Any = leaf.sharding
    return _reshard(NamedSharding(sharding.mesh, SAME))(leaf)


def _reshard(sharding: Any) -> Callable[[Any], Any]:
    return jax.jit(lambda x: x, out_shardings=sharding)


def parallel(
    function: Callable[..., Any],
    mesh: Mesh,
    inputs: Sequence[Any],
    outputs: PartitionSpec,
    *,
    mapping: Mapping = "shard_map",
    donate: tuple[int, ...] = (),
    options: dict[str, str] | None = None,
) -> Callable[..., Any]:
    """Compiles `function` to run on every device of the mesh at once.

    `function` sees one device's share and may use collectives over the axis `DATA`; its results must be equal on
    all devices of that axis. Gradients have to be taken of `varying` weights: see there.

    Args:
        function: Takes one positional argument for each of `inputs`.
        mesh: From `make_mesh`.
        inputs: How each argument lies: `SAME`, `BY_RUN`, `BY_ROW` or `BY_ROW_AND_RUN`, or a tree of these. Of the
            last two the function gets its device's entry of the leading axis.
        outputs: How the results lie, `SAME` or `BY_RUN`.
        mapping: `shard_map`, or its predecessor `pmap`, which knows no runs apart.
        donate: Arguments whose buffers the result may reuse.
        options: XLA's, for this program; `pmap` takes none.
    """
    by_row = [spec in (BY_ROW, BY_ROW_AND_RUN) for spec in inputs]
    if mapping == "pmap":
        if mesh.shape[RUNS] > 1 or jax.process_count() > 1:
            raise UserError("training.mapping 'pmap' knows one process and no division of the runs; use shard_map")
        axes = tuple(0 if rows else None for rows in by_row)
        return jax.pmap(function, DATA, in_axes=axes, out_axes=None, donate_argnums=donate)

    def local(*args: Any) -> Any:
        # shard_map keeps the sharded axis, of length 1 here, where pmap drops it.
        own = (jax.tree.map(lambda x: x[0], arg) if rows else arg for arg, rows in zip(args, by_row, strict=True))
        return function(*own)

    mapped = jax.shard_map(local, mesh=mesh, in_specs=tuple(inputs), out_specs=outputs, check_vma=mesh.shape[DATA] > 1)
    return jax.jit(mapped, donate_argnums=donate, compiler_options=options)


def varying(tree: Any) -> Any:
    """Marks weights as differing between the devices of a batch, so that `grad` gives each device's own gradient.

    Without it shard_map sums the gradients of replicated weights by itself and pmap does not; with it, both leave
    the sum to an explicit `psum`.
    """
    return jax.tree.map(lambda x: jax.lax.pcast(x, DATA, to="varying"), tree)


def sum_over_batch(tree: Any) -> Any:
    """Sums every leaf over the devices of a batch."""
    if jax.lax.axis_size(DATA) == 1:
        return tree
    # One sum of one vector: several at once may meet in another order in another process.
    flat, shaped = ravel_pytree(tree)
    return shaped(jax.lax.psum(flat, DATA))


def free_memory() -> int:
    """Bytes that arrays can still take on the device that has the least."""
    found = []
    for device in jax.local_devices():
        stats = device.memory_stats() if device.platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            found.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if found:
        return min(found)
    return free_host_memory() // jax.local_device_count()


def describe() -> dict[str, Any]:
    """What computes: for the report, so that nobody takes a CPU's figures for a GPU's."""
    devices = jax.local_devices()
    return {"platform": devices[0].platform, "device": devices[0].device_kind, "count": jax.device_count()}


def one_device() -> Mesh:
    """This process's first device alone."""
    return Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), (RUNS, DATA))


def local_mesh() -> Mesh:
    """This process's devices along `AXIS`, for work that each process does by itself."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """Puts a copy of every array on every device of this process."""
    return jax.device_put(tree, NamedSharding(local_mesh(), SAME))
