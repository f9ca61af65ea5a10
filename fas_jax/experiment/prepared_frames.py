"""The frames behind the features of a corpus, from the prepared datasets."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from fas_jax.base.errors import UserError
from fas_jax.datasets.frames import StoredFrames
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.prepared import Prepared
from fas_jax.features.store import FeatureStore


def stored_frames(
    stores: Sequence[FeatureStore],
    folders: Sequence[Path],
    borders: Sequence[int],
    wanted: Int[np.ndarray, " n"],
    mask: Bool[np.ndarray, "n t"],
) -> StoredFrames:
    """The frames of some clips of a corpus; a prepared dataset of none of them is not opened.

    Args:
        stores: Of one rendition, one a dataset; each has a row for every clip of its prepared dataset, in its order.
        folders: Of the prepared datasets.
        borders: Where the datasets' clips begin and end in the corpus.
        wanted: The clips' numbers in the corpus, rising.
        mask: Where they have frames.

    Raises:
        UserError: A prepared dataset is not there, or is another one than the features were made of.
    """
    part, place = np.zeros(len(wanted), np.int32), np.zeros(len(wanted), np.int32)
    parts: list[FrameClips] = []
    sizes, bursts = set(), set()
    for store, folder, (start, end) in zip(stores, folders, itertools.pairwise(borders), strict=True):
        first, last = np.searchsorted(wanted, (start, end))
        if first == last:
            continue
        prepared = Prepared.open(folder)
        rendition = store.provenance["rendition"]
        if prepared.fingerprint != store.provenance["prepared"]:
            raise UserError(
                f"{folder} holds other frames than the features in {store.path} were made of; run fas-jax train "
                "with the run's settings again"
            )
        part[first:last], place[first:last] = len(parts), wanted[first:last] - start
        parts.append(FrameClips(prepared, prepared.shards, rendition))
        sizes.add(int(prepared.rendition(rendition)["size"]))
        bursts.add(int(prepared.rendition(rendition).get("burst", 1)))
    if len(sizes) > 1:
        raise UserError(f"frames of {' and '.join(map(str, sorted(sizes)))} pixels cannot be joined; prepare again")
    if len(bursts) > 1:
        raise UserError(f"bursts of {' and '.join(map(str, sorted(bursts)))} frames cannot be joined; prepare again")
    return StoredFrames(tuple(parts), part, place, mask, *(sizes or {1}), *(bursts or {1}))
