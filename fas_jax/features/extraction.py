"""From prepared frames to the feature store, by all local devices of one or several processes.

Decoding, copies to the devices, computing and writing overlap; the memory does not depend on the number of clips.
A unit of work is a shard of the prepared dataset, whoever computes it: its batches hold its own frames only, so
that the store's bits do not depend on interruptions or on the number of processes.
"""

import collections
import dataclasses
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from fas_jax.base.declarations import Declared, key
from fas_jax.base.files import remove_leftovers
from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.settings import Features, to_dict
from fas_jax.datasets.loading import prefetched, shard_frames
from fas_jax.datasets.prepared import Prepared, Shard
from fas_jax.features.measured import measure_frames
from fas_jax.features.stage import (
    OutOfMemoryError,
    as_stored,
    check_frames,
    compile_stage,
    frame_features,
    load_backbone,
    memory_told,
    over_devices,
    send,
)
from fas_jax.features.store import (
    MANIFEST,
    FeatureStore,
    FeatureTable,
    Unit,
    clear_notes,
    finished_units,
    provenance_of,
    store_path,
    unit_name,
    write_manifest,
    write_unit,
)
from fas_jax.models.backbones import Backbone, Params, cast_kernels, nothing
from fas_jax.runtime import devices
from fas_jax.runtime.progress import progress_bar

__all__ = ["FeatureStore", "FeatureTable", "compile_stage", "extract", "frame_features", "load_backbone"]

# Steps that are under way on the devices, and batches that wait for them, while the host decodes the next.
IN_FLIGHT = 2
_AHEAD = 2
# Seconds between two looks at what the other processes have written.
_POLL = 0.2


