"""Mean and standard deviation over the folds of protocols that have some: intra-O-3, intra-O-4 and kfold-NAME-5."""

import numpy as np

from fas_jax.evaluation.results import Results
from fas_jax.protocols.names import fold_group, fold_names
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import Models, protocol_name

FIGURES = ("hter", "auc", "apcer", "bpcer", "acer")


def fold_figures(results: Results) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """For each group of folds and model: mean and sample standard deviation (n - 1) over the folds of each figure.

    A fold's figure is its mean over seeds. NaN where a fold is missing or its figure undefined: a mean over fewer
    folds would not be the protocol's.
    """
    found: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    groups = dict.fromkeys(group for protocol in results.protocols if (group := fold_group(protocol)))
    for group in groups:
        for model in results.models:
            folds = [results.summary(fold, model) for fold in fold_names(group)]
            row = {}
            for name in FIGURES:
                values = np.array([fold.mean[name] if fold else np.nan for fold in folds])
                row[name] = float(values.mean()), float(values.std(ddof=1))
            found[group, model] = row
    return found


def fold_table(results: Results, models: Models) -> Grid | None:
    """The figures of `fold_figures` in %. None without folds."""
    figures = fold_figures(results)
    if not figures:
        return None
    rows = []
    for (group, model), row in figures.items():
        cells = [UNDEFINED if np.isnan(mean) else f"{100 * mean:.2f} ± {100 * std:.2f}" for mean, std in row.values()]
        rows.append([protocol_name(group), models.name(model), *cells])
    return Grid(["protocol", "model", *(f"{name.upper()} %" for name in FIGURES)], rows)
