"""From single seeds to means over them, their intervals, and comparisons between models. NumPy only."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fas_jax.evaluation import intervals, redrawing, significance
from fas_jax.evaluation.intervals import Slack
from fas_jax.evaluation.results import DEFINITIONS, Comparison, Figures, Summary

SEED = 0
"""Of all draws of an evaluation."""


@dataclass(frozen=True)
class Run:
    """A model's figures with one seed, and the resamples from which intervals and comparisons are computed."""

    figures: Figures
    hter: Float64[np.ndarray, " r"]
    """By test subjects redrawn."""
    full_hter: Float64[np.ndarray, " r"]
    """By the subjects of the sources redrawn as well, and with them the threshold."""
    auc: Float64[np.ndarray, " r"]
    errors: Float64[np.ndarray, " s"]
    """What each test subject contributes to HTER; NaN where nothing is to be called better."""
    attack_subjects: int
    bona_fide_subjects: int


def summary(runs: Sequence[Run]) -> Summary:
    """One model under one protocol, over its seeds."""
    figures = [run.figures for run in runs]
    values = {name: np.array([each.values[name] for each in figures]) for name in DEFINITIONS}
    mean = {name: float(np.mean(column)) for name, column in values.items()}
    several = len(runs) > 1
    std = {name: float(np.std(column, ddof=1)) if several else np.nan for name, column in values.items()}
    first, slack = runs[0], _mean_slack(runs)
    return Summary(
        protocol=first.figures.protocol,
        model=first.figures.model,
        seeds=tuple(each.seed for each in figures),
        mean=mean,
        std=std,
        hter_interval=intervals.hter_interval(_mean_hter(runs), slack),
        full_hter_interval=intervals.hter_interval(_full_hter(runs), slack),
        auc_interval=intervals.auc_interval(
            np.mean([run.auc for run in runs], axis=0), mean["auc"], first.attack_subjects, first.bona_fide_subjects
        ),
    )


def comparisons(groups: Mapping[tuple[str, str], Sequence[Run]]) -> tuple[Comparison, ...]:
    """Every two models of a protocol in both directions, with p-values corrected for the number of all pairs.

    Args:
        groups: The runs of each (protocol, model).
    """
    pairs = [pair for pair in itertools.combinations(groups, 2) if pair[0][0] == pair[1][0]]
    p_values: dict[tuple[tuple[str, str], tuple[str, str]], float] = {}
    for protocol in dict.fromkeys(one[0] for one, _ in pairs):
        own = [pair for pair in pairs if pair[0][0] == protocol]
        errors = {each: _mean_errors(groups[each]) for pair in own for each in pair}
        found = significance.sign_flip_p(np.array([errors[one] - errors[other] for one, other in own]), SEED)
        p_values |= dict(zip(own, found.tolist(), strict=True))
    corrected = significance.holm(np.array([p_values[pair] for pair in pairs]))
    known = {frozenset(pair): (p_values[pair], float(corrected[at])) for at, pair in enumerate(pairs)}
    return tuple(
        _comparison(groups[one], groups[other], *known[frozenset((one, other))])
        for one, other in itertools.permutations(groups, 2)
        if one[0] == other[0]
    )


def _comparison(runs: Sequence[Run], others: Sequence[Run], p: float, p_holm: float) -> Comparison:
    means = [float(np.mean([run.figures.values["hter"] for run in group])) for group in (runs, others)]
    slacks = _mean_slack(runs), _mean_slack(others)
    return Comparison(
        protocol=runs[0].figures.protocol,
        model=runs[0].figures.model,
        other=others[0].figures.model,
        difference=means[0] - means[1],
        interval=intervals.difference_interval(_mean_hter(runs), _mean_hter(others), *slacks),
        full_interval=intervals.difference_interval(_full_hter(runs), _full_hter(others), *slacks),
        p=p,
        p_holm=p_holm,
    )


def _mean_hter(runs: Sequence[Run]) -> Float64[np.ndarray, " r"]:
    return np.mean([run.hter for run in runs], axis=0)


def _full_hter(runs: Sequence[Run]) -> Float64[np.ndarray, " r"]:
    """Of the mean over redrawn seeds; models with as many seeds share the draws."""
    # In one order, whatever that of the rows was.
    ordered = sorted(runs, key=lambda run: run.figures.seed)
    values = np.array([run.full_hter for run in ordered])
    weights = redrawing.draw_seeds(len(runs), values.shape[1], SEED + 2).T
    # A seed that is not drawn does not count, even where it is undefined.
    return np.sum(np.where(weights > 0, values * weights, 0.0), axis=0)


def _mean_errors(runs: Sequence[Run]) -> Float64[np.ndarray, " s"]:
    return np.mean([run.errors for run in runs], axis=0)


def _mean_slack(runs: Sequence[Run]) -> Slack:
    far, frr = (float(np.mean([run.figures.values[name] for run in runs])) for name in ("far", "frr"))
    return intervals.hter_slack(far, frr, runs[0].attack_subjects, runs[0].bona_fide_subjects)
