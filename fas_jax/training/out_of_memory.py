"""What to tell where a step on frames does not fit into the devices' memory, and which one would."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from fas_jax.base.errors import UserError
from fas_jax.runtime import device_memory, devices
from fas_jax.training import network_steps
from fas_jax.training.freezing import NOTHING, Frozen
from fas_jax.training.network_settings import NetworkTraining
from fas_jax.training.objectives import Objective

# Of a device's memory; the rest is other programs' and lost between blocks.
_USABLE = 0.9
_MOST_COMPILED = 4


@contextlib.contextmanager
def told(advice: Callable[[], str]) -> Iterator[None]:
    """Turns what the compiler or a device raises for want of memory in the block into a `UserError` with the advice."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not device_memory.lacks_memory(error):
            raise
        raise UserError(advice()) from error


def step_advice(
    objective: Objective,
    settings: NetworkTraining,
    mesh: Mesh,
    mapping: devices.Mapping,
    shapes: tuple[Any, Mapping[str, Any], Any],
    title: str,
    frozen: Frozen = NOTHING,
) -> str:
    """What to change so that a step fits: an `accumulate` that divides the batch, and what else saves memory.

    Args:
        objective: The network with its loss.
        settings: With which it did not fit.
        mesh: The devices that share the batch.
        mapping: As `step_program`.
        shapes: Of the step's state, batch ([devices, frames of a device, ...]) and rates.
        title: For the message.
        frozen: What stays as it is.
    """
    shares, own = shapes[1]["frames"].shape[:2]
    height, width = shapes[1]["frames"].shape[-3:-1]  # behind the frames of a sequence, or views
    parts = [count for count in range(settings.accumulate + 1, own + 1) if own % count == 0]
    limit = int(_USABLE * _capacity())
    chosen, needed = _fitting(objective, settings, mesh, mapping, shapes, parts, limit, frozen)
    now = f", in {settings.accumulate} parts" if settings.accumulate > 1 else ""
    where = "a device" if shares == 1 else f"{shares} devices"
    said = (
        f"{title}: a step does not fit into the memory of {where}: a batch of "
        f"{shares * own} frames of {width}x{height} pixels ({own} on each device{now}) in {settings.precision}. "
    )
    if chosen:
        per = own // chosen
        fits = f"takes {needed / 2**30:.1f} of the {limit / 2**30:.1f} GiB that can be used" if needed else "may fit"
        said += (
            f"The same batch with accumulate = {chosen} ({per} frame{'s' if per > 1 else ''} at a time on each device) "
            f"{fits}; batch statistics are then those of {per * shares} frames, so that the result is another one. "
        )
    else:
        said += "No accumulate makes it fit. "
    others = ["a smaller per_class", "smaller frames"]
    if settings.precision == "float32":
        others.insert(0, "precision = 'bfloat16', which halves what is kept between layers")
    if not settings.rematerialise:
        others.insert(0, "rematerialise = true, which changes no result and takes about a third more time")
    return f"{said}Other ways: {'; '.join(others)}"


def validation_advice(title: str) -> str:
    """What to change so that scoring fits."""
    return f"{title}: the scoring of the validation frames does not fit into the device's memory; lower score_frames"


def _fitting(
    objective: Objective,
    settings: NetworkTraining,
    mesh: Mesh,
    mapping: devices.Mapping,
    shapes: tuple[Any, ...],
    parts: list[int],
    limit: int,
    frozen: Frozen,
) -> tuple[int, int]:
    """The least of these numbers of parts that fits, with the bytes it takes; 0 bytes where the compiler gives none.

    No part at all gives (0, 0).
    """

    def needed(count: int) -> int | None:
        changed = dataclasses.replace(settings, accumulate=count)
        program = network_steps.step_program(objective, changed, mesh, mapping, frozen)
        try:
            return _bytes(program.lower(*shapes).compile())
        except jax.errors.JaxRuntimeError:
            return None

    whole, tried = needed(settings.accumulate), 0
    for count in parts:
        # At best all of the step's memory shrinks with the parts.
        if whole and whole * settings.accumulate / count > limit and count != parts[-1]:
            continue
        if tried == _MOST_COMPILED:
            return parts[-1], 0
        tried += 1
        found = needed(count)
        if found == 0:
            return count, 0
        if found is not None and found <= limit:
            return count, found
    return 0, 0


def _bytes(compiled: Any) -> int:
    """That a program takes on a device while it runs; 0 where the platform does not say."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    kept = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return int(kept + stats.temp_size_in_bytes)


def _capacity() -> int:
    """Bytes of the smallest device of this process, or what is free on the host for each of its cores."""
    found = []
    for device in jax.local_devices():
        stats = device.memory_stats() if device.platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            found.append(int(stats["bytes_limit"]))
    return min(found) if found else device_memory.free_memory()


def shapes_of(tree: Any) -> Any:
    """The same tree of shapes, dtypes and places, which keeps no array alive."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=_place(leaf)), tree)


def _place(leaf: Any) -> Any:
    return leaf.sharding if isinstance(leaf, jax.Array) else None
