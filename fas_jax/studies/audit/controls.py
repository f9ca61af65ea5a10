"""What a model reaches when something is taken away from it: the order of frames, all frames but one, all content.

Every control is trained, stopped and given its threshold from the sources as the model itself, and judged on the
target once.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from fas_jax.base.settings import Training
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.features.corpus import Pool
from fas_jax.methods.baselines import BASELINES, fit_logistic
from fas_jax.methods.stacking import fuse
from fas_jax.models.recurrent import Kind, RecurrentClassifier
from fas_jax.protocols.assignment import Assignment
from fas_jax.training import fitting
from fas_jax.training.fitting import Run

MODEL, SHUFFLED, ONE_FRAME, NOISE = "model", "frames shuffled", "one frame", "noise of the real lengths"
BACKGROUND = "background only"
MEAN, COLOUR, METADATA = "mean feature", "colour only", "metadata only"
_LOGISTIC = {MEAN: "mean-feature", COLOUR: "colour", METADATA: "metadata"}

EXPLAINED = {
    MODEL: "the model on the features as they are",
    SHUFFLED: "the same, with the frames of every clip in random order, in training and test",
    ONE_FRAME: "the same, on the middle frame of every clip",
    NOISE: "the same, on noise in place of features; the lengths are the real ones",
    BACKGROUND: "the same, on features of frames whose middle (where the face is) is grey",
    MEAN: "logistic regression on the clip's mean feature",
    COLOUR: "logistic regression on mean and standard deviation of the colour channels",
    METADATA: "logistic regression on length, frame rate, frame size, bytes and codec",
}


def run_controls(
    pool: Pool,
    assignment: Assignment,
    seeds: Sequence[int],
    kind: Kind,
    hidden: int,
    settings: Training,
    background: Pool | None = None,
) -> ScoreTable:
    """Scores of validation and test videos by the model and by every control, for `evaluate`.

    Args:
        pool: Features of all videos that `assignment` names, in the same rows.
        assignment: Who trains, validates and is tested.
        seeds: Of weights, order, shuffles and noise.
        kind: The recurrent model.
        hidden: Its size.
        settings: How it is trained.
        background: The same videos with the middle of their frames masked, if at hand.
    """
    changed: dict[str, Callable[[Pool, int], Pool]] = {
        MODEL: lambda pool, seed: pool,
        SHUFFLED: shuffle_frames,
        ONE_FRAME: lambda pool, seed: middle_frame(pool),
        NOISE: noise_of_real_lengths,
    }
    if background is not None:
        changed[BACKGROUND] = lambda pool, seed: background
    tables = []
    for name, change in changed.items():
        for seed in seeds:
            scores = _recurrent(change(pool, seed), assignment, seed, kind, hidden, settings, name)
            tables.append(_rows(pool, assignment, name, seed, scores))
    for name, baseline in _LOGISTIC.items():
        scores = _logistic(pool, assignment, baseline)
        tables += [_rows(pool, assignment, name, seed, scores) for seed in seeds]
    return ScoreTable.concatenate(tables)


def score_models(
    pool: Pool,
    assignment: Assignment,
    seeds: Sequence[int],
    kind: Kind,
    hidden: int,
    settings: Training,
    suffix: str = "",
) -> ScoreTable:
    """Scores of the recurrent model and of the mean-feature baseline, whose names get the suffix."""
    tables = []
    for seed in seeds:
        scores = _recurrent(pool, assignment, seed, kind, hidden, settings, kind + suffix)
        tables.append(_rows(pool, assignment, kind + suffix, seed, scores))
        scores = _logistic(pool, assignment, "mean-feature")
        tables.append(_rows(pool, assignment, "mean-feature" + suffix, seed, scores))
    return ScoreTable.concatenate(tables)


def _recurrent(
    pool: Pool, assignment: Assignment, seed: int, kind: Kind, hidden: int, settings: Training, title: str
) -> Float64[np.ndarray, " n"]:
    """Scores of all videos of the pool by a model trained on those that the assignment names."""
    architecture = RecurrentClassifier(kind, pool.features.shape[-1], hidden, "he")
    clips = pool.clips()
    run = Run(title, seed, assignment.train, assignment.validation)
    fitted = fitting.fit(architecture, [run], clips, settings, title=f"{title}, seed {seed}")
    (frames,) = fitting.predict(architecture, fitted.params, clips, [np.arange(len(pool.videos))])
    return fuse(frames, pool.mask, "mean")


def _logistic(pool: Pool, assignment: Assignment, baseline: str) -> Float64[np.ndarray, " n"]:
    inputs = BASELINES[baseline](pool.features, pool.mask, pool.infos)
    return fit_logistic(inputs[assignment.train], pool.videos.label[assignment.train]).scores(inputs)


def _rows(pool: Pool, assignment: Assignment, name: str, seed: int, scores: Float64[np.ndarray, " n"]) -> ScoreTable:
    parts = []
    for role, rows in ((VALIDATION, assignment.validation), (TEST, assignment.test)):
        videos = pool.videos[rows]
        parts.append(ScoreTable.from_videos(assignment.protocol.name, seed, role, name, videos, scores[rows]))
    return ScoreTable.concatenate(parts)


def shuffle_frames(pool: Pool, seed: int) -> Pool:
    """The real frames of every clip in random order."""
    generator = np.random.default_rng([seed, 1])
    features = pool.features.copy()
    for row, real in enumerate(pool.mask):
        places = np.flatnonzero(real)
        features[row, places] = pool.features[row, generator.permutation(places)]
    return dataclasses.replace(pool, features=features)


def middle_frame(pool: Pool) -> Pool:
    """The middle one of every clip's real frames, alone."""
    middle = np.array([np.flatnonzero(real)[real.sum() // 2] for real in pool.mask])
    features = pool.features[np.arange(len(middle)), middle][:, None]
    return dataclasses.replace(pool, features=features, mask=np.ones((len(middle), 1), bool))


def noise_of_real_lengths(pool: Pool, seed: int, width: int = 16) -> Pool:
    """Noise where there are frames; the width is small, because noise has nothing to say in any."""
    generator = np.random.default_rng([seed, 2])
    noise = np.zeros_like(pool.features)
    width = min(width, noise.shape[-1])
    noise[..., :width] = generator.normal(size=(*pool.mask.shape[:2], width))
    return dataclasses.replace(pool, features=noise * pool.mask[..., None])
