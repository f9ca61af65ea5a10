"""From prepared frames to features: one jitted function over all local devices, and the store it fills.

Every step has the same batch shape, the last one padded, because a program compiled for another shape may
round otherwise; so a frame's features do not depend on what it is computed with, nor on how the work was cut up.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float32, UInt8

from fas_jax import backbones
from fas_jax.backbones import Backbone, Params
from fas_jax.backbones.weights import package_file, read_weights
from fas_jax.config import Features, to_dict
from fas_jax.datasets.prepared import Prepared, Shard
from fas_jax.datasets.record import ClipInfo, Video
from fas_jax.devices import AXIS
from fas_jax.errors import UserError
from fas_jax.feature_store import (
    MANIFEST,
    FeatureStore,
    FeatureTable,
    finished_units,
    store_path,
    unit_name,
    write_manifest,
    write_unit,
)
from fas_jax.pipeline import shard_frames
from fas_jax.progress import progress_bar

__all__ = ["FeatureStore", "FeatureTable", "compile_stage", "extract", "frame_features", "load_backbone"]

# Steps that are under way on the devices while the host decodes the next batch.
_IN_FLIGHT = 2


def load_backbone(settings: Features) -> tuple[Backbone, Params, dict[str, Any]]:
    """The network, its weights (in the devices' memory), and where they come from.

    Returns:
      Backbone, parameters, and a dictionary with `backbone`, `dimension`, `weights` (in words) and
      `weights_sha256`.

    Raises:
      UserError: unknown backbone, no weights given, or weights that do not fit it.
    """
    backbone = backbones.get(settings.backbone)
    if settings.weights == "random":
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
    return backbone, jax.device_put(params, NamedSharding(_mesh(), PartitionSpec())), provenance


def compile_stage(backbone: Backbone) -> Callable[[Params, UInt8[Any, "b h w 3"]], Float32[Array, "b d"]]:
    """The network as one jitted function whose batch is spread over all local devices.

    The same function every time, so that it is compiled once.
    """
    return _compiled(backbone.apply)


def frame_features(
    backbone: Backbone, params: Params, frames: UInt8[np.ndarray, "t h w 3"], batch_size: int
) -> Float32[np.ndarray, "t d"]:
    """Features of a few frames, the same as a store with this batch size holds for them."""
    _check(frames)
    stage, batch_size = compile_stage(backbone), _over_devices(batch_size)
    results = [np.zeros((0, backbone.dimension), np.float32)]
    for start in range(0, len(frames), batch_size):
        part = frames[start : start + batch_size]
        padded = np.zeros((batch_size, *frames.shape[1:]), np.uint8)
        padded[: len(part)] = part
        results.append(np.asarray(stage(params, padded))[: len(part)])
    return np.concatenate(results)


def extract(prepared: Prepared, out: Path, settings: Features, progress: bool = False) -> FeatureStore:
    """Brings a feature store up to date with a prepared dataset; what is there already is not computed again.

    Args:
      prepared: the dataset.
      out: folder in which the store's own folder is.
      settings: backbone, weights, batch size.
      progress: shows a bar of frames.

    Raises:
      UserError: as `load_backbone`, or the store cannot be written.
    """
    backbone, params, origin = load_backbone(settings)
    identity = {
        "prepared": prepared.fingerprint,
        "backbone": backbone.name,
        "version": backbone.version,
        "weights": origin["weights_sha256"],
        "preprocessing": backbone.preprocessing,
        "dtype": "float32",
        "batch_size": settings.batch_size,
        "record": [field.name for kind in (Video, ClipInfo) for field in dataclasses.fields(kind)],
    }
    provenance = {
        **origin,
        "dataset": prepared.dataset,
        "synthetic": prepared.synthetic,
        "complete": prepared.complete,
        "prepared": prepared.fingerprint,
        # The name, not the path: what is written must not depend on where the file lies.
        "settings": {**to_dict(settings), "weights": Path(settings.weights).name},
    }
    path = store_path(out, prepared.dataset, identity)
    whole = FeatureStore.open(path, identity) if (path / MANIFEST).exists() else None
    names = {shard: unit_name(i) for i, shard in enumerate(prepared.shards)}
    units = finished_units(path, names.values(), whole.units if whole else ())
    pending = [shard for shard, name in names.items() if name not in units]
    if whole and not pending:
        return whole
    # Only the bar asks for the total, and it costs reading every clip's row.
    total = _frames(prepared, pending) if progress else None
    with progress_bar(total=total, desc=f"features {prepared.dataset}", unit="frame", disable=not progress) as bar:
        for shard, features in _compute(backbone, params, prepared, pending, settings.batch_size, bar):
            units[names[shard]] = write_unit(path, names[shard], prepared.clips(shard), features)
    return write_manifest(path, identity, provenance, prepared.failures, [units[n] for n in names.values()])


def _compute(
    backbone: Backbone, params: Params, prepared: Prepared, shards: Sequence[Shard], batch_size: int, bar: Any
) -> Iterator[tuple[Shard, Float32[np.ndarray, "frames d"]]]:
    """All features of each shard, in order. The devices never wait for the host between shards or batches."""
    stage, batch_size = compile_stage(backbone), _over_devices(batch_size)
    waiting: collections.deque[tuple[Shard, int, Any]] = collections.deque()
    rows = [np.zeros((0, backbone.dimension), np.float32)]

    def land() -> Iterator[tuple[Shard, np.ndarray]]:
        shard, valid, result = waiting.popleft()
        if result is not None:
            rows.append(np.asarray(result)[:valid])
            bar.update(valid)
        else:
            yield shard, np.concatenate(rows)
            del rows[1:]

    for shard in shards:
        for batch in shard_frames(prepared, shard, batch_size):
            _check(batch.frames)
            # Returns at once; the result is fetched when the next batches are on their way.
            waiting.append((shard, batch.valid, stage(params, batch.frames)))
            while len(waiting) > _IN_FLIGHT:
                yield from land()
        waiting.append((shard, 0, None))
    while waiting:
        yield from land()


def _frames(prepared: Prepared, shards: Sequence[Shard]) -> int:
    return sum(len(info.frame_indices) for shard in shards for _, info in prepared.clips(shard))


def _weights_path(backbone: Backbone, weights: str) -> Path:
    if weights == "package" and backbone.package is not None:
        return package_file(*backbone.package)
    if weights in ("", "package"):
        named = "" if backbone.package is None else "'package' for those of an installed package, "
        raise UserError(
            f"no weights for {backbone.name}: set features.weights to the path of published weights (.pth, "
            f".safetensors, .h5), {named}or 'random' to go without (results then mean nothing)"
        )
    return Path(weights)


def _hash_of(params: Params) -> str:
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


def _check(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise UserError(f"frames must be uint8 [t h w 3], RGB, not {frames.dtype} {list(frames.shape)}")
    if min(frames.shape[1:3]) < 32:
        raise UserError(f"frames of {frames.shape[2]}x{frames.shape[1]} pixels are too small; 32x32 is the least")


def _over_devices(batch_size: int) -> int:
    if batch_size < 1:
        raise UserError(f"features.batch_size is {batch_size}; it must be at least 1")
    return batch_size * jax.local_device_count()


def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), (AXIS,))


@lru_cache
def _compiled(apply: Callable[..., Any]) -> Callable[..., Any]:
    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)
    # Each device runs the very program that a single one would.
    mapped = jax.shard_map(apply, mesh=_mesh(), in_specs=(everywhere, spread), out_specs=spread, check_vma=False)
    shardings = (NamedSharding(_mesh(), everywhere), NamedSharding(_mesh(), spread))
    return jax.jit(mapped, in_shardings=shardings)
