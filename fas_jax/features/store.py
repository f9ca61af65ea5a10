"""Features of one rendition on disk: a file for each shard of the prepared dataset, keyed by what they were made from.

The folder is named after a fingerprint of everything that determines the features, so a changed setting looks
for another folder and never meets stale ones. A unit's note, beside it, is written after the unit;
`store.json`, which makes the store whole, after all units. Units depend on nothing but their shard, so it does
not matter how often the work was interrupted.

A store has a row for every prepared clip, in the prepared order, with zero frames where the clip lacks the rendition:
the rows of all stores of one prepared dataset are the same clips.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Bool, Float, Float32, Int

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path, fingerprint, inside, read_json, sha256_file, write_json
from fas_jax.base.record import ClipInfo, Failure, Video, to_row
from fas_jax.base.versions import installed, joined
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.prepared import Prepared
from fas_jax.features.rows import PLACE, StoredFeatures, StoredFile, StoredInfos, read_header, read_stored, rise

FORMAT = 3
# Packages whose versions may move the features of a store.
_MAKERS = ("jax", "jaxlib", "numpy", "opencv-python-headless")
MANIFEST = "store.json"
# Files that are hashed, with what is read of them, before the results are used.
_AT_ONCE = 256


@dataclass(frozen=True)
class FeatureTable:
    """Features of clips, padded to the longest, with what is known of each clip."""

    videos: VideoTable
    clips: tuple[ClipInfo, ...]
    features: Float32[np.ndarray, "n t d"]
    """Zero where there is no frame."""
    mask: Bool[np.ndarray, "n t"]
    """Where there is a frame."""
    failures: tuple[Failure, ...]
    """Videos of these splits that could not be prepared."""
    provenance: dict[str, Any]
    """What the features were made from; `weights` says whether they are random."""


@dataclass(frozen=True)
class Unit:
    """One file of the store."""

    name: str
    sha256: str
    clips: int
    frames: int
    versions: Mapping[str, str]
    """Of the packages that made it."""


@dataclass(frozen=True)
class FeatureStore:
    """A whole feature store."""

    path: Path
    identity: dict[str, Any]
    """Everything that determines the features; the folder's name is its fingerprint."""
    provenance: dict[str, Any]
    """The identity in words, for reports, with the `versions` of the packages that made the features."""
    failures: tuple[Failure, ...]
    units: tuple[Unit, ...]
    fingerprint: str
    """Of identity and contents."""

    @classmethod
    def open(cls, path: Path, identity: Mapping[str, Any] | None = None) -> "FeatureStore":
        """Opens the store in a folder.

        Args:
          path: the folder.
          identity: what the features have to be made from; anything, if not given.

        Raises:
          UserError: no store, one that is not finished, changed or damaged, or made from something else.
        """
        path = Path(path)
        if not (path / MANIFEST).exists():
            raise UserError(f"{path} holds no finished feature store; run fas-jax extract (again)")
        manifest = read_json(path / MANIFEST)
        try:
            seal = manifest.pop("fingerprint")
            if manifest["format"] != FORMAT:
                raise UserError(f"{path} has store format {manifest['format']}, not {FORMAT}; extract again")
            failures = tuple(Failure(Video(**row["video"]), row["reason"]) for row in manifest["failures"])
            units = tuple(Unit(**row) for row in manifest["units"])
            found, provenance = manifest["identity"], manifest["provenance"]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path / MANIFEST} is damaged or of another version: {error}") from error
        if seal != fingerprint(manifest) or not path.name.endswith(_key(found)):
            raise UserError(f"{path / MANIFEST} is damaged or was changed; delete {path} and extract again")
        if identity is not None and found != identity:
            raise UserError(f"features in {path} were made from something else: {_difference(found, identity)}")
        return cls(path, found, provenance, failures, units, seal)

    def videos(self) -> Iterator[Video]:
        """Whose features the store holds, in order; reads the files' headers only, not the features.

        Raises:
          UserError: a file is missing or unreadable, or names another number of clips than were written.
        """
        for unit in self.units:
            path = inside(self.path, unit.name)
            try:
                with path.open("rb") as file:
                    rows, _ = read_header(file)
                videos = [Video(**row["video"]) for row in rows]
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(f"{path} cannot be read ({error}); run fas-jax extract again") from error
            if len(videos) != unit.clips:
                raise UserError(f"{path} names {len(videos)} clips, not {unit.clips}; run fas-jax extract again")
            yield from videos

    def rows(self, videos: VideoTable, wanted: Int[np.ndarray, " m"]) -> StoredFeatures:
        """Some clips, their features left on disk.

        Every byte of the files that hold such clips is hashed first, in parts and by several threads. A file that
        changes later is refused when a row of it is read (by its size and time; bits that rot unseen by the file
        system are found the next time the store is opened).

        Args:
          videos: all of the store's, from `videos`; of the files that are read, they are proved to be right.
          wanted: whose clips, as rising indices into them.

        Raises:
          UserError: a file is missing, or differs from what was written.
        """
        if not rise(wanted):
            raise ValueError("indices of clips must rise")
        start = np.cumsum([0, *(unit.clips for unit in self.units)])
        # Of each unit's clips, which are wanted: from one place in `wanted` to the next.
        border = np.searchsorted(wanted, start).tolist()
        # Files without a clip cost nothing, and their damage is a sign as well.
        needed = [i for i, unit in enumerate(self.units) if border[i] < border[i + 1] or not unit.clips]
        files: list[StoredFile] = []
        places = np.zeros(len(wanted), PLACE)

        def read(i: int) -> tuple[StoredFile, list[Video], np.ndarray]:
            return read_stored(inside(self.path, self.units[i].name), self.units[i].sha256)

        with ThreadPoolExecutor() as threads:
            for batch in range(0, len(needed), _AT_ONCE):
                numbers = needed[batch : batch + _AT_ONCE]
                for i, (file, found, own) in zip(numbers, threads.map(read, numbers), strict=True):
                    if found != list(videos[start[i] : start[i + 1]]):
                        raise UserError(f"{file.path} was changed while it was read; run the command again")
                    mine = slice(border[i], border[i + 1])
                    own["file"] = len(files)
                    files.append(file)
                    places[mine] = own[wanted[mine] - start[i]]
        return StoredFeatures(tuple(files), places, int(places["frames"].max(initial=0)), self.provenance["dimension"])

    def load(self, splits: Collection[str] | None = None) -> FeatureTable:
        """Reads the features of the given official splits, or of all, into memory.

        Raises:
          UserError: as `rows`.
        """
        everyone = VideoTable.of(self.videos())
        wanted = np.arange(len(everyone)) if splits is None else np.flatnonzero(everyone.split.isin(splits))
        features = self.rows(everyone, wanted)
        return FeatureTable(
            videos=everyone[wanted],
            clips=tuple(StoredInfos(features)),
            features=features[np.arange(len(wanted))].astype(np.float32),
            mask=features.mask,
            failures=tuple(f for f in self.failures if splits is None or f.video.split in splits),
            provenance=self.provenance,
        )


