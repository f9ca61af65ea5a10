"""Evaluation from Python: figures with intervals, as objects that print themselves. Imports no JAX."""

import csv
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.outputs import output_folder
from fas_jax.evaluation.results import Results
from fas_jax.library.shown import Printed, Shown
from fas_jax.reporting.naming import Models
from fas_jax.reporting.notes import warnings
from fas_jax.reporting.report import Evaluated, judge_scores, write_report
from fas_jax.reporting.tables import table_one

Columns: TypeAlias = Mapping[str, Iterable[Any]]
INTERVALS = (
    "HTER and AUC in per cent, with 95 % intervals by bootstrap over the test subjects, at the threshold as it is."
)


@dataclass(frozen=True, repr=False)
class Evaluation(Printed):
    """Figures of every model under every protocol. Made by `Run.evaluate` and `evaluate_scores`."""

    evaluated: Evaluated
    """Results, scores and provenance: the content of a report."""
    folder: Path | None = None
    """The report's folder; None if no report was written."""

    @property
    def results(self) -> Results:
        """All figures, by protocol, seed and model."""
        return self.evaluated.results

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each protocol and model with HTER and AUC and their intervals, as shares and not per cent.

        Undefined figures are NaN. `pandas.DataFrame` takes the list.
        """
        return [
            {
                "protocol": each.protocol,
                "model": each.model,
                "hter": each.mean["hter"],
                "hter_low": each.hter_interval.low,
                "hter_high": each.hter_interval.high,
                "hter_full_low": each.full_hter_interval.low,
                "hter_full_high": each.full_hter_interval.high,
                "auc": each.mean["auc"],
                "auc_low": each.auc_interval.low,
                "auc_high": each.auc_interval.high,
            }
            for each in self.results.summaries
        ]

    def _shown(self) -> Shown:
        results, scores, provenance = self.evaluated
        models = Models.of(results, provenance)
        judged = scores.rows(scores.protocol.isin(results.protocols))
        caveats = warnings(results, models, judged, provenance)
        notes = (INTERVALS, *((f"The report is {self.folder / 'report.html'}.",) if self.folder else ()))
        return Shown(
            f"Evaluation of {provenance.get('name', 'scores')}", table_one(results, models, ()), notes, caveats
        )


def evaluate_scores(
    scores: str | os.PathLike[str] | Columns,
    threshold: str = "pooled",
    out: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Evaluates the scores of any system; needs no JAX and no models of this package.

    Args:
        scores: A CSV, or columns by name, such as those of a data frame: `video`, `label` (1 bona fide, 0 attack) and
            `score` (higher is bona fide; NaN is no decision), and optionally protocol, seed, role (validation sets the
            threshold, test is judged), model, dataset, subject, pai, pai_fine, device, session, split, `attr.NAME`.
        threshold: Rule: pooled, balanced, apcer:0.01, cost:10,1 or fixed:0.5.
        out: Folder for the report; if none is given, nothing is written.

    Raises:
        UserError: Scores that cannot be read or evaluated, or a folder that holds something else.
    """
    if isinstance(scores, Mapping):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scores"
            _write_columns(path, scores)
            found = judge_scores(path, threshold)
    else:
        found = judge_scores(Path(scores), threshold)
    if out is None:
        return Evaluation(found)
    with output_folder(Path(out)) as place:
        write_report(place, *found)
    return Evaluation(found, Path(out))


def _write_columns(path: Path, columns: Columns) -> None:
    """Raises `UserError` for columns of several lengths."""
    values = {name: list(column) for name, column in columns.items()}
    if len(lengths := {name: len(each) for name, each in values.items()}) and len(set(lengths.values())) > 1:
        raise UserError(f"the columns of scores differ in length: {lengths}")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(values)
        writer.writerows([_cell(each) for each in row] for row in zip(*values.values(), strict=True))


def _cell(value: Any) -> str:
    """Empty for what is missing: None, pandas' NA, and NaN of any type."""
    if value is None or str(value) == "<NA>":
        return ""
    if isinstance(value, (float, np.floating)):  # NumPy's float64 alone is a float
        return "" if math.isnan(value) else repr(float(value))
    return str(value)
