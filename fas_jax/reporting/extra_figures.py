"""Figures that other commands write into a run's folder for its next report."""

import base64
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from fas_jax.base.files import read_json, write_json
from fas_jax.reporting.figures import write_figure

_FIGURES = "extras/figures"


@dataclass(frozen=True)
class ExtraFigure:
    """A figure that something other than the evaluation has made."""

    title: str
    text: str
    picture: str
    """A data URI."""


def write_extra_figure(run: Path, name: str, title: str, text: str, figure: Figure) -> Path:
    """Writes a figure into a run's folder, for the run's next report; returns its PNG."""
    place = Path(run) / _FIGURES
    place.mkdir(parents=True, exist_ok=True)
    write_figure(figure, place / f"{name}.png")
    write_json(place / f"{name}.json", {"title": title, "text": text})
    return place / f"{name}.png"


def read_extra_figures(run: Path) -> tuple[ExtraFigure, ...]:
    """The figures that other commands wrote into a run's folder, by name."""
    found = []
    for path in sorted((Path(run) / _FIGURES).glob("*.json")):
        about, content = read_json(path), path.with_suffix(".png").read_bytes()
        picture = "data:image/png;base64," + base64.b64encode(content).decode()
        found.append(ExtraFigure(about["title"], about["text"], picture))
    return tuple(found)
