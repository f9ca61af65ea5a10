"""Feature stores of some videos whose frames were shifted: beside the ordinary stores, under keys of their own."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

import numpy as np

from fas_jax.base.files import fingerprint
from fas_jax.base.locks import locked
from fas_jax.base.record import ClipInfo
from fas_jax.base.settings import Features
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.prepared import Prepared
from fas_jax.features.extraction import store_identity, store_provenance
from fas_jax.features.stage import as_stored, frame_features, load_backbone
from fas_jax.features.store import (
    MANIFEST,
    FeatureStore,
    finished_units,
    store_path,
    unit_name,
    write_manifest,
    write_unit,
)
from fas_jax.pixels.renditions import colour
from fas_jax.pixels.shifts import VERSION, shift_frames


def extract_shifted(
    prepared: Prepared, rendition: str, videos: Collection[str], out: Path, settings: Features, seed: int = 0
) -> FeatureStore:
    """The features of some videos' shifted frames; what is there already is not computed again.

    What decoding found of a clip stays as it is, but for the colours of its frames, which are those of the shifted
    ones. One process computes; others that come later find its result.

    Args:
        prepared: The dataset.
        rendition: The name of one of its renditions.
        videos: Paths of those to extract.
        out: Folder in which the store's own folder is.
        settings: As for the ordinary store.
        seed: Of the shifts.

    Raises:
        UserError: As `extraction.extract`.
    """
    backbone, params, origin = load_backbone(settings)
    wanted = set(videos)
    identity = {
        **store_identity(prepared, rendition, settings, backbone, origin),
        "shifted": {"version": VERSION, "seed": seed, "videos": fingerprint(sorted(wanted))},
    }
    path = store_path(out, prepared.dataset, identity)
    with locked(path):
        if (path / MANIFEST).exists():
            store = FeatureStore.open(path, identity)
            names = [unit.name for unit in store.units]
            if len(finished_units(path, names, store.units)) == len(names):
                return store
        units = []
        for number, shard in enumerate(prepared.shards):
            clips = prepared.clips(shard)
            rows = [row for row, (video, _) in enumerate(clips) if video.path in wanted]
            if not rows:
                continue
            stored = FrameClips(prepared, [shard], rendition)
            own, frames = [], []
            for row in rows:
                video, info = clips[row]
                shifted = shift_frames(stored[row]["sequence"], f"{video.dataset}\0{video.path}", seed)
                own.append((video, _coloured(info, rendition, shifted)))
                frames.append(shifted)
            features = frame_features(
                backbone, params, np.concatenate(frames), settings.batch_size, settings.precision, settings.store_dtype
            )
            units.append(write_unit(path, unit_name(number), own, rendition, as_stored(features, settings.store_dtype)))
        failures = [each for each in prepared.failures if each.video.path in wanted]
        provenance = store_provenance(prepared, rendition, settings, origin, identity)
        provenance["shifted"] = identity["shifted"]
        return write_manifest(path, identity, provenance, failures, units)


def _coloured(info: ClipInfo, rendition: str, frames: np.ndarray) -> ClipInfo:
    """What is known of a clip, with the colours of these frames."""
    made = info.renditions[rendition]
    own = dataclasses.replace(made, colour=colour(frames)) if len(frames) else made
    return dataclasses.replace(info, renditions={**info.renditions, rendition: own})
