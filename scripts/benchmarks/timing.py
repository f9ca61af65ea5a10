"""Fair timing: warm contestants are measured in turns, so that changes of the machine's speed affect all of them."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fas_jax.models.backbones.densenet import Shape


@dataclass(frozen=True)
class Contestant:
    """One implementation at one precision and batch size, compiled and warm."""

    name: str
    precision: str
    batch_size: int
    step: Callable[[], None]
    """Computes one batch and returns when it is done."""


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant."""

    name: str
    precision: str
    batch_size: int
    rounds: tuple[float, ...]
    """Images a second in each round."""

    @property
    def median(self) -> float:
        """Images a second."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        if len(self.rounds) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return (third - first) / 2 / self.median


@dataclass
class Loop:
    """A training with its loader, which is measured step by step."""

    step: Callable[[], None]
    waited: list[float]
    """Seconds of each step in which no batch was ready."""


def timed_loop(batches: Iterator[Any], step: Callable[[Any], None]) -> Loop:
    """Takes the next batch and does a step with it, again and again."""
    waited: list[float] = []

    def run() -> None:
        start = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - start)
        step(batch)

    return Loop(run, waited)


def measure(contestants: Sequence[Contestant], rounds: int, seconds: float = 1.0) -> list[Row]:
    """Images a second of each contestant, in rounds in which every one has its turn, in an order by chance.

    Args:
        contestants: All warmed up.
        rounds: How many rounds.
        seconds: Least time of a turn; as many steps as it takes.
    """
    found: list[list[float]] = [[] for _ in contestants]
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        # By chance: nobody always runs after the same neighbour. A turn's first step is not counted, because it meets
        # what that one left in the caches, and threads of its that still spin.
        for i in rng.permutation(len(contestants)):
            contestants[i].step()
            steps, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds or steps == 0:
                contestants[i].step()
                steps += 1
            found[i].append(steps * contestants[i].batch_size / elapsed)
    return [Row(c.name, c.precision, c.batch_size, tuple(times)) for c, times in zip(contestants, found, strict=True)]


def compare(rows: Sequence[Row], reference: str) -> str:
    """A Markdown table of rows with each one's ratio to the row `reference` of its precision and batch size."""
    lines = [
        f"| implementation | precision | batch | images/s (median of {len(rows[0].rounds) if rows else 0}) | ± "
        f"| ratio to {reference} |",
        "|---|---|---|---|---|---|",
    ]
    base = {(row.precision, row.batch_size): row.median for row in rows if row.name == reference}
    for row in rows:
        against = base.get((row.precision, row.batch_size))
        ratio = f"{row.median / against:.2f}" if against else "—"
        lines.append(
            f"| {row.name} | {row.precision} | {row.batch_size} | {row.median:.1f} | {row.spread:.0%} | {ratio} |"
        )
    return "\n".join(lines)


def copy_bandwidth(size: int = 0, repeats: int = 10) -> float:
    """Bytes a second that the first device reads and writes in a plain copy, the best of `repeats`.

    Args:
        size: Bytes of the array; 0 takes what no cache holds: 1 GiB on an accelerator, 1/4 GiB on a CPU.
        repeats: Copies to time.
    """
    size = size or (2**28 if jax.default_backend() == "cpu" else 2**30)
    array = jnp.zeros(size // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    copy(array).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        copy(array).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * array.nbytes / best


def bytes_moved(shape: Shape, side: int, itemsize: int) -> int:
    """Bytes that a DenseNet reads and writes for one image if each layer's inputs and outputs cross memory once.

    Normalisations, activations and additions count as fused into the convolutions. Weights are left out: a batch
    shares them.

    Args:
        shape: Sizes of the network.
        side: Pixels of a square image.
        itemsize: Bytes of a number.
    """
    side = -(-side // 2)
    values = shape.stem * side**2
    side = -(-side // 2)
    moved = 2 * values + shape.stem * side**2  # written by the stem, read and pooled
    for b, (channels, layers) in enumerate(zip(shape.block_inputs(), shape.layers, strict=True)):
        pixels = side**2
        for i in range(layers):
            moved += pixels * (channels + i * shape.growth + 2 * shape.bottleneck * shape.growth + shape.growth)
        end = channels + layers * shape.growth
        moved += pixels * end
        if b + 1 < len(shape.layers):
            side //= 2
            moved += side**2 * end // 2
    return moved * itemsize
