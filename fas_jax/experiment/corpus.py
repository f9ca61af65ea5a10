"""The videos of several datasets as one list, and the clips of any of them with what methods read of them."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import ClipInfo, Failure
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.frames import PickedFrames, StoredFrames
from fas_jax.experiment.prepared_frames import stored_frames
from fas_jax.features.frame_scores import FrameScores
from fas_jax.features.rows import StoredFeatures, StoredInfos, join, nothing, rise
from fas_jax.features.store import FeatureStore
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import Batch, Rows, Scores
from fas_jax.methods.inputs import Input
from fas_jax.reporting.materials import materials_of
from fas_jax.training.steps import Clips as Sequences
from fas_jax.training.streaming import resident


@dataclass(frozen=True)
class ClipFeatures:
    """The features of one rendition of some clips, which may have stayed on disk."""

    features: Any
    """[n t d], padded with zeros: an array, or `StoredFeatures`."""
    mask: Bool[np.ndarray, "n t"]
    infos: Sequence[ClipInfo]


@dataclass(frozen=True, eq=False)
class CorpusClips:
    """Some clips and their inputs, opened when they are asked for; see `fas_jax.methods.base.Clips`."""

    videos: VideoTable
    numbers: Int[np.ndarray, " n"]
    """Of the videos in the corpus that they come from, rising."""
    opened: Callable[[str], ClipFeatures]
    """The features of a rendition."""
    frame_scores: Mapping[str, FrameScores] = field(default_factory=dict)
    """By method."""
    opened_frames: Callable[[str], StoredFrames] | None = None
    """The frames of a rendition, where the prepared datasets are known."""
    clip_scores: Mapping[str, ClipScores] = field(default_factory=dict)
    """By method."""
    _sequences: dict[str, Sequences] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not rise(self.numbers):
            raise ValueError("clips lie in the order of their corpus")

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """1 bona fide, 0 attack."""
        return self.videos.label

    def find(self, numbers: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
        """Rows of those of these videos of the corpus that are here, in their order."""
        rows = np.searchsorted(self.numbers, numbers)
        here = np.append(self.numbers, -1)[rows] == numbers
        return rows[here].astype(np.int32)

    def features(self, rendition: str) -> tuple[Any, Bool[np.ndarray, "n t"]]:
        """Features [n t d], as an array or left on disk, and their mask."""
        found = self.opened(rendition)
        return found.features, found.mask

    def frames(self, rendition: str) -> StoredFrames:
        """The frames that the features of a rendition are made of, left on disk.

        Raises:
            UserError: These clips have none, or a prepared dataset is not where it was.
        """
        if self.opened_frames is None:
            raise UserError(f"there are features of {rendition} here and no frames, which a method reads")
        return self.opened_frames(rendition)

    def facts(self, rendition: str) -> Sequence[ClipInfo]:
        """What decoding found of the clips."""
        return self.opened(rendition).infos

    def scores(self, method: str) -> FrameScores:
        """What another method made of the clips' frames."""
        if method not in self.frame_scores:
            raise unknown_name("method with scores", method, self.frame_scores)
        return self.frame_scores[method]

    def sequences(self, rendition: str, resident_mb: int = 0) -> Sequences:
        """The features with mask and labels: on the device, for all who ask, if they fit there; else left on disk."""
        if rendition not in self._sequences:
            features, mask = self.features(rendition)
            self._sequences[rendition] = resident(Sequences(features, mask, self.labels.astype(np.int32)), resident_mb)
        return self._sequences[rendition]

    def mask(self, item: Input) -> Bool[np.ndarray, "n t"]:
        """Where there are frames of an input; facts go with the frames of their rendition, and a clip's score counts as
        one frame."""
        if item.kind == "clip-scores":
            return np.ones((len(self), 1), bool)
        return self.scores(item.name).mask if item.kind == "scores" else self.features(item.name)[1]

    def absent(self, item: Input, rows: Rows | None = None) -> Sequence[str]:
        """Why an input could not be made, for each of these clips, or of all; empty where it could."""
        mask = self.mask(item)
        rows = np.arange(len(self)) if rows is None else rows
        reasons = [""] * len(rows)
        for at in np.flatnonzero(~mask[rows].any(1)).tolist():
            made = None if item.kind == "scores" else self.facts(item.name)[int(rows[at])].renditions.get(item.name)
            reasons[at] = (made.reason if made else "") or f"there are no {item.kind} of {item.name}"
        return reasons

    def read(self, rows: Rows, inputs: Sequence[Input], task: int = 0) -> Batch:
        """Some clips' inputs in memory; of `scores`, those that belong to the task of this number."""
        data: dict[Input, Any] = {}
        mask: dict[Input, Any] = {}
        absent: dict[Input, Sequence[str]] = {}
        for item in inputs:
            if item.kind == "facts":
                infos = self.facts(item.name)
                start, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
                # One slice, because a header is read once a call.
                block = infos[start:end]
                data[item] = [block[row - start] for row in rows.tolist()]
            elif item.kind == "scores":
                scores = self.scores(item.name)
                frames = scores.of_task(task, rows)
                data[item], mask[item] = Scores(np.zeros(len(rows)), frames), scores.mask[rows]
            elif item.kind == "clip-scores":
                own = self._of_clips(item.name).of_task(task, rows)
                data[item], mask[item] = own, np.ones((len(rows), 1), bool)
                if any(own.reason):
                    absent[item] = own.reason
                continue
            elif item.kind == "frames":
                stored = self.frames(item.name)
                data[item], mask[item] = stored[rows], stored.mask[rows]
            else:
                features, every = self.features(item.name)
                data[item], mask[item] = features[rows], every[rows]
            if any(why := self.absent(item, rows)):
                absent[item] = why
        return Batch(data, mask, absent)

    def with_scores(
        self, frames: Mapping[str, FrameScores], clips: Mapping[str, ClipScores] | None = None
    ) -> "CorpusClips":
        """The same clips with other methods' scores of frames and of clips beside their inputs."""
        return dataclasses.replace(
            self,
            frame_scores={**self.frame_scores, **frames},
            clip_scores={**self.clip_scores, **(clips or {})},
        )

    def _of_clips(self, method: str) -> ClipScores:
        if method not in self.clip_scores:
            raise unknown_name("method with scores of clips", method, self.clip_scores)
        return self.clip_scores[method]

    def with_features(
        self, rendition: str, features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"]
    ) -> "CorpusClips":
        """The same clips with these features in place of a rendition's, as an audit's controls need them."""

        def opened(name: str) -> ClipFeatures:
            return ClipFeatures(features, mask, self.facts(rendition)) if name == rendition else self.opened(name)

        return dataclasses.replace(self, opened=opened, _sequences={})

    def with_frames(self, rendition: str, change: Callable[[StoredFrames], StoredFrames]) -> "CorpusClips":
        """The same clips with their frames of a rendition changed, where the frames are at hand."""
        if self.opened_frames is None:
            return self

        def opened(name: str) -> StoredFrames:
            return change(self.frames(name)) if name == rendition else self.frames(name)

        return dataclasses.replace(self, opened_frames=opened)

    def picked(self, rendition: str, order: Int[np.ndarray, "n k"], mask: Bool[np.ndarray, "n k"]) -> "CorpusClips":
        """The same clips with some frames of a rendition in place of all: those that `order` names for each clip, where
        the mask is true. Features go with their frames.
        """
        features, _ = self.loaded(rendition)
        kept = np.take_along_axis(features, order[..., None], 1) * mask[..., None]
        clips = self.with_features(rendition, kept, mask)
        return clips.with_frames(rendition, lambda stored: PickedFrames.of(stored, order, mask))

    def loaded(self, rendition: str) -> tuple[Float[np.ndarray, "n t d"], Bool[np.ndarray, "n t"]]:
        """A rendition's features in memory, as float32, and their mask."""
        features, mask = self.features(rendition)
        return features[np.arange(len(self))].astype(np.float32, copy=False), mask


