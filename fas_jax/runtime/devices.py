"""One per-device function on all devices: a mesh of runs by data, and the processes that share it."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fas_jax.base.errors import UserError
from fas_jax.base.locks import locked
from fas_jax.base.processes import core_count
from fas_jax.runtime import launching

RUNS, DATA = "runs", "data"
AXIS = DATA
# How an argument is laid out on the mesh: replicated; divided by run; with a leading axis of the devices that share
# the batch; or with that axis and then the runs.
SAME, BY_RUN, BY_ROW, BY_ROW_AND_RUN = (
    PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(DATA), PartitionSpec(DATA, RUNS)
)  # fmt: skip
Mapping = Literal["shard_map", "pmap"]

# A process that sends no heartbeat for this long, or does not reach the end this long after the others, is lost.
HEARTBEAT_SECONDS = 15
_WEEK_MS = 7 * 24 * 3600 * 1000
# Numbers the barriers, which all processes reach in the same order.
_meetings = itertools.count()


def use_cores() -> None:
    """Makes a device of each core of this process, up to four, if JAX finds no accelerator.

    Call it before anything else of JAX. The threads of one device wait for each other at the end of each product, and
    devices do not: two devices on two cores train small networks and compute features in half to five sixths of the
    time (docs/scaling.md, docs/backbones.md). It changes nothing where the environment sets the number of devices, and
    in a job of several processes, each of which has one.
    """
    chosen: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # it is not typed
    given = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if given or chosen != -1 or launching.is_launched():
        return
    # At most four: every device copies the shared arrays, and takes a batch of its own in the feature stage.
    with contextlib.suppress(RuntimeError):  # JAX has started, and keeps its devices
        jax.config.update("jax_num_cpu_devices", min(core_count(), 4))


def check() -> None:
    """Raises `UserError` where JAX finds no device, or is set to compute in another precision than this package."""
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX finds no device with JAX_PLATFORMS={chosen!r}{': ' if str(error) else ''}{error}; unset it, or "
            "install the package with the extra for that platform, cuda or tpu"
        ) from error
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]  # it is not typed
        raise UserError("JAX_ENABLE_X64 is set, and networks here compute in float32; unset it")


def join() -> None:
    """Joins the other processes of the job, on one machine or many, if the environment names a job.

    Call it before anything else of JAX. A process without a job uses its cores (`use_cores`). When a process of a job
    dies, JAX ends the others within about `HEARTBEAT_SECONDS`, and `launching.launch` names the process that died.

    Raises:
        UserError: The variables (see `launching`) are wrong, or the other processes cannot be reached.
    """
    if not launching.is_launched():
        use_cores()
        return
    if jax.distributed.is_initialized():
        return
    coordinator = os.environ.get(launching.COORDINATOR, "auto")
    given: dict[str, Any] = {}
    if coordinator != "auto":
        processes, index = _number(launching.PROCESSES), _number(launching.PROCESS)
        if not 0 <= index < processes:
            raise UserError(f"{launching.PROCESS}={index} must lie in [0, {launching.PROCESSES}), which is {processes}")
        if not coordinator.rpartition(":")[2].isdigit():
            raise UserError(f"{launching.COORDINATOR}={coordinator} must be HOST:PORT, or auto")
        given = {"coordinator_address": coordinator, "num_processes": processes, "process_id": index}
    # On CPU, concurrent programs would run their collectives in an order that differs between processes.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, shutdown_timeout_seconds=HEARTBEAT_SECONDS
        )
    except (ValueError, RuntimeError) as error:
        named = launching.scheduler(os.environ)
        if launching.COORDINATOR in os.environ or not named:
            raise UserError(f"{launching.COORDINATOR}={coordinator}: {error}") from error
        raise UserError(
            f"{named} started this process as one of several, and JAX cannot find the others ({error}); name them by "
            f"{launching.COORDINATOR}, {launching.PROCESSES} and {launching.PROCESS}, or set {launching.PROCESSES}=1 "
            "for processes that work each by itself"
        ) from error


def _number(variable: str) -> int:
    try:
        return int(os.environ.get(variable, ""))
    except ValueError:
        raise UserError(f"{launching.COORDINATOR} is set; {variable} must then be a number") from None


def is_first() -> bool:
    """Whether this is the first process, which writes the files."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits, however long that takes, until every process has called this."""
    if jax.process_count() > 1:
        # JAX's own sync_global_devices is a collective, which gives up after half an hour on CPU; its coordinator's
        # barriers it shows to Orbax alone.
        from orbax.checkpoint import multihost  # only here: it takes a second to import

        multihost.get_barrier_sync_fn()(key=f"{next(_meetings)} {name}", timeout_ms=_WEEK_MS)


