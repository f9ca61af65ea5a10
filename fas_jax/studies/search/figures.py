"""What a search found, as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from fas_jax.evaluation.effects import Effect
from fas_jax.reporting.figures import new_figure, write_figure
from fas_jax.reporting.naming import model_name
from fas_jax.reporting.palette import style
from fas_jax.studies.search.outcomes import Outcome

_SEARCH_KEY = (
    "A dot is a setting: mean over the folds, and their standard deviation; × failed. Dark: mean of a value, or of a "
    "third of the range.\nGrey: not told apart from the best. Numbers: effect and what chance gives; bold where the "
    "effect is more."
)


def draw_search(
    path: Path,
    title: str,
    outcomes: Sequence[Outcome],
    effects: Mapping[tuple[str, str], Effect],
    noise: float,
) -> None:
    """Writes the scores of a search against each drawn setting of each method as a PNG.

    Args:
        path: File to write.
        title: Of the figure.
        outcomes: Sorted, the best first.
        effects: By method (empty: the choice of the method) and setting; a panel each.
        noise: Settings whose score is within it of the best are not told apart from it; drawn as a band.
    """
    methods = sorted({each.setting.method for each in outcomes})
    by_method = {name: [key for key in effects if key[0] == name] for name in methods}
    rows = [keys for keys in by_method.values() if len(keys) > 1]
    # The first row has a wide panel for the choice of the method, and beside it the methods with a single panel.
    alone = [keys[0] for keys in by_method.values() if len(keys) == 1]
    wide = [key for key in effects if not key[0]]
    if wide or alone:
        rows.insert(0, [*wide, *alone])
    rows = rows or [[]]
    width = max(2, len(alone) + 1, *(len(row) for row in rows))
    figure = new_figure(1 + 2.6 * width, 1.2 + 2.5 * len(rows))
    figure.suptitle(title)
    figure.supxlabel(_SEARCH_KEY, fontsize=8)
    grid = figure.add_gridspec(len(rows), width)
    spread = [100 * (each.score + np.nanstd(each.figures.hter)) for each in outcomes if not each.failed]
    top = min(100, 1.15 * max(spread, default=50) + 3)
    for number, row in enumerate(rows):
        for place, (method, name) in enumerate(row):
            beside = number == 0 and bool(method) and (method, name) in alone
            spot = grid[number, : width - len(alone)] if not method else grid[number, place - len(row) * beside]
            axes = figure.add_subplot(spot)
            mine = [each for each in outcomes if method in ("", each.setting.method)]
            values = [each.setting.values[name] if method else each.setting.method for each in mine]
            everyone = [each.setting.values[name] for each in outcomes if name in each.setting.values]
            levels = _levels(everyone) if method else methods
            _draw_effect(axes, mine, values, levels, methods, noise, outcomes[0].score, top)
            effect = effects[method, name]
            shown = str(effect) if np.isnan(effect.size) else f"{effect} (noise {effect.noise:.2f})"
            label = f"{model_name(method)}: {name.replace('_', ' ')}" if method else name
            axes.set_title(f"{label}\n{shown}", fontsize=8.5, fontweight="bold" if effect.clear else "normal")
            if spot.colspan.start == 0:
                axes.set_ylabel("HTER on held-out folds (%)", fontsize=8)
    write_figure(figure, path)


def _levels(values: Sequence[Any]) -> list[Any]:
    """The values that occur, numbers by size."""
    numbers = all(isinstance(value, int | float) for value in values)
    return sorted(set(values), key=None if numbers else str)


def _draw_effect(
    axes: Any,
    outcomes: Sequence[Outcome],
    values: Sequence[Any],
    levels: Sequence[Any],
    methods: Sequence[str],
    noise: float,
    best: float,
    top: float,
) -> None:
    """One panel: a dot for each setting, its folds' spread, means of thirds or of levels; failures at the top."""
    continuous = isinstance(levels[0], float) and len(levels) > 1
    x = np.array(values if continuous else [levels.index(value) for value in values], np.float64)
    y = 100 * np.array([each.score for each in outcomes])
    colours = [style(each.setting.method, methods)[0] for each in outcomes]
    if not np.isnan(noise):
        axes.axhspan(100 * best, 100 * (best + noise), color="#E8E8E8", zorder=0)
    # Settings with one value lie beside each other.
    beside = x if continuous else x + 0.3 * (np.arange(len(x)) % 7 - 3) / 7
    for at, each, score, colour in zip(beside, outcomes, y, colours, strict=True):
        if np.isnan(score):
            axes.plot(at, 0.97 * top, "x", color=colour, markersize=6, zorder=3)
            continue
        axes.vlines(
            at, *(score + 100 * np.nanstd(each.figures.hter) * np.array([-1, 1])), color=colour, alpha=0.25, zorder=1
        )
        axes.plot(at, score, "o", color=colour, markersize=4, alpha=0.85, zorder=2)
    if continuous:
        axes.set_xscale("log")
        axes.set_xlim(levels[0] / 1.3, levels[-1] * 1.3)
        axes.xaxis.set_minor_formatter(NullFormatter())
        edges = np.geomspace(levels[0], levels[-1], 4)
        parts = np.clip(np.searchsorted(edges, x, "right") - 1, 0, 2)
        spans = [(part, edges[part], edges[part + 1]) for part in range(3)]
    else:
        parts = x.astype(int)
        spans = [(place, place - 0.4, place + 0.4) for place in range(len(levels))]
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
        axes.set_xlim(-0.6, len(levels) - 0.4)
    for part, low, high in spans:
        own = y[(parts == part) & ~np.isnan(y)]
        if len(own):
            axes.hlines(own.mean(), low, high, color="#444444", linewidth=1.8, zorder=3)
    axes.set_ylim(min(0, -0.02 * top), top)
    axes.tick_params(labelsize=7.5)
    axes.grid(color="#E5E5E5", linewidth=0.6, axis="y")
    axes.set_axisbelow(True)
