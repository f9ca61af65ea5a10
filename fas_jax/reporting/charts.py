"""The charts of reports: ROC, DET, histograms of scores, lines. What `figures` writes as a file or puts into a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.figure import Figure
from scipy.special import ndtri

from fas_jax.evaluation.curves import Band, mean_roc, roc_band
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.reporting.figures import new_figure
from fas_jax.reporting.naming import Models

# The DET plot's ticks, and its ends.
_DET = (0.002, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_DET_LIMITS = (0.001, 0.98)
_BINS = 30
_FAR, _ACCEPTED, _FRR = "FAR: attacks accepted (%)", "bona fide accepted (%)", "FRR: bona fide rejected (%)"
# Inches of a chart in a page: on a phone it is drawn somewhat smaller, and can still be read.
_WIDTH, _TALL, _LOW = 4.4, 4.0, 2.6


@dataclass(frozen=True)
class Curve:
    """One model's curve on the test videos of a protocol, mean over seeds."""

    label: str
    colour: str
    dashed: bool
    far: Float64[np.ndarray, " k"]
    accepted: Float64[np.ndarray, " k"]
    """1 - FRR."""
    point: tuple[float, float]
    """FAR and FRR at the threshold from validation."""
    auc: float
    """NaN, and no points, where it is undefined."""
    steps: bool = False
    """The rate holds until the next point, as in a mean over seeds."""
    band: Band | None = None


@dataclass(frozen=True)
class Line:
    """A line of a chart; NaN breaks it."""

    label: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    low: Sequence[float] = ()
    """Lower bounds of a band, if there is one."""
    high: Sequence[float] = ()
    marks: bool = False
    """A dot at each point."""


def curves_of(
    results: Results, scores: ScoreTable, protocol: str, models: Models, banded: str | None = None
) -> list[Curve]:
    """The models' curves in order; that of the model `banded` gets a band by bootstrap over subjects."""
    found = []
    for model in models.order:
        label, (colour, dashed) = models.name(model), models.style(model)
        summary = results.summary(protocol, model)
        if summary is None or np.isnan(summary.mean["auc"]):
            nothing = np.zeros(0)
            found.append(Curve(label, colour, dashed, nothing, nothing, (np.nan, np.nan), np.nan))
            continue
        rows = scores.select(protocol=protocol, model=model, role=TEST)
        runs = [rows.select(seed=seed) for seed in summary.seeds]
        mean, band = summary.mean, roc_band(runs) if model == banded else None
        point = mean["far"], mean["frr"]
        steps = len(runs) > 1
        found.append(Curve(label, colour, dashed, *mean_roc(runs), point, mean["auc"], steps, band))
    return found


def roc(curves: Sequence[Curve], title: str = "") -> Figure:
    """FAR against 1 - FRR, with operating points and bands; with a title also a legend, to stand by itself."""
    figure = new_figure(6.4, 6.4, dpi=150) if title else new_figure(_WIDTH, _TALL)
    axes = _axes(figure, _FAR, _ACCEPTED)
    axes.plot([0, 100], [0, 100], color="#BBBBBB", linewidth=0.8, zorder=1)
    for curve in curves:
        auc = "undefined" if np.isnan(curve.auc) else f"AUC {100 * curve.auc:.1f} %"
        if curve.band:
            _fill(axes, 100 * curve.band.far, 100 * curve.band.low, 100 * curve.band.high, curve.colour)
        _draw(axes, curve, 100 * curve.far, 100 * curve.accepted, f"{curve.label}: {auc}")
        _mark(axes, curve, 100 * curve.point[0], 100 * (1 - curve.point[1]))
    axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
    if title:
        axes.plot([], [], "o", color="#444444", label="at the threshold from validation")
        axes.set_title(_literal(title))
        axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95)
    return figure