@contextmanager
def first_alone(name: str) -> Iterator[None]:
    """Runs the block in the first process, then in the others, which find the first one's files."""
    if not is_first():
        wait_for_all(name)
    yield
    if is_first():
        wait_for_all(name)


@contextmanager
def job_locked(folder: Path, refusal: str = "") -> Iterator[None]:
    """Runs the block while no other job is in a block with the folder's lock; see `base.locks.locked`.

    All processes of the job must come to it. The first holds the lock, for as long as its own block takes.
    """
    with locked(folder, refusal) if is_first() else contextlib.nullcontext():
        wait_for_all(f"lock of {folder}")
        yield


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process; all processes must call this."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def least(number: int) -> int:
    """The least of all processes' numbers, each below 2**62; all processes must call this."""
    if jax.process_count() == 1:
        return number
    # In two parts: JAX would truncate 64 bits to 32.
    parts = multihost_utils.process_allgather(np.array([[number >> 31, number & 0x7FFFFFFF]], np.int32))
    return min((int(high) << 31) + int(low) for high, low in parts.reshape(-1, 2))


def shared(count: int, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The values of `count` items, of which each process computes a share; the same bits in every process.

    Args:
        count: The same in all processes, all of which must call this.
        compute: From the numbers of some items [k], which may be none, to their values [k].
    """
    share = -(-count // jax.process_count())
    start = min(jax.process_index() * share, count)
    own = compute(np.arange(start, min(start + share, count)))
    if jax.process_count() == 1:
        return own
    # As bytes: JAX would truncate 64 bits to 32.
    filled = np.pad(own, (0, share - len(own))).view(np.uint8)
    return np.array(multihost_utils.process_allgather(filled)).reshape(-1).view(own.dtype)[:count]


def make_mesh(runs: int, batch_size: int, run_devices: int = 0) -> Mesh:
    """A mesh of all devices of all processes: `run_devices` of them along `RUNS`, the rest along `DATA`.

    With 0, it chooses the division that gives a device the least to do, and among equals the one with the fewest
    devices to a batch, because batches need communication and runs do not. On the cores of one process it divides the
    runs alone, among as many devices as that needs: summing a divided batch costs cores more than they save.

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
    """Puts arrays on the mesh; every process holds all of each array."""
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
    """The whole arrays as NumPy arrays, in every process."""

    def one(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            whole = leaf if leaf.is_fully_replicated else _whole(leaf)
            return np.array(whole.addressable_data(0))
        return np.array(leaf)

    return jax.tree.map(one, tree)


def gather(tree: Any) -> Any:
    """The whole arrays on this process's first device."""
    first = jax.local_devices()[0]
    return jax.device_put(tree if jax.process_count() == 1 else fetch(tree), first)


def _whole(leaf: jax.Array) -> jax.Array:
    sharding: Any = leaf.sharding
    return _reshard(NamedSharding(sharding.mesh, SAME))(leaf)


@cache
def _reshard(sharding: Any) -> Callable[[Any], Any]:
    # Kept, or every array would be compiled for each time.
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
    all devices of that axis. Take gradients with respect to `varying` weights only.

    Args:
        function: Takes one positional argument for each of `inputs`.
        mesh: From `make_mesh`.
        inputs: How each argument is laid out: `SAME`, `BY_RUN`, `BY_ROW` or `BY_ROW_AND_RUN`, or a tree of these. For
            the last two the function gets its device's entry of the leading axis.
        outputs: How the results are laid out, `SAME` or `BY_RUN`.
        mapping: `shard_map`, or its predecessor `pmap`, which cannot divide the runs.
        donate: Arguments whose buffers the result may reuse.
        options: XLA's, for this program; `pmap` takes none.
    """
    by_row = [spec in (BY_ROW, BY_ROW_AND_RUN) for spec in inputs]
    if mapping == "pmap":
        if mesh.shape[RUNS] > 1 or jax.process_count() > 1:
            raise UserError("training.mapping 'pmap' works in one process and cannot divide the runs; use shard_map")
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
    # One sum of one vector: several sums at once may run in another order in another process.
    flat, shaped = ravel_pytree(tree)
    return shaped(jax.lax.psum(flat, DATA))


def describe() -> dict[str, Any]:
    """Platform, kind and number of the devices, for reports."""
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
