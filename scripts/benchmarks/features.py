"""Measures the feature stage beside PyTorch and OpenVINO: python -m scripts.benchmarks.features"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fas_jax.base.errors import UserError
from fas_jax.runtime import cli

ROOT = Path(__file__).resolve().parents[2]


def main(
    batch_sizes: tuple[int, ...] = (16, 64),
    precisions: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16"),
    backbone: Literal["densenet121", "densenet169", "densenet201"] = "densenet201",
    weights: str = "",
    images: tuple[Path, ...] = (),
    rounds: int = 7,
    side: int = 224,
    all_forms: bool = False,
    peers: bool = True,
    out: Path | None = None,
) -> None:
    """Prints images a second of the feature stage and of its peers, all warm, in alternating rounds of one process.

    What counts is from uint8 frames in the device's memory to features in the host's, normalisation of pixels included.
    PyTorch and OpenVINO are measured where they are installed; without --weights both sides have the same random
    weights. Ratios are against PyTorch compiled without freezing in the same precision. Compiling takes minutes the
    first time, and is cached: `--rounds 0` does it in advance and measures nothing.

    Args:
        batch_sizes: Frames in a step.
        precisions: Precisions to measure.
        backbone: Which DenseNet.
        weights: Published weights in torchvision's form (.pth or .safetensors).
        images: Videos or pictures whose frames the precisions are compared on; noise where there are none.
        rounds: Rounds in which everyone has a turn.
        side: Pixels of a frame's side.
        all_forms: Measures the forms too that are known to be slower here.
        peers: Measures PyTorch and OpenVINO too.
        out: JSON file for the figures.
    """
    if min(batch_sizes, default=0) < 1 or rounds < 0:
        raise UserError("--batch-sizes must be at least 1, and --rounds at least 0")
    # PyTorch needs room on the same accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import numpy as np

    from fas_jax import __version__
    from fas_jax.base.processes import core_count
    from fas_jax.models.backbones.densenet import SHAPES
    from scripts.benchmarks.peers import COMPILED, versions
    from scripts.benchmarks.timing import Contestant, bytes_moved, compare, copy_bandwidth, measure

    device = jax.local_devices()[0]
    about = {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": core_count(),
        "system": platform.platform(),
    }
    about |= {"python": platform.python_version(), "fas-jax": __version__, "jax": jax.__version__, **versions()}
    print(json.dumps(about))
    params, state = _weights(backbone, weights, peers)
    contestants: list[Contestant] = []
    features: dict[tuple[str, str], np.ndarray] = {}
    shown, described = _frames(images, max(batch_sizes), side)
    for size in batch_sizes:
        for precision in precisions:
            batch = shown[:size]
            forms = _jax_forms(backbone, params, batch, precision, all_forms)
            for source in [forms, *(_peer_forms(backbone, state, batch, precision, all_forms) if peers else [])]:
                start = time.perf_counter()
                for name, step in source:
                    features[name, precision] = step()
                    step()
                    print(
                        f"# {name}, {precision}, batch {size}: ready after {time.perf_counter() - start:.0f} s",
                        flush=True,
                    )
                    contestants.append(Contestant(name, precision, size, partial(_ignore, step)))
                    start = time.perf_counter()
    print(f"\nCosine similarity to JAX in float32, on {described} (weights {weights or 'random'}):")
    exact = next((found for (_, kind), found in features.items() if kind == "float32"), None)
    for (name, kind), found in features.items():
        if exact is not None and found is not exact:
            print(f"  {name}, {kind}: at least {_cosines(found, exact[: len(found)]).min():.6f}")
    if not rounds:
        return
    rows = measure(contestants, rounds)
    print(f"\n{compare(rows, COMPILED)}\n")
    bandwidth = copy_bandwidth()
    print(f"Measured copy bandwidth: {bandwidth / 1e9:.1f} GB/s. Share of the memory roofline:")
    for row in rows:
        if row.name.startswith("JAX"):
            moved = bytes_moved(SHAPES[backbone], side, 4 if row.precision == "float32" else 2)
            share = row.median * moved / bandwidth
            print(f"  {row.name}, {row.precision}, batch {row.batch_size}: {moved / 1e6:.0f} MB an image, {share:.1%}")
    best = {
        (kind, precision): max(
            (row for row in rows if row.name.startswith(kind) and row.precision == precision),
            key=lambda row: row.median,
            default=None,
        )
        for kind in ("JAX", "PyTorch")
        for precision in precisions
    }
    print("Each side's best form and batch size:")
    for precision in precisions:
        ours, theirs = best["JAX", precision], best["PyTorch", precision]
        if ours and theirs:
            print(
                f"  {precision}: {ours.median / theirs.median:.2f} ({ours.name} at {ours.batch_size}: "
                f"{ours.median:.1f}; {theirs.name} at {theirs.batch_size}: {theirs.median:.1f})"
            )
    if out is not None:
        from fas_jax.base.files import write_json

        figures = [{**vars(row), "median": row.median, "spread": row.spread} for row in rows]
        write_json(out, {"about": about, "copy_bytes_per_second": bandwidth, "rows": figures})


def _weights(name: str, path: str, peers: bool) -> tuple[Any, Any]:
    """JAX parameters and the PyTorch module (None without PyTorch) with the same weights."""
    from fas_jax.models import backbones
    from fas_jax.models.backbones.weights import read_weights
    from scripts.benchmarks.peers import TORCH

    tensors = read_weights(Path(path))[0] if path else None
    module = None
    if TORCH and peers:
        import torch

        sys.path.insert(0, str(ROOT))
        from fas_jax.models.backbones.densenet import SHAPES
        from tests.torch_densenet import DenseNet

        torch.manual_seed(0)
        module = DenseNet(SHAPES[name].layers).eval().requires_grad_(False)
        known = module.state_dict()
        if tensors is not None:
            given = {key: torch.from_numpy(tensors[key]) for key in known if key in tensors}
            module.load_state_dict(known | {k: v for k, v in given.items() if v.shape == known[k].shape})
        else:
            for part in module.modules():
                if isinstance(part, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(part.weight)
            tensors = {key: value.numpy() for key, value in module.state_dict().items()}
    backbone = backbones.get(name)
    return (backbone.import_weights(tensors) if tensors is not None else backbone.init(0)), module


def _frames(paths: tuple[Path, ...], count: int, side: int) -> tuple[Any, str]:
    """uint8 frames [count side side 3], and what they are."""
    import numpy as np

    from fas_jax.base.rendition import Rendition
    from fas_jax.base.settings import Preparation
    from fas_jax.pixels.decoding import Undecoded, decode_files
    from fas_jax.pixels.pictures import unpack_frame

    if not paths:
        return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8), "noise"
    found: list[np.ndarray] = []
    outcomes = decode_files(paths, Preparation(), {"whole": Rendition(size=side)})
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, Undecoded):
            raise UserError(f"{path}: {outcome.reason}")
        found += [unpack_frame(png) for png in outcome.frames["whole"]]
    repeated = np.stack([found[i % len(found)] for i in range(count)])
    return repeated, f"{min(count, len(found))} frames of {len(paths)} files"


def _jax_forms(
    name: str, params: Any, frames: Any, precision: Any, all_forms: bool
) -> Iterator[tuple[str, Callable[[], Any]]]:
    import jax
    import numpy as np

    from fas_jax.models.backbones import cast_kernels
    from fas_jax.models.backbones.base import faster_form
    from fas_jax.models.backbones.densenet import FORMS, SHAPES, apply

    placed = jax.device_put(cast_kernels(jax.tree.map(np.asarray, params), precision))
    inputs = jax.device_put(frames)
    for form in FORMS if all_forms else [faster_form()]:
        stage = jax.jit(partial(apply, SHAPES[name], precision=precision, form=form))
        yield f"JAX {form}", partial(lambda stage: np.asarray(stage(placed, inputs)), stage)


def _peer_forms(
    name: str, module: Any, frames: Any, precision: Any, all_forms: bool
) -> list[Iterator[tuple[str, Callable[[], Any]]]]:
    import copy

    from scripts.benchmarks.peers import OPENVINO, openvino_form, torch_forms

    if module is None:
        return []
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = [torch_forms(copy.deepcopy(module), frames, precision, device, all_forms)]
    if OPENVINO and device == "cpu":
        found.append(openvino_form(copy.deepcopy(module), frames, precision))
    return found


def _cosines(found: Any, wanted: Any) -> Any:
    import numpy as np

    return (found * wanted).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1))


def _ignore(step: Callable[[], Any]) -> None:
    step()


if __name__ == "__main__":
    cli.main(main)
