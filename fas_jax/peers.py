"""What the feature stage is compared with in benchmarks: PyTorch and OpenVINO, where they are installed.

The only module that imports PyTorch; nothing else needs it.
"""

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

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
