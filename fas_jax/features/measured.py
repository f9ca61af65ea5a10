"""Feature stores of renditions with native pixels: the measures of image quality of every frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.files import remove_leftovers
from fas_jax.base.locks import locked
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.prepared import Prepared, Shard
from fas_jax.features.quality.grey import Flavour
from fas_jax.features.quality.measures import VERSION, batch_size, measure, names
from fas_jax.features.store import (
    MANIFEST,
    FeatureStore,
    finished_units,
    provenance_of,
    store_path,
    unit_name,
    write_manifest,
    write_unit,
)
from fas_jax.runtime.progress import progress_bar

FLAVOUR: Flavour = "formula"
"""Of the measures that stores hold."""


def measure_frames(prepared: Prepared, rendition: str, out: Path, progress: bool = False) -> FeatureStore:
    """Brings the store of the measures of a rendition with native pixels up to date with a prepared dataset.

    As `extraction.extract`, whose settings have no part in it: the measures are stored in float32, which some of them
    need. One process computes; others wait for it and find its result.

    Raises:
        UserError: A frame is damaged or too small.
    """
    settings = prepared.rendition(rendition)
    identity = {
        "measures": {"version": VERSION, "flavour": FLAVOUR, "names": list(names(FLAVOUR))},
        "prepared": prepared.fingerprint,
        "rendition": {"name": rendition, **settings},
        # As the backbone's features, they round otherwise on another kind of device.
        "platform": jax.default_backend(),
    }
    provenance = provenance_of(prepared, rendition, _origin(), identity)
    path = store_path(out, prepared.dataset, identity)
    shards = {unit_name(i): shard for i, shard in enumerate(prepared.shards)}
    with locked(path):
        whole = FeatureStore.open(path, identity) if (path / MANIFEST).exists() else None
        units = finished_units(path, shards, whole.units if whole else ())
        if whole and [unit.sha256 for unit in whole.units] == [each.sha256 for each in units.values()]:
            return whole
        remove_leftovers([path])
        title = f"measures {prepared.dataset} {rendition}"
        with progress_bar(total=None, desc=title, unit="frame", disable=not progress) as bar:
            for name, shard in shards.items():
                if name not in units:
                    rows = _measured(prepared, shard, rendition, bar.update)
                    units[name] = write_unit(path, name, prepared.clips(shard), rendition, rows)
        return write_manifest(path, identity, provenance, prepared.failures, [units[name] for name in shards])


def measures_of(frames: list[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "t d"]:
    """The measures of frames of any sizes, as a store holds them."""
    found = np.zeros((len(frames), len(names(FLAVOUR))), np.float32)
    shapes = [frame.shape for frame in frames]
    for shape in dict.fromkeys(shapes):
        own = [row for row, each in enumerate(shapes) if each == shape]
        found[own] = measure(np.stack([frames[row] for row in own]), FLAVOUR)
    return found


def _origin() -> dict[str, Any]:
    """In place of a backbone and its weights."""
    return {
        "backbone": f"quality measures ({FLAVOUR})",
        "dimension": len(names(FLAVOUR)),
        "weights": "none",
        "weights_sha256": "",
    }


def _measured(
    prepared: Prepared, shard: Shard, rendition: str, tell: Callable[[int], Any]
) -> Float32[np.ndarray, "frames d"]:
    """Of all frames of a shard in stored order, a full batch of a size at a time."""
    clips, infos = FrameClips(prepared, [shard], rendition), prepared.clips(shard)
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    rows: dict[int, np.ndarray] = {}

    def finish(shape: tuple[int, ...]) -> None:
        places, frames = zip(*waiting.pop(shape), strict=True)
        try:
            rows.update(zip(places, measures_of(list(frames)), strict=True))
        except UserError as error:
            raise UserError(f"{prepared.path(shard)}: {error}") from error
        tell(len(places))

    for row, (_, info) in enumerate(infos):
        for number in range(len(info.renditions[rendition].frame_indices)):
            # One at a time: a clip of 8K frames takes a gigabyte.
            (frame,) = clips.frames(row, [number])
            shape = frame.shape
            waiting.setdefault(shape, []).append((len(rows) + sum(map(len, waiting.values())), frame))
            if len(waiting[shape]) == batch_size(*shape[:2]):
                finish(shape)
    for shape in list(waiting):
        finish(shape)
    found = [np.zeros((0, len(names(FLAVOUR))), np.float32), *(rows[place][None] for place in sorted(rows))]
    return np.concatenate(found)