def det(curves: Sequence[Curve]) -> Figure:
    """FAR against FRR on axes of normal deviates; what lies beyond the ends is drawn at them."""
    figure = new_figure(_WIDTH, _TALL)
    axes = _axes(figure, _FAR, _FRR)
    for curve in curves:
        if curve.band:
            low, high = (_deviates(1 - side) for side in (curve.band.high, curve.band.low))
            _fill(axes, _deviates(curve.band.far), low, high, curve.colour)
        _draw(axes, curve, _deviates(curve.far), _deviates(1 - curve.accepted), curve.label)
        _mark(axes, curve, *_deviates(np.array(curve.point)))
    ticks, names = _deviates(np.array(_DET)), [f"{100 * share:g}" for share in _DET]
    low, high = _deviates(np.array(_DET_LIMITS))
    margin = 0.01 * (high - low)
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal")
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    return figure


def histogram(
    bona_fide: Float64[np.ndarray, " n"],
    attacks: Float64[np.ndarray, " m"],
    threshold: float,
    colours: tuple[str, str],
) -> Figure:
    """Scores of both classes, each as shares of its class, and the threshold (NaN: none)."""
    figure = new_figure(_WIDTH, _LOW)
    axes = _axes(figure, "score (higher: bona fide)", "share of the class (%)")
    everything = np.concatenate([bona_fide, attacks, [] if np.isnan(threshold) else [threshold]])
    low, high = float(everything.min()), float(everything.max())
    # Scores that differ in their last digits alone would leave bins no width; they are drawn as one.
    room = 0.5 if high - low < 1e-6 * max(1.0, abs(low), abs(high)) else 0.0
    edges = np.histogram_bin_edges(everything, _BINS, (low - room, high + room))
    for part, colour in zip((bona_fide, attacks), colours, strict=True):
        shares = 100 * np.histogram(part, edges)[0] / max(1, len(part))
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.14)
        axes.stairs(shares, edges, color=colour, linewidth=1.6)
    if not np.isnan(threshold):
        axes.axvline(threshold, color="#444444", linestyle="--", linewidth=1.2)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    return figure


def lines(x_label: str, y_label: str, drawn: Sequence[Line]) -> Figure:
    """Lines over linear axes, with bands where they have any."""
    figure = new_figure(_WIDTH, _LOW)
    axes = _axes(figure, x_label, y_label)
    for each in drawn:
        if each.low:
            _fill(axes, each.x, each.low, each.high, each.colour)
        look = {"linestyle": "--" if each.dashed else "-", "marker": "o" if each.marks else None}
        axes.plot(each.x, each.y, color=each.colour, label=each.label, linewidth=1.6, markersize=4.5, **look)
    return figure


def reliability(drawn: Sequence[Line]) -> Figure:
    """Shares of bona fide (%) against mean P(bona fide) (%), with the diagonal."""
    figure = new_figure(_WIDTH, _TALL)
    axes = _axes(figure, "mean P(bona fide) (%)", "share of bona fide (%)")
    axes.plot([0, 100], [0, 100], color="#BBBBBB", linewidth=0.8, zorder=1)
    for each in drawn:
        style = "--" if each.dashed else "-"
        axes.plot(each.x, each.y, style, color=each.colour, marker="o", linewidth=1.6, markersize=4.5, clip_on=False)
    axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
    return figure


def _axes(figure: Figure, x: str, y: str) -> Any:
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _draw(axes: Any, curve: Curve, x: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"], label: str) -> None:
    look = {"linestyle": "--" if curve.dashed else "-", "drawstyle": "steps-post" if curve.steps else "default"}
    axes.plot(x, y, color=curve.colour, linewidth=1.6, label=_literal(label), zorder=2, **look)


def _mark(axes: Any, curve: Curve, x: float, y: float) -> None:
    axes.plot(x, y, "o", color=curve.colour, markersize=6, markeredgecolor="white", zorder=3, clip_on=False)


def _literal(text: str) -> str:
    """For names that come from files: a dollar sign is one, and begins no formula."""
    return text.replace("$", r"\$")


def _fill(axes: Any, x: Any, low: Any, high: Any, colour: str) -> None:
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)


def _deviates(shares: Float[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    return ndtri(np.clip(shares, *_DET_LIMITS))
