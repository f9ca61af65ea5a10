"""Training and scoring under protocols: features in, one score for each video and model out.

Training reads the features of the videos it trains and validates on, and no others; the target's are read by
`score`, after everything has been chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.files import fingerprint
from fas_jax.base.settings import Experiment
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.features.corpus import Corpus, Pool
from fas_jax.methods.baselines import LogisticModel, fit_logistic, input_blocks, scratch_inputs
from fas_jax.methods.stacking import Ensemble, Task, fuse, predict_ensemble, train_ensemble
from fas_jax.protocols.assignment import Assignment, assign_all
from fas_jax.protocols.cuts import subject_folds
from fas_jax.protocols.presets import Protocol
from fas_jax.training.fitting import Clips, Observer


@dataclass(frozen=True)
class Trial:
    """One protocol with one seed."""

    protocol: Protocol
    seed: int
    assignment: Assignment
    """Indices into the corpus's videos."""


@dataclass(frozen=True)
class Trained:
    """What training leaves, one entry a trial."""

    ensemble: Ensemble
    baselines: tuple[dict[str, LogisticModel], ...]


def plan(experiment: Experiment, videos: VideoTable) -> tuple[Trial, ...]:
    """Who trains, validates and is tested, for every protocol and seed."""
    assigned = assign_all(experiment.evaluation, experiment.seeds, videos)
    return tuple(Trial(assignment.protocol, seed, assignment) for seed, assignment in assigned)


def train(
    experiment: Experiment,
    trials: Sequence[Trial],
    corpus: Corpus,
    folder: Path,
    observe: Callable[[str, int], Observer] | None = None,
) -> Trained:
    """Trains the ensemble and the baselines of all trials.

    Args:
        experiment: Settings.
        trials: From `plan`.
        corpus: All datasets.
        folder: For checkpoints and finished models; an interrupted training goes on.
        observe: See `train_ensemble`.
    """
    tasks, clips, baselines = _prepare(experiment, trials, corpus, folder)
    data = fingerprint([store.fingerprint for store in corpus.stores])
    return Trained(train_ensemble(tasks, clips, experiment, folder, data, observe), baselines)


def score(experiment: Experiment, trials: Sequence[Trial], corpus: Corpus, trained: Trained) -> ScoreTable:
    """One score for each validation and test video of every trial and model; here the target is read.

    A test video that could not be prepared is a non-response: it has a row, with the reason instead of a score.
    """
    tables = []
    for role in (VALIDATION, TEST):
        wanted = [getattr(trial.assignment, role) for trial in trials]
        pool = corpus.open(np.concatenate(wanted))
        rows = [pool.find(part) for part in wanted]
        clips = pool.clips(experiment.training.resident_mb)
        if len(pool.videos):
            frames = predict_ensemble(trained.ensemble, clips, rows, experiment.training)
        else:  # none could be prepared
            frames = {model: [np.zeros((0, 1), np.float32)] * len(trials) for model in trained.ensemble.params}
        for number, (trial, part, own) in enumerate(zip(trials, wanted, rows, strict=True)):
            scores = {
                model: fuse(by_trial[number], pool.mask[own], experiment.evaluation.fusion)
                for model, by_trial in frames.items()
            }
            scores |= _score_baselines(trained.baselines[number], pool, own)
            missing = corpus.failed(part)
            everyone = corpus.videos[np.concatenate([pool.numbers[own], missing])]
            described = ScoreTable.from_videos(
                trial.protocol.name, trial.seed, role, "", everyone, np.zeros(len(everyone))
            )
            for model, values in scores.items():
                # Parameters of a run whose loss did not stay finite are NaN, and so are its scores.
                why = ["" if np.isfinite(value) else f"the training of {model} failed" for value in values]
                why += [corpus.reason(video) for video in missing.tolist()]
                padded = np.concatenate([np.where(np.isfinite(values), values, np.nan), np.full(len(missing), np.nan)])
                tables.append(described.scored_by(model, padded, why))
    return ScoreTable.concatenate(tables)


def source_videos(trials: Sequence[Trial]) -> Int[np.ndarray, " k"]:
    """Those that any trial trains or validates on, and no others, rising."""
    parts = [part for trial in trials for part in (trial.assignment.train, trial.assignment.validation)]
    return np.unique(np.concatenate(parts))


def _prepare(
    experiment: Experiment, trials: Sequence[Trial], corpus: Corpus, folder: Path
) -> tuple[list[Task], Clips, tuple[dict[str, LogisticModel], ...]]:
    """The tasks, the clips that their rows point into, and what needs more of these than features: the baselines."""
    pool = corpus.open(source_videos(trials))
    tasks = []
    for trial in trials:
        rows = pool.find(trial.assignment.train)
        shared = experiment.evaluation.shared_subjects
        folds = subject_folds(pool.videos, rows, experiment.stacking.folds, trial.seed, shared=shared)
        validation = pool.find(trial.assignment.validation)
        tasks.append(Task(f"{trial.protocol.name} seed {trial.seed}", trial.seed, rows, folds, validation))
    baselines = _fit_baselines(pool, tasks, folder, {"mean-feature": experiment.models.mean_feature})
    return tasks, pool.clips(experiment.training.resident_mb), baselines


def _fit_baselines(
    pool: Pool, tasks: Sequence[Task], folder: Path, c: dict[str, float]
) -> tuple[dict[str, LogisticModel], ...]:
    labels = pool.videos.label
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
