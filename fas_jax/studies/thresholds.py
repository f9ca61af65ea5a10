"""Which source threshold is best: pooled or domain-balanced, on held-out or cross-fitted scores.

Compared with a method that takes a moment to fit, over many cuts of the sources by subject. Cross-fitted: every source
video is scored by the one of `_FOLDS` detectors that has not seen its subject, so that all source videos set the
threshold, which is then used with a detector fitted on all of them. Held out: a share of the subjects sets it, and the
detector is fitted on the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.settings import Execution
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation import metrics
from fas_jax.evaluation.thresholds import threshold_by
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.base import Desk, Failed, Job, Method
from fas_jax.methods.data import Rows, Task
from fas_jax.reporting.grid import Grid

Scored: TypeAlias = Literal["held-out", "cross-fitted"]
RULES: tuple[tuple[str, Scored], ...] = (
    ("pooled", "held-out"),
    ("balanced", "held-out"),
    ("pooled", "cross-fitted"),
    ("balanced", "cross-fitted"),
)
_FOLDS = 5


@dataclass(frozen=True)
class Outcome:
    """One rule's error in one trial."""

    hter: float
    """Of the target, at the rule's threshold."""
    oracle: float
    """Of the target, at its own equal error rate."""
    source_gap: float
    """HTER at the rule's threshold on the target, minus the error that the sources promised."""


def compare(
    method: Method, clips: CorpusClips, target: str, fraction: float, seed: int
) -> dict[tuple[str, Scored], Outcome]:
    """All four rules on one cut.

    Args:
        method: One that needs no validation clips; it is given those that set the threshold.
        clips: Of the target and of the sources, which are all other datasets.
        target: A dataset.
        fraction: Share of each source's subjects that is held out.
        seed: Of the cut and the folds.

    Raises:
        MetricError: The sources lack a class in a part.
        UserError: A fitting failed.
    """
    datasets = np.asarray(clips.videos.dataset)
    subjects = np.array([f"{video.dataset}/{video.subject}" for video in clips.videos])
    judged, source = np.flatnonzero(datasets == target), np.flatnonzero(datasets != target)
    held = source[_cut(datasets[source], subjects[source], fraction, seed)]
    folds = [source[own] for own in _folds(datasets[source], subjects[source], seed)]

    def task(name: str, train: Rows, validation: Rows) -> Task:
        return Task(0, name, "thresholds", seed, name, train, validation, validation)

    tasks = [
        task("held out", np.setdiff1d(source, held), held),
        task("whole", source, source),
        *(task(f"fold {number}", np.setdiff1d(source, own), own) for number, own in enumerate(folds)),
    ]
    wanted = [np.concatenate([held, judged]), judged, *folds]
    desk = Desk("thresholds", Execution())
    detectors = []
    for each in method.fit([Job(method, each) for each in tasks], clips, desk):
        if isinstance(each, Failed):
            raise UserError(f"the method could not be fitted: {each.reason}")
        detectors.append(each)
    first, whole, *parts = (
        scores.clip for scores in method.score_all(detectors, clips, wanted, [0] * len(tasks), desk)
    )
    found: dict[str, tuple[Float[np.ndarray, " m"], Rows, Float[np.ndarray, " k"]]] = {
        "held-out": (first[: len(held)], held, first[len(held) :]),
        "cross-fitted": (np.concatenate(parts), np.concatenate(folds), whole),
    }
    outcomes: dict[tuple[str, Scored], Outcome] = {}
    for rule, kind in RULES:
        scores, rows, on_target = found[kind]
        labels, truth = clips.labels[rows], clips.labels[judged]
        tau = threshold_by(rule, scores, labels, datasets[rows])
        hter = metrics.rates(on_target, truth, tau).hter
        oracle = metrics.rates(on_target, truth, metrics.eer_threshold(on_target, truth)).hter
        outcomes[rule, kind] = Outcome(hter, oracle, hter - metrics.rates(scores, labels, tau).hter)
    return outcomes


def table(trials: Sequence[dict[tuple[str, Scored], Outcome]]) -> Grid:
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


def made_up(shift: float, seed: int, sizes: Sequence[int] = (40, 20, 15, 15), dimension: int = 16) -> CorpusClips:
    """Four datasets of unequal size with attacks and bona fide apart along one direction, moved by `shift`.

    Each dataset moves all of its videos, and its attacks besides, so that both the best threshold and the overlap
    differ between datasets; the sizes are subjects, two bona fide videos and six attacks each. A clip has one frame.
    """
    generator = np.random.default_rng(seed)
    videos, rows = [], []
    for number, subjects in enumerate(sizes):
        everyone, attacks = generator.normal(0, shift, (2, dimension))
        for subject in range(subjects):
            own = generator.normal(0, 0.5, dimension)
            for take in range(8):
                label = int(take < 2)
                clip = generator.normal(size=dimension) + own + everyone + (1 - label) * attacks
                clip[0] += 1.2 * label
                rows.append(clip)
                pai = "bonafide" if label else "print"
                path = f"{subject}/{take}.avi"
                videos.append(Video(path, str(number), str(subject), "train", label, pai, pai, "", ""))
    return clips_of(videos, np.array(rows)[:, None])


def clips_of(videos: Sequence[Video], features: Float[np.ndarray, "n t d"]) -> CorpusClips:
    """Clips with these features, every frame of them real, and nothing that decoding would have found."""
    infos = [ClipInfo(1, 0.0, 0, 0, "", 0, renditions={"whole": RenditionInfo((0,))})] * len(videos)
    found = ClipFeatures(features, np.ones(features.shape[:2], bool), infos)
    return CorpusClips(VideoTable.of(videos), np.arange(len(videos)), lambda rendition: found)


def _cut(
    datasets: Shaped[np.ndarray, " n"], subjects: Shaped[np.ndarray, " n"], fraction: float, seed: int
) -> Shaped[np.ndarray, " n"]:
    """Mask of a share of each dataset's subjects, at least one and never all."""
    generator = np.random.default_rng(seed)
    chosen: list[str] = []
    for dataset in np.unique(datasets):
        names = np.unique(subjects[datasets == dataset])
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        chosen += generator.permutation(names)[:count].tolist()
    return np.isin(subjects, chosen)


def _folds(
    datasets: Shaped[np.ndarray, " n"], subjects: Shaped[np.ndarray, " n"], seed: int
) -> list[Int[np.ndarray, " m"]]:
    """The rows of each fold; a subject's videos share one."""
    generator = np.random.default_rng([seed, 1])
    folds = np.zeros(len(datasets), np.int64)
    for dataset in np.unique(datasets):
        names = generator.permutation(np.unique(subjects[datasets == dataset]))
        for place, name in enumerate(names):
            folds[subjects == name] = place % _FOLDS
    return [np.flatnonzero(folds == fold) for fold in range(_FOLDS)]