@dataclass(frozen=True)
class Corpus:
    """Feature stores, by rendition one a dataset, and their videos: indices into `videos` are what all else speaks of.

    The stores of all renditions hold the same videos in the same order.
    """

    stores: Mapping[str, tuple[FeatureStore, ...]]
    videos: VideoTable
    """Of all datasets in turn, then those that could not be prepared."""
    failures: tuple[Failure, ...]
    """The latter, with the reasons."""
    prepared: tuple[Path, ...] = ()
    """Folders of the prepared datasets, in the same order; opened when a method reads frames."""

    @classmethod
    def of(cls, stores: Mapping[str, Sequence[FeatureStore]], prepared: Sequence[Path] = ()) -> "Corpus":
        """Reads whose features the stores hold, but no features.

        Args:
            stores: By rendition, one a dataset, in one order of datasets.
            prepared: Folders of the prepared datasets, in the same order, for methods that read frames.

        Raises:
            UserError: See `FeatureStore.videos` and `Materials.check`.
        """
        materials_of(stores).check()
        first = next(iter(stores.values()))
        failures = tuple(failure for store in first for failure in store.failures)
        found = (video for store in first for video in store.videos())
        videos = VideoTable.of(itertools.chain(found, (failure.video for failure in failures)))
        for rendition, own in stores.items():
            if [[unit.clips for unit in store.units] for store in own] != [
                [unit.clips for unit in store.units] for store in first
            ]:
                raise UserError(
                    f"the stores of rendition {rendition} hold other clips than those of {next(iter(stores))}"
                )
        return cls({name: tuple(own) for name, own in stores.items()}, videos, failures, tuple(prepared))

    def open(self, numbers: Int[np.ndarray, " n"] | None = None) -> CorpusClips:
        """The clips of some videos, or of all; a video that could not be prepared is left out.

        Features stay on disk, and a store of none of the videos is not opened.
        """
        wanted = np.arange(len(self.videos)) if numbers is None else np.unique(numbers)
        wanted = wanted[: np.searchsorted(wanted, self._borders[-1])]
        known: dict[str, ClipFeatures] = {}
        frames: dict[str, StoredFrames] = {}

        def opened(rendition: str) -> ClipFeatures:
            if rendition not in self.stores:
                raise unknown_name("rendition", rendition, self.stores)
            if rendition not in known:
                known[rendition] = self._opened(rendition, wanted)
            return known[rendition]

        def opened_frames(rendition: str) -> StoredFrames:
            mask = opened(rendition).mask
            if rendition not in frames:
                frames[rendition] = stored_frames(self.stores[rendition], self.prepared, self._borders, wanted, mask)
            return frames[rendition]

        return CorpusClips(self.videos[wanted], wanted, opened, opened_frames=opened_frames if self.prepared else None)

    def _opened(self, rendition: str, wanted: Int[np.ndarray, " n"]) -> ClipFeatures:
        stores = self.stores[rendition]
        parts = []
        for store, (start, end) in zip(stores, itertools.pairwise(self._borders), strict=True):
            first, last = np.searchsorted(wanted, (start, end))
            if first < last:
                parts.append(store.rows(self.videos[start:end], wanted[first:last] - start))
        features: StoredFeatures = join(parts) if parts else nothing(stores[0].provenance["dimension"])
        return ClipFeatures(features, features.mask, StoredInfos(features))

    @property
    def fingerprints(self) -> list[str]:
        """Of all stores."""
        return [store.fingerprint for own in self.stores.values() for store in own]

    def stores_of(self, numbers: Int[np.ndarray, " n"]) -> list[FeatureStore]:
        """The stores that have clips of these videos."""
        which = np.unique(np.searchsorted(self._borders, numbers, side="right") - 1)
        return [store for own in self.stores.values() for number, store in enumerate(own) if number in which]

    def failed(self, numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """Those of these videos that could not be prepared, in their order."""
        return numbers[numbers >= self._borders[-1]]

    def reason(self, number: int) -> str:
        """Why a video of `failed` could not be prepared."""
        return self.failures[number - self._borders[-1]].reason

    @cached_property
    def _borders(self) -> list[int]:
        """Where the datasets' videos begin and end in `videos`."""
        first = next(iter(self.stores.values()))
        counts = (sum(unit.clips for unit in store.units) for store in first)
        return [0, *itertools.accumulate(counts)]
