"""Which videos are the same recording under several names: the same file, or a copy of it. Imports no JAX."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fas_jax.base.files import fingerprint, sha256_file
from fas_jax.datasets.layout import Listing


@dataclass(frozen=True)
class Origins:
    """What is known about the files of a list of videos, in its order; an empty sequence knows nothing."""

    files: Sequence[str] = ()
    """For each video the resolved path of its file; videos of which any file is the same have the same text."""
    contents: Sequence[str] = ()
    """For each video a hash of its content, or an empty text where it is not known."""


def find_origins(listings: Sequence[Listing]) -> Origins:
    """The origins of all videos of the listings, in order.

    Only videos that have as many bytes as another are hashed. The others cannot be copies; their text is empty, and so
    is that of videos that cannot be read.
    """
    files = [
        [(listing.root / name).resolve() for name in _names(listing, video.path)]
        for listing in listings
        for video in listing.videos
    ]
    sizes = [_size(paths) for paths in files]
    count = Counter(sizes)
    known: dict[Path, str] = {}
    contents = [
        "" if size is None or count[size] < 2 else _hash(paths, known) for size, paths in zip(sizes, files, strict=True)
    ]
    return Origins(_joined(files), contents)


def _names(listing: Listing, path: str) -> tuple[str, ...]:
    source = listing.sources.get(path)
    return source.frames if source and source.frames else (path,)


def _size(paths: Sequence[Path]) -> int | None:
    """Bytes of a video's files together; None where one cannot be read, as before a video is rendered."""
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None


def _hash(paths: Sequence[Path], known: dict[Path, str]) -> str:
    try:
        for path in paths:
            if path not in known:
                known[path] = sha256_file(path)
    except OSError:
        return ""
    hashes = [known[path] for path in paths]
    return hashes[0] if len(hashes) == 1 else fingerprint(sorted(hashes))


def _joined(files: Sequence[Sequence[Path]]) -> list[str]:
    """For each video the first path of all videos that share files with it, directly or through others."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for paths in files:
        ends = {root(str(path)) for path in paths}
        first = min(ends)
        for end in ends:
            parent[end] = first
    return [root(str(paths[0])) for paths in files]
