"""The study's tables, figures and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fas_jax.base.files import write_json, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.evaluation.significance import LEVEL
from fas_jax.reporting.charts import Line, lines
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.figures import as_image, new_figure, write_figure
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import protocol_name
from fas_jax.reporting.page import simple_page
from fas_jax.reporting.palette import CLASSES
from fas_jax.studies.verdict.cascade import Cost, Point
from fas_jax.studies.verdict.helping import POOLED, Errors, Paired

BEST = "best expert on the sources"
RENDERED = "Rendered videos: these tables only show that the code works, not whether an ensemble helps on real faces."
_TESTED = (
    "The table gives the HTER of the verdict minus the HTER of the reference, in points; below 0 the verdict has fewer "
    "errors. For all models, a video without a score counts as rejected. p-values are those of sign-flip tests over "
    "test subjects, corrected after Holm over all rows; 95 % intervals are by bootstrap over the subjects. Smallest: "
    "the difference that the test would have found in 4 of 5 repetitions; the test can miss a smaller one. The best "
    "expert is chosen on the sources, not on the target."
)
_CASCADE = (
    "The cheapest expert is asked first, and the next one only while the verdict over those asked is undecided. Each "
    "stage has two thresholds from validation videos of the sources, which wrongly reject at most the share `risk` of "
    "the bona fide videos and wrongly accept at most that share of the attacks. Milliseconds are measured on this "
    "machine for one clip, from frames to score. FLOPs come from XLA's analysis of the program. The costs do not allow "
    "for experts that share features. All figures are means over protocols and seeds. Whoever picks a risk by this "
    "curve chooses on the target."
)


def model_table(
    errors: Mapping[str, Mapping[str, Errors]],
    areas: Mapping[str, Mapping[str, float]],
    distinct: Mapping[str, Mapping[str, str]],
) -> ExtraTable:
    """HTER, AUC and distinct scores of all models, by protocol and as means over protocols."""
    protocols = sorted({protocol for own in errors.values() for protocol in own}, key=protocol_name)
    rows = [
        [
            protocol_name(protocol),
            name,
            _points(own[protocol].hter),
            _points(areas[name].get(protocol, np.nan)),
            distinct[name].get(protocol, ""),
        ]
        for protocol in protocols
        for name, own in errors.items()
        if protocol in own
    ]
    if len(protocols) > 1:
        for name, own in errors.items():
            hters = [own[each].hter if each in own else np.nan for each in protocols]
            figures = [hters, [areas[name].get(each, np.nan) for each in protocols]]
            rows.append([POOLED, name, *(_points(float(np.mean(each))) for each in figures), ""])
    text = (
        "HTER: a video without a score counts as rejected. AUC: of the videos with a score. Both are means over seeds, "
        f"and in the rows of {POOLED} over protocols. Distinct scores counts the different scores of test videos, over "
        "all seeds; if there are few, equal error rates, AUC and BPCER at low APCER depend on ties."
    )
    header = ["protocol", "model", "HTER %", "AUC %", "distinct scores"]
    return ExtraTable("Experts and verdicts", text, Grid(header, rows))


def test_table(title: str, found: Sequence[Paired], chosen: Mapping[str, str]) -> ExtraTable:
    """Paired tests; `chosen` names by protocol the expert that is best on the sources."""
    rows = []
    for each in found:
        reference = each.reference
        if reference == BEST and each.protocol in chosen:
            reference += f" ({chosen[each.protocol]})"
        protocol = each.protocol if each.protocol == POOLED else protocol_name(each.protocol)
        figures = [_signed(each.difference) + each.interval.format("+.1f"), _p(each.p), _p(each.corrected)]
        rows.append([protocol, reference, *figures, _points(each.smallest), str(each.subjects)])
    header = ["protocol", "reference", "difference", "p", "corrected p", "smallest", "subjects"]
    return ExtraTable(title, _TESTED, Grid(header, rows))


def said_of(found: Sequence[Paired]) -> list[str]:
    """The result of each pooled test as a sentence; with a single protocol, of that protocol's tests."""
    names = {each.protocol for each in found}
    told = []
    for each in found:
        if len(names) > 1 and each.protocol != POOLED:
            continue
        figures = (
            f"{_signed(each.difference)} points of HTER{each.interval.format('+.1f')}, corrected p {_p(each.corrected)}"
        )
        if each.corrected < LEVEL:
            side = "fewer" if each.difference < 0 else "more"
            told.append(f"The verdict has {side} errors than the {each.reference} ({figures}).")
        else:
            told.append(f"No evidence that the verdict differs from the {each.reference} ({figures}).")
    return told


