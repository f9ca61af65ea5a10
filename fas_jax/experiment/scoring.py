"""Scores of validation and test videos by every detector of an experiment; here the target is read."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, TEST, VALIDATION, ScoreTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.out_of_fold import frame_mask
from fas_jax.experiment.planning import Plan
from fas_jax.features.frame_scores import FrameScores
from fas_jax.methods.base import Desk, Detector, Failed, Method
from fas_jax.methods.clip_scores import ClipScores
from fas_jax.methods.data import Rows, Scores
from fas_jax.methods.registry import in_order, needed_inputs, read_by_others
from fas_jax.protocols.assignment import Assignment


def score(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, fitted: Fitted) -> ScoreTable:
    """One score for each validation and test video of every plan and method.

    A test video that could not be prepared is a non-response: it has a row, with the reason instead of a score.
    """
    names = [each.protocol.name for each in plans]
    return ScoreTable.concatenate(
        table for role in (VALIDATION, TEST) for table in _score(experiment, plans, names, role, role, corpus, fitted)
    )


def score_cross_source(
    experiment: Experiment, plans: Sequence[Plan], inner: Sequence[tuple[int, Plan]], corpus: Corpus, fitted: Fitted
) -> ScoreTable:
    """One score for each source video of every plan and method, by the detector that has not seen its dataset.

    Args:
        experiment: Settings.
        plans: From `planning.plan`.
        inner: From `planning.cross_source_plans`.
        corpus: All datasets; the target of no plan is read.
        fitted: The detectors of `inner`.
    """
    own = [plan for _, plan in inner]
    names = [plans[number].protocol.name for number, _ in inner]
    return ScoreTable.concatenate(_score(experiment, own, names, TEST, CROSS_SOURCE, corpus, fitted))


def score_shifted(
    experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, shifted: Corpus, fitted: Fitted
) -> ScoreTable:
    """One score for each validation video of every plan and method, with its frames shifted.

    Args:
        experiment: Settings.
        plans: From `planning.plan`.
        corpus: All datasets, whose videos the plans speak of.
        shifted: The validation videos of all plans.
        fitted: The detectors of `plans`.
    """
    known = {
        key: number for number, key in enumerate(zip(shifted.videos.dataset.tolist(), shifted.videos.path, strict=True))
    }

    def moved(each: Plan) -> Plan:
        videos, nobody = corpus.videos[each.assignment.validation], np.zeros(0, np.int64)
        rows = [known[key] for key in zip(videos.dataset.tolist(), videos.path, strict=True)]
        return replace(each, assignment=Assignment(each.protocol, nobody, np.array(rows, np.int64), nobody))

    names = [each.protocol.name for each in plans]
    own = [moved(each) for each in plans]
    return ScoreTable.concatenate(_score(experiment, own, names, VALIDATION, SHIFTED, shifted, fitted))


def _score(
    experiment: Experiment,
    plans: Sequence[Plan],
    names: Sequence[str],
    part_name: str,
    role: str,
    corpus: Corpus,
    fitted: Fitted,
) -> Iterator[ScoreTable]:
    """Rows of one part of every plan, under the names of protocols and the role that they get in the table."""
    wanted = [getattr(each.assignment, part_name) for each in plans]
    clips = corpus.open(np.concatenate(wanted))
    rows = [clips.find(part) for part in wanted]
    found = score_clips(experiment, clips, rows, fitted)
    for number, (each, part, own) in enumerate(zip(plans, wanted, rows, strict=True)):
        missing = corpus.failed(part)
        everyone = corpus.videos[np.concatenate([clips.numbers[own], missing])]
        if not len(everyone):
            continue  # a protocol without a target
        reasons = [corpus.reason(video) for video in missing.tolist()]
        described = ScoreTable.from_videos(names[number], each.seed, role, "", everyone, np.zeros(len(everyone)))
        for name in experiment.methods:
            scores = found[name][number]
            values = np.concatenate([scores.clip, np.full(len(missing), np.nan)])
            why = list(scores.reason) or [""] * len(own)
            logits = np.full(len(values), np.nan)
            if scores.logit is not None:
                logits[: len(own)] = scores.logit
            yield described.scored_by(name, values, [*why, *reasons], logits)


def score_clips(
    experiment: Experiment, clips: CorpusClips, rows: Sequence[Rows], fitted: Fitted
) -> dict[str, list[Scores]]:
    """Scores of `rows[i]` by the detectors of plan i, by method."""
    order = in_order(experiment.methods)
    by_frames, by_clips = (read_by_others(experiment.methods, kind) for kind in ("scores", "clip-scores"))
    frame_scores: dict[str, FrameScores] = {}
    clip_scores: dict[str, ClipScores] = {}
    found: dict[str, list[Scores]] = {}
    failed: dict[str, set[int]] = {}
    for name in order:
        method, own = experiment.methods[name], clips.with_scores(frame_scores, clip_scores)
        lost = {number for item in needed_inputs(method) for number in failed[item.name]}
        detectors: dict[int, Detector] = {
            number: each
            for number, each in enumerate(fitted.detectors[name])
            if not isinstance(each, Failed) and number not in lost
        }
        failed[name] = set(range(len(rows))) - detectors.keys()
        desk = Desk(name, experiment.training)
        scores = type(method).score_all(
            list(detectors.values()), own, [rows[number] for number in detectors], list(detectors), desk
        )
        by_plan = dict(zip(detectors, scores, strict=True))
        found[name] = [
            by_plan[number] if number in by_plan else Scores.none(len(part), f"the training of {name} failed")
            for number, part in enumerate(rows)
        ]
        if name in by_frames:
            frame_scores[name] = keep_frames(method, own, rows, found[name])
        if name in by_clips:
            clip_scores[name] = keep_clips(own, rows, found[name])
    return found


def keep_frames(method: Method, clips: CorpusClips, rows: Sequence[Rows], scores: Sequence[Scores]) -> FrameScores:
    """The scores of frames among `scores`, of `rows[i]` by the detector of plan i, for methods that read them.

    Nothing is kept of a plan without scores of frames, as where the fitting failed.
    """
    found = FrameScores.in_memory(len(rows), frame_mask(method, clips))
    for number, each in enumerate(scores):
        if each.frame is not None:
            found.put(number, rows[number], np.asarray(each.frame, np.float32))
    return found


def keep_clips(clips: CorpusClips, rows: Sequence[Rows], scores: Sequence[Scores]) -> ClipScores:
    """The scores of clips, of `rows[i]` by the detector of plan i, for methods that read them."""
    found = ClipScores.empty(len(clips), len(rows))
    for number, each in enumerate(scores):
        found.put(number, rows[number], each)
    return found
