"""One folder that says what a run found, how sure it is, and what it was made from. Imports no JAX."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.evaluation.conformal import ALPHA
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.protocols.presets import is_synthetic
from fas_jax.reporting import breakdown_tables, charts, grid, tables
from fas_jax.reporting.answers import alpha_of, answers_section
from fas_jax.reporting.deployed import deployment_section
from fas_jax.reporting.figures import write_figure
from fas_jax.reporting.markdown_report import full_report, main_part
from fas_jax.reporting.materials import materials_in
from fas_jax.reporting.naming import Models, ordered_protocols, protocol_name
from fas_jax.reporting.notes import warnings
from fas_jax.reporting.page import Extras, write_page
from fas_jax.reporting.published import PublishedRow, published_rows

PAD = "pad"


class Evaluated(NamedTuple):
    """What a report is of."""

    results: Results
    scores: ScoreTable
    provenance: Mapping[str, Any]
    """As `write_report` takes it."""


def write_report(
    run: Path, results: Results, scores: ScoreTable, provenance: Mapping[str, Any], extras: Extras | None = None
) -> None:
    """Writes `provenance.json`, `scores.csv`, `results` as JSON, Markdown, CSV and LaTeX, `breakdown.csv`, ROC
    figures, score files for other PAD tools (`pad/`), `report.html` and `report.md`.

    `report.md` is written last. Every file is either whole or absent. `results.csv` and `breakdown.csv` are for people:
    names that a spreadsheet would take for formulas have an apostrophe before them. `scores.csv`, `pad/` and the JSON
    files have all names as they are.

    Args:
        run: folder, made if needed.
        results: of the protocols that have a target, as `evaluate` gives them.
        scores: all rows, those of protocols without a target included: their detectors are for use, and shown as such.
        provenance: JSON-able. `preset` (text) and `datasets` are needed; the latter is a list of dictionaries
            with `dataset`, `synthetic`, `complete` (`None` where not known), and perhaps `clips`, `failures`
            (list) and `prepared` (fingerprint). What else is there is shown: `name`, `experiment`, `weights`,
            `backbone`, `versions`, `seconds`, `assignments` (of `protocols.describe`), `materials` (of
            `Materials.to_json`), `methods` (by name, `kind` and settings), `reads` (by method, (kind, name) of its
            inputs) and `settings_from` (by method, where its settings come from).
        extras: learning curves, frames of the worst videos, further tables.

    Raises:
        UserError: provenance without what is needed, or that contradicts the scores; inputs that cannot stand in one
            table; a folder that cannot be written to.
    """
    check_provenance(provenance, scores)
    rows: tuple[PublishedRow, ...] = ()
    refusal = ""
    try:
        rows = published_rows(provenance, results.protocols)
    except UserError as error:
        refusal = str(error)
    models = Models.of(results, provenance)
    materials = materials_in(provenance, models, results.protocols)
    materials.check()
    extras = replace(extras or Extras(), deployment=deployment_section(scores, results, models, provenance))
    if answers := answers_section(scores, results, models, alpha_of(provenance)):
        extras = replace(extras, tables=(answers, *extras.tables))
    judged = scores.rows(scores.protocol.isin(results.protocols))
    main = main_part(results, models, judged, provenance, rows, refusal, extras.deployment)
    run = Path(run)
    write_json(run / "provenance.json", dict(provenance))
    scores.write_csv(run / "scores.csv")
    write_json(run / "results.json", results.to_json())
    write_text(run / "results.md", main)
    named, title = tables.table_one(results, models, rows), "HTER and AUC in per cent"
    if extras.deployment and not results.protocols:
        named, title = extras.deployment.grid, "detectors for use, without an estimate of their error"
    caption = f"{provenance.get('name', 'scores')}: {title}"
    warned = warnings(results, models, judged, provenance)
    write_text(run / "results.tex", grid.latex(named, caption, warned))
    write_text(run / "results.csv", grid.to_csv(breakdown_tables.all_figures(results, models)))
    write_text(run / "breakdown.csv", grid.to_csv(breakdown_tables.all_groups(results, models)))
    write_pad_scores(run / PAD, scores)
    joined = (provenance.get("rendered") or {}).get("clips", {})
    rendered = {each["dataset"] for each in provenance["datasets"] if each["synthetic"]}
    kind = ", rendered data" if rendered - set(joined) else ", rendered videos in training" if joined else ""
    # A rendered tree is a part of the official set by its plan, and is named rendered already.
    kind += (
        ", partial data"
        if any(each["complete"] is False and not each["synthetic"] for each in provenance["datasets"])
        else ""
    )
    kind += f", mean of {len(results.seeds)} seeds" if len(results.seeds) > 1 else ""
    pictures = []
    for protocol in ordered_protocols(results):
        display = protocol_name(protocol)
        file = f"roc_{_plain(protocol)}.png"
        title = f"{display} (preset {provenance['preset']}{kind})"
        write_figure(charts.roc(charts.curves_of(results, judged, protocol, models), title), run / file)
        pictures.append((f"ROC curves, {display}", file))
    page = write_page(results, judged, provenance, rows, refusal, extras)
    write_text(run / "report.html", page)
    further = list(extras.tables)
    text = full_report(main, pictures, results, models, judged, provenance, further)
    write_text(run / "report.md", text)


def write_pad_scores(folder: Path, scores: ScoreTable) -> None:
    """One CSV for each protocol, model, seed and role with `is_bonafide, attack_type, score, video_key`.

    The attack type is the coarse PAI species; it is empty for bona fide videos, and the score is for videos that have
    none, so that nothing is dropped.
    """
    for protocol in scores.distinct("protocol"):
        for model in scores.distinct("model"):
            for seed in scores.distinct("seed"):
                for role in (VALIDATION, TEST):
                    rows = scores.select(protocol=protocol, model=model, seed=seed, role=role)
                    if not len(rows):
                        continue
                    name = _plain(f"{protocol}-{model}-seed{seed}-{role}")
                    table = grid.Grid(
                        ["is_bonafide", "attack_type", "score", "video_key"],
                        [
                            [
                                str(bool(label)),
                                "" if label else pai,
                                "" if np.isnan(score) else repr(score),
                                f"{dataset}/{video}" if dataset else video,
                            ]
                            for label, pai, score, dataset, video in zip(
                                rows.label.tolist(),
                                rows.pai.tolist(),
                                rows.score.tolist(),
                                rows.dataset.tolist(),
                                rows.video.tolist(),
                                strict=True,
                            )
                        ],
                    )
                    write_text(folder / f"{name}.csv", grid.to_csv(table, exact=True))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_+-]", "_", name)


def judge_scores(csv: Path, threshold: str = "pooled", alpha: float = ALPHA) -> Evaluated:
    """Evaluates scores of any system: reads a CSV (see `ScoreTable.read_csv`), and writes nothing.

    Args:
        csv: The scores.
        threshold: A rule, as `thresholds.Rule.parse` reads it.
        alpha: Error rate of three answers, above 0 and below 1.

    Raises:
        UserError: As `ScoreTable.read_csv` and `evaluate`, or an error rate out of its range.
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha, the error rate of three answers, must lie between 0 and 1, not {alpha:g}")
    scores = ScoreTable.read_csv(csv)
    results = evaluate(scores, threshold)
    datasets = [
        {"dataset": name, "synthetic": is_synthetic(name), "complete": None} for name in scores.distinct("dataset")
    ]
    provenance = {"name": Path(csv).name, "preset": "unknown", "datasets": datasets, "scores": str(csv), "alpha": alpha}
    return Evaluated(results, scores, provenance)


