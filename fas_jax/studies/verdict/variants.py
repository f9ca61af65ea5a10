"""Other verdicts that are fitted on the scores that a run keeps, for comparison; no expert is fitted again."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import fingerprint
from fas_jax.base.logits import sigmoid
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.experiment.out_of_fold import Folds, OutOfFold, out_of_fold_file
from fas_jax.experiment.planning import Plan, plan, source_videos
from fas_jax.experiment.results import stored_scores
from fas_jax.experiment.run import open_inputs, read_inputs, read_run
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import Batch, Scores, Task
from fas_jax.methods.inputs import Input
from fas_jax.methods.verdict_fitting import patterns_of
from fas_jax.methods.verdict_settings import VerdictSettings
from fas_jax.methods.verdicts import BoostedStack, LogisticStack, MeanStack

AVAILABILITY = "availability alone"
WHO_ANSWERS = "availability, classes not balanced"
OTHERS: Mapping[str, type[VerdictSettings]] = {
    "mean of the experts": MeanStack,
    "logistic regression": LogisticStack,
    "boosted trees": BoostedStack,
}
"""What a verdict has to beat on the same scores."""
MEAN = next(iter(OTHERS))


@dataclass(frozen=True)
class Opened:
    """A run with a verdict, and all scores of its experts."""

    experiment: Experiment
    name: str
    """Of the verdict's method."""
    plans: Sequence[Plan]
    tasks: Sequence[Task]
    """By plan."""
    clips: CorpusClips
    """The sources' clips, with the experts' out-of-fold scores."""
    scores: ScoreTable
    """Of the run."""

    @property
    def method(self) -> VerdictSettings:
        """The verdict's settings."""
        return cast(VerdictSettings, self.experiment.methods[self.name])

    @property
    def experts(self) -> tuple[str, ...]:
        """The methods whose scores it reads."""
        return self.method.experts


def open_verdict(run: Path, name: str = "", cache: Path | None = None) -> Opened:
    """Opens a run that has been evaluated.

    Args:
        run: Its folder.
        name: The verdict's method; the first verdict of the run if empty.
        cache: The cache's folder, if it was moved.

    Raises:
        UserError: The run has no such method, has no scores yet or older ones, or lacks its inputs.
    """
    experiment = read_run(run)
    known = [each for each, method in experiment.methods.items() if isinstance(method, VerdictSettings)]
    if not known:
        raise UserError(f'{run} has no verdict over experts; add a method such as kind = "tree" to its configuration')
    name = name or known[0]
    if name not in known:
        raise unknown_name("verdict", name, known)
    scores = stored_scores(run, read_inputs(run))
    corpus = open_inputs(run, cache)
    plans = plan(experiment, corpus.videos)
    clips = corpus.open(source_videos(plans))
    folds = Folds.of(experiment, plans, corpus, clips)
    method = cast(VerdictSettings, experiment.methods[name])
    by, data = method.held_out_by(), fingerprint(corpus.fingerprints)
    stored = {each: OutOfFold(run, each, experiment.methods[each], folds, clips, data) for each in method.experts}
    if lacking := [each for each, scores in stored.items() if not scores.holds(by)]:
        raise UserError(
            f"{run} lacks the out-of-fold scores of {', '.join(lacking)}, or has those of other folds, settings or "
            "data; train it again under another --name"
        )
    kept = {each: ClipScores.load(out_of_fold_file(run, each, by)) for each in method.experts}
    return Opened(experiment, name, plans, folds.whole, clips.with_scores({}, kept), scores)


def leave_one_out(method: VerdictSettings) -> dict[str, VerdictSettings]:
    """The verdict without each of its experts, by name; empty if it has only one expert."""
    if len(method.experts) < 2:
        return {}
    return {
        f"without {name}": dataclasses.replace(method, over=tuple(each for each in method.experts if each != name))
        for name in method.experts
    }


def beside(method: VerdictSettings) -> dict[str, VerdictSettings]:
    """Other verdicts over the same experts, by name."""
    return {name: kind(over=method.experts, folds_by=method.held_out_by()) for name, kind in OTHERS.items()}


def fitted(opened: Opened, method: VerdictSettings, available: bool = False) -> list[Detector | Failed]:
    """The detectors of a verdict, one for each plan; with `available`, they see availability only and no score."""
    clips = opened.clips
    if available:
        silenced = {name: _silenced(each) for name, each in clips.clip_scores.items()}
        clips = clips.with_scores({}, silenced)
    jobs = [Job(method, task) for task in opened.tasks]
    return list(type(method).fit(jobs, clips, Desk(opened.name, opened.experiment.training)))


