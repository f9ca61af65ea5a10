"""The study's table and figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.reporting import charts
from fas_jax.reporting.extra_figures import write_extra_figure
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import protocol_name
from fas_jax.reporting.palette import style

_FIGURES = ("apcer", "bpcer", "uncertain", "seconds", "frames")


@dataclasses.dataclass(frozen=True)
class Point:
    """A detector under one protocol and seed, when it decides in one way."""

    protocol: str
    model: str
    horizon: float
    """Seconds after which it decides; NaN for the sequential rule."""
    step: int
    """The place of the horizon among those of the protocol, from 0; -1 for the sequential rule."""
    apcer: float
    bpcer: float
    uncertain: float
    """Share of the videos, both classes counting the same."""
    seconds: float
    frames: float

    @property
    def hter(self) -> float:
        """Mean of both errors."""
        return (self.apcer + self.bpcer) / 2


def means(points: Sequence[Point]) -> dict[tuple[str, str, int], Point]:
    """Over seeds, by protocol, model and step; the sequential rule comes last."""
    groups: dict[tuple[str, str, int], list[Point]] = {}
    for each in points:
        groups.setdefault((each.protocol, each.model, each.step), []).append(each)

    def mean(own: list[Point]) -> Point:
        found = {name: float(np.mean([getattr(each, name) for each in own])) for name in _FIGURES}
        changes: dict[str, Any] = found
        return dataclasses.replace(own[0], **changes)

    return {key: mean(own) for key, own in groups.items()}


def table_of(points: Sequence[Point], cost: Mapping[str, float], text: str) -> ExtraTable:
    """A row for each protocol, model and way to decide."""
    rows = []
    for (protocol, model, _), each in means(points).items():
        decides = "sequential" if np.isnan(each.horizon) else f"after {each.horizon:.2f} s"
        shares = [each.hter, each.apcer, each.bpcer, each.uncertain]
        spent = cost[model] * each.frames
        rows.append(
            [
                protocol_name(protocol),
                model,
                decides,
                *(UNDEFINED if np.isnan(share) else f"{100 * share:.1f}" for share in shares),
                f"{each.seconds:.2f}",
                "not measured" if np.isnan(spent) else f"{spent:.1f}",
            ]
        )
    header = ["protocol", "model", "decides", "HTER %", "APCER %", "BPCER %", "uncertain %", "seconds", "ms"]
    return ExtraTable("Error against waiting", text, Grid(header, rows))


def over_protocols(points: Sequence[Point]) -> dict[tuple[str, int], Point]:
    """Means over protocols, by model and step; a step is a horizon of the protocol whose videos end first.

    The other protocols have horizons of their own, because their targets differ in cameras and in length. Their figures
    at these times are read off the straight lines between their own points.
    """
    lines: dict[str, dict[str, list[Point]]] = {}
    shared: list[Point] = []
    rules: list[Point] = []
    for (protocol, model, step), each in means(points).items():
        own = lines.setdefault(model, {}).setdefault(protocol, [])
        (rules if step < 0 else own).append(each)
    for every in lines.values():
        if all(every.values()):
            shortest = min(every.values(), key=lambda line: line[-1].horizon)
            shared += [_at(line, when) for when in shortest for line in every.values()]
    together = means([dataclasses.replace(each, protocol="") for each in [*shared, *rules]])
    return {(model, step): each for (_, model, step), each in together.items()}


def _at(line: Sequence[Point], when: Point) -> Point:
    """A point between those of a protocol, which are in order of time, at the time of another protocol's point."""
    times = [each.horizon for each in line]
    figures = {name: float(np.interp(when.horizon, times, [getattr(p, name) for p in line])) for name in _FIGURES}
    changes: dict[str, Any] = figures
    return dataclasses.replace(line[0], horizon=when.horizon, step=when.step, **changes)


def draw(run: Path, points: Sequence[Point], cost: Mapping[str, float]) -> None:
    """HTER against seconds of video, and against milliseconds where these are measured; means over protocols."""
    names = list(dict.fromkeys(each.model for each in points))
    together = over_protocols(points)
    for name, axis in (("seconds", "seconds of video"), ("milliseconds", "milliseconds of compute")):
        lines = []
        for model in names:
            colour, dashed = style(model, names)
            for sequential in (False, True):
                own = [p for (m, step), p in together.items() if m == model and (step < 0) == sequential]
                x = [p.seconds if name == "seconds" else cost[model] * p.frames for p in own]
                if own and np.isfinite(x).all():
                    label = f"{model}, sequential" if sequential else model
                    y = [100 * p.hter for p in own]
                    lines.append(charts.Line(label, colour, x, y, dashed, marks=sequential))
        if lines:
            figure = charts.lines(axis, "HTER (%)", lines)
            figure.axes[0].legend(fontsize=7)
            text = (
                "Lines decide after so much of every video; dots are the sequential rule. Means over protocols; lines "
                "end with the protocol whose videos end first."
            )
            write_extra_figure(run, f"streaming-{name}", f"HTER against {axis}", text, figure)
