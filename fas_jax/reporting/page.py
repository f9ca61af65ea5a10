"""The report as one HTML page that needs nothing else: no network, no script, pictures inside. Imports no JAX.

Everything that comes from files is escaped, by `html.escape` here or in `grid` and `figures`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from fas_jax.base.toml import to_toml
from fas_jax.evaluation.breakdown import dimension_name
from fas_jax.evaluation.calibration import RAW
from fas_jax.evaluation.results import DEFINITIONS, Results, WorstVideo
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.reporting import breakdown_tables, calibration_tables, charts, tables
from fas_jax.reporting.domains import domains_note
from fas_jax.reporting.extra_figures import ExtraFigure
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.figures import as_image
from fas_jax.reporting.folds import fold_table
from fas_jax.reporting.grid import Grid, to_html
from fas_jax.reporting.learning import History
from fas_jax.reporting.naming import Models, dataset_name, ordered_protocols, protocol_name
from fas_jax.reporting.notes import notes, warnings
from fas_jax.reporting.palette import CLASSES, style
from fas_jax.reporting.published import PublishedRow
from fas_jax.reporting.stylesheet import STYLE

_EXTRAS = "extras"
# Longer tables of groups are folded.
_MOST_GROUPS = 30


@dataclass(frozen=True)
class Extras:
    """What a page shows where it is at hand; scores alone do not bring it."""

    histories: tuple[History, ...] = ()
    frames: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """Data URIs of frames, by (dataset, video)."""
    tables: tuple[ExtraTable, ...] = ()
    figures: tuple[ExtraFigure, ...] = ()
    deployment: ExtraTable | None = None
    """Of detectors that are trained on everything."""


def write_page(
    results: Results,
    scores: ScoreTable,
    provenance: Mapping[str, Any],
    published: Sequence[PublishedRow],
    refusal: str,
    extras: Extras,
) -> str:
    """The page's text."""
    models = Models.of(results, provenance)
    named = tables.table_one(results, models, published)
    kinds = ["pub"] * len(published) + [""] * (len(named.rows) - len(published))
    by_fold = fold_table(results, models)
    sections = {}
    if results.protocols:
        sections[tables.table_title(provenance)] = (
            to_html(named, kinds)
            + (_text("Mean ± standard deviation over the folds:") + to_html(by_fold) if by_fold else "")
            + _list(notes(results, models, provenance, published, refusal))
            + _details(
                "Videos behind the figures",
                _text(tables.videos_note(results)) + to_html(tables.videos_table(results, scores, provenance)),
            )
        )
    if extras.deployment:
        sections |= _extra([extras.deployment])
    if results.protocols:
        sections["Strict beside oracle"] = _text(tables.ORACLE) + to_html(
            tables.oracle_table(results, models, extras.tables)
        )
        if promised := tables.promise_table(results, models):
            sections["Promised and reached"] = _text(tables.PROMISES) + to_html(promised)
        sections["How sure HTER is"] = _text(tables.UNCERTAINTY) + to_html(tables.uncertainty_table(results, models))
    sections |= _extra(extras.tables)
    if results.protocols:
        sections |= {
            "ROC and DET curves": _curves(results, models, scores),
            "Scores": _histograms(results, models, scores),
            "Calibration": _calibration(results, models),
            "Detection rates": _text(tables.RATES) + to_html(tables.rates_table(results, models)),
        }
    if results.comparisons:
        sections["Differences"] = (
            _text(f"{tables.COMPARISONS} {domains_note(results)}")
            + to_html(tables.comparison_table(results, models))
            + _details(
                "Full intervals",
                _text(tables.FULL_COMPARISONS) + to_html(tables.comparison_table(results, models, full=True)),
            )
        )
    sections |= {
        each.title: f'{_text(each.text)}<img class="chart" alt="{escape(each.title)}" src="{escape(each.picture)}">'
        for each in extras.figures
    }
    if results.groups:
        sections["Where the errors are"] = _text(breakdown_tables.EXPLANATION) + _breakdown(results, models, extras)
    if extras.histories:
        sections["Learning curves"] = _learning(extras.histories, models)
    if not scores.answered.all():
        reasons, rates = tables.non_responses(results, models, scores)
        sections["Non-responses"] = _text(tables.NON_RESPONSES) + _list(reasons) + to_html(rates)
    if noted := tables.figure_notes(results.figures, models):
        sections["Notes on single figures"] = _list(noted)
    definitions = (f"<li><code>{escape(name)}</code>: {escape(text)}</li>" for name, text in DEFINITIONS.items())
    sections["Definitions"] = (
        _text("Polarity: label 1 is bona fide; a higher score means bona fide.") + f"<ul>{''.join(definitions)}</ul>"
    )
    sections["To reproduce"] = _provenance(models, provenance)
    warned = warnings(results, models, scores, provenance)
    return _page(f"Results: {provenance.get('name', 'scores')}", warned, sections)


