"""ROC and DET curves of a model on test videos, mean over seeds, with bands. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from fas_jax.evaluation import intervals, metrics
from fas_jax.evaluation.intervals import CONFIDENCE
from fas_jax.evaluation.scores import ScoreTable

_RESAMPLES = 200
_SEED = 0
# FARs at which bands are computed: denser where few attacks pass, as on a DET plot.
_GRID = np.unique(np.concatenate([np.geomspace(1e-3, 0.1, 25), np.linspace(0, 1, 51)]))


@dataclass(frozen=True)
class Band:
    """Pointwise bounds of the share of bona fide accepted, by bootstrap over subjects."""

    far: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]


def mean_roc(runs: Sequence[ScoreTable]) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """FAR [k] and 1 - FRR [k] of one run, or the mean over several at equal FAR; videos without a score are left out.

    Raises:
        MetricError: a run lacks one of the classes.
    """
    curves = []
    for run in runs:
        answered = run.rows(run.answered)
        curves.append(metrics.roc(answered.score, answered.label))
    if len(curves) == 1:
        return curves[0]
    grid = np.unique(np.concatenate([far for far, _ in curves]))
    # Between two points of a curve the rate is that of the lower one, which is surely reached.
    held = [tpr[np.searchsorted(far, grid, side="right") - 1] for far, tpr in curves]
    return np.append(0.0, grid), np.append(0.0, np.mean(held, axis=0))


def roc_band(runs: Sequence[ScoreTable]) -> Band:
    """The band of `mean_roc`, for the same resamples of subjects in all runs; NaN with too few subjects of a class."""
    keys = sorted({key for run in runs for key in _subjects(run)})
    columns = {key: column for column, key in enumerate(keys)}
    draws = intervals.draw_subjects(len(keys), _RESAMPLES, _SEED)
    answered = [run.rows(run.answered) for run in runs]
    shares = np.mean([_resampled(rows, columns, draws) for rows in answered], axis=0)
    defined = shares[~np.isnan(shares).any(axis=1)]
    fewest = min(len(set(_subjects(rows.rows(rows.label == label)))) for rows in answered for label in (0, 1))
    if fewest < intervals.FEWEST_SUBJECTS or not len(defined):
        return Band(_GRID, np.full(len(_GRID), np.nan), np.full(len(_GRID), np.nan))
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Band(_GRID, low, high)


def _resampled(
    rows: ScoreTable, columns: dict[str, int], draws: Int64[np.ndarray, "r s"]
) -> Float64[np.ndarray, "r k"]:
    """Share of bona fide accepted at each FAR of the grid, in each resample; NaN where it lacks a class."""
    order = np.argsort(-rows.score, kind="stable")
    label = rows.label[order]
    whose = np.array([columns[key] for key in _subjects(rows)])
    weights = draws[:, whose[order]]
    # Videos with equal scores are accepted together.
    ends = np.flatnonzero(np.append(np.diff(rows.score[order]) != 0, True))
    attacks = np.cumsum(weights * (label == 0), axis=1)[:, ends]
    bona_fide = np.cumsum(weights * (label == 1), axis=1)[:, ends]
    found = np.full((len(draws), len(_GRID)), np.nan)
    for r in np.flatnonzero((attacks[:, -1] > 0) & (bona_fide[:, -1] > 0)):
        far = np.append(0, attacks[r] / attacks[r, -1])
        share = np.append(0, bona_fide[r] / bona_fide[r, -1])
        found[r] = share[np.searchsorted(far, _GRID, side="right") - 1]
    return found


def _subjects(rows: ScoreTable) -> list[str]:
    columns = zip(rows.dataset.tolist(), rows.subject.tolist(), rows.video.tolist(), strict=True)
    return [f"{dataset}/{subject}" if subject else f"{dataset}//{video}" for dataset, subject, video in columns]
