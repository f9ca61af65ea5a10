"""The feature stage: a frozen network as one jitted function over all local devices.

Every step has the same batch shape, the last one padded, because a program compiled for another shape may
round otherwise; so a frame's features do not depend on what it is computed with, nor on how the work was cut up.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float32, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, Params, Precision, nothing
from fas_jax.models.backbones.weights import package_file, read_weights
from fas_jax.runtime import device_memory, devices
from fas_jax.runtime.devices import AXIS, local_mesh, replicate
from fas_jax.runtime.programs import run_kept


class OutOfMemoryError(UserError):
    """A batch does not fit into a device's memory."""


def load_backbone(settings: Features) -> tuple[Backbone, Params, dict[str, Any]]:
    """The network, its weights (in the devices' memory, float32), and where they come from.

    Returns:
      Backbone, parameters, and a dictionary with `backbone`, `dimension`, `weights` (in words) and
      `weights_sha256`.

    Raises:
      UserError: unknown backbone, no weights given, or weights that do not fit it; or as `devices.check`.
    """
    devices.check()
    backbone = backbones.get(settings.backbone)
    if backbone is nothing.BACKBONE:
        if settings.weights:
            raise UserError(f"features.backbone is none, which has no weights; take out weights = {settings.weights!r}")
        params, described, sha256 = backbone.init(0), "none", ""
    elif settings.weights == "random":
        params = backbone.init(settings.weights_seed)
        described, sha256 = f"random (seed {settings.weights_seed})", _hash_of(params)
    else:
        path = _weights_path(backbone, settings.weights)
        tensors, sha256 = read_weights(path)
        try:
            params = backbone.import_weights(tensors)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        described = path.name
    provenance = {
        "backbone": backbone.name,
        "dimension": backbone.dimension,
        "weights": described,
        "weights_sha256": sha256,
    }
    return backbone, replicate(params), provenance


def compile_stage(
    backbone: Backbone, precision: Precision = "float32"
) -> Callable[[Params, UInt8[Any, "b h w 3"]], Float32[Array, "b d"]]:
    """The network as one jitted function whose batch is spread over all local devices.

    The same function every time, so that it is compiled once. In bfloat16 the parameters have to come from
    `cast_kernels`, or they are rounded at every step.
    """
    return _compiled(backbone.apply, precision)


def frame_features(
    backbone: Backbone,
    params: Params,
    frames: UInt8[np.ndarray, "t h w 3"],
    batch_size: int,
    precision: Precision = Features.precision,
    store_dtype: str = Features.store_dtype,
) -> Float32[np.ndarray, "t d"]:
    """Features of a few frames, the same as a store with this batch size, precision and type holds for them."""
    check_frames(frames)
    stage, size = compile_stage(backbone, precision), over_devices(batch_size)
    name = f"{backbone.name} {precision}"
    results = [np.zeros((0, backbone.dimension), np.float32)]
    with memory_told(batch_size):
        for start in range(0, len(frames), size):
            part = frames[start : start + size]
            padded = np.zeros((size, *frames.shape[1:]), np.uint8)
            padded[: len(part)] = part
            results.append(np.asarray(run_kept(name, stage, params, padded))[: len(part)])
    return as_stored(np.concatenate(results), store_dtype).astype(np.float32)


def as_stored(features: Float32[np.ndarray, "n d"], store_dtype: str) -> Float[np.ndarray, "n d"]:
    """Features in the type that the store has; one too large for it is a `UserError`, never an infinity."""
    with np.errstate(over="ignore"):
        stored = features.astype(store_dtype)
    if not np.isfinite(stored).all():
        cause = "are not finite" if not np.isfinite(features).all() else f"exceed {store_dtype}"
        raise UserError(f"features {cause}; check features.weights, or set features.store_dtype to float32")
    return stored


def send(frames: UInt8[np.ndarray, "b h w 3"]) -> Array:
    """Starts the copy of a batch to the local devices, each its share."""
    return jax.device_put(frames, NamedSharding(local_mesh(), PartitionSpec(AXIS)))


def over_devices(batch_size: int) -> int:
    """Frames in a step of all local devices."""
    if batch_size < 1:
        raise UserError(f"features.batch_size is {batch_size}; it must be at least 1")
    return batch_size * jax.local_device_count()


def check_frames(frames: np.ndarray) -> None:
    """Raises `UserError` unless these are frames that a backbone takes."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise UserError(f"frames must be uint8 [t h w 3], RGB, not {frames.dtype} {list(frames.shape)}")
    if min(frames.shape[1:3]) < 32:
        raise UserError(f"frames of {frames.shape[2]}x{frames.shape[1]} pixels are too small; 32x32 is the least")


@contextmanager
def memory_told(batch_size: int) -> Iterator[None]:
    """Turns what the devices raise into errors that say what to do."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        device = jax.local_devices()[0].device_kind
        if isinstance(error, MemoryError) or device_memory.lacks_memory(error):
            advice = f"set it to {batch_size // 2}" if batch_size > 1 else "one frame is too much for it"
            raise OutOfMemoryError(
                f"{device} has not enough memory for features.batch_size {batch_size}: {advice}"
            ) from error
        said = str(error).partition("\n")[0]
        raise UserError(
            f"{device} failed ({said}); finished parts are kept: run the same command again to go on"
        ) from error


def _weights_path(backbone: Backbone, weights: str) -> Path:
    if weights == "package" and backbone.package is not None:
        return package_file(*backbone.package)
    if weights in ("", "package"):
        named = "" if backbone.package is None else "'package' for those of an installed package, "
        raise UserError(
            f"no weights for {backbone.name}: set features.weights to the path of published weights (.pth, "
            f".safetensors, .h5; fas-jax fetch-weights gets them), {named}or 'random' to go without (results then "
            "mean nothing)"
        )
    return Path(weights)


def _hash_of(params: Params) -> str:
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


@lru_cache
def _compiled(apply: Callable[..., Any], precision: Precision) -> Callable[..., Any]:
    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)
    # Each device runs the very program that a single one would.
    mapped = jax.shard_map(
        partial(apply, precision=precision),
        mesh=local_mesh(),
        in_specs=(everywhere, spread),
        out_specs=spread,
        check_vma=False,
    )
    shardings = (NamedSharding(local_mesh(), everywhere), NamedSharding(local_mesh(), spread))
    return jax.jit(mapped, in_shardings=shardings)
