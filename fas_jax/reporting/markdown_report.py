"""The report as Markdown: `results.md` and the longer `report.md`. Imports no JAX."""

from collections.abc import Mapping, Sequence
from typing import Any

from fas_jax.evaluation.results import DEFINITIONS, Results
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.reporting import calibration_tables, tables
from fas_jax.reporting.breakdown_tables import EXPLANATION, breakdown_part
from fas_jax.reporting.domains import domains_note
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.folds import fold_table
from fas_jax.reporting.grid import bullets, markdown, plain, quoted
from fas_jax.reporting.naming import Models
from fas_jax.reporting.notes import notes, warnings
from fas_jax.reporting.published import PublishedRow

_MOST_FAILURES = 20


def main_part(
    results: Results,
    models: Models,
    scores: ScoreTable,
    provenance: Mapping[str, Any],
    published: Sequence[PublishedRow],
    refusal: str,
    deployment: ExtraTable | None = None,
) -> str:
    """Warnings, the table in the layout of Table I, and the notes that it needs to be understood."""
    parts = [f"# Results: {plain(str(provenance.get('name', 'scores')))}"]
    if warned := warnings(results, models, scores, provenance):
        parts.append(quoted(warned))
    if results.protocols:
        parts += [f"## {tables.table_title(provenance)}", markdown(tables.table_one(results, models, published))]
        if (by_fold := fold_table(results, models)) is not None:
            parts += ["### Mean ± standard deviation over the folds", markdown(by_fold)]
        parts += [
            bullets(notes(results, models, provenance, published, refusal)),
            "### Videos behind the figures",
            tables.videos_note(results),
            markdown(tables.videos_table(results, scores, provenance)),
        ]
    if deployment:
        parts += section(deployment)
    return "\n\n".join(parts) + "\n"


def full_report(
    main: str,
    pictures: Sequence[tuple[str, str]],
    results: Results,
    models: Models,
    scores: ScoreTable,
    provenance: Mapping[str, Any],
    further: Sequence[ExtraTable] = (),
) -> str:
    """The main part, figures, all other tables, definitions, and what is needed to reproduce them.

    Args:
        main: Of `main_part`.
        pictures: Titles and files.
        results: Of the tested protocols.
        models: Of the results.
        scores: That the results are of.
        provenance: As `write_report` takes it.
        further: Other tables.
    """
    parts = [main.rstrip()]
    if results.protocols:
        uncalibrated = calibration_tables.calibration_notes(results, models)
        promises = tables.promise_table(results, models)
        promised = ["## Promised and reached", tables.PROMISES, markdown(promises)] if promises else []
        parts += ["## ROC curves", *(f"![{plain(title)}]({file})" for title, file in pictures)]
        parts += [
            "## Strict beside oracle",
            tables.ORACLE,
            markdown(tables.oracle_table(results, models, further)),
            *promised,
            "## How sure HTER is",
            tables.UNCERTAINTY,
            markdown(tables.uncertainty_table(results, models)),
            "## Calibration",
            calibration_tables.TEXT,
            markdown(calibration_tables.calibration_table(results, models)),
            *([bullets(uncalibrated)] if uncalibrated else []),
            "## Presentation attack detection rates",
            tables.RATES,
            markdown(tables.rates_table(results, models)),
        ]
    if results.comparisons:
        parts += [
            "## Differences to the best model",
            f"{tables.COMPARISONS} {domains_note(results)}",
            markdown(tables.comparison_table(results, models)),
            tables.FULL_COMPARISONS,
            markdown(tables.comparison_table(results, models, full=True)),
        ]
    if not scores.answered.all():
        reasons, rates = tables.non_responses(results, models, scores)
        parts += ["## Non-responses", tables.NON_RESPONSES, bullets(reasons), markdown(rates)]
    if noted := tables.figure_notes(results.figures, models):
        parts += ["## Notes on single figures", bullets(noted)]
    for table in further:
        parts += section(table)
    if results.groups:
        breakdown = breakdown_part(results, models)
        parts += ["## Where the errors are", EXPLANATION, *([breakdown] if breakdown else [])]
    parts += ["## Definitions", "Polarity: label 1 is bona fide; a higher score means bona fide."]
    parts.append(bullets(f"`{name}`: {text}" for name, text in DEFINITIONS.items()))
    parts += ["## What the run was made from", _provenance_part(models, provenance)]
    return "\n\n".join(parts) + "\n"


def section(table: ExtraTable) -> list[str]:
    """A further table as a section: title, text, table."""
    return [f"## {plain(table.title)}", plain(table.text), markdown(table.grid)]


def _provenance_part(models: Models, provenance: Mapping[str, Any]) -> str:
    parts = ["All settings are in `provenance.json`, all scores in `scores.csv`, all figures in `results.json`."]
    parts.append(markdown(tables.datasets_table(provenance)))
    if models.methods:
        parts.append(markdown(tables.methods_table(models)))
    if failures := tables.failures(provenance):
        parts.append("Failures:\n\n" + bullets(failures[:_MOST_FAILURES]))
        if len(failures) > _MOST_FAILURES:
            parts.append(f"and {len(failures) - _MOST_FAILURES} more in `provenance.json`.")
    for name, title in (("versions", "Versions"), ("seconds", "Seconds by stage")):
        if found := provenance.get(name):
            shown = (
                f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items()
            )
            parts.append(plain(f"{title}: " + ", ".join(shown) + "."))
    return "\n\n".join(parts)
