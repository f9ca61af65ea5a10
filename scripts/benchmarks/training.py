"""Times training against the same training written plainly in PyTorch."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.settings import Training
from fas_jax.models.recurrent import RecurrentClassifier
from fas_jax.runtime import cli, devices
from fas_jax.training import fitting
from fas_jax.training.fitting import Clips, Run
from scripts.benchmarks import peers
from scripts.benchmarks.scaling_plot import draw_scaling

OURS = "fas_jax"


def main(
    models: tuple[str, ...] = ("lstm-1000", "bilstm-500", "gru-20", "meta-20"),
    runs: int = 20,
    clips: int = 2000,
    frames: int = 8,
    features: int = 1920,
    epochs: int = 1,
    rounds: int = 3,
    threads: int = 0,
    over_runs: tuple[int, ...] = (),
    over_clips: tuple[int, ...] = (),
    out: Path = Path("benchmark_training"),
) -> None:
    """Trains each model by this project and by PyTorch in turn, and prints the median times and their ratio.

    Both sides see the same clips, batches (32), lengths, Adam settings, number of epochs and losses at every real
    frame, and score the validation clips once; compilation is left out on both. PyTorch trains one run after the
    other by `torch.nn.LSTM` and `GRU` (cuDNN on a GPU), and all at once by `torch.func.vmap` over a cell written by
    hand, for which its modules have no batching rule; the ratio is to the faster of the two.

    Args:
        models: kind-hidden; meta is an LSTM on 6 numbers a frame.
        runs: Trained side by side (folds x seeds).
        clips: Of random features and labels; 1 in 10 is validated on, once, at the end.
        frames: Most frames of a clip; lengths are uniform from 1.
        features: Width of a frame's features.
        epochs: In a measurement.
        rounds: Measurements of each side, alternating; the median counts.
        threads: PyTorch's; 0 leaves its default.
        over_runs: Numbers of runs for which the models are timed as well, for a figure of each.
        over_clips: The same of clips.
        out: Where every measurement goes (.json), and the figures (-MODEL.png).
    """
    devices.use_cores()
    if not peers.TORCH:
        raise UserError("PyTorch is not installed; pip install 'fas-jax[peer]'")
    parsed = [_parse(model, features) for model in models]
    if threads:
        peers.set_threads(threads)
    about: dict[str, Any] = {
        "device": devices.describe(), **peers.versions(), "runs": runs, "clips": clips, "epochs": epochs
    }  # fmt: skip
    print("| model | runs | clips | " + " s | ".join((OURS, *peers.TRAINERS)) + " s | times as fast |")
    print("|---" * (5 + len(peers.TRAINERS)) + "|")
    rows: list[dict[str, Any]] = []

    def measure(model: tuple[str, str, int, int], runs: int, clips: int) -> dict[str, float]:
        name, kind, hidden, width = model
        seconds = _measure(kind, hidden, _data(clips, frames, width), runs, epochs, rounds)
        middle = {side: float(np.median(each)) for side, each in seconds.items()}
        ratio = min(middle[side] for side in peers.TRAINERS) / middle[OURS]
        print(f"| {name} | {runs} | {clips} | {' | '.join(f'{s:.2f}' for s in middle.values())} | {ratio:.2f} |")
        sys.stdout.flush()
        rows.append({"model": name, "runs": runs, "clips": clips, "seconds": seconds})
        write_json(out.with_suffix(".json"), {**about, "rows": rows})
        return middle

    for model in parsed:
        measure(model, runs, clips)
    for model in parsed if len(over_runs) > 1 or len(over_clips) > 1 else ():
        panels = {}
        for grows, sizes in (("runs", over_runs), ("clips", over_clips)):
            found = [measure(model, **({"runs": runs, "clips": clips} | {grows: size})) for size in sizes]
            if len(sizes) > 1:
                panels[grows] = {
                    side: np.array([(size, each[side]) for size, each in zip(sizes, found, strict=True)])
                    for side in (OURS, *peers.TRAINERS)
                }
        draw_scaling(out.with_name(f"{out.name}-{model[0]}.png"), f"Training {model[0]}, {epochs} epoch", panels)


def _parse(model: str, features: int) -> tuple[str, str, int, int]:
    """Name, kind, hidden units and width of the features."""
    name, _, hidden = model.partition("-")
    kind = "lstm" if name == "meta" else name
    if kind not in ("lstm", "bilstm", "gru") or not hidden.isdigit():
        raise UserError(f"--models: {model!r} is not kind-hidden, such as lstm-1000, bilstm-500, gru-20 or meta-20")
    return model, kind, int(hidden), 6 if name == "meta" else features


def _measure(kind: str, hidden: int, data: peers.Data, runs: int, epochs: int, rounds: int) -> dict[str, list[float]]:
    width = data[0].shape[-1]
    sides: Mapping[str, Callable[[], Any]] = {
        OURS: _ours(RecurrentClassifier(kind, width, hidden, "he"), data, runs, epochs),  # type: ignore[arg-type]
        **{name: make(kind, hidden, data, runs, epochs) for name, make in peers.TRAINERS.items()},
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, train in sides.items():
            start = time.perf_counter()
            train()
            seconds[side].append(time.perf_counter() - start)
    return seconds


def _data(clips: int, frames: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, frames + 1, clips)
    mask = np.arange(frames) < lengths[:, None]
    values = rng.normal(size=(clips, frames, width)).astype(np.float32) * mask[..., None]
    return values, mask, np.arange(clips, dtype=np.int32) % 2


def _ours(architecture: RecurrentClassifier, data: Any, runs: int, epochs: int) -> Callable[[], Any]:
    values, mask, labels = data
    clips = Clips(*(jax.numpy.asarray(each) for each in data))
    cut = len(values) * 9 // 10
    settings = Training(max_epochs=epochs, validate_every=epochs, patience=epochs + 1)
    all_runs = [Run(str(r), r, np.arange(cut), np.arange(cut, len(values))) for r in range(runs)]

    def train() -> Any:
        return jax.block_until_ready(fitting.fit(architecture, all_runs, clips, settings).params)

    train()
    return train


if __name__ == "__main__":
    cli.main(main)
