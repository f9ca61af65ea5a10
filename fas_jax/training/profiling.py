"""A trace of a few training steps, by JAX's profiler."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from fas_jax.base.files import plain_name
from fas_jax.runtime import devices

_STEPS = 8


class Profiler:
    """Traces the first steps of a program's second call; the first one compiles.

    Args:
        folder: Gets a folder for each program; None traces nothing.
        name: The program's.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder = folder / plain_name(name) if folder else None
        self._calls = 0

    def __call__(self, train: Callable[[Any, Any], Any], state: Any, order: Int[np.ndarray, "d r s b"]) -> Any:
        """`train` from `state`, over the steps of `order`; in two calls where the first steps are set apart."""
        if self._folder is None or self._calls == 2:
            return train(state, order)
        self._calls += 1
        first, rest = order[:, :, :_STEPS], order[:, :, _STEPS:]
        # All processes part their steps in the same way, or their programs would not meet.
        if self._calls == 2 and devices.is_first():
            jax.block_until_ready(state)
            with jax.profiler.trace(self._folder, create_perfetto_trace=True):
                state = jax.block_until_ready(train(state, first))
            _tell(self._folder, first.shape[2])
        else:
            state = train(state, first)
        return train(state, rest) if rest.shape[2] else state


@contextlib.contextmanager
def traced_steps(folder: Path | None, name: str) -> Iterator[Callable[[Any], None]]:
    """Traces some steps of a loop that calls one program for each: all but the first two, of which one compiles.

    Args:
        folder: Gets a folder for each program; None traces nothing.
        name: The program's.

    Yields:
        Takes what a step gave, after each step.
    """
    own = folder / plain_name(name) if folder and devices.is_first() else None
    seen = 0

    def note(result: Any) -> None:
        nonlocal seen
        if own is None:
            return
        seen += 1
        if seen == 2:
            jax.block_until_ready(result)
            jax.profiler.start_trace(own, create_perfetto_trace=True)
        elif seen == 2 + _STEPS:
            jax.block_until_ready(result)
            jax.profiler.stop_trace()
            _tell(own, _STEPS)

    try:
        yield note
    finally:
        # A training of fewer steps, or one that was stopped.
        if own is not None and 2 <= seen < 2 + _STEPS:
            jax.profiler.stop_trace()
            _tell(own, seen - 2)


def _tell(folder: Path, steps: int) -> None:
    found = sorted(folder.rglob("perfetto_trace.json.gz"))[-1]
    print(f"a trace of {steps} steps: open {found} in https://ui.perfetto.dev", flush=True)
