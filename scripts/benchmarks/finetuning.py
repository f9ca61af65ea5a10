"""Times the training of networks on frames against the same training written plainly in PyTorch."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.datasets.loading import made_ahead, prefetched
from fas_jax.models import trainable
from fas_jax.runtime import cli, devices
from fas_jax.training import network_steps
from fas_jax.training.classification import Classification
from fas_jax.training.network_settings import NetworkTraining
from scripts.benchmarks import peers, torch_training
from scripts.benchmarks.timing import Contestant, Loop, Row, measure, timed_loop

NETWORKS = ("resnet18", "efficientnet_lite0")
OURS, PEER = "fas_jax", "PyTorch"


def main(
    networks: tuple[str, ...] = NETWORKS,
    batch: int = 60,
    size: int = 256,
    images: int = 240,
    precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16"),
    workers: int = 0,
    compiled: bool = True,
    rounds: int = 5,
    seconds: float = 3.0,
    out: Path = Path("benchmark_finetuning.json"),
) -> None:
    """Trains each network by this project and by PyTorch in turn, and prints images a second and their ratio.

    Both sides have random weights, the same PNG files of noise, AdamW, cross-entropy and an exponential average of the
    weights, at one rate, and flip frames at random. `step` is the training step alone, with its batch on the device;
    `loop` reads, decodes and flips frames beside it, and its row says in what share of the time it waited for them.
    PyTorch runs in channels_last, compiled where that works, under bfloat16 autocast for that precision, with its
    DataLoader. The ratio is ours to PyTorch's; below 1 we lose.

    Args:
        networks: Names.
        batch: Frames of a step; SSDG's is 60.
        size: Side of a frame.
        images: Different files.
        precisions: That the networks multiply in.
        workers: Processes that read frames, on both sides; 0 reads in threads here, and in the loop itself there.
        compiled: Whether PyTorch compiles its step.
        rounds: In each of which every contestant has its turn.
        seconds: Least time of a turn.
        out: Where every measurement goes.
    """
    if unknown := set(networks) - set(NETWORKS):
        raise UserError(
            f"there is no PyTorch module here of {', '.join(sorted(unknown))}; known: {', '.join(NETWORKS)}"
        )
    if not peers.TORCH:
        raise UserError("PyTorch is not installed; pip install 'fas-jax[peer]'")
    about: dict[str, Any] = {
        "device": devices.describe(), **peers.versions(), "batch": batch, "size": size, "workers": workers
    }  # fmt: skip
    print("| network | precision | what | fas_jax images/s | PyTorch images/s | ratio | waited | PyTorch waited |")
    print("|---" * 8 + "|")
    kept: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder), images, size)
        for network in networks:
            for precision in precisions:
                for row in _compare(network, precision, files, batch, workers, compiled, rounds, seconds):
                    print(_line(row), flush=True)
                    kept.append(row)
                    write_json(out, {**about, "rows": kept})
    sys.stdout.flush()


def write_images(folder: Path, count: int, size: int) -> list[Path]:
    """PNG files of smooth noise, which takes as long to decode as a picture; every second one is bona fide."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        coarse = rng.integers(0, 255, (size // 8, size // 8, 3)).astype(np.uint8)
        image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        files.append(folder / f"{number:05d}.png")
        cv2.imwrite(str(files[-1]), noisy)
    return files


def _compare(
    network: str,
    precision: Literal["float32", "bfloat16"],
    files: list[Path],
    batch: int,
    workers: int,
    compiled: bool,
    rounds: int,
    seconds: float,
) -> Iterator[dict[str, Any]]:
    ours = OurTraining(network, precision, batch, _read(files[0]).shape[0])
    theirs = torch_training.TorchTraining(network, precision, batch, compiled)
    frames = np.stack([_read(files[number % len(files)]) for number in range(batch)])
    labels = (np.arange(batch) % 2).astype(np.int32)
    with contextlib.ExitStack() as stack:
        loops = {
            OURS: stack.enter_context(ours.loop(FileBatches(files, batch), workers)),
            PEER: stack.enter_context(theirs.loop(files, workers)),
        }
        bare = {OURS: ours.bare(frames, labels), PEER: theirs.bare(frames, labels)}
        for what in ("step", "loop"):
            steps = bare if what == "step" else {name: loop.step for name, loop in loops.items()}
            for step in steps.values():
                step()  # compiles
            for loop in loops.values():
                loop.waited.clear()
            rows = measure([Contestant(name, precision, batch, step) for name, step in steps.items()], rounds, seconds)
            of = {row.name: row for row in rows}
            waited = {name: _share(loop, of[name]) for name, loop in loops.items()} if what == "loop" else {}
            yield {
                "network": network,
                "precision": precision,
                "what": what,
                "images_per_second": {name: row.rounds for name, row in of.items()},
                "median": {name: row.median for name, row in of.items()},
                "ratio": of[OURS].median / of[PEER].median,
                "waited": waited,
            }


