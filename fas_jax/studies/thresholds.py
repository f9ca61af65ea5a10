"""Which source threshold is best: pooled or domain-balanced, on held-out or cross-fitted scores.

Compared with a logistic regression on clips' mean features, which takes a moment to fit, over many cuts of the
sources by subject. Cross-fitted: every source video is scored by the one of `folds` models that has not seen its
subject, so that all source videos set the threshold, which is then used with a model fitted on all of them. Held
out: a share of the subjects sets it, and the model is fitted on the others. Imports no JAX.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from fas_jax.evaluation import metrics
from fas_jax.methods.baselines import fit_logistic
from fas_jax.reporting.grid import Grid

Scores = Literal["held-out", "cross-fitted"]
RULES: tuple[tuple[metrics.ThresholdRule, Scores], ...] = (
    ("pooled", "held-out"),
    ("balanced", "held-out"),
    ("pooled", "cross-fitted"),
    ("balanced", "cross-fitted"),
)
_FOLDS = 5


@dataclass(frozen=True)
class Domains:
    """Videos of several domains, one row each."""

    inputs: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    domains: Shaped[np.ndarray, " n"]
    subjects: Shaped[np.ndarray, " n"]
    """Unique over all domains."""

    def take(self, which: Shaped[np.ndarray, " m"]) -> "Domains":
        """Some of the videos, by mask or indices."""
        return Domains(self.inputs[which], self.labels[which], self.domains[which], self.subjects[which])


@dataclass(frozen=True)
class Outcome:
    """One rule's error in one trial."""

    hter: float
    """Of the target, at the rule's threshold."""
    oracle: float
    """Of the target, at its own equal error rate."""
    source_gap: float
    """HTER at the rule's threshold on the target, minus the error that the sources promised."""


def compare(source: Domains, target: Domains, fraction: float, seed: int) -> dict[tuple[str, Scores], Outcome]:
    """All four rules on one cut; sources that lack a class in a part raise `MetricError`."""
    held_out = _cut(source, fraction, seed)
    model = fit_logistic(source.inputs[~held_out], source.labels[~held_out])
    own = source.take(held_out)
    found = {"held-out": (model.scores(own.inputs), own, model.scores(target.inputs))}
    folds = _folds(source, seed)
    crossed = np.zeros(len(source.labels))
    for fold in range(_FOLDS):
        part = fit_logistic(source.inputs[folds != fold], source.labels[folds != fold])
        crossed[folds == fold] = part.scores(source.inputs[folds == fold])
    whole = fit_logistic(source.inputs, source.labels)
    found["cross-fitted"] = (crossed, source, whole.scores(target.inputs))
    outcomes: dict[tuple[str, Scores], Outcome] = {}
    for rule, kind in RULES:
        scores, videos, judged = found[kind]
        tau = metrics.threshold_by(rule, scores, videos.labels, videos.domains)
        hter = metrics.rates(judged, target.labels, tau).hter
        oracle = metrics.rates(judged, target.labels, metrics.eer_threshold(judged, target.labels)).hter
        promised = metrics.rates(scores, videos.labels, tau).hter
        outcomes[rule, kind] = Outcome(hter, oracle, hter - promised)
    return outcomes


def table(trials: Sequence[dict[tuple[str, Scores], Outcome]]) -> Grid:
    """Means over trials in per cent; the difference to the first rule is paired, ± its standard error."""
    rows = []
    first = np.array([trial[RULES[0]].hter for trial in trials])
    for rule in RULES:
        hter = np.array([trial[rule].hter for trial in trials])
        gap = hter - np.array([trial[rule].oracle for trial in trials])
        source = np.array([trial[rule].source_gap for trial in trials])
        difference = hter - first
        error = np.std(difference, ddof=1) / np.sqrt(len(trials)) if len(trials) > 1 else np.nan
        cells = [f"{100 * values.mean():.2f}" for values in (hter, gap, source)]
        rows.append([" on ".join(rule), *cells, f"{100 * difference.mean():+.2f} ± {100 * error:.2f}"])
    header = ["threshold", "HTER", "HTER − oracle EER", "HTER − what the sources promised", "HTER − first row's"]
    return Grid(header, rows)


def made_up(shift: float, seed: int, sizes: Sequence[int] = (40, 20, 15, 15), dimension: int = 16) -> list[Domains]:
    """Four domains of unequal size with attacks and bona fide apart along one direction, moved by `shift`.

    Each domain moves all of its videos, and its attacks besides, so that both the best threshold and the overlap
    differ between domains; the sizes are subjects, two bona fide videos and six attacks each.
    """
    generator = np.random.default_rng(seed)
    found = []
    for number, subjects in enumerate(sizes):
        everyone, attacks = generator.normal(0, shift, (2, dimension))
        rows = []
        for subject in range(subjects):
            own = generator.normal(0, 0.5, dimension)
            for take in range(8):
                label = int(take < 2)
                clip = generator.normal(size=dimension) + own + everyone + (1 - label) * attacks
                clip[0] += 1.2 * label
                rows.append((clip, label, f"{number}/{subject}"))
        inputs, labels, subjects_of = (np.array(column) for column in zip(*rows, strict=True))
        found.append(Domains(inputs, labels, np.full(len(rows), str(number)), subjects_of))
    return found


def join(domains: Sequence[Domains]) -> Domains:
    """Several domains as one set."""
    columns = ("inputs", "labels", "domains", "subjects")
    return Domains(*(np.concatenate([getattr(each, name) for each in domains]) for name in columns))


def _cut(videos: Domains, fraction: float, seed: int) -> Shaped[np.ndarray, " n"]:
    """Mask of a share of each domain's subjects, at least one and never all."""
    generator = np.random.default_rng(seed)
    chosen: list[str] = []
    for domain in np.unique(videos.domains):
        names = np.unique(videos.subjects[videos.domains == domain])
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        chosen += generator.permutation(names)[:count].tolist()
    return np.isin(videos.subjects, chosen)


def _folds(videos: Domains, seed: int) -> Int[np.ndarray, " n"]:
    generator = np.random.default_rng([seed, 1])
    folds = np.zeros(len(videos.labels), np.int64)
    for domain in np.unique(videos.domains):
        names = generator.permutation(np.unique(videos.subjects[videos.domains == domain]))
        for place, name in enumerate(names):
            folds[videos.subjects == name] = place % _FOLDS
    return folds
