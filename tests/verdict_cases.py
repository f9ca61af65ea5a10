"""Experts' scores that are made up, for tests of verdicts over them."""

import numpy as np

from fas_jax.base.logits import sigmoid
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import Batch, Scores, Task

NAMES = ("a", "b", "c", "d")


def made_clips(logits, labels):
    """Clips with experts' logits [n k]; NaN is no score."""
    count = len(labels)
    videos = VideoTable.of(
        Video(f"{row:03d}", "X", f"s{row}", "train", int(labels[row]), "print", "print", "", "") for row in range(count)
    )
    scores = {}
    for name, own in zip(NAMES, np.asarray(logits).T, strict=False):
        scores[name] = ClipScores.empty(count, 1)
        scores[name].put(0, np.arange(count), scores_of(own))
    return CorpusClips(videos, np.arange(count), lambda _: None, clip_scores=scores)


def scores_of(logits):
    logits = np.asarray(logits, np.float64)
    reasons = ["too dark" if np.isnan(each) else "" for each in logits]
    return Scores(sigmoid(logits), None, reasons if any(reasons) else (), logits)


def made_task(train, validation):
    return Task(0, "task", "A_to_B", 0, "whole", train, validation, validation)


def batch_of(method, logits):
    """A batch of clips with experts' logits [n k]."""
    logits = np.asarray(logits, np.float64)
    scores = {item: scores_of(own) for item, own in zip(method.inputs(), logits.T, strict=True)}
    masks = {item: np.ones((len(logits), 1), bool) for item in scores}
    return Batch(scores, masks, {item: each.reason for item, each in scores.items() if any(each.reason)})


def drawn(count=200, experts=4, seed=0, missing=0.3, apart=1.5):
    """Logits [n k] and labels [n]: experts of rising strength, each of whose scores are missing at random."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    strength = apart * np.linspace(0.5, 1, experts)
    logits = (2 * labels[:, None] - 1) * strength + rng.normal(size=(count, experts))
    logits[rng.uniform(size=logits.shape) < missing] = np.nan
    return logits, labels
