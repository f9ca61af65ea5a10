"""Training and scoring under protocols: features in, one score for each video and model out.

Training reads the features of the videos it trains and validates on, and no others; the target's are read by
`score`, after everything has been chosen.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int

from fas_jax.baselines import BASELINES, LogisticModel, fit_logistic
from fas_jax.config import Experiment
from fas_jax.datasets.record import ClipInfo, Failure, Video
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.features.store import FeatureStore
from fas_jax.files import fingerprint
from fas_jax.protocol_names import choose_protocols
from fas_jax.protocols import Assignment, Protocol, assign, subject_folds
from fas_jax.stacking import Ensemble, Task, fuse, predict_ensemble, train_ensemble
from fas_jax.training.fitting import Clips, Observer


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
    """The clips of several datasets with their features."""

    videos: tuple[Video, ...]
    infos: tuple[ClipInfo, ...]
    features: Float32[np.ndarray, "n t d"]
    mask: Bool[np.ndarray, "n t"]

    @classmethod
    def load(cls, stores: Sequence[FeatureStore], splits: Collection[str]) -> "Pool":
        """The clips of some official splits of all stores, in the stores' order."""
        tables = [store.load(splits) for store in stores]
        longest = max(table.mask.shape[1] for table in tables)

        def padded(array: np.ndarray) -> np.ndarray:
            return np.pad(array, [(0, 0), (0, longest - array.shape[1]), (0, 0)][: array.ndim])

        return cls(
            videos=tuple(video for table in tables for video in table.videos),
            infos=tuple(info for table in tables for info in table.clips),
            features=np.concatenate([padded(table.features) for table in tables]),
            mask=np.concatenate([padded(table.mask) for table in tables]),
        )

    def find(self, videos: Sequence[Video]) -> Int[np.ndarray, " m"]:
        """Rows of those videos that have features, in their order; the others could not be prepared."""
        row = {(video.dataset, video.path): i for i, video in enumerate(self.videos)}
        found = [row[video.dataset, video.path] for video in videos if (video.dataset, video.path) in row]
        return np.array(found, np.int64)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Pool":
        """Some of the clips."""
        pick = [int(row) for row in rows]
        videos, infos = tuple(self.videos[i] for i in pick), tuple(self.infos[i] for i in pick)
        return Pool(videos, infos, self.features[rows], self.mask[rows])

    def clips(self) -> Clips:
        """On the device."""
        labels = jnp.asarray([video.label for video in self.videos], jnp.int32)
        return Clips(jnp.asarray(self.features), jnp.asarray(self.mask), labels)


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
    pool = Pool.load(stores, splits_of(trials, videos, "train", "validation"))
    used = [_pick(videos, part) for trial in trials for part in (trial.assignment.train, trial.assignment.validation)]
    pool = pool.take(np.unique(np.concatenate([pool.find(part) for part in used])))
    tasks = []
    for trial in trials:
        rows = pool.find(_pick(videos, trial.assignment.train))
        folds = subject_folds(pool.videos, rows, experiment.stacking.folds, trial.seed)
        validation = pool.find(_pick(videos, trial.assignment.validation))
        tasks.append(Task(f"{trial.protocol.name} seed {trial.seed}", trial.seed, rows, folds, validation))
    data = fingerprint([store.fingerprint for store in stores])
    baselines = tuple(_fit_baselines(pool.take(task.train)) for task in tasks)
    return Trained(train_ensemble(tasks, pool.clips(), experiment, folder, data, observe), baselines)


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
        wanted = [_pick(videos, getattr(trial.assignment, role)) for trial in trials]
        pool = Pool.load(stores, splits_of(trials, videos, role))
        rows = [pool.find(part) for part in wanted]
        frames = predict_ensemble(trained.ensemble, pool.clips(), rows)
        for number, (trial, part, own) in enumerate(zip(trials, wanted, rows, strict=True)):
            clips = pool.take(own)
            scores = {
                model: fuse(by_trial[number], clips.mask, experiment.evaluation.fusion)
                for model, by_trial in frames.items()
            }
            for name, baseline in trained.baselines[number].items():
                scores[name] = baseline.scores(BASELINES[name](clips.features, clips.mask, clips.infos))
            missing = [video for video in part if (video.dataset, video.path) in reasons]
            everyone = [*clips.videos, *missing]
            for model, values in scores.items():
                # Parameters of a run whose loss did not stay finite are NaN, and so are its scores.
                why = ["" if np.isfinite(value) else f"the training of {model} failed" for value in values]
                why += [reasons[video.dataset, video.path] for video in missing]
                padded = np.concatenate([np.where(np.isfinite(values), values, np.nan), np.full(len(missing), np.nan)])
                tables.append(
                    ScoreTable.from_videos(trial.protocol.name, trial.seed, role, model, everyone, padded, why)
                )
    return ScoreTable.concatenate(tables)


def splits_of(trials: Sequence[Trial], videos: Sequence[Video], *parts: str) -> set[str]:
    """The official splits of all videos that take some part (`train`, `validation`, `test`) in any trial."""
    return {videos[int(i)].split for trial in trials for part in parts for i in getattr(trial.assignment, part)}


def _pick(videos: Sequence[Video], indices: Int[np.ndarray, " m"]) -> list[Video]:
    return [videos[int(i)] for i in indices]


def _fit_baselines(pool: Pool) -> dict[str, LogisticModel]:
    labels = np.array([video.label for video in pool.videos])
    return {
        name: fit_logistic(inputs(pool.features, pool.mask, pool.infos), labels) for name, inputs in BASELINES.items()
    }
