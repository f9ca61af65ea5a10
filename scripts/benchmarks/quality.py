"""Measures how long 18 measures of image quality take; see --help."""

import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.features.quality import measures
from fas_jax.runtime import cli

PUBLISHED = (1.9, 2.7)
"""Seconds that the reference takes for a frame of 480x720 on one core, as it was measured elsewhere."""


def main(peer: Path | None = None, batch: int = 16, height: int = 480, width: int = 720, rounds: int = 5) -> None:
    """Compares the measures here, in batches on all cores, with the reference implementation, frame by frame.

    Both compute the same 18 measures of the same frames in this process, in turns, so that the ratio comes from one
    run; the median of the rounds counts. Compiling is not part of the time, and is printed beside it.

    Args:
        peer: Folder of an unpacked bob.ip.qualitymeasure 1.1.8 (on PyPI, GPLv3). Without it, the numpy and scipy
            version of the tests takes its place, which is written like it and not the same.
        batch: Frames in a batch.
        height: Of a frame, in pixels.
        width: Likewise.
        rounds: Rounds.
    """
    frames = pictures(batch, height, width)
    name, compute = reference(peer) if peer else definition()
    start = time.perf_counter()
    program = measures.deviations.lower(frames, "bob", only_galbally=True).compile()
    compiling = time.perf_counter() - start
    program(frames).block_until_ready()
    ours, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        found = program(frames).block_until_ready()
        ours.append((time.perf_counter() - start) / len(frames))
        start = time.perf_counter()
        expected = compute(frames[0])
        theirs.append(time.perf_counter() - start)
    middle, peers_middle = statistics.median(ours), statistics.median(theirs)
    own = measures.published(np.asarray(found[:1]), "bob")[0]
    worst = {
        each: abs(value / other - 1)
        for each, value, other in zip(measures.GALBALLY["bob"], own, expected, strict=True)
        if each != "ad"  # rounding alone
    }
    where = max(worst, key=lambda each: worst[each])
    print(f"18 measures of frames of {height}x{width}, {core_count()} cores")
    print(f"ours, batches of {len(frames)}: {1000 * middle:.1f} ms a frame; {compiling:.1f} s to compile before")
    print(f"{name}, one frame at a time: {1000 * peers_middle:.0f} ms a frame")
    print(f"ratio: {peers_middle / middle:.1f}; largest relative difference {worst[where]:.1e}, of {where}")
    if (height, width) == (480, 720):
        low, high = (seconds / middle for seconds in PUBLISHED)
        print(f"against {PUBLISHED[0]} to {PUBLISHED[1]} s, its times on another machine: {low:.0f} to {high:.0f}")


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Shaded frames with edges and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    shade = 110 + 60 * np.sin(x / 37) + 40 * np.cos(y / 23) + 30 * (((x // 60) + (y // 45)) % 2)
    noise = rng.normal(0, 6, (count, height, width, 3))
    return np.clip(shade[..., None] * np.array([1, 0.85, 0.7]) + noise, 0, 255).astype(np.uint8)


def definition() -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """The independent version of the tests."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.quality_by_definition import galbally

    def measured(frame: np.ndarray) -> np.ndarray:
        found = galbally(frame, "bob")
        return np.array([found[name] for name in measures.GALBALLY["bob"]])

    return "numpy and scipy by definition (tests/quality_by_definition.py)", measured


def reference(folder: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """The reference implementation's own file, which needs names that numpy and scipy have dropped since.

    Raises:
        UserError: It is not there.
    """
    path = folder / "bob/ip/qualitymeasure/galbally_iqm_features.py"
    if not path.exists():
        raise UserError(f"{path} does not exist; unpack the sdist of bob.ip.qualitymeasure 1.1.8 and name its folder")
    import scipy.ndimage

    sys.modules["scipy.ndimage.filters"] = scipy.ndimage
    # The 18 measures use nothing of bob's compiled packages.
    for name in ("bob", "bob.ip", "bob.ip.base"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["bob"].ip = sys.modules["bob.ip"]  # type: ignore[attr-defined]
    sys.modules["bob.ip"].base = sys.modules["bob.ip.base"]  # type: ignore[attr-defined]
    vars(np)["float"] = float  # a name that numpy has dropped
    spec = importlib.util.spec_from_file_location("galbally_iqm_features", path)
    if not spec or not spec.loader:
        raise UserError(f"{path} is no Python file")
    module: Any = importlib.util.module_from_spec(spec)
    # It makes numbers of arrays of one, which numpy refuses since 2.4.
    module.float = lambda value: np.asarray(value, np.float64).item()
    spec.loader.exec_module(module)
    return "bob.ip.qualitymeasure", lambda frame: module.compute_quality_features(frame.transpose(2, 0, 1)).astype(
        float
    )


if __name__ == "__main__":
    cli.main(main)
