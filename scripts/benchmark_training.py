"""Times training against the same training written plainly in PyTorch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fas_jax import cli, devices
from fas_jax.config import Training
from fas_jax.errors import UserError
from fas_jax.files import write_json
from fas_jax.recurrent import Architecture
from fas_jax.training import fitting
from fas_jax.training.fitting import Clips, Run


def main(
    models: tuple[str, ...] = ("lstm-1000", "bilstm-500", "gru-20", "meta-20"),
    runs: int = 20,
    clips: int = 2000,
    frames: int = 8,
    features: int = 1920,
    epochs: int = 1,
    rounds: int = 3,
    threads: int = 0,
    out: Path = Path("benchmark_training.json"),
) -> None:
    """Trains each model by this project and by PyTorch in turn, and prints the median times and their ratio.

    Both sides see the same clips, batches (32), lengths (up to `frames`), Adam settings, number of epochs and losses at
    every real frame; compilation and a first epoch are left out on both. PyTorch runs one run after the other by
    `torch.nn.LSTM` and `GRU`, on the GPU where there is one (cuDNN). torch.func.vmap does not apply to these modules:
    they have no batching rule.

    Args:
        models: kind-hidden; meta is an LSTM on 6 numbers a frame.
        runs: Trained side by side here, and one after the other there (folds x seeds).
        clips: Of random features and labels; 1 in 10 is validated on, once, at the end.
        frames: Most frames of a clip; lengths are uniform from 1.
        features: Width of a frame's features.
        epochs: In a measurement.
        rounds: Measurements of each side, alternating; the median counts.
        threads: PyTorch's; 0 leaves its default.
        out: JSON file with every measurement.
    """
    try:
        import torch
    except ImportError:
        raise UserError("PyTorch is not installed; pip install 'fas-jax[peer]'") from None
    if threads:
        torch.set_num_threads(threads)
    results: dict[str, Any] = {"device": devices.describe(), "torch": str(torch.__version__), "runs": runs, "rows": {}}
    print("| model | runs | ours s | PyTorch s | times as fast |\n|---|---|---|---|---|")
    for model in models:
        name, _, size = model.partition("-")
        kind = "lstm" if name == "meta" else name
        if kind not in ("lstm", "bilstm", "gru") or not size.isdigit():
            raise UserError(f"--models: {model!r} is not kind-hidden, such as lstm-1000, bilstm-500, gru-20 or meta-20")
        width = 6 if name == "meta" else features
        data = _data(clips, frames, width)
        sides = {
            "ours": _ours(Architecture(kind, width, int(size), "he"), data, runs, epochs),  # type: ignore[arg-type]
            "torch": _torch(kind, int(size), data, runs, epochs),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, train in sides.items():
                start = time.perf_counter()
                train()
                seconds[side].append(time.perf_counter() - start)
        ours, theirs = (float(np.median(seconds[side])) for side in ("ours", "torch"))
        results["rows"][model] = seconds
        print(f"| {model} | {runs} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} |", flush=True)
        write_json(out, results)


def _data(clips: int, frames: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, frames + 1, clips)
    mask = np.arange(frames) < lengths[:, None]
    values = rng.normal(size=(clips, frames, width)).astype(np.float32) * mask[..., None]
    return values, mask, np.arange(clips, dtype=np.int32) % 2


def _ours(architecture: Architecture, data: Any, runs: int, epochs: int) -> Callable[[], Any]:
    values, mask, labels = data
    clips = Clips(*(jax.numpy.asarray(each) for each in data))
    cut = len(values) * 9 // 10
    settings = Training(max_epochs=epochs, validate_every=epochs, patience=epochs + 1)
    all_runs = [Run(str(r), r, np.arange(cut), np.arange(cut, len(values))) for r in range(runs)]

    def train() -> Any:
        return jax.block_until_ready(fitting.fit(architecture, all_runs, clips, settings).params)

    train()
    return train


def _torch(kind: str, hidden: int, data: Any, runs: int, epochs: int) -> Callable[[], Any]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    values, mask, labels = (torch.as_tensor(each).to(device) for each in data)
    labels = labels.long()
    cut, width = len(values) * 9 // 10, values.shape[-1]

    def loss_of(cell: Any, output: Any, index: Any) -> Any:
        real = mask[index]
        logits = output(cell(values[index])[0])
        # Padding lies behind: it changes no real frame of a forward layer; a backward layer is packed below.
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[index, None].expand(-1, mask.shape[1]), reduction="none"
        )
        return ((losses * real).sum(1) / real.sum(1)).mean()

    def packed(cell: Any) -> Any:
        def call(inputs: Any) -> Any:
            lengths = (inputs != 0).any(-1).sum(1).clamp(min=1).cpu()
            rows = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            return torch.nn.utils.rnn.pad_packed_sequence(cell(rows)[0], True, total_length=inputs.shape[1])

        return call

    def train(first: int = 0, last: int = runs) -> None:
        for run in range(first, last):
            torch.manual_seed(run)
            module = torch.nn.GRU if kind == "gru" else torch.nn.LSTM
            two = kind == "bilstm"
            cell = module(width, hidden, batch_first=True, bidirectional=two).to(device)
            output = torch.nn.Linear(hidden * (2 if two else 1), 2).to(device)
            called = packed(cell) if two else cell
            weights = [*cell.parameters(), *output.parameters()]
            optimiser = torch.optim.Adam(weights, lr=1e-4, fused=True)
            for _ in range(epochs):
                for index in torch.randperm(cut, device=device).split(32):
                    optimiser.zero_grad(set_to_none=True)
                    loss_of(called, output, index).backward()
                    optimiser.step()
            with torch.no_grad():
                for index in torch.arange(cut, len(values), device=device).split(32):
                    loss_of(called, output, index)
        if device == "cuda":
            torch.cuda.synchronize()

    train(0, 1)
    return train


if __name__ == "__main__":
    cli.main(main)