def extract(prepared: Prepared, rendition: str, out: Path, settings: Features, progress: bool = False) -> FeatureStore:
    """Brings the feature store of a rendition up to date with a prepared dataset.

    The features of a rendition with native pixels (size 0) are measures of image quality, whatever the backbone, and
    those of tiles are 0, as of the backbone `none`: nobody reads features of tiles.
    What is there already is not computed again, and where another job computes the same, this one waits for it. The
    store has a row for every prepared clip; one that lacks the rendition has no frame, and the reason is in its
    `ClipInfo`.

    With several processes (`devices.join`) each computes its share of the shards, on a file system that all of
    them see, and all return when the store is whole. Where the memory does not do, one process alone tries half
    the batch size, and says so.

    Args:
      prepared: the dataset.
      rendition: the name of one of its renditions.
      out: folder in which the store's own folder is.
      settings: backbone, weights, batch size, precision, stored type.
      progress: shows a bar of frames.

    Raises:
      UserError: there is no such rendition, as `load_backbone`, the memory does not do, a device failed, or the store
        cannot be written.
    """
    if not prepared.rendition(rendition)["size"]:
        return measure_frames(prepared, rendition, Path(out), progress)
    if prepared.rendition(rendition).get("tiles"):
        settings = dataclasses.replace(settings, backbone=nothing.NAME, weights="")
    over_devices(settings.batch_size)  # refuses an impossible one before there is a folder
    while True:
        backbone, params, origin = load_backbone(settings)
        try:
            return _extract(backbone, params, origin, prepared, rendition, Path(out), settings, progress)
        except OutOfMemoryError as error:
            # Processes that went on with different batch sizes would wait for each other for ever.
            if settings.batch_size == 1 or jax.process_count() > 1:
                raise
            settings = dataclasses.replace(settings, batch_size=settings.batch_size // 2)
            print(f"{error}; trying {settings.batch_size}", file=sys.stderr)


def _extract(
    backbone: Backbone,
    params: Params,
    origin: Mapping[str, Any],
    prepared: Prepared,
    rendition: str,
    out: Path,
    settings: Features,
    progress: bool,
) -> FeatureStore:
    identity = store_identity(prepared, rendition, settings, backbone, origin)
    path = store_path(out, prepared.dataset, identity)
    names = {shard: unit_name(i) for i, shard in enumerate(prepared.shards)}
    # Several processes have to come to the same conclusion, and wait for the lock first.
    if jax.process_count() == 1 and (whole := _whole(path, identity, names.values())):
        return whole
    with devices.job_locked(path):
        if whole := _whole(path, identity, names.values()):  # made by another job, while this one waited
            return whole
        if devices.is_first():
            remove_leftovers([path])
        units = _finished(path, identity, names.values())
        mine = prepared.shards[jax.process_index() :: jax.process_count()]
        pending = [shard for shard in mine if names[shard] not in units]
        # Only the bar asks for the total, and it costs reading every clip's row.
        total = _frames(prepared, rendition, pending) if progress else None
        title = f"features {prepared.dataset} {rendition}"
        if jax.process_count() > 1:
            title += f", process {jax.process_index() + 1} of {jax.process_count()}"
        write = _Writer(lambda shard, rows: write_unit(path, names[shard], prepared.clips(shard), rendition, rows))
        with write, progress_bar(total=total, desc=title, unit="frame", disable=not progress) as bar:
            for shard, features in _compute(backbone, params, prepared, rendition, pending, settings, bar):
                write(shard, as_stored(features, settings.store_dtype))
        units |= {unit.name: unit for unit in write.done}
        while missing := [name for name in names.values() if name not in units]:
            time.sleep(_POLL)
            units |= _finished(path, identity, missing)
        if jax.process_index() == 0:
            provenance = store_provenance(prepared, rendition, settings, origin, identity)
            return write_manifest(path, identity, provenance, prepared.failures, [units[n] for n in names.values()])
        while not (path / MANIFEST).exists():
            time.sleep(_POLL)
        return FeatureStore.open(path, identity)


def store_provenance(
    prepared: Prepared,
    rendition: str,
    settings: Features,
    origin: Mapping[str, Any],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """What a store's manifest says about how it was made, JSON-able; `identity` comes from `store_identity`."""
    return {
        **provenance_of(prepared, rendition, origin, identity),
        # The name, not the path: what is written must not depend on where the file lies.
        "settings": {**to_dict(settings), "weights": Path(settings.weights).name},
    }


def store_identity(
    prepared: Prepared, rendition: str, settings: Features, backbone: Backbone, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines the features of a rendition, JSON-able.

    Args:
      prepared: the dataset.
      rendition: the name of one of its renditions.
      settings: of the feature stage.
      backbone: as `load_backbone` gives it.
      origin: as `load_backbone` gives it.
    """
    found = key(settings, Declared.WHAT, Declared.ROUNDING)
    # The weights count by their content: where a file lies, and a seed of which nothing was drawn, do not.
    del found["weights"], found["weights_seed"]
    return {
        **found,
        "prepared": prepared.fingerprint,
        "rendition": {"name": rendition, **prepared.rendition(rendition)},
        "version": backbone.version,
        "weights_sha256": origin["weights_sha256"],
        "preprocessing": backbone.preprocessing,
        # The same program rounds otherwise on another kind of device.
        "platform": jax.default_backend(),
        "record": [field.name for kind in (Video, ClipInfo, RenditionInfo) for field in dataclasses.fields(kind)],
    }


def _whole(path: Path, identity: Mapping[str, Any], names: Collection[str]) -> FeatureStore | None:
    """The store, if nothing of it is missing or damaged."""
    if not (path / MANIFEST).exists():
        return None
    store = FeatureStore.open(path, identity)
    found = finished_units(path, names, store.units)
    if [found[name].sha256 for name in names if name in found] != [unit.sha256 for unit in store.units]:
        return None
    clear_notes(path, store.units)
    return store


def _finished(path: Path, identity: Mapping[str, Any], names: Any) -> dict[str, Unit]:
    whole = FeatureStore.open(path, identity) if (path / MANIFEST).exists() else None
    return finished_units(path, names, whole.units if whole else ())


def _compute(
    backbone: Backbone,
    params: Params,
    prepared: Prepared,
    rendition: str,
    shards: Sequence[Shard],
    settings: Features,
    bar: Any,
) -> Iterator[tuple[Shard, Float32[np.ndarray, "frames d"]]]:
    """All features of each shard, in order. The devices never wait for the host between shards or batches."""
    stage, size = compile_stage(backbone, settings.precision), over_devices(settings.batch_size)
    params = cast_kernels(params, settings.precision)
    waiting: collections.deque[tuple[Shard, int, Any]] = collections.deque()
    rows = [np.zeros((0, backbone.dimension), np.float32)]

    def batches() -> Generator[tuple[Shard, int, Any], None, None]:
        for shard in shards:
            for batch in shard_frames(prepared, shard, size, rendition):
                check_frames(batch.frames)
                yield shard, batch.valid, send(batch.frames)
            yield shard, 0, None

    def land() -> Iterator[tuple[Shard, np.ndarray]]:
        shard, valid, result = waiting.popleft()
        if result is not None:
            rows.append(np.asarray(result)[:valid])
            bar.update(valid)
        else:
            yield shard, np.concatenate(rows)
            del rows[1:]

    with memory_told(settings.batch_size):
        for shard, valid, frames in prefetched(batches(), _AHEAD):
            # Returns at once; the result is fetched when the next batches are on their way.
            waiting.append((shard, valid, None if frames is None else stage(params, frames)))
            while len(waiting) > IN_FLIGHT:
                yield from land()
        while waiting:
            yield from land()


class _Writer:
    """Writes in a thread, one unit behind the computation and no more."""

    def __init__(self, write: Callable[[Shard, np.ndarray], Unit]) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Unit] | None = None
        self.done: list[Unit] = []

    def __enter__(self) -> "_Writer":
        return self

    def __call__(self, shard: Shard, features: np.ndarray) -> None:
        self._wait()
        self._last = self._thread.submit(self._write, shard, features)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            self.done.append(last.result())


def _frames(prepared: Prepared, rendition: str, shards: Sequence[Shard]) -> int:
    infos = (info.renditions[rendition] for shard in shards for _, info in prepared.clips(shard))
    return sum(len(info.frame_indices) for info in infos)
