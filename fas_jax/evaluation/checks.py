"""What a table of scores must fulfil before it is evaluated, and reasons to doubt its figures. NumPy only."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.evaluation.intervals import FEWEST_SUBJECTS
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import Rule

FEW_IN_SOURCE = 4
"""Subjects of a source in validation below which a threshold is doubted."""

Subject = tuple[str, ...]


def subject_keys(rows: ScoreTable) -> list[Subject]:
    """(dataset, subject), or the video itself where the subject is not known."""
    columns = zip(rows.dataset.tolist(), rows.subject.tolist(), rows.video.tolist(), strict=True)
    return [(dataset, subject) if subject else (dataset, "", video) for dataset, subject, video in columns]


def few_subjects(rows: ScoreTable) -> str:
    """Which classes have too few subjects for an interval, such as `1 subject of bona fide videos`; empty if none."""
    found = {
        name: len(set(subject_keys(rows.rows(rows.label == label))))
        for name, label in (("bona fide videos", 1), ("attacks", 0))
    }
    return " and ".join(
        f"{count} subject{'' if count == 1 else 's'} of {name}"
        for name, count in found.items()
        if count < FEWEST_SUBJECTS
    )


def few_to_redraw(held: ScoreTable) -> str:
    """Which sources have too few subjects of a class to redraw them, such as `1 subject of attacks in O`.

    A class of which a source has no video is not redrawn there, and lacks nothing.
    """
    subjects: dict[tuple[str, int], set[Subject]] = {}
    for key, label in zip(subject_keys(held), held.label.tolist(), strict=True):
        subjects.setdefault((key[0], -label), set()).add(key)
    return " and ".join(
        f"{len(own)} subject of {'bona fide videos' if label else 'attacks'} in {dataset or 'the sources'}"
        for (dataset, label), own in sorted(subjects.items())
        if len(own) < FEWEST_SUBJECTS
    )


def doubts(rule: str, held: ScoreTable, tau: float, test: ScoreTable) -> list[str]:
    """What makes a threshold or the figures at it worth little, in sentences.

    Args:
        rule: As `Rule.parse` reads it.
        held: The rows with a score that set the threshold of one model with one seed.
        tau: That threshold; NaN if there is none.
        test: The rows with a score that it judges.
    """
    found = []
    parsed = Rule.parse(rule)
    for what, rows in (("that set the threshold", held), ("of the test videos", test)):
        if len(rows) > 1 and np.all(rows.score == rows.score[0]) and (rows is test or parsed.name != "fixed"):
            found.append(f"all {len(rows)} scores {what} are equal ({rows.score[0]:.4g}): they tell no classes apart")
    if parsed.name == "apcer" and not np.isnan(tau):
        (rate,) = parsed.numbers
        attacks = held.pai[held.label == 0]
        if not np.any(held.score[held.label == 1] >= tau):
            found.append(
                f"no threshold keeps APCER at {100 * rate:g} % or less on the sources and accepts a bona fide video of "
                "theirs: this one rejects them all"
            )
        if np.any(attacks == ""):
            found.append("attacks of the sources have no PAI species: the APCER promised is of all attacks together")
        else:
            few = [
                f"{count} of {name}"
                for name in sorted(attacks.present())
                if (count := int(np.sum(attacks == name))) < 3 / rate
            ]
            if few:
                found.append(
                    f"the sources have too few attacks to promise an APCER of {100 * rate:g} %: {', '.join(few)}, "
                    f"where 3 / rate is {3 / rate:g}"
                )
    return found


def check_same_videos(scores: ScoreTable) -> None:
    """Raises `UserError` unless all models of a protocol, and for test all seeds, have rows of the same videos."""
    first: dict[tuple[Any, ...], tuple[str, set[tuple[str, str]]]] = {}
    groups: dict[tuple[str, int, str, str], set[tuple[str, str]]] = {}
    columns = (scores.protocol, scores.seed, scores.role, scores.model, scores.dataset, scores.video)
    for protocol, seed, role, model, *video in zip(*(column.tolist() for column in columns), strict=True):
        groups.setdefault((protocol, seed, role, model), set()).add((video[0], video[1]))
    for (protocol, seed, role, model), videos in groups.items():
        who = f"model {model} (seed {seed})"
        key = (protocol, role) if role == TEST else (protocol, role, seed)
        other, expected = first.setdefault(key, (who, videos))
        for has, lacks, difference in ((other, who, expected - videos), (who, other, videos - expected)):
            if difference:
                dataset, name = min(difference)
                raise UserError(
                    f"scores: protocol {protocol}, {role}: {len(difference)} videos have a row of {has} but none of "
                    f"{lacks}, the first {dataset} {name}; a video without a decision is a row without a score"
                )


def warnings(scores: ScoreTable) -> list[str]:
    """Reasons to doubt the figures of a table."""
    found = []
    for protocol in scores.distinct("protocol"):
        rows = scores.select(protocol=protocol)
        validation, test = rows.select(role=VALIDATION), rows.select(role=TEST)
        videos = [set(zip(part.dataset.tolist(), part.video.tolist(), strict=True)) for part in (validation, test)]
        if shared := videos[0] & videos[1]:
            found.append(
                f"{protocol}: {len(shared)} videos are in both validation and test: the threshold has seen them"
            )
        subjects = [{key for key in subject_keys(part) if len(key) == 2} for part in (validation, test)]
        if both := subjects[0] & subjects[1]:
            found.append(f"{protocol}: {len(both)} subjects are in both validation and test")
        if few := few_subjects(test):
            found.append(
                f"{protocol}: no intervals, and nothing is called better: the test videos have {few}, and resampling "
                f"takes at least {FEWEST_SUBJECTS} of each class"
            )
        found += [f"{protocol}: {text}" for text in _poor_sources(validation)]
        if np.any(test.subject == ""):
            found.append(f"{protocol}: the subjects of test videos are not known; intervals treat each video as one")
    return found


def _poor_sources(validation: ScoreTable) -> Iterator[str]:
    """Sources of which validation holds one class, or very few subjects."""
    for dataset in sorted(validation.distinct("dataset")):
        rows = validation.select(dataset=dataset)
        name = f"source {dataset}" if dataset else "the source"
        for kind, label in (("bona fide video", 1), ("attack", 0)):
            if not np.any(rows.label == label):
                yield (
                    f"{name} has no {kind} among the validation videos, so that the threshold may tell datasets apart "
                    "instead of classes"
                )
        if (count := len(set(subject_keys(rows)))) < FEW_IN_SOURCE:
            yield (
                f"{name} has {count} subject{'' if count == 1 else 's'} among the validation videos: the threshold "
                "rests on few people, and intervals in which it varies are too narrow"
            )
