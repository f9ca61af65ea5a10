"""Clips for a sequence of batches: all of them on the device, or, where they do not fit, part by part.

A part is some steps' clips, each once, with the order renumbered to fit. The program that reads them is the same, so
that streaming changes no result; Grain reads the next parts while the device works on one.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from fas_jax.base.settings import Execution
from fas_jax.runtime import device_memory, devices
from fas_jax.runtime.host_memory import aligned_zeros, free_host_memory, return_free_memory
from fas_jax.training.steps import Clips

# Parts that wait in memory beside the one in use, and threads that fill them.
_WAITING, _THREADS = 2, 2


@runtime_checkable
class FeatureSource(Protocol):
    """Features that stay on disk: what an array [n t d] offers, as far as it is needed.

    Where each run has its own features, [r n t d], rows are those of all runs, and `of_runs(runs)` gives some of these.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "*r m t d"]: ...


def size(features: Any) -> int:
    """Bytes that the features take in memory."""
    return int(np.prod(features.shape)) * np.dtype(features.dtype).itemsize


def limit(resident_mb: int) -> int:
    """Most bytes of features that are put on a device; 0 is half of what it has free, and of what the host has, through
    whose memory they go."""
    return resident_mb << 20 if resident_mb else min(device_memory.free_memory(), free_host_memory()) // 2


def agreed(settings: Execution) -> Execution:
    """With the limit at which all processes of the job put features on their devices or stream them."""
    if jax.process_count() == 1:
        return settings
    return replace(settings, resident_mb=max(1, devices.least(limit(settings.resident_mb)) >> 20))


def resident(clips: Clips, resident_mb: int = 0) -> Clips:
    """On the default device, for all who will ask for them, if they fit there; else as they are, and says so."""
    most, needed = limit(resident_mb), size(clips.features)
    if needed > most:
        if devices.is_first():
            print(
                f"features of {clips.features.shape[0]} clips take {needed / 1e6:,.0f} MB, more than the "
                f"{most / 1e6:,.0f} MB that may lie on a device; they are streamed",
                flush=True,
            )
        return clips
    return Clips(*map(jnp.asarray, (_whole(clips.features), clips.mask, clips.labels)))


def place(clips: Clips, mesh: Mesh, resident_mb: int) -> Clips:
    """On the mesh if the features fit there (or are on a device already), else as they are."""
    features = clips.features
    if not isinstance(features, jax.Array):
        if size(features) > limit(resident_mb):
            return clips._replace(mask=np.asarray(clips.mask), labels=np.asarray(clips.labels))
        features = _whole(features)
    return _on_mesh(clips._replace(features=features), mesh)


def of_runs(clips: Clips, runs: Int[np.ndarray, " k"]) -> Clips:
    """The clips with the features of some runs; as they are where runs share them."""
    if not clips.own:
        return clips
    features = clips.features
    is_array = isinstance(features, np.ndarray | jax.Array)
    return clips._replace(features=features[runs] if is_array else features.of_runs(runs))


def parts(
    clips: Clips, order: Int[np.ndarray, "parts r s b"], first: int, mesh: Mesh, part_bytes: int
) -> Iterator[tuple[Clips, Int[np.ndarray, "parts r k b"]]]:
    """What the steps of `order` from `first` on need, in order.

    Where each run has its own features, a part holds what all runs need for each of them, because they share masks and
    labels: of many runs more is read than is used.

    Args:
        clips: From `place`.
        order: Rows of all devices, runs, steps and batches; -1 is none.
        first: Step to begin at.
        mesh: Where the clips go to.
        part_bytes: Most bytes of features in a part. The memory in use is a few times that, whatever the number of
            clips.
    """
    if isinstance(clips.features, jax.Array):
        yield clips, order[:, :, first:]
        return
    import grain  # only here: it takes a second to import, and what lies in memory does without

    return_free_memory()
    devices_, runs, steps, batch = order.shape
    clips_there = clips.features.shape[-3]
    clip_bytes = size(clips.features) // max(1, clips_there)
    most = max(1, part_bytes // max(1, devices_ * runs * batch * clip_bytes))
    # Parts of one size, so that they are one program; the last is filled up with empty batches.
    count = -(-(steps - first) // most)
    length = -(-(steps - first) // count)
    count = -(-(steps - first) // length)
    capacity = min(clips_there, devices_ * runs * length * batch)

    def part(number: int) -> tuple[Clips, np.ndarray]:
        start = first + number * length
        own = order[:, :, start : start + length]
        own = np.pad(own, [(0, 0), (0, 0), (0, length - own.shape[2]), (0, 0)], constant_values=-1)
        rows = np.unique(own[own >= 0])
        features = _rows(clips, rows)
        if len(rows) < capacity:  # else a copy would cost as much as the reading
            read = features
            features = aligned_zeros((*read.shape[:-3], capacity, *read.shape[-2:]), read.dtype)
            features[..., : len(rows), :, :] = read
        mask = np.ones((capacity, features.shape[-2]), bool)
        mask[: len(rows)] = clips.mask[rows]
        labels = np.zeros(capacity, np.int32)
        labels[: len(rows)] = clips.labels[rows]
        local = np.where(own >= 0, np.searchsorted(rows, own), -1).astype(np.int32)
        return Clips(features, mask, labels), local

    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_WAITING)
    iterator = iter(grain.MapDataset.range(count).map(part).to_iter_dataset(options))
    try:
        for found, local in iterator:
            yield _on_mesh(found, mesh), local
    finally:
        iterator.close()


def _on_mesh(clips: Clips, mesh: Mesh) -> Clips:
    features = devices.place(clips.features, mesh, devices.BY_RUN if clips.own else devices.SAME)
    return Clips(features, devices.place(clips.mask, mesh), devices.place(clips.labels, mesh))


def _rows(clips: Clips, rows: np.ndarray) -> np.ndarray:
    return clips.features[:, rows] if clips.own and isinstance(clips.features, np.ndarray) else clips.features[rows]


def _whole(features: Any) -> Any:
    """A source's rows in memory; an array as it is."""
    return features if isinstance(features, np.ndarray | jax.Array) else features[np.arange(features.shape[-3])]
