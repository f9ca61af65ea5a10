"""Empty figures and how they are written: as PNG, without a display, the same bytes for the same figure."""

from pathlib import Path

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