def _share(loop: Loop, row: Row) -> float:
    """Of a step's time, the part in which it waited, by medians."""
    return float(np.median(loop.waited)) * row.median / row.batch_size


def _line(row: Mapping[str, Any]) -> str:
    waited = [f"{row['waited'][name]:.0%}" if row["waited"] else "" for name in (OURS, PEER)]
    cells = [row["network"], row["precision"], row["what"], *(f"{row['median'][name]:.1f}" for name in (OURS, PEER))]
    return "| " + " | ".join([*cells, format(row["ratio"], ".2f"), *waited]) + " |"


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image[:, :, ::-1], np.uint8)


@dataclass(frozen=True)
class FileBatches:
    """The batch of a step from files, flipped at random; pure, and can be sent to worker processes."""

    files: list[Path]
    size: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Frames, labels and slots, as `FrameBatches` gives them."""
        rng = np.random.default_rng([step])
        rows = rng.integers(0, len(self.files), self.size)
        frames = [_read(self.files[row])[:, :: rng.choice([-1, 1])] for row in rows.tolist()]
        return {
            "frames": np.ascontiguousarray(np.stack(frames)),
            "labels": (rows % 2).astype(np.int32),
            "slots": np.arange(self.size, dtype=np.int32),
        }


class OurTraining:
    """A network of this project, with the step and the loader that `train_network` has."""

    def __init__(self, network: str, precision: Literal["float32", "bfloat16"], batch: int, size: int) -> None:
        objective = Classification(trainable.get(network), precision, dropout=0.2, smoothing=0.05)
        settings = NetworkTraining(steps=10**6, precision=precision, schedule="constant", warm_up=0)
        params, stats = objective.network.init(0)
        self._mesh = devices.make_mesh(1, batch)
        self._program = network_steps.step_program(objective, settings, self._mesh, "shard_map")
        self._hyper = devices.place(np.array([1e-4, 1e-4], np.float32), self._mesh)
        state = network_steps.start({"backbone": params, "head": objective.head(0)}, stats, settings, 0)
        self._state = devices.place(state, self._mesh)

    def _place(self, batch: Mapping[str, np.ndarray]) -> Any:
        shares = self._mesh.shape[devices.DATA]
        divided = {name: values.reshape(shares, -1, *values.shape[1:]) for name, values in batch.items()}
        return devices.place(divided, self._mesh, devices.BY_ROW)

    def _step(self, batch: Any) -> None:
        self._state, loss = self._program(self._state, batch, self._hyper)
        jax.block_until_ready(loss)

    def bare(self, frames: np.ndarray, labels: np.ndarray) -> Callable[[], None]:
        """A step whose batch is on the device."""
        placed = self._place({"frames": frames, "labels": labels, "slots": np.arange(len(labels), dtype=np.int32)})
        return lambda: self._step(placed)

    @contextlib.contextmanager
    def loop(self, batches: FileBatches, workers: int) -> Iterator[Loop]:
        """Steps on batches that are made and sent ahead."""

        def source() -> Any:
            with contextlib.closing(made_ahead(batches, range(10**6), processes=workers)) as made:
                for batch in made:
                    yield self._place(batch)

        with contextlib.closing(prefetched(source(), 2)) as stream:  # type: ignore[type-var]  # it is a generator
            yield timed_loop(iter(stream), self._step)


if __name__ == "__main__":
    cli.main(main)
