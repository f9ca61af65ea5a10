"""How a benchmark's time grows, as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fas_jax.reporting.figures import new_figure, write_figure
from fas_jax.reporting.palette import style


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the line through the points on logarithmic axes: 1 where twice the size takes twice the time."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def draw_scaling(path: Path, title: str, panels: Mapping[str, Mapping[str, Float[np.ndarray, "n 2"]]]) -> None:
    """Writes a PNG with a panel for each of `panels` (what grows), in it a line for each contestant.

    Args:
        path: File to write.
        title: Of the figure.
        panels: By what grows, by contestant: sizes and median seconds, in rows of at least two.
    """
    figure = new_figure(5.2 * len(panels), 4.2)
    figure.suptitle(title)
    for number, (grows, lines) in enumerate(panels.items(), start=1):
        axes: Any = figure.add_subplot(1, len(panels), number)
        for name, points in lines.items():
            colour, _ = style(name, list(lines))
            label = f"{name}: slope {slope(points[:, 0].tolist(), points[:, 1].tolist()):.2f}"
            axes.plot(points[:, 0], points[:, 1], "o-", color=colour, markersize=4, label=label)
        axes.set(xscale="log", yscale="log", xlabel=f"{grows} (logarithmic)", ylabel="seconds (logarithmic)")
        sizes = np.unique(np.concatenate([points[:, 0] for points in lines.values()]))
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.legend(fontsize=8)
    write_figure(figure, path)
