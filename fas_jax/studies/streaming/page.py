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
    """Means over protocols, by model and step, as far as every protocol of the model goes.

    The same step lies at a slightly different time in each protocol, because its target has cameras of its own.
    """
    each = means(points)
    shared = {
        (model, step): [own for (_, m, k), own in each.items() if (m, k) == (model, step)] for _, model, step in each
    }
    counts = {model: len({protocol for protocol, m, _ in each if m == model}) for model, _ in shared}
    kept = [dataclasses.replace(p, protocol="") for (m, _), own in shared.items() if len(own) == counts[m] for p in own]
    return {(model, step): point for (_, model, step), point in means(kept).items()}


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
            text = "Lines decide after so much of every video; dots are the sequential rule. Means over protocols."
            write_extra_figure(run, f"streaming-{name}", f"HTER against {axis}", text, figure)
