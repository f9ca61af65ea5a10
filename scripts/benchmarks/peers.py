"""The software that benchmarks compare with, where installed: the feature stage in PyTorch and OpenVINO, and training
in PyTorch.

The only module that imports PyTorch; nothing else needs it.
"""

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

TORCH = importlib.util.find_spec("torch") is not None
OPENVINO = TORCH and importlib.util.find_spec("openvino") is not None
COMPILED = "PyTorch compiled, channels_last"


def torch_forms(
    module: Any, frames: UInt8[np.ndarray, "b h w 3"], precision: str, device: str, all_forms: bool
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """PyTorch's ways to run the module on these frames, by name; each function returns when the result is there."""
    import torch

    inputs = torch.from_numpy(frames).to(device)
    module = module.to(device)

    def run(model: Any) -> Callable[[], Any]:
        def step() -> Any:
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                result = model(inputs)
            if device == "cuda":
                torch.cuda.synchronize()
            return result.float().cpu().numpy()

        return step

    if all_forms:
        yield "PyTorch eager", run(module.to(memory_format=torch.contiguous_format))
    # PyTorch changes a module's layout in place: from here on it is channels_last for all.
    module = module.to(memory_format=torch.channels_last)
    yield "PyTorch eager, channels_last", run(module)
    for freezing in (False, True) if device == "cpu" else (False,):
        import torch._dynamo
        import torch._inductor.config as inductor

        torch._dynamo.reset()
        # Its compiler's worker processes are forked, which JAX's threads do not survive.
        inductor.compile_threads = 1
        step = run(torch.compile(module, dynamic=False))
        with inductor.patch(freezing=freezing):
            step()
        yield COMPILED + (", freezing" if freezing else ""), step


def openvino_form(
    module: Any, frames: UInt8[np.ndarray, "b h w 3"], precision: str
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """OpenVINO's way to run the module on the CPU."""
    import openvino
    import torch

    converted = openvino.convert_model(module, example_input=torch.from_numpy(frames), input=list(frames.shape))
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    compiled = openvino.Core().compile_model(
        converted, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "1"}
    )
    yield "OpenVINO", lambda: np.array(compiled([frames])[0])


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for name in ("torch", "openvino"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def set_threads(number: int) -> None:
    """Of PyTorch."""
    import torch

    torch.set_num_threads(number)


# Features [n t d], mask [n t] and labels [n] of random clips, the last tenth of which is for validation.
Data: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
_BATCH = 32


def one_after_the_other(kind: str, hidden: int, data: Data, runs: int, epochs: int) -> Callable[[], None]:
    """PyTorch's own recurrent layers, run by run; a backward layer sees packed sequences, without padding."""
    import torch

    device, values, mask, labels, cut = _on_device(data)

    def packed(cell: Any) -> Any:
        def call(inputs: Any, index: Any) -> Any:
            lengths = mask[index].sum(1).cpu()
            rows = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            return torch.nn.utils.rnn.pad_packed_sequence(cell(rows)[0], True, total_length=inputs.shape[1])[0]

        return call

    def train(first: int = 0, last: int = runs) -> None:
        for run in range(first, last):
            torch.manual_seed(run)
            module = torch.nn.GRU if kind == "gru" else torch.nn.LSTM
            two = kind == "bilstm"
            cell = module(values.shape[-1], hidden, batch_first=True, bidirectional=two).to(device)
            output = torch.nn.Linear(hidden * (2 if two else 1), 2).to(device)
            # Padding lies behind: it changes no real frame of a forward layer.
            states = packed(cell) if two else lambda inputs, index, cell=cell: cell(inputs)[0]
            optimiser = torch.optim.Adam([*cell.parameters(), *output.parameters()], lr=1e-4, fused=True)
            for _ in range(epochs):
                for index in torch.randperm(cut, device=device).split(_BATCH):
                    optimiser.zero_grad(set_to_none=True)
                    logits = output(states(values[index], index))
                    _torch_loss(logits, mask[index], labels[index]).backward()
                    optimiser.step()
            with torch.no_grad():
                for index in torch.arange(cut, len(values), device=device).split(_BATCH):
                    _torch_loss(output(states(values[index], index)), mask[index], labels[index])
        if device == "cuda":
            torch.cuda.synchronize()

    train(0, 1)
    return train


def side_by_side(kind: str, hidden: int, data: Data, runs: int, epochs: int) -> Callable[[], None]:
    """`torch.func.vmap` over the runs of a recurrence written by hand, each with batches of its own."""
    import torch

    device, values, mask, labels, cut = _on_device(data)
    width, gates = values.shape[-1], 3 if kind == "gru" else 4
    directions = 2 if kind == "bilstm" else 1
    shapes = {"output": (hidden * directions, 2), "output_bias": (2,)}
    for d in range(directions):
        shapes |= {f"input{d}": (width, gates * hidden), f"recurrent{d}": (hidden, gates * hidden)}
        shapes |= {f"bias{d}": (gates * hidden,), f"candidate{d}": (hidden,)}

    def direction(weights: Any, d: int, inputs: Any, valid: Any) -> Any:
        projected = inputs @ weights[f"input{d}"] + weights[f"bias{d}"]
        state = cell = torch.zeros_like(projected[:, 0, :hidden])
        states = []
        for t in range(inputs.shape[1]) if not d else reversed(range(inputs.shape[1])):
            joint = state @ weights[f"recurrent{d}"]
            if kind == "gru":
                (ir, iz, i), (hr, hz, h) = projected[:, t].chunk(3, -1), joint.chunk(3, -1)
                n, z = torch.tanh(i + torch.sigmoid(ir + hr) * (h + weights[f"candidate{d}"])), torch.sigmoid(iz + hz)
                new, new_cell = (1 - z) * n + z * state, cell
            else:
                i, f, g, o = (projected[:, t] + joint).chunk(4, -1)
                new_cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                new = torch.sigmoid(o) * torch.tanh(new_cell)
            keep = valid[:, t, None]
            state, cell = torch.where(keep, new, state), torch.where(keep, new_cell, cell)
            states.append(state)
        return torch.stack(states[::-1] if d else states, 1)

    def loss(weights: Any, inputs: Any, valid: Any, label: Any) -> Any:
        states = torch.cat([direction(weights, d, inputs, valid) for d in range(directions)], -1)
        return _torch_loss(states @ weights["output"] + weights["output_bias"], valid, label)

    gradient = torch.func.vmap(torch.func.grad(loss))
    validate = torch.func.vmap(loss, in_dims=(0, None, None, None))

    def train() -> None:
        torch.manual_seed(0)
        weights = {name: 0.05 * torch.randn(runs, *shape, device=device) for name, shape in shapes.items()}
        optimiser = torch.optim.Adam(weights.values(), lr=1e-4, fused=True)
        for _ in range(epochs):
            orders = torch.stack([torch.randperm(cut, device=device) for _ in range(runs)])
            for index in orders.split(_BATCH, 1):
                found = gradient(weights, values[index], mask[index], labels[index])
                for name, weight in weights.items():
                    weight.grad = found[name]
                optimiser.step()
        with torch.no_grad():
            for index in torch.arange(cut, len(values), device=device).split(_BATCH):
                validate(weights, values[index], mask[index], labels[index])
        if device == "cuda":
            torch.cuda.synchronize()

    return train


TRAINERS: dict[str, Callable[[str, int, Data, int, int], Callable[[], None]]] = {
    "PyTorch, one after the other": one_after_the_other,
    "PyTorch, vmap": side_by_side,
}


def _on_device(data: Data) -> tuple[str, Any, Any, Any, int]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    values, mask, labels = (torch.as_tensor(each).to(device) for each in data)
    return device, values, mask, labels.long(), len(values) * 9 // 10


def _torch_loss(logits: Any, real: Any, labels: Any) -> Any:
    """Mean over clips of the mean cross-entropy over a clip's real frames."""
    import torch

    wanted = labels[:, None].expand(-1, real.shape[1])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    return ((losses * real).sum(1) / real.sum(1)).mean()
