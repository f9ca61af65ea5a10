"""Figures made without a display, as PNG files or as images in a page; the same figure gives the same bytes."""

import base64
import io
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fas_jax.base.files import atomic_path


def new_figure(width: float, height: float, dpi: int = 130) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Writes it as a PNG."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def as_image(figure: Figure, title: str) -> str:
    """The figure as an HTML image that holds its own data, as SVG; `title` is read out to those who cannot see it.

    An image and not inline SVG, whose ids would meet those of the page's other figures.
    """
    drawn = io.BytesIO()
    # Ids that do not depend on chance; text as text, which is smaller than outlines, and with a short list of fonts.
    with mpl.rc_context({"svg.hashsalt": "fas_jax", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    return f'<img class="chart" alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'
