"""Which measure of image quality separates what, and which tells only the dataset."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.metrics import auc
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import UNDEFINED, Grid

_FEWEST = 3
"""Clips on each side of a comparison."""
_SEPARATES = (
    "AUC of a single measure, bona fide against the attacks of a PAI species, within each dataset and averaged over "
    "them; below 0.5, attacks have the higher values. Devices: the lowest and the highest AUC of bona fide against all "
    "attacks by one capture device of one dataset; a measure on both sides of 0.5 depends on the camera. Training "
    "videos of the datasets alone are read. The measures that separate best are shown."
)
_DATASETS = (
    "Separation, max(AUC, 1 - AUC), of two datasets by a single measure among bona fide clips, and among attacks, "
    "averaged over pairs of datasets; beside it, the separation of bona fide and attacks within datasets. A measure "
    "that tells datasets apart better than classes is marked: what a classifier learns of it may be the dataset."
)


def measure_tables(
    values: Float[np.ndarray, "n d"], names: Sequence[str], videos: VideoTable, most: int = 40
) -> tuple[ExtraTable, ExtraTable]:
    """Tables of what the measures separate by PAI species and device, and of how far they tell datasets apart.

    Args:
        values: One row a clip; NaN where a measure is undefined.
        names: Of the measures.
        videos: The clips' videos.
        most: Rows of each table.
    """
    dataset, pai, device = (
        np.array([str(each) for each in column.tolist()]) for column in (videos.dataset, videos.pai, videos.device)
    )
    real = np.asarray(videos.label) == 1
    datasets = np.unique(dataset).tolist()
    species = np.unique(pai[~real]).tolist()

    def each(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " d"]:
        return np.array([_auc(column[first], column[second]) for column in values.T])

    def within(attacks: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " d"]:
        return _mean([each(real & (dataset == one), attacks & (dataset == one)) for one in datasets])

    by_species = {one: within(pai == one) for one in species}
    classes = within(~real)
    devices = [
        each(real & own, ~real & own)
        for one, camera in sorted(set(zip(dataset.tolist(), device.tolist(), strict=True)))
        for own in [(dataset == one) & (device == camera)]
    ]
    rates = np.array([_apart(own) for own in by_species.values()] + [_apart(classes)])
    best = np.where(np.isnan(rates), 0, rates).max(0)
    order = np.argsort(-best, kind="stable")[:most]
    spans = [_span([own[place] for own in devices]) for place in range(len(names))]
    first = Grid(
        ["measure", *species, "all attacks", "devices"],
        [
            [names[i], *(_cell(by_species[one][i]) for one in species), _cell(classes[i]), spans[i]]
            for i in order.tolist()
        ],
    )
    pairs = list(itertools.combinations(datasets, 2))
    # One dataset tells nothing.
    told = [
        _mean([_apart(each(own & (dataset == a), own & (dataset == b))) for a, b in pairs] or [0 * classes + np.nan])
        for own in (real, ~real)
    ]
    apart = _apart(classes)
    worst = np.where(np.isnan(told[0]), 0, told[0])
    rows = [
        [names[i], _cell(told[0][i]), _cell(told[1][i]), _cell(apart[i]), "yes" if told[0][i] > apart[i] else ""]
        for i in np.argsort(-worst, kind="stable")[:most].tolist()
    ]
    second = Grid(["measure", "datasets, bona fide", "datasets, attacks", "classes", "rather the dataset"], rows)
    return (
        ExtraTable("Quality measures: what separates what", _SEPARATES, first),
        ExtraTable("Quality measures: what tells the dataset", _DATASETS, second),
    )


def _auc(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """That values of the first are higher; NaN where too few are defined."""
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if min(len(first), len(second)) < _FEWEST:
        return float("nan")
    return auc(np.concatenate([first, second]), np.repeat([1, 0], [len(first), len(second)]))


def _mean(rows: Sequence[Float[np.ndarray, " d"]]) -> Float[np.ndarray, " d"]:
    """Over those that are defined."""
    table = np.array(rows)
    known = np.isfinite(table)
    count = known.sum(0)
    found: np.ndarray = np.where(count > 0, np.where(known, table, 0).sum(0) / np.maximum(count, 1), np.nan)
    return found


def _apart(rates: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    found: np.ndarray = np.maximum(rates, 1 - rates)
    return found


def _span(rates: Sequence[float]) -> str:
    known = [rate for rate in rates if np.isfinite(rate)]
    return f"{min(known):.2f} to {max(known):.2f}" if known else UNDEFINED


def _cell(rate: float) -> str:
    return f"{rate:.3f}" if np.isfinite(rate) else UNDEFINED
