"""The videos of several datasets as one list, and the clips of any of them with their features."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, Failure
from fas_jax.base.video_table import VideoTable
from fas_jax.features.rows import StoredFeatures, StoredInfos, join, nothing, rise
from fas_jax.features.store import FeatureStore
from fas_jax.training.fitting import Clips
from fas_jax.training.streaming import resident


@dataclass(frozen=True)
class Pool:
    """Clips with their features, which may have stayed on disk."""

    videos: VideoTable
    infos: Sequence[ClipInfo]
    features: Any
    """[n t d], padded with zeros: an array, or `StoredFeatures`."""
    mask: Bool[np.ndarray, "n t"]
    numbers: Int[np.ndarray, " n"]
    """Of the videos in the list that they come from, rising."""

    def __post_init__(self) -> None:
        if not rise(self.numbers):
            raise ValueError("the clips of a pool lie in the order of their list")

    def find(self, numbers: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
        """Rows of those of these videos that are here, in their order."""
        rows = np.searchsorted(self.numbers, numbers)
        here = np.append(self.numbers, -1)[rows] == numbers
        return rows[here].astype(np.int32)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Pool":
        """Some of the clips, by rising rows; where features are on disk, they stay there."""
        if isinstance(self.features, StoredFeatures):
            features = self.features.take(rows)
            infos: Sequence[ClipInfo] = StoredInfos(features)
        else:
            features, infos = self.features[rows], tuple(self.infos[row] for row in rows.tolist())
        return Pool(self.videos[rows], infos, features, self.mask[rows], self.numbers[rows])

    def loaded(self) -> "Pool":
        """All in memory, as float32."""
        features = self.features[np.arange(len(self.mask))].astype(np.float32, copy=False)
        return dataclasses.replace(self, infos=tuple(self.infos), features=features)

    def clips(self, resident_mb: int = 0) -> Clips:
        """On the device if the features fit there (see `Training.resident_mb`), else as they are; this is told."""
        return resident(Clips(self.features, self.mask, self.videos.label.astype(np.int32)), resident_mb)


@dataclass(frozen=True)
class Corpus:
    """Feature stores, one a dataset, and their videos: indices into `videos` are what all else speaks of."""

    stores: tuple[FeatureStore, ...]
    videos: VideoTable
    """Of all stores in turn, then those that could not be prepared."""
    failures: tuple[Failure, ...]
    """The latter, with the reasons."""

    @classmethod
    def of(cls, stores: Sequence[FeatureStore]) -> "Corpus":
        """Reads whose features the stores hold, but no features.

        Raises:
            UserError: See `FeatureStore.videos`; or the stores' features differ in width.
        """
        widths = {store.provenance["dimension"] for store in stores}
        if len(widths) > 1:
            raise UserError(f"the stores' features differ in width ({sorted(widths)}); extract all with one backbone")
        failures = tuple(failure for store in stores for failure in store.failures)
        found = (video for store in stores for video in store.videos())
        videos = VideoTable.of(itertools.chain(found, (failure.video for failure in failures)))
        return cls(tuple(stores), videos, failures)

    def open(self, numbers: Int[np.ndarray, " n"] | None = None) -> Pool:
        """The clips of some videos, or of all, their features left on disk.

        A store of none of them is not opened; a video that could not be prepared is left out.

        Raises:
            UserError: See `FeatureStore.rows`.
        """
        wanted = np.arange(len(self.videos)) if numbers is None else np.unique(numbers)
        wanted = wanted[: np.searchsorted(wanted, self._borders[-1])]
        parts = []
        for store, (start, end) in zip(self.stores, itertools.pairwise(self._borders), strict=True):
            first, last = np.searchsorted(wanted, (start, end))
            if first < last:
                parts.append(store.rows(self.videos[start:end], wanted[first:last] - start))
        features = join(parts) if parts else nothing(self.stores[0].provenance["dimension"])
        return Pool(self.videos[wanted], StoredInfos(features), features, features.mask, wanted)

    def stores_of(self, numbers: Int[np.ndarray, " n"]) -> list[FeatureStore]:
        """The stores that have clips of these videos."""
        which = np.unique(np.searchsorted(self._borders, numbers, side="right") - 1)
        return [store for number, store in enumerate(self.stores) if number in which]

    def failed(self, numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """Those of these videos that could not be prepared, in their order."""
        return numbers[numbers >= self._borders[-1]]

    def reason(self, number: int) -> str:
        """Why a video of `failed` could not be prepared."""
        return self.failures[number - self._borders[-1]].reason

    @cached_property
    def _borders(self) -> list[int]:
        """Where the stores' videos begin and end in `videos`."""
        counts = (sum(unit.clips for unit in store.units) for store in self.stores)
        return [0, *itertools.accumulate(counts)]