def simple_page(
    title: str,
    said: Sequence[str],
    shown: Sequence[ExtraTable],
    drawn: Mapping[str, str] | None = None,
    caveats: Sequence[str] = (),
) -> str:
    """A page of statements, charts and tables in the same dress.

    Args:
        title: Of the page.
        said: What was found, in short.
        shown: The tables.
        drawn: Charts as HTML, by their titles.
        caveats: Of `Materials.caveats`, for the top of the page.
    """
    sections = {"In short": _list(said)} if said else {}
    sections |= {name: f"<figure>{chart}</figure>" for name, chart in (drawn or {}).items()}
    return _page(title, caveats, sections | _extra(shown))


def _extra(shown: Iterable[ExtraTable]) -> dict[str, str]:
    """Further tables as sections."""
    return {each.title: _text(each.text) + to_html(each.grid) for each in shown}


def legend(entries: Sequence[tuple[str, str, bool]]) -> str:
    """(label, colour, dashed) as an HTML list that wraps."""
    items = []
    for label, colour, dashed in entries:
        rule = f"border-top:3px {'dashed' if dashed else 'solid'} {colour}"
        items.append(f'<li><i style="{rule}"></i>{escape(label)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _page(title: str, warned: Sequence[str], sections: Mapping[str, str]) -> str:
    """Headings and warnings are escaped here; the sections' contents have to be HTML already."""
    warnings = "".join(f'<p class="warn">{escape(text)}</p>' for text in warned)
    links = "".join(f'<a href="#s{number}">{escape(name)}</a>' for number, name in enumerate(sections))
    body = "".join(
        f'<section id="s{number}"><h2>{escape(name)}</h2>{content}</section>'
        for number, (name, content) in enumerate(sections.items())
    )
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Nothing may be fetched, whatever the page's content came to say.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
    )
    head += f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
    page = f"{head}<body><h1>{escape(title)}</h1>{warnings}<nav>{links}</nav>{body}</body></html>\n"
    # File names need not be valid UTF-8; on a page such bytes are shown as question marks.
    return page.encode("utf-8", "replace").decode()


def _curves(results: Results, models: Models, scores: ScoreTable) -> str:
    """ROC and DET of every protocol side by side; the band is the main model's."""
    entries = [(models.name(model), *models.style(model)) for model in models.order]
    parts = [
        _text(
            "Dots: the operating point at the threshold from validation. Shaded: pointwise 95 % band of the main "
            "model's curve, by bootstrap over the target's subjects. Over several seeds, means."
        ),
        legend(entries),
    ]
    for protocol in ordered_protocols(results):
        name = protocol_name(protocol)
        main = breakdown_tables.main_model(results, models, protocol)
        curves = charts.curves_of(results, scores, protocol, models, main)
        drawn = {"ROC": charts.roc(curves), "DET": charts.det(curves)}
        cards = [(f"{kind}, {name}", as_image(figure, f"{kind} curves, {name}")) for kind, figure in drawn.items()]
        parts.append(_figures(cards))
    return "".join(parts)


def _histograms(results: Results, models: Models, scores: ScoreTable) -> str:
    drawn = []
    for protocol in ordered_protocols(results):
        model = breakdown_tables.main_model(results, models, protocol)
        if model is None:
            continue
        figures = next(each for each in results.figures if (each.protocol, each.model) == (protocol, model))
        rows = scores.select(protocol=protocol, model=model, role=TEST, seed=figures.seed)
        rows = rows.rows(rows.answered)
        seed = f", seed {figures.seed}" if len(results.seeds) > 1 else ""
        name = f"{protocol_name(protocol)}, {models.name(model)}{seed}"
        sides = rows.score[rows.label == 1], rows.score[rows.label == 0]
        chart = charts.histogram(*sides, figures.values["threshold"], CLASSES)
        drawn.append((name, as_image(chart, f"Scores, {name}")))
    entries = [("bona fide", CLASSES[0], False), ("attacks", CLASSES[1], False)]
    return legend([*entries, ("threshold from validation", "#444444", True)]) + _figures(drawn)


def _calibration(results: Results, models: Models) -> str:
    told = calibration_tables.calibration_notes(results, models)
    drawn = [(title, as_image(chart, title)) for title, chart in calibration_tables.diagrams(results, models)]
    entries = [(name, calibration_tables.COLOURS[kind], kind == RAW) for kind, name in calibration_tables.NAMES.items()]
    table = to_html(calibration_tables.calibration_table(results, models))
    pictures = _text(calibration_tables.DIAGRAMS) + legend(entries) + _figures(drawn) if drawn else ""
    return _text(calibration_tables.TEXT) + table + (_list(told) if told else "") + pictures