def evaluate_scores(csv: Path, out: Path, threshold: str = "pooled", alpha: float = ALPHA) -> Results:
    """As `judge_scores`, and writes a report into `out`.

    Raises:
        UserError: As `judge_scores` and `output_folder`: an earlier report of this kind is replaced, and nothing else.
    """
    with output_folder(Path(out)) as place:
        found = judge_scores(csv, threshold, alpha)
        write_report(place, found.results, found.scores, found.provenance)
    return found.results


def check_provenance(provenance: Mapping[str, Any], scores: ScoreTable) -> None:
    """Raises `UserError` unless the provenance tells the preset, and of every scored dataset what it is."""
    for name, kind in (("preset", str), ("datasets", list)):
        if not isinstance(provenance.get(name), kind):
            raise UserError(f"provenance: {name!r} must be given, as a {kind.__name__}")
    declared = {}
    for each in provenance["datasets"]:
        for name, kinds in (("dataset", str), ("synthetic", bool), ("complete", bool | None)):
            if not isinstance(each, Mapping) or name not in each or not isinstance(each[name], kinds):
                raise UserError(f"provenance: every dataset needs {name!r} ({kinds}), unlike {each!r}")
        if is_synthetic(each["dataset"]) != each["synthetic"]:
            raise UserError(f"provenance: the name {each['dataset']!r} contradicts synthetic={each['synthetic']}")
        declared[each["dataset"]] = each
    for dataset in scores.distinct("dataset"):
        if dataset not in declared:
            raise UserError(f"provenance: there are scores of dataset {dataset!r}, but nothing says what it is")
