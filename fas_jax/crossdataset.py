"""Training and scoring under protocols: features in, one score for each video and model out.

Training reads the features of the videos it trains and validates on, and no others; the target's are read by
`score`, after everything has been chosen.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.baselines import LogisticModel, fit_logistic, input_blocks, scratch_inputs
from fas_jax.config import Experiment
from fas_jax.datasets.record import ClipInfo, Failure, Video
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.features.rows import StoredFeatures, StoredInfos, join
from fas_jax.features.store import FeatureStore
from fas_jax.files import fingerprint
from fas_jax.protocol_names import choose_protocols
from fas_jax.protocols import Assignment, Protocol, assign, subject_folds
from fas_jax.stacking import Ensemble, Task, fuse, predict_ensemble, train_ensemble
from fas_jax.training.fitting import Clips, Observer
from fas_jax.training.streaming import resident


@dataclass(frozen=True)
class Trial:
    """One protocol with one seed."""

    protocol: Protocol
    seed: int
    assignment: Assignment
    """Indices into the videos that `plan` was given."""


@dataclass(frozen=True)
class Trained:
    """What training leaves, one entry a trial."""

    ensemble: Ensemble
    baselines: tuple[dict[str, LogisticModel], ...]


@dataclass(frozen=True)
class Pool:
    """The clips of several datasets with their features, which may have stayed on disk."""

    videos: tuple[Video, ...]
    infos: Sequence[ClipInfo]
    features: Any
    """[n t d], padded with zeros: an array, or `StoredFeatures`."""
    mask: Bool[np.ndarray, "n t"]

    @classmethod
    def open(cls, stores: Sequence[FeatureStore], splits: Collection[str]) -> "Pool":
        """The clips of some official splits of all stores, in the stores' order, their features left on disk.

        Raises:
            UserError: See `FeatureStore.rows`; or the stores' features differ in width.
        """
        found = [store.rows(splits) for store in stores]
        features = join([each for _, each in found])
        return cls(
            tuple(video for videos, _ in found for video in videos), StoredInfos(features), features, features.mask
        )

    @classmethod
    def load(cls, stores: Sequence[FeatureStore], splits: Collection[str]) -> "Pool":
        """As `open`, all in memory, as float32."""
        pool = cls.open(stores, splits)
        features = pool.features[np.arange(len(pool.videos))].astype(np.float32, copy=False)
        return dataclasses.replace(pool, infos=tuple(pool.infos), features=features)

    @cached_property
    def _row(self) -> dict[str, dict[str, int]]:
        """By dataset and path."""
        found: dict[str, dict[str, int]] = {}
        for i, video in enumerate(self.videos):
            found.setdefault(video.dataset, {})[video.path] = i
        return found

    def find(self, videos: Sequence[Video], indices: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
        """Rows of those of `videos[indices]` that have features, in their order; the others could not be prepared."""
        picked = (videos[index] for index in indices.tolist())
        found = (self._row.get(video.dataset, {}).get(video.path, -1) for video in picked)
        rows = np.fromiter(found, np.int64, len(indices))
        return rows[rows >= 0]

    def take(self, rows: Int[np.ndarray, " m"]) -> "Pool":
        """Some of the clips; where features are on disk, they stay there."""
        videos = tuple(self.videos[row] for row in rows.tolist())
        if isinstance(self.features, StoredFeatures):
            features = self.features.take(rows)
            return Pool(videos, StoredInfos(features), features, self.mask[rows])
        return Pool(videos, tuple(self.infos[row] for row in rows.tolist()), self.features[rows], self.mask[rows])

    def clips(self, resident_mb: int = 0) -> Clips:
        """On the device if the features fit there (see `Training.resident_mb`), else as they are; this is told."""
        labels = np.fromiter((video.label for video in self.videos), np.int32, len(self.videos))
        return resident(Clips(self.features, self.mask, labels), resident_mb)


def all_videos(stores: Sequence[FeatureStore]) -> tuple[tuple[Video, ...], tuple[Failure, ...]]:
    """Every video of the datasets, with those that could not be prepared, and the latter with their reasons."""
    failures = tuple(failure for store in stores for failure in store.failures)
    prepared = tuple(video for store in stores for video in store.videos())
    return prepared + tuple(failure.video for failure in failures), failures


def plan(experiment: Experiment, videos: Sequence[Video]) -> tuple[Trial, ...]:
    """Who trains, validates and is tested, for every protocol and seed."""
    settings = experiment.evaluation
    protocols = choose_protocols(settings, {video.dataset for video in videos})
    return tuple(
        Trial(protocol, seed, assign(protocol, videos, settings.validation_fraction, seed))
        for protocol in protocols
        for seed in experiment.seeds
    )


def train(
    experiment: Experiment,
    trials: Sequence[Trial],
    videos: Sequence[Video],
    stores: Sequence[FeatureStore],
    folder: Path,
    observe: Callable[[str, int], Observer] | None = None,
) -> Trained:
    """Trains the ensemble and the baselines of all trials.

    Args:
        experiment: Settings.
        trials: From `plan`.
        videos: Which their indices point into.
        stores: Features of all datasets.
        folder: For checkpoints and finished models; an interrupted training goes on.
        observe: See `train_ensemble`.
    """
    pool = open_sources(trials, videos, stores)
    tasks = []
    for trial in trials:
        rows = pool.find(videos, trial.assignment.train)
        folds = subject_folds(pool.videos, rows, experiment.stacking.folds, trial.seed)
        validation = pool.find(videos, trial.assignment.validation)
        tasks.append(Task(f"{trial.protocol.name} seed {trial.seed}", trial.seed, rows, folds, validation))
    data = fingerprint([store.fingerprint for store in stores])
    baselines = _fit_baselines(pool, tasks, folder, {"mean-feature": experiment.models.mean_feature})
    clips = pool.clips(experiment.training.resident_mb)
    return Trained(train_ensemble(tasks, clips, experiment, folder, data, observe), baselines)


def score(
    experiment: Experiment,
    trials: Sequence[Trial],
    videos: Sequence[Video],
    failures: Sequence[Failure],
    stores: Sequence[FeatureStore],
    trained: Trained,
) -> ScoreTable:
    """One score for each validation and test video of every trial and model; here the target is read.

    A test video that could not be prepared is a non-response: it has a row, with the reason instead of a score.
    """
    reasons = {(failure.video.dataset, failure.video.path): failure.reason for failure in failures}
    tables = []
    for role in (VALIDATION, TEST):
        wanted = [getattr(trial.assignment, role) for trial in trials]
        pool = Pool.open(stores, splits_of(trials, videos, role))
        rows = [pool.find(videos, part) for part in wanted]
        clips = pool.clips(experiment.training.resident_mb)
        frames = predict_ensemble(trained.ensemble, clips, rows, experiment.training)
        for number, (trial, part, own) in enumerate(zip(trials, wanted, rows, strict=True)):
            scores = {
                model: fuse(by_trial[number], pool.mask[own], experiment.evaluation.fusion)
                for model, by_trial in frames.items()
            }
            scores |= _score_baselines(trained.baselines[number], pool, own)
            asked = (videos[index] for index in part.tolist())
            missing = [video for video in asked if (video.dataset, video.path) in reasons]
            everyone = [*pool.take(own).videos, *missing]
            described = ScoreTable.from_videos(
                trial.protocol.name, trial.seed, role, "", everyone, np.zeros(len(everyone))
            )
            for model, values in scores.items():
                # Parameters of a run whose loss did not stay finite are NaN, and so are its scores.
                why = ["" if np.isfinite(value) else f"the training of {model} failed" for value in values]
                why += [reasons[video.dataset, video.path] for video in missing]
                padded = np.concatenate([np.where(np.isfinite(values), values, np.nan), np.full(len(missing), np.nan)])
                tables.append(described.scored_by(model, padded, why))
    return ScoreTable.concatenate(tables)


def open_sources(trials: Sequence[Trial], videos: Sequence[Video], stores: Sequence[FeatureStore]) -> Pool:
    """The clips that any trial trains or validates on, and no other; a store of none of them is not opened."""
    pool = Pool.open(source_stores(trials, videos, stores), splits_of(trials, videos, "train", "validation"))
    return pool.take(np.unique(pool.find(videos, _source_videos(trials))))


def source_stores(
    trials: Sequence[Trial], videos: Sequence[Video], stores: Sequence[FeatureStore]
) -> list[FeatureStore]:
    """Those of the datasets that any trial trains or validates on."""
    datasets = {videos[i].dataset for i in _source_videos(trials).tolist()}
    return [store for store in stores if store.provenance["dataset"] in datasets]


def _source_videos(trials: Sequence[Trial]) -> Int[np.ndarray, " k"]:
    parts = [part for trial in trials for part in (trial.assignment.train, trial.assignment.validation)]
    return np.unique(np.concatenate(parts))


def splits_of(trials: Sequence[Trial], videos: Sequence[Video], *parts: str) -> set[str]:
    """The official splits of all videos that take some part (`train`, `validation`, `test`) in any trial."""
    return {videos[int(i)].split for trial in trials for part in parts for i in getattr(trial.assignment, part)}


def _fit_baselines(
    pool: Pool, tasks: Sequence[Task], folder: Path, c: dict[str, float]
) -> tuple[dict[str, LogisticModel], ...]:
    labels = np.array([video.label for video in pool.videos])
    with scratch_inputs(folder, pool.features, pool.mask, pool.infos) as inputs:
        return tuple(
            {
                name: fit_logistic(rows.take(task.train), labels[task.train], c.get(name, 1.0))
                for name, rows in inputs.items()
            }
            for task in tasks
        )


def _score_baselines(
    models: dict[str, LogisticModel], pool: Pool, rows: Int[np.ndarray, " m"]
) -> dict[str, Float[np.ndarray, " m"]]:
    # In the order in which they lie on disk, so that each file is opened a few times and not once a clip.
    order = np.argsort(rows)
    own = pool.take(rows[order])
    found = {name: np.empty(len(rows)) for name in models}
    start = 0
    for block in input_blocks(own.features, own.mask, own.infos):
        end = start + len(next(iter(block.values())))
        for name, model in models.items():
            found[name][order[start:end]] = model.scores(block[name])
        start = end
    return found