def _breakdown(results: Results, models: Models, extras: Extras) -> str:
    parts = []
    for protocol in ordered_protocols(results):
        model = breakdown_tables.main_model(results, models, protocol)
        if model is None:
            continue
        parts.append(f"<h3>{escape(protocol_name(protocol))}: {escape(models.name(model))}</h3>")
        for dimension in breakdown_tables.dimensions(results, protocol, model):
            grid = breakdown_tables.group_table(results, protocol, model, dimension)
            long = dimension == "subject" or len(grid.rows) > _MOST_GROUPS
            parts.append(_details(f"By {dimension_name(dimension)}", to_html(grid)) if long else to_html(grid))
        gaps = breakdown_tables.gap_table(results, protocol, model)
        if gaps.rows:
            parts.append(_text(breakdown_tables.GAPS) + to_html(gaps))
        worst = [each for each in results.worst if (each.protocol, each.model) == (protocol, model)]
        if worst:
            cards = "".join(_worst(each, extras.frames.get((each.dataset, each.video), ())) for each in worst)
            parts.append(_details(f"Worst-scored videos ({len(worst)})", f'<div class="cards">{cards}</div>', True))
    return "".join(parts)


def _worst(each: WorstVideo, frames: Sequence[str]) -> str:
    pictures = "".join(f'<img src="{escape(uri)}" alt="frame">' for uri in frames)
    told = ", ".join(f"{name} {each.about[name]}" for name in ("device", "session", "subject") if each.about[name])
    kind = breakdown_tables.worst_class(each)
    verdict = "rejected" if each.label else "accepted"
    return (
        f'<div class="worst">{pictures}<p><b>{escape(kind)}, {verdict}</b>, score {each.score:.4g}, '
        f"{abs(each.margin):.3g} {'below' if each.label else 'above'} the threshold</p>"
        f"<p><code>{escape(dataset_name(each.dataset))}: {escape(each.video)}</code></p>"
        f"<p>{escape(told)}</p></div>"
    )


def _learning(histories: Sequence[History], models: Models) -> str:
    runs = list(dict.fromkeys(each.run for each in histories))
    colours = {run: style(run, runs)[0] for run in runs}
    drawn = []
    known = {each.model for each in histories}
    # A method of several networks has curves by names of their own, such as patches-low.
    for model in [*filter(known.__contains__, models.order), *sorted(known.difference(models.order))]:
        lines = []
        for each in histories:
            if each.model == model:
                colour, x = colours[each.run], each.epoch.tolist()
                lines.append(charts.Line(each.run, colour, x, each.train_loss.tolist(), dashed=True))
                lines.append(charts.Line(each.run, colour, x, each.validation_loss.tolist()))
        title = f"Loss of {models.name(model)}"
        drawn.append((title, as_image(charts.lines("epoch", "cross-entropy", lines), title)))
    header = ["model", "protocol and seed", "best epoch", "last epoch", "validation loss there", "validation accuracy"]
    rows = []
    for each in histories:
        ran = each.epoch[~np.isnan(each.validation_loss)]
        at = int(np.flatnonzero(each.epoch == each.best_epoch)[0])
        figures = (f"{each.validation_loss[at]:.4f}", f"{100 * each.validation_accuracy[at]:.1f} %")
        rows.append([models.name(each.model), each.run, str(each.best_epoch), f"{ran.max():.0f}", *figures])
    return (
        _text("Solid: validation videos of the sources; dashed: training videos. The models kept are those of the best "
              "epoch by validation, unless the table of chosen epochs says otherwise; the folds' models are not drawn.")
        + legend([(run, colours[run], False) for run in runs])
        + _figures(drawn)
        + _details("Best epochs", to_html(Grid(header, rows)))
    )  # fmt: skip


def _provenance(models: Models, provenance: Mapping[str, Any]) -> str:
    parts = [to_html(tables.datasets_table(provenance))]
    if models.methods:
        parts.append(to_html(tables.methods_table(models)))
    if failures := tables.failures(provenance):
        parts.append(_details(f"Videos that could not be read ({len(failures)})", _list(failures)))
    if settings := provenance.get("experiment"):
        text = "Save the settings below as settings.toml, then: fas-jax run --config settings.toml"
        parts.append(_text(text) + _details("Settings", f"<pre>{escape(to_toml(settings))}</pre>"))
    if command := provenance.get("scores"):
        parts.append(_text(f"Made by: fas-jax evaluate --scores {command} --out FOLDER"))
    for name in filter(provenance.get, ("versions", "seconds", "devices")):
        content = escape(json.dumps(provenance[name], indent=1, ensure_ascii=False))
        parts.append(_details(name.capitalize(), f"<pre>{content}</pre>"))
    keys = ("backbone", "weights", "weights_sha256")
    parts.append(_list(f"{key}: {provenance[key]}" for key in keys if key in provenance))
    return "".join(parts)


def _figures(drawn: Iterable[tuple[str, str]]) -> str:
    cards = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{chart}</figure>" for name, chart in drawn)
    return f'<div class="cards">{cards}</div>'


def _details(summary: str, content: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{content}</details>"


def _text(text: str) -> str:
    return f'<p class="small">{_inline(text)}</p>'


def _list(lines: Iterable[str]) -> str:
    return '<ul class="small">' + "".join(f"<li>{_inline(line)}</li>" for line in lines) + "</ul>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
