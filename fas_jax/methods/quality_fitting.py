"""Fits classifiers of measures of image quality and scores clips with them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.logits import sigmoid
from fas_jax.methods.base import Detector, Failed, Job
from fas_jax.methods.data import Batch, Clips, Scores
from fas_jax.methods.quality_settings import CLASSIFIERS, QualitySettings
from fas_jax.models.boosted_trees import RANKS as TREE_RANKS
from fas_jax.models.boosted_trees import fit_trees, tree_logits
from fas_jax.models.logistic import fit_logistic

_DEFINED = 0.5
"""Share of the measures without which a clip has no decision: of a flat frame, most are undefined."""


def expected_ranks(classifier: str) -> dict[str, int]:
    """Ranks of a detector's parameters, by name."""
    standard = {"mean": 1, "scale": 1}
    return standard | (TREE_RANKS if classifier == "trees" else {"weights": 2, "bias": 1})


@dataclass(frozen=True)
class QualityDetector:
    """A fitted classifier."""

    method: QualitySettings
    params: Mapping[str, np.ndarray]
    """`mean` and `scale` float64 [d]; then `weights` [s d] and `bias` [s] of s regressions, or those of trees."""
    about: dict[str, Any]
    """`classifier`, and `auc` of each that was compared on clips of sources that it had not seen."""

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        numbers = clip_measures(self.method, batch)
        reasons = _reasons(self.method, batch, numbers)
        logits = _logits(self.params, numbers)
        undecided = np.array([bool(why) for why in reasons], bool)
        logits = np.where(undecided, np.nan, logits)
        return Scores(sigmoid(logits), None, reasons if undecided.any() else (), logits)

    def apply(self) -> None:
        """See `Detector.apply`: measures of native pixels are no function of arrays of one size."""

    def flops(self, batch: Batch) -> float:
        """See `Counted.flops`; the classifier's own, a few thousand, are left out as negligible."""
        return 0.0


def clip_measures(method: QualitySettings, batch: Batch) -> Float[np.ndarray, "n d"]:
    """Means of the measures over a clip's frames that define them, of all renditions; NaN where none does."""
    parts = []
    for item in method.inputs():
        values = np.where(batch.mask[item][..., None], np.asarray(batch.data[item], np.float64), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing, which is NaN
            parts.append(np.nanmean(values, axis=1))
    return np.concatenate(parts, axis=1)


def fit_quality(job: Job, clips: Clips) -> Detector | Failed:
    """See `Method.fit`."""
    method, task = cast(QualitySettings, job.method), job.task
    rows = np.concatenate([task.train, task.validation])
    numbers = _read(method, clips, rows)
    known = np.isfinite(numbers).mean(1) >= _DEFINED
    train = known & (np.arange(len(rows)) < len(task.train))
    labels = np.asarray(clips.labels)[rows]
    if set(labels[train].tolist()) != {0, 1}:
        return Failed("no training clip of one of the classes has measures")
    datasets = np.array([str(each) for each in clips.videos[rows].dataset.tolist()])
    species = np.array([str(each) for each in clips.videos[rows].pai.tolist()])

    def fitted(classifier: str, chosen: np.ndarray) -> dict[str, np.ndarray]:
        return _fit(method, classifier, numbers[chosen], labels[chosen], species[chosen], task.seed)

    found: dict[str, float] = {}
    classifier: str = method.classifier
    if classifier == "chosen":
        tried = _divisions(train, known & ~train, datasets, labels)
        if not tried:
            return Failed("neither several sources nor validation clips with both classes are there to choose by")
        for each in CLASSIFIERS:
            scores = [_auc(_logits(fitted(each, own), numbers[held]), labels[held]) for own, held in tried]
            found[each] = float(np.mean(scores))
        classifier = max(found, key=lambda each: found[each])
    return QualityDetector(method, fitted(classifier, train), {"classifier": classifier, "auc": found})


def _read(method: QualitySettings, clips: Clips, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    # `read` wants rows in order; a clip may train and validate.
    unique, back = np.unique(rows, return_inverse=True)
    parts = [
        clip_measures(method, clips.read(unique[start : start + method.block], method.inputs()))
        for start in range(0, len(unique), method.block)
    ]
    return np.concatenate(parts)[back]


def _divisions(
    train: np.ndarray, validation: np.ndarray, datasets: np.ndarray, labels: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of who is fitted on and who is scored: each source left out; with one source, the validation clips."""
    sources = np.unique(datasets[train])
    pairs = [(train & (datasets != each), train & (datasets == each)) for each in sources]
    if len(sources) < 2:
        pairs = [(train, validation)]
    return [pair for pair in pairs if all(set(labels[each].tolist()) == {0, 1} for each in pair)]


def _fit(
    method: QualitySettings,
    classifier: str,
    numbers: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    species: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a measure that no clip defines
        mean, scale = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
    # Such a measure, and one that never changes, counts for nothing.
    mean = np.where(np.isfinite(mean), mean, 0)
    constant = ~(scale > 1e-12 * np.abs(mean))
    scale = np.where(constant, np.inf, scale)
    params = {"mean": mean, "scale": scale}
    standard = _standard(params, numbers)
    if classifier == "trees":
        return params | fit_trees(standard, labels, method.trees, method.leaves, method.learning_rate, seed)
    groups = [np.ones(len(labels), bool)]
    if classifier == "species":
        groups = [(labels == 1) | (species == each) for each in np.unique(species[labels == 0])]
    models = [fit_logistic(standard[own], labels[own], method.c) for own in groups]
    # Their own standardising is part of the weights.
    weights = np.stack([each.weights / each.scale for each in models])
    bias = np.array([each.bias - each.mean @ own for each, own in zip(models, weights, strict=True)])
    return params | {"weights": weights, "bias": bias}


def _standard(params: Mapping[str, np.ndarray], numbers: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Standardised measures; what is undefined counts as average."""
    values = (numbers - params["mean"]) / params["scale"]
    return np.where(np.isfinite(values), values, 0.0)


def _logits(params: Mapping[str, np.ndarray], numbers: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    standard = _standard(params, numbers)
    if "feature" in params:
        return tree_logits(params, standard)
    # Row by row, so that a clip's score does not depend on the others beside it.
    products = (standard[:, None] * params["weights"][None]).sum(2)
    found: np.ndarray = (products + params["bias"]).min(1)
    return found


def _reasons(method: QualitySettings, batch: Batch, numbers: Float[np.ndarray, "n d"]) -> list[str]:
    defined = np.isfinite(numbers).mean(1)
    found = []
    for row in range(len(numbers)):
        why = next((batch.absent[item][row] for item in method.inputs() if item in batch.absent), "")
        if not why and defined[row] < _DEFINED:
            why = f"{100 * (1 - defined[row]):.0f} % of the measures of its frames are undefined, as of flat frames"
        found.append(why)
    return found


def _auc(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    bona_fide, attacks = scores[labels == 1][:, None], scores[labels == 0][None]
    return float((bona_fide > attacks).mean() + (bona_fide == attacks).mean() / 2)