def scored(opened: Opened, name: str, detectors: Sequence[Detector | Failed], available: bool = False) -> ScoreTable:
    """The rows of a verdict that is fitted again, of all validation and test videos of the run's table."""
    tables = []
    for each, detector in zip(opened.plans, detectors, strict=True):
        for role in (VALIDATION, TEST):
            like, logits, reasons = expert_logits(opened, each, role)
            if not len(like):
                continue
            if available:
                logits = np.where(np.isnan(logits), np.nan, 0.0)
            if isinstance(detector, Failed):
                found = Scores.none(len(like), f"its fitting failed: {detector.reason}")
            else:
                found = detector.score(batch_of(detector.method, opened.experts, logits, reasons))
            tables.append(like.scored_by(name, found.clip, list(found.reason) or None, found.logit))
    return ScoreTable.concatenate(tables)


def availability_shares(
    patterns: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], asked: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """For each clip, the share of bona fide among training clips with its pattern of availability.

    If no training clip has the pattern, it is the share among all of them.

    A tree of any depth would learn these shares from availability alone.

    Args:
        patterns: Of training clips, as `patterns_of` gives them.
        labels: Of these clips.
        asked: Patterns of the clips to score.
    """
    known = {each: float(labels[patterns == each].mean()) for each in np.unique(patterns).tolist()}
    return np.array([known.get(each, float(labels.mean())) for each in asked.tolist()], np.float64)


def scored_by_availability(opened: Opened) -> ScoreTable:
    """The rows of `availability_shares`, of all validation and test videos of the run's table."""
    tables = []
    for each, task in zip(opened.plans, opened.tasks, strict=True):
        train = np.stack([opened.clips.clip_scores[name].logit[task.number, task.train] for name in opened.experts], 1)
        for role in (VALIDATION, TEST):
            like, logits, _ = expert_logits(opened, each, role)
            if len(like):
                labels = np.asarray(opened.clips.labels)[task.train]
                shares = availability_shares(patterns_of(train), labels, patterns_of(logits))
                tables.append(like.scored_by(WHO_ANSWERS, shares))
    return ScoreTable.concatenate(tables)


def expert_logits(
    opened: Opened, own: Plan, role: str
) -> tuple[ScoreTable, Float[np.ndarray, "n k"], Sequence[Sequence[str]]]:
    """Rows of a plan's videos in a role, the experts' logits of them, and by expert why there is none."""
    rows = opened.scores.select(protocol=own.protocol.name, seed=own.seed, role=role)
    like = rows.select(model=opened.name)
    wanted = list(zip(like.dataset.tolist(), like.video.tolist(), strict=True))
    logits, reasons = [], []
    for name in opened.experts:
        theirs = rows.select(model=name)
        keys = zip(theirs.dataset.tolist(), theirs.video.tolist(), strict=True)
        place = {key: number for number, key in enumerate(keys)}
        theirs = theirs.rows(np.array([place[key] for key in wanted], np.int64))
        logits.append(Scores(theirs.score, None, theirs.reason.tolist(), theirs.logit).logits())
        reasons.append(theirs.reason.tolist())
    return like, np.stack(logits, 1) if logits else np.zeros((0, 0)), reasons


def batch_of(
    method: object, experts: Sequence[str], logits: Float[np.ndarray, "n k"], reasons: Sequence[Sequence[str]]
) -> Batch:
    """What a verdict over some of these experts reads of clips with these logits; NaN is no score."""
    data: dict[Input, Scores] = {}
    for item in cast(VerdictSettings, method).inputs():
        place = list(experts).index(item.name)
        own = logits[:, place]
        why = [
            (told or "it was not asked") if silent else ""
            for silent, told in zip(np.isnan(own).tolist(), reasons[place], strict=True)
        ]
        data[item] = Scores(sigmoid(own), None, why if any(why) else (), own)
    masks = {item: np.ones((len(logits), 1), bool) for item in data}
    return Batch(data, masks, {item: each.reason for item, each in data.items() if any(each.reason)})


def _silenced(scores: ClipScores) -> ClipScores:
    return ClipScores(np.where(np.isnan(scores.logit), np.nan, 0.0), scores.reasons, scores.of_tasks)
