"""Error rates by PAI species, device, session, subject and attribute, and the worst-scored videos. NumPy only.

Every group is judged at the run's threshold, which validation set; no group has a threshold of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from fas_jax.base.attributes import PREFIX
from fas_jax.base.text_column import TextColumn
from fas_jax.evaluation import intervals
from fas_jax.evaluation.gaps import FEWEST_IN_GROUP, find_gaps
from fas_jax.evaluation.intervals import Interval
from fas_jax.evaluation.results import Figures, Gap, Group, WorstVideo
from fas_jax.evaluation.scores import TEST, ScoreTable

DIMENSIONS = {
    "pai": "PAI species (coarse)",
    "pai_fine": "PAI species (the dataset's own)",
    "device": "capture device",
    "session": "session, lighting or quality",
    "subject": "subject",
}
_RESAMPLES = 500
_SEED = 0
_UNDEFINED = Interval(np.nan, np.nan)
WORST = 6


@dataclass(frozen=True)
class Breakdown:
    """Where the errors are, of every protocol and model."""

    groups: tuple[Group, ...]
    gaps: tuple[Gap, ...]
    """Between the groups of each attribute."""
    worst: tuple[WorstVideo, ...]


def dimension_name(dimension: str) -> str:
    """The name of a dimension for people; an attribute's own."""
    return DIMENSIONS.get(dimension) or dimension.removeprefix(PREFIX)


def break_down(scores: ScoreTable, figures: Sequence[Figures]) -> Breakdown:
    """Error rates of every group of test videos, and each model's worst-scored ones, means over seeds.

    A dimension whose column is empty throughout is left out. A group that lacks a class has NaN for the rate of that
    class, and so has a group of an attribute with fewer than `FEWEST_IN_GROUP` subjects of it. Videos without a score
    are counted separately, and enter no rate. Videos that lack an attribute are a group of their own, named by an empty
    text, which takes no part in gaps.
    """
    thresholds = {(each.protocol, each.model, each.seed): each.values["threshold"] for each in figures}
    groups: list[Group] = []
    gaps: list[Gap] = []
    worst: list[WorstVideo] = []
    for protocol in scores.distinct("protocol"):
        of_protocol = scores.select(protocol=protocol, role=TEST)
        for model in of_protocol.distinct("model"):
            rows = of_protocol.select(model=model)
            known = {seed: thresholds.get((protocol, model, seed), np.nan) for seed in rows.distinct("seed")}
            if any(np.isnan(tau) for tau in known.values()):
                continue
            taus = np.array([known[seed] for seed in rows.seed.tolist()])
            wrong = (rows.score >= taus) != (rows.label == 1)
            for column in DIMENSIONS:
                groups += _groups(rows, getattr(rows, column), wrong, str(protocol), str(model), column)
            judged = rows.rows(rows.answered)
            for name, values in rows.attributes.items():
                about = {"protocol": str(protocol), "model": str(model), "dimension": PREFIX + name}
                groups += _groups(rows, values, wrong, **about, least=FEWEST_IN_GROUP)
                if np.any(values != ""):
                    given = judged.attribute(name).tolist()
                    gaps += find_gaps(wrong[rows.answered], judged.label, _subjects(judged), given, about)
            worst += _worst(rows, rows.score - taus, str(protocol), str(model))
    return Breakdown(tuple(groups), tuple(gaps), tuple(worst))


def _groups(
    rows: ScoreTable,
    values: TextColumn,
    wrong: Bool[np.ndarray, " n"],
    protocol: str,
    model: str,
    dimension: str,
    least: int = 1,
) -> list[Group]:
    """The groups of one dimension; a rate over fewer than `least` subjects is left out, with the reason."""
    if not np.any(values != ""):
        return []
    found = []
    for value in sorted(set(values.tolist())):
        mine = values == value
        rate: dict[int, tuple[float, Interval]] = {}
        reason = {0: "", 1: ""}
        for label in (0, 1):
            which = mine & (rows.label == label) & rows.answered
            subjects = _subjects(rows.rows(which))
            if 0 < (count := len(set(subjects))) < least:
                rate[label] = np.nan, _UNDEFINED
                reason[label] = f"{count} subject{'' if count == 1 else 's'}, fewer than {least}"
            else:
                rate[label] = _rate(wrong[which], subjects)
        first = mine & (rows.seed == rows.seed[0])
        found.append(
            Group(
                protocol=protocol,
                model=model,
                dimension=dimension,
                value=str(value),
                attacks=int(np.sum(first & (rows.label == 0))),
                bona_fide=int(np.sum(first & (rows.label == 1))),
                subjects=len(set(_subjects(rows.rows(first)))),
                non_responses=int(np.sum(mine & ~rows.answered)),
                far=rate[0][0],
                far_interval=rate[0][1],
                frr=rate[1][0],
                frr_interval=rate[1][1],
                far_reason=reason[0],
                frr_reason=reason[1],
            )
        )
    return found


def _rate(wrong: Bool[np.ndarray, " n"], subjects: Sequence[str]) -> tuple[float, Interval]:
    """Share of wrong decisions and its interval by bootstrap over subjects; undefined for a single subject."""
    if not len(wrong):
        return np.nan, _UNDEFINED
    rate = float(np.mean(wrong))
    names, whose = np.unique(np.array(subjects), return_inverse=True)
    if len(names) < 2:
        return rate, _UNDEFINED
    bound = intervals.zero_error_bound(len(names))
    if rate in (0.0, 1.0):
        return rate, Interval(0.0, bound) if rate == 0 else Interval(1 - bound, 1.0)
    draws: Int64[np.ndarray, "r s"] = intervals.draw_subjects(len(names), _RESAMPLES, _SEED)
    errors: Float64[np.ndarray, " s"] = np.bincount(whose, weights=wrong, minlength=len(names))
    values = (draws @ errors) / (draws @ np.bincount(whose, minlength=len(names)))
    return rate, intervals.percentile_interval(values)


def _subjects(rows: ScoreTable) -> list[str]:
    """The unit of resampling: the subject, or the video itself where the subject is not known."""
    columns = zip(rows.dataset.tolist(), rows.subject.tolist(), rows.video.tolist(), strict=True)
    return [f"{dataset}/{subject}" if subject else f"{dataset}//{video}" for dataset, subject, video in columns]


def _worst(rows: ScoreTable, margins: Float64[np.ndarray, " n"], protocol: str, model: str) -> list[WorstVideo]:
    """The attacks furthest above the threshold and the bona fide furthest below it, by their mean over seeds."""
    rows_of: dict[tuple[str, str], list[int]] = {}
    for index in np.flatnonzero(rows.answered).tolist():
        rows_of.setdefault((str(rows.dataset[index]), str(rows.video[index])), []).append(index)
    found: dict[int, list[WorstVideo]] = {0: [], 1: []}
    for (dataset, video), mine in rows_of.items():
        first = mine[0]
        margin = float(np.mean(margins[mine]))
        label = int(rows.label[first])
        # Listed only if the mean over seeds decides it wrongly.
        if (margin >= 0) != (label == 1):
            about: Mapping[str, str] = {name: str(getattr(rows, name)[first]) for name in DIMENSIONS}
            score = float(np.mean(rows.score[mine]))
            found[label].append(WorstVideo(protocol, model, dataset, video, label, score, margin, about))
    return [
        each
        for label in (0, 1)
        for each in sorted(found[label], key=lambda one: (-abs(one.margin), one.dataset, one.video))[:WORST]
    ]
