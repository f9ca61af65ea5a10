"""Clips of one or several feature stores that stay on disk, and reading any of them.

What the memory holds of a clip is where it lies (20 bytes). A row costs one read of its own bytes, whatever the order
of rows; files are opened for a call and closed in it, and nothing is mapped.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, Video, clip_info
from fas_jax.runtime.host_memory import aligned_zeros

# Where a clip lies: the file's number, the clip's number in it, its first frame and how many follow.
PLACE = np.dtype([("file", np.int32), ("clip", np.int32), ("first", np.int64), ("frames", np.int32)])
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


@dataclass(frozen=True)
class StoredFile:
    """A file of a store whose bytes were hashed, and what is needed to read rows of it."""

    path: Path
    stamp: tuple[int, int]
    """Size and time of the last change when it was hashed: what has another is refused."""
    start: int
    """Byte at which the features begin."""
    dtype: np.dtype
    dimension: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file, for a `with` block.

        Raises:
            UserError: It cannot be read, or was changed since it was hashed.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                if _stamp(file) != self.stamp:
                    raise _changed(self.path)
                yield file
        except OSError as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Features of clips, padded to the longest as they are read; a `streaming.FeatureSource`.

    Any thread may read, also several at once.
    """

    files: tuple[StoredFile, ...]
    places: np.ndarray
    """One a clip."""
    longest: int
    """Frames of the longest clip, to which all are padded; it stays when clips are picked."""
    dimension: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """[n t d]."""
        return len(self.places), self.longest, self.dimension

    @property
    def dtype(self) -> np.dtype:
        """What `[...]` gives: the stored type, the wider one where files differ."""
        return np.result_type(*({file.dtype for file in self.files} or {np.dtype(np.float32)}))

    @property
    def mask(self) -> np.ndarray:
        """True at real frames, bool [n t]; nowhere in a clip of which the rendition could not be made."""
        mask: np.ndarray = np.arange(self.longest) < self.places["frames"][:, None]
        return mask

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m t d"]:
        """Features of some clips, zero where there is no frame.

        Raises:
            UserError: A file is gone, or was changed since it was hashed.
        """
        places = self.places[rows]
        found = aligned_zeros((len(places), self.longest, self.dimension), self.dtype)
        firsts, counts = places["first"].tolist(), places["frames"].tolist()
        for stored, own in _by_file(self.files, places):
            frame = stored.dimension * stored.dtype.itemsize
            with stored.open() as file:
                for i in own:
                    target = found[i, : counts[i]]
                    same = stored.dtype == found.dtype
                    read = target if same else np.empty(target.shape, stored.dtype)
                    file.seek(stored.start + firsts[i] * frame)
                    if file.readinto(read) != read.nbytes:  # type: ignore[attr-defined]  # FileIO has it
                        raise _changed(stored.path)
                    if not same:
                        target[:] = read
        return found

    def take(self, rows: Int[np.ndarray, " m"]) -> "StoredFeatures":
        """Some of the clips, still on disk."""
        return StoredFeatures(self.files, self.places[rows], self.longest, self.dimension)


@dataclass(frozen=True, eq=False)
class StoredInfos(Sequence[ClipInfo]):
    """What decoding found of the clips, read from the files' headers when it is asked for."""

    features: StoredFeatures

    def __len__(self) -> int:
        return len(self.features.places)

    def __iter__(self) -> Iterator[ClipInfo]:
        return iter(self[:])

    @overload
    def __getitem__(self, index: int) -> ClipInfo: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClipInfo]: ...
    def __getitem__(self, index: int | slice) -> ClipInfo | list[ClipInfo]:
        """One clip's, or those of a slice: a header is read once a call."""
        if not isinstance(index, slice):
            return self[index : index + 1 or None][0]
        places = self.features.places[index]
        found: list[Any] = [None] * len(places)
        clips = places["clip"].tolist()
        for stored, own in _by_file(self.features.files, places):
            with stored.open() as file:
                rows, _ = read_header(file)
            for i in own:
                found[i] = clip_info(rows[clips[i]]["info"])
        return found


def join(parts: Sequence[StoredFeatures]) -> StoredFeatures:
    """The clips of several stores of one width, in order, padded to the longest of all."""
    (width,) = {part.dimension for part in parts}
    files = [file for part in parts for file in part.files]
    first = np.cumsum([0, *(len(part.files) for part in parts)])
    places = np.concatenate([part.places for part in parts])
    places["file"] += np.repeat(first[:-1], [len(part.places) for part in parts]).astype(np.int32)
    return StoredFeatures(tuple(files), places, max(part.longest for part in parts), width)


def rise(rows: Int[np.ndarray, " n"]) -> bool:
    """Whether each is larger than the one before."""
    return bool((rows[1:] > rows[:-1]).all())


def nothing(dimension: int) -> StoredFeatures:
    """No clips, as if of one frame."""
    return StoredFeatures((), np.zeros(0, PLACE), 1, dimension)


def read_stored(path: Path, sha256: str) -> tuple[StoredFile, list[Video], np.ndarray]:
    """Hashes every byte of a file, and reads whose clips it holds and where; its places name file 0.

    Raises:
        UserError: The file cannot be read, or differs from what was written.
    """
    try:
        with path.open("rb", buffering=0) as file:
            # Taken first: what changes from here on has another one when rows are read.
            stamp = _stamp(file)
            # In parts, so that a large file needs no memory.
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise _changed(path)
            # The hash is right, so the file is what `store.write_unit` made.
            rows, tensors = read_header(file)
            start = file.tell()
            features, offsets = tensors["features"], tensors["offsets"]
            file.seek(start + offsets["data_offsets"][0])
            ends = np.frombuffer(file.read(8 * offsets["shape"][0]), "<i8")
    except OSError as error:
        raise _unreadable(path, error) from error
    places = np.zeros(len(rows), PLACE)
    places["clip"], places["first"], places["frames"] = np.arange(len(rows)), ends[:-1], np.diff(ends)
    begin = start + features["data_offsets"][0]
    stored = StoredFile(path, stamp, begin, _DTYPES[features["dtype"]], features["shape"][1])
    return stored, [Video(**row["video"]) for row in rows], places


def read_header(file: BinaryIO) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The clips' rows, and what the header says of the tensors; leaves the file where these begin."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > os.fstat(file.fileno()).st_size:
        raise ValueError("its header is longer than the file")
    header = json.loads(file.read(length))
    return json.loads(header.pop("__metadata__")["clips"]), header


def _by_file(files: Sequence[StoredFile], places: np.ndarray) -> Iterator[tuple[StoredFile, Iterable[int]]]:
    """Each file that holds some of the places, with their numbers, in the order of the files."""
    numbers = places["file"].tolist()
    order = np.lexsort((places["first"], places["file"])).tolist()
    for number, own in itertools.groupby(order, numbers.__getitem__):
        yield files[number], own


def _stamp(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read ({error.strerror}); run fas-jax extract again")


def _changed(path: Path) -> UserError:
    return UserError(f"{path} was changed or damaged after it was written; run fas-jax extract again")
