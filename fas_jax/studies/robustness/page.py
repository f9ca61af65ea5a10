"""The study's folder: a table as CSV and Markdown, and a figure for each protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fas_jax.base.files import write_text
from fas_jax.base.outputs import output_folder
from fas_jax.pixels.disturbances import AXES
from fas_jax.reporting.figures import new_figure, write_figure
from fas_jax.reporting.grid import UNDEFINED, Grid, markdown, quoted, to_csv
from fas_jax.reporting.naming import model_name, protocol_name
from fas_jax.reporting.palette import style
from fas_jax.studies.robustness.measure import Measured

_TEXT = (
    "Verdict flips: videos in % whose verdict at the detector's own threshold is another one than at strength 0; a "
    "video that gets no verdict counts. HTER in %, over videos with a score. Means over seeds. The crop is moved in "
    "the video's own frames; the other axes disturb the frames as they are stored."
)
_HEADER = ("protocol", "model", "axis", "strength", "videos", "verdict flips", "HTER", "without a score")


def grid_of(measured: Sequence[Measured], exact: bool = False) -> Grid:
    """Means over seeds, a row for each protocol, model, axis and strength; `exact` is for programs: shares, full names.

    Figures that are undefined for some seed are undefined: a mean over the others would hide it.
    """
    rows = []
    groups = _groups(measured)
    for protocol, axis, model in dict.fromkeys((each.protocol, each.axis, each.model) for each in measured):
        for strength in dict.fromkeys(each.strength for each in measured if each.axis == axis):
            own = groups[protocol, model, axis, strength]
            means = [_mean(own, name) for name in ("flips", "hter", "undecided")]
            if exact:
                about, cells = [protocol, model, axis], [repr(value) for value in means]
            else:
                about = [protocol_name(protocol), model_name(model), AXES[axis].title]
                cells = [UNDEFINED if np.isnan(value) else f"{100 * value:.2f}" for value in means]
            rows.append([*about, f"{strength:g}", str(own[0].videos), *cells])
    return Grid(_HEADER, rows)


def write_page(folder: Path, name: str, measured: Sequence[Measured], caveats: Sequence[str]) -> str:
    """Writes `robustness.csv`, `robustness.md` and `robustness-PROTOCOL.png`; gives the Markdown.

    Args:
        folder: Made if needed; what an earlier study wrote there is replaced.
        name: Of the run or bundle.
        measured: Of `measure.measure`.
        caveats: Shown above the table.

    Raises:
        UserError: The folder holds something else.
    """
    parts = [f"# Robustness of {name}", *([quoted(caveats)] if caveats else []), _TEXT, markdown(grid_of(measured))]
    text = "\n\n".join(parts)
    with output_folder(folder) as place:
        write_text(place / "robustness.csv", to_csv(grid_of(measured, exact=True), exact=True))
        write_text(place / "robustness.md", text + "\n")
        for protocol in dict.fromkeys(each.protocol for each in measured):
            own = [each for each in measured if each.protocol == protocol]
            write_figure(figure(own), place / f"robustness-{protocol}.png")
    return text


def figure(measured: Sequence[Measured]) -> Figure:
    """Verdict flips above HTER along every axis, a line for each model; NaN breaks it."""
    axes = list(dict.fromkeys(each.axis for each in measured))
    models = list(dict.fromkeys(each.model for each in measured))
    groups = _groups(measured)
    drawn = new_figure(2.6 * len(axes) + 0.6, 5.2)
    places = drawn.subplots(2, len(axes), squeeze=False, sharey="row", sharex="col")
    for column, axis in enumerate(axes):
        for row, (field, title) in enumerate((("flips", "verdict flips (%)"), ("hter", "HTER (%)"))):
            place = places[row][column]
            place.grid(color="#E5E5E5", linewidth=0.6)
            for model in models:
                colour, dashed = style(model, models)
                points = [
                    (strength, 100 * _mean(own, field))
                    for (_, name, other, strength), own in groups.items()
                    if (name, other) == (model, axis)
                ]
                x, y = zip(*sorted(points), strict=True)
                line = "--" if dashed else "-"
                place.plot(x, y, line, color=colour, marker="o", markersize=3, linewidth=1.4, label=model_name(model))
            if not column:
                place.set_ylabel(title)
        places[1][column].set_xlabel(AXES[axis].title, fontsize="small")
    places[0][0].legend(fontsize="x-small", frameon=False)
    return drawn


def _groups(measured: Sequence[Measured]) -> Mapping[tuple[str, str, str, float], list[Measured]]:
    found: dict[tuple[str, str, str, float], list[Measured]] = {}
    for each in measured:
        found.setdefault((each.protocol, each.model, each.axis, each.strength), []).append(each)
    return found


def _mean(own: Sequence[Measured], field: str) -> float:
    return float(np.mean([getattr(each, field) for each in own]))
