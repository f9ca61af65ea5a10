"""Charts as inline SVG for the HTML page: ROC, DET, histograms, learning curves. Text is escaped here."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64

from fas_jax.evaluation.curves import Band

_WIDTH, _HEIGHT = 440, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 18, 12, 46
# The DET plot's ticks, and its ends.
_DET = (0.002, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_DET_LIMITS = (0.001, 0.98)
_BINS = 30


@dataclass(frozen=True)
class Curve:
    """One model's curve: FAR and 1 - FRR, the operating point (FAR, FRR), and perhaps a band."""

    label: str
    colour: str
    dashed: bool
    far: Float64[np.ndarray, " k"]
    accepted: Float64[np.ndarray, " k"]
    point: tuple[float, float]
    band: Band | None


@dataclass(frozen=True)
class Line:
    """A polyline of a chart with linear axes; NaN breaks it."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marks: bool = False


class _Axes:
    """A frame with ticks that maps values to pixels; collects SVG elements."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = _HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height
        self.parts: list[str] = []

    def px(self, value: float) -> float:
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return _LEFT + min(max(share, 0), 1) * (_WIDTH - _LEFT - _RIGHT)

    def py(self, value: float) -> float:
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return self.height - _BOTTOM - min(max(share, 0), 1) * (self.height - _BOTTOM - _TOP)

    def ticks(self, x: Mapping[float, str], y: Mapping[float, str]) -> None:
        bottom, right = self.height - _BOTTOM, _WIDTH - _RIGHT
        for value, text in x.items():
            at = self.px(value)
            self.parts.append(f'<line class="g" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{bottom}"/>')
            self.parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{html.escape(text)}</text>')
        for value, text in y.items():
            at = self.py(value)
            self.parts.append(f'<line class="g" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
            self.parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{html.escape(text)}</text>')

    def line(self, x: Sequence[float], y: Sequence[float], colour: str, dashed: bool = False, width: float = 2) -> None:
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        for part in _unbroken(x, y):
            points = " ".join(f"{self.px(a):.1f},{self.py(b):.1f}" for a, b in part)
            style = f'fill="none" stroke="{colour}" stroke-width="{width}"{dash}'
            self.parts.append(f'<polyline points="{points}" {style}/>')

    def area(self, x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> None:
        if np.isnan([*low, *high]).any():
            return
        around = [*zip(x, high, strict=True), *reversed(list(zip(x, low, strict=True)))]
        points = " ".join(f"{self.px(a):.1f},{self.py(b):.1f}" for a, b in around)
        self.parts.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="0.14"/>')

    def dot(self, x: float, y: float, colour: str, radius: float = 5) -> None:
        if not np.isnan(x + y):
            place = f'cx="{self.px(x):.1f}" cy="{self.py(y):.1f}"'
            self.parts.append(f'<circle {place} r="{radius}" fill="{colour}" stroke="white" stroke-width="1.5"/>')

    def svg(self, title: str, x: str, y: str) -> str:
        middle = (self.height - _BOTTOM + _TOP) / 2
        labels = (
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{self.height - 8}" text-anchor="middle">{html.escape(x)}'
            f'</text><text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            f"{html.escape(y)}</text>"
        )
        frame = f'<rect class="f" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}"'
        frame += f' height="{self.height - _BOTTOM - _TOP}"/>'
        name = html.escape(title)
        head = f'<svg viewBox="0 0 {_WIDTH} {self.height}" role="img" aria-label="{name}"><title>{name}</title>'
        return head + "".join(self.parts) + frame + labels + "</svg>"


def roc(title: str, curves: Sequence[Curve]) -> str:
    """FAR against 1 - FRR in per cent, with operating points and bands."""
    axes = _Axes((0, 1), (0, 1))
    ticks = {share / 100: str(share) for share in range(0, 101, 20)}
    axes.ticks(ticks, ticks)
    for curve in curves:
        if curve.band:
            axes.area(curve.band.far.tolist(), curve.band.low.tolist(), curve.band.high.tolist(), curve.colour)
    for curve in curves:
        axes.line(curve.far.tolist(), curve.accepted.tolist(), curve.colour, curve.dashed)
    for curve in curves:
        axes.dot(curve.point[0], 1 - curve.point[1], curve.colour)
    return axes.svg(title, "FAR: attacks accepted (%)", "bona fide accepted (%)")


def det(title: str, curves: Sequence[Curve]) -> str:
    """FAR against FRR on normal-deviate axes, in per cent; what lies beyond the ends is drawn at them."""
    low, high = _deviate(_DET_LIMITS[0]), _deviate(_DET_LIMITS[1])
    axes = _Axes((low, high), (low, high))
    ticks = {_deviate(share): f"{100 * share:g}" for share in _DET}
    axes.ticks(ticks, ticks)
    for curve in curves:
        if curve.band:
            inside = curve.band.far > 0
            x = [_deviate(share) for share in curve.band.far[inside]]
            above, below = ([_deviate(1 - s) for s in side[inside]] for side in (curve.band.high, curve.band.low))
            axes.area(x, above, below, curve.colour)
    for curve in curves:
        x, y = ([_deviate(share) for share in side] for side in (curve.far, 1 - curve.accepted))
        axes.line(x, y, curve.colour, curve.dashed)
    for curve in curves:
        axes.dot(_deviate(curve.point[0]), _deviate(curve.point[1]), curve.colour)
    return axes.svg(title, "FAR: attacks accepted (%)", "FRR: bona fide rejected (%)")


def histogram(
    title: str,
    bona_fide: Float64[np.ndarray, " n"],
    attacks: Float64[np.ndarray, " m"],
    threshold: float,
    colours: tuple[str, str],
) -> str:
    """Scores of both classes, each as shares of its class, and the threshold."""
    everything = np.concatenate([bona_fide, attacks, [threshold][: 0 if np.isnan(threshold) else 1]])
    ends = float(everything.min()), float(everything.max())
    if ends[0] == ends[1]:
        ends = ends[0] - 0.5, ends[1] + 0.5
    edges = np.linspace(*ends, _BINS + 1)
    shares = [np.histogram(part, edges)[0] / max(1, len(part)) for part in (bona_fide, attacks)]
    top = max(float(max(part.max() for part in shares)), 1e-9)
    axes = _Axes(ends, (0, top * 1.05), 260)
    axes.ticks(
        {v: f"{v:.3g}" for v in np.linspace(*ends, 5)}, {top * k / 4: f"{100 * top * k / 4:.0f}" for k in range(5)}
    )
    for part, colour in zip(shares, colours, strict=True):
        steps = np.repeat(part, 2).tolist()
        x = np.repeat(edges, 2)[1:-1].tolist()
        axes.area(x, [0.0] * len(x), steps, colour)
        axes.line(x, steps, colour)
    if not np.isnan(threshold):
        axes.line([threshold, threshold], [0, top * 1.05], "#444444", dashed=True, width=1.5)
    return axes.svg(title, "score (higher: bona fide)", "share of the class (%)")


def lines(title: str, x_label: str, y_label: str, drawn: Sequence[Line], height: int = 260) -> str:
    """Lines over linear axes from their own ranges, with bands where they have any."""
    xs = np.concatenate([np.asarray(each.x, float) for each in drawn])
    ys = np.concatenate([np.asarray([*each.y, *each.low, *each.high], float) for each in drawn])
    x_ends, y_ends = _ends(xs), _ends(ys)
    axes = _Axes(x_ends, y_ends, height)
    axes.ticks(*({v: f"{v:.3g}" for v in np.linspace(*ends, 5)} for ends in (x_ends, y_ends)))
    for each in drawn:
        if each.low:
            axes.area(each.x, each.low, each.high, each.colour)
    for each in drawn:
        axes.line(each.x, each.y, each.colour, each.dashed)
        for a, b in zip(each.x, each.y, strict=True) if each.marks else ():
            axes.dot(a, b, each.colour, 3.5)
    return axes.svg(title, x_label, y_label)


def legend(entries: Sequence[tuple[str, str, bool]]) -> str:
    """(label, colour, dashed) as an HTML list that wraps."""
    items = []
    for label, colour, dashed in entries:
        style = f"border-top:3px {'dashed' if dashed else 'solid'} {colour}"
        items.append(f'<li><i style="{style}"></i>{html.escape(label)}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _deviate(share: float) -> float:
    if np.isnan(share):
        return np.nan
    return NormalDist().inv_cdf(min(max(float(share), _DET_LIMITS[0]), _DET_LIMITS[1]))


def _ends(values: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    defined = values[np.isfinite(values)]
    if not len(defined):
        return 0.0, 1.0
    low, high = float(defined.min()), float(defined.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _unbroken(x: Sequence[float], y: Sequence[float]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if np.isnan(a) or np.isnan(b):
            parts.append([])
        else:
            parts[-1].append((float(a), float(b)))
    return [part for part in parts if part]