def store_path(out: Path, dataset: str, identity: Mapping[str, Any]) -> Path:
    """Folder of the store with this identity."""
    return Path(out) / f"{dataset}-{_key(identity)}"


def provenance_of(
    prepared: Prepared, rendition: str, origin: Mapping[str, Any], identity: Mapping[str, Any]
) -> dict[str, Any]:
    """What every store's manifest says about how it was made, JSON-able.

    Args:
        prepared: The dataset.
        rendition: The name of one of its renditions.
        origin: What made the features: `backbone`, `dimension`, `weights`, `weights_sha256`.
        identity: Of the store, with its `platform`.
    """
    return {
        **origin,
        "dataset": prepared.dataset,
        "synthetic": prepared.synthetic,
        "complete": prepared.complete,
        "prepared": prepared.fingerprint,
        "prepared_versions": prepared.versions,
        "rendition": rendition,
        "platform": identity["platform"],
    }


def unit_name(index: int) -> str:
    """File of the shard with this position."""
    return f"{index:05d}.safetensors"


def write_unit(
    path: Path,
    name: str,
    clips: Sequence[tuple[Video, ClipInfo]],
    rendition: str,
    features: Float[np.ndarray, "frames d"],
) -> Unit:
    """Writes the features of a shard's clips, one after the other, then the note that says they are whole.

    Args:
      path: folder of the store.
      name: the unit's file.
      clips: all of the shard's.
      rendition: whose frames the features are of.
      features: of all frames, clip after clip.
    """
    counts = (len(info.renditions[rendition].frame_indices) for _, info in clips)
    offsets = np.cumsum([0, *counts], dtype=np.int64)
    if offsets[-1] != len(features):
        raise UserError(f"{path / name}: the shard has {offsets[-1]} frames by its clips, {len(features)} by count")
    header = {"clips": json.dumps([{"video": to_row(video), "info": to_row(info)} for video, info in clips])}
    data = safetensors.numpy.save({"features": np.ascontiguousarray(features), "offsets": offsets}, header)
    with atomic_path(path / name) as temporary:
        temporary.write_bytes(data)
    unit = Unit(name, hashlib.sha256(data).hexdigest(), len(clips), len(features), installed(*_MAKERS))
    write_json(_note(path, name), dataclasses.asdict(unit))
    return unit


def finished_units(path: Path, names: Collection[str], known: Iterable[Unit]) -> dict[str, Unit]:
    """The units, by name, that were written whole and have not changed since; their bytes are hashed.

    Args:
      path: folder of the store.
      names: the units' files.
      known: units of a manifest that is there already; a note beside a unit is newer.
    """
    stated = {unit.name: unit for unit in known}
    for name in names:
        if _note(path, name).exists():
            # A note that says nothing usable only costs the unit's time again.
            with contextlib.suppress(UserError, TypeError, KeyError):
                stated[name] = Unit(**read_json(_note(path, name)))
    return {
        name: stated[name]
        for name in names
        if name in stated and (path / name).is_file() and sha256_file(path / name) == stated[name].sha256
    }


def write_manifest(
    path: Path,
    identity: Mapping[str, Any],
    provenance: Mapping[str, Any],
    failures: Iterable[Failure],
    units: Sequence[Unit],
) -> FeatureStore:
    """Makes the store whole, and clears the notes that only unfinished work needs."""
    manifest = {
        "format": FORMAT,
        "identity": dict(identity),
        "provenance": {**provenance, "versions": joined(unit.versions for unit in units)},
        "failures": [{"video": to_row(each.video), "reason": each.reason} for each in failures],
        "units": [dataclasses.asdict(unit) for unit in units],
    }
    write_json(path / MANIFEST, {**manifest, "fingerprint": fingerprint(manifest)})
    clear_notes(path, units)
    return FeatureStore.open(path, identity)


def clear_notes(path: Path, units: Iterable[Unit]) -> None:
    """Removes the notes beside units that the manifest names."""
    for unit in units:
        _note(path, unit.name).unlink(missing_ok=True)


def _note(path: Path, name: str) -> Path:
    return path / name.replace(".safetensors", ".json")


def _key(identity: Mapping[str, Any]) -> str:
    return fingerprint(identity)[:16]


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    return "; ".join(f"{name} is {found.get(name)!r}, not {wanted.get(name)!r}" for name in names)
