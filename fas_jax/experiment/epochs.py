"""What every epoch of a training would have given: snapshots of detectors that score validation and test videos."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.evaluation.thresholds import threshold_by
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.planning import Plan
from fas_jax.experiment.scoring import keep_clips, keep_frames, score_clips
from fas_jax.methods.base import Desk, Detector, Failed
from fas_jax.methods.data import Rows, Scores
from fas_jax.methods.registry import below, in_order
from fas_jax.training.snapshots import read_snapshots


@dataclass(frozen=True)
class Reached:
    """What a method, stopped at one epoch, reaches under one protocol and seed; NaN where it is undefined."""

    method: str
    plan: str
    epoch: int
    chosen: bool
    """Whether it has the parameters that the detector was given with."""
    hter: float
    """On the plan's test videos, at the threshold from validation."""
    target_eer: float
    """On the test videos, at their own threshold."""
    auc: float


def judge_epochs(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    fitted: Fitted,
    snapshots: Path,
    methods: Sequence[str],
) -> list[Reached]:
    """Every epoch of every one of these methods and plans with test videos, judged on those.

    Args:
        experiment: Settings.
        plans: Whose test videos are read.
        corpus: All datasets.
        fitted: The detectors of the plans; of these methods, and of those that they read.
        snapshots: The folder that holds the snapshots of these detectors' fitting.
        methods: Names of methods that are fitted in epochs.
    """
    found = []
    for name in methods:
        kind, desk = type(experiment.methods[name]), Desk(name, experiment.training)
        sides = {role: _Side.open(experiment, plans, corpus, fitted, role, name) for role in (VALIDATION, TEST)}
        for epoch, detectors in snapshot_detectors(snapshots, name, plans, fitted):
            own = {number: each for number, each in detectors.items() if len(plans[number].assignment.test)}
            scores: Mapping[str, list[Scores]] = {
                role: kind.score_all(
                    [detector for detector, _ in own.values()],
                    side.clips,
                    [side.rows[number] for number in own],
                    list(own),
                    desk,
                )
                for role, side in sides.items()
            }
            for place, (number, (_, chosen)) in enumerate(own.items()):
                validation, test = (side.answered(number, scores[role][place]) for role, side in sides.items())
                figures = judge(validation, test, experiment.evaluation.threshold)
                found.append(Reached(name, plans[number].name, epoch, chosen, **figures))
    return found


def snapshot_detectors(
    folder: Path, name: str, plans: Sequence[Plan], fitted: Fitted
) -> Iterator[tuple[int, dict[int, tuple[Detector, bool]]]]:
    """By epoch, detectors with the parameters after it, by plan, and whether they are those of the fitted detector.

    A plan whose training ended before others that were trained beside it has no detector of later epochs.
    """
    numbers = {each.name: number for number, each in enumerate(plans)}
    last: dict[int, Any] = {}
    for snapshot in read_snapshots(folder, name):
        found = {}
        for row, run in enumerate(snapshot.runs):
            number = numbers[run]
            final = fitted.detectors[name][number]
            if isinstance(final, Failed):
                continue
            params = jax.tree.map(lambda leaf, row=row: leaf[row], snapshot.params)
            if number not in last or not same_params(params, last[number]):
                found[number] = final.method.rebuild(params, final.about), same_params(params, final.params)
            last[number] = params
        yield snapshot.epoch, found


def holds_snapshots(folder: Path, name: str, plans: Sequence[Plan], fitted: Fitted) -> bool:
    """Whether the folder holds snapshots for all detectors of a method: those with their parameters are among them."""
    wanted = {number for number, each in enumerate(fitted.detectors[name]) if not isinstance(each, Failed)}
    for _, detectors in snapshot_detectors(folder, name, plans, fitted):
        wanted -= {number for number, (_, chosen) in detectors.items() if chosen}
    return not wanted


def same_params(one: Any, other: Any) -> bool:
    """Whether two trees of parameters hold the same numbers."""
    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves_with_path(other), strict=True)
    return all(path == again and np.array_equal(leaf, twin) for (path, leaf), (again, twin) in pairs)


@dataclass(frozen=True)
class Answers:
    """Scores of some videos, and what they should have been."""

    scores: Float[np.ndarray, " m"]
    labels: Int[np.ndarray, " m"]
    datasets: Shaped[np.ndarray, " m"]


def judge(validation: Answers, test: Answers, rule: str) -> dict[str, float]:
    """As the report's figures: videos without a decision count in none; NaN where a figure is undefined.

    Args:
        validation: They set the threshold.
        test: They are judged.
        rule: Of the threshold, as `thresholds.Rule.parse` reads it.
    """
    figures = dict.fromkeys(("hter", "target_eer", "auc"), np.nan)
    try:
        figures["auc"] = metrics.auc(test.scores, test.labels)
        own = metrics.eer_threshold(test.scores, test.labels)
        figures["target_eer"] = metrics.rates(test.scores, test.labels, own).hter
        tau = threshold_by(rule, validation.scores, validation.labels, validation.datasets)
        figures["hter"] = metrics.rates(test.scores, test.labels, tau).hter
    except metrics.MetricError:
        pass  # undefined, and whoever shows it says so
    return figures


@dataclass(frozen=True)
class _Side:
    """The videos of one role."""

    clips: CorpusClips
    """With the finished detectors' scores of frames beside their inputs: a stack reads those in every epoch."""
    rows: Sequence[Rows]
    """By plan."""

    @classmethod
    def open(
        cls, experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, fitted: Fitted, role: str, name: str
    ) -> "_Side":
        """For the method of this name."""
        parts = [getattr(each.assignment, role) for each in plans]
        clips = corpus.open(np.concatenate(parts))
        rows = [clips.find(part) for part in parts]
        read = {each: experiment.methods[each] for each in below(experiment.methods, name)}
        scores = score_clips(dataclasses.replace(experiment, methods=read), clips, rows, fitted)
        for each in in_order(read):
            kept = {each: keep_frames(read[each], clips, rows, scores[each])} if read[each].frame_scores else {}
            clips = clips.with_scores(kept, {each: keep_clips(clips, rows, scores[each])})
        return cls(clips, rows)

    def answered(self, number: int, scores: Scores) -> Answers:
        """Those of a plan's videos for which there is a decision."""
        rows, known = self.rows[number], ~np.isnan(scores.clip)
        rows = rows[known]
        return Answers(scores.clip[known], self.clips.labels[rows], np.asarray(self.clips.videos.dataset[rows]))