def cost_table(costs: Mapping[str, Cost]) -> ExtraTable:
    """The cost of each expert for one clip."""
    rows = [[name, f"{each.milliseconds:.1f}", _flops(each.flops)] for name, each in costs.items()]
    return ExtraTable("What the experts cost", "For one clip.", Grid(["expert", "ms", "FLOPs"], rows))


def cascade_table(points: Sequence[Point]) -> ExtraTable:
    """The points of the cascade's curve."""
    rows = [
        [
            "all experts at once" if np.isnan(each.risk) else f"{each.risk:.1%}",
            *(_points(each.hter), f"{each.milliseconds:.1f}", _flops(each.flops), f"{each.asked:.2f}"),
        ]
        for each in points
    ]
    return ExtraTable("Cascade", _CASCADE, Grid(["risk", "HTER %", "ms", "FLOPs", "experts asked"], rows))


def cascade_figures(points: Sequence[Point]) -> dict[str, Figure]:
    """HTER against milliseconds and, where all experts have them, FLOPs; with the point of all experts at once."""
    found = {}
    for title, axis, cost in (
        ("Cascade, milliseconds", "milliseconds a clip", [each.milliseconds for each in points]),
        ("Cascade, FLOPs", "GFLOPs a clip", [each.flops / 1e9 for each in points]),
    ):
        if not np.isfinite(cost).all():
            continue
        places = sorted(range(len(points)), key=cost.__getitem__)
        drawn = [
            Line(name, colour, [cost[i] for i in own], [100 * points[i].hter for i in own], marks=True)
            for name, colour, own in (
                ("cascade", CLASSES[0], [i for i in places if not np.isnan(points[i].risk)]),
                ("all experts at once", CLASSES[1], [i for i in places if np.isnan(points[i].risk)]),
            )
        ]
        found[title] = lines(axis, "HTER (%)", drawn)
        found[title].axes[0].legend()
    return found


def correlation_figure(names: Sequence[str], values: np.ndarray) -> Figure:
    """A square of numbers, blank where a correlation is undefined."""
    figure = new_figure(1.6 + 0.9 * len(names), 1.2 + 0.8 * len(names))
    axes = figure.add_subplot()
    image = axes.imshow(values, vmin=-1, vmax=1, cmap="PuOr")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(*values.shape):
        if np.isfinite(values[row, column]):
            colour = "white" if abs(values[row, column]) > 0.5 else "black"
            axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=9, color=colour)
    figure.colorbar(image, label="correlation of errors")
    return figure


def write_page(
    out: Path,
    title: str,
    said: Sequence[str],
    tables: Sequence[ExtraTable],
    figures: Mapping[str, Figure],
    caveats: Sequence[str],
) -> None:
    """Writes `verdict.html`, `verdict.json` and the figures as PNG.

    Raises:
        UserError: As `output_folder`.
    """
    content = [{"title": t.title, "text": t.text, "header": t.grid.header, "rows": t.grid.rows} for t in tables]
    with output_folder(out) as place:
        for name, figure in figures.items():
            write_figure(figure, place / f"{name.lower().replace(',', '').replace(' ', '-')}.png")
        drawn = {name: as_image(figure, name) for name, figure in figures.items()}
        write_json(place / "verdict.json", {"title": title, "statements": said, "caveats": caveats, "tables": content})
        write_text(place / "verdict.html", simple_page(title, said, tables, drawn, caveats))


def _points(share: float) -> str:
    return UNDEFINED if np.isnan(share) else f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return UNDEFINED if np.isnan(share) else f"{100 * share:+.2f}"


def _p(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:.3g}"


def _flops(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:.3g}"
