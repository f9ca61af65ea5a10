"""Figures for reports. The only module that imports matplotlib; draws without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fas_jax import metrics
from fas_jax.files import atomic_path
from fas_jax.results import Results
from fas_jax.scores import TEST, ScoreTable

# Okabe and Ito's palette, which stays apart for colour-blind readers. Baselines are dashed.
_STYLES: Mapping[str, tuple[str, str]] = {
    "lstm": ("#0072B2", "-"),
    "bilstm": ("#009E73", "-"),
    "gru": ("#E69F00", "-"),
    "meta": ("#D55E00", "-"),
    "mean-feature": ("#000000", "--"),
    "colour": ("#CC79A7", "--"),
    "metadata": ("#7F7F7F", "--"),
}
_OTHERS = ("#56B4E9", "#8C6D31", "#6A3D9A", "#637939")


def draw_roc(
    path: Path, title: str, protocol: str, models: Sequence[tuple[str, str]], results: Results, scores: ScoreTable
) -> None:
    """Writes the ROC curves of all models on the test videos of one protocol as a PNG.

    Args:
        path: file to write.
        title: of the figure.
        protocol: whose rows are drawn.
        models: (name in the table, name for the legend), in order.
        results: whose operating points are marked.
        scores: over several seeds the curve is the mean of the seeds' at equal FAR.
    """
    figure = Figure(figsize=(6.4, 6.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="#BBBBBB", linewidth=0.8, zorder=1)
    others = 0
    for model, label in models:
        if model in _STYLES:
            colour, line = _STYLES[model]
        else:
            colour, line = _OTHERS[others % len(_OTHERS)], "-"
            others += 1
        summary = results.summary(protocol, model)
        if summary is None or np.isnan(summary.mean["auc"]):
            axes.plot([], [], color=colour, linestyle=line, label=f"{label}: undefined")
            continue
        rows = scores.select(protocol=protocol, model=model, role=TEST)
        far, tpr = _mean_curve([rows.select(seed=seed) for seed in summary.seeds])
        style = "default" if len(summary.seeds) == 1 else "steps-post"
        auc = f"{label}: AUC {100 * summary.mean['auc']:.1f} %"
        axes.plot(
            100 * far, 100 * tpr, drawstyle=style, color=colour, linestyle=line, linewidth=1.6, label=auc, zorder=2
        )
        point = 100 * summary.mean["far"], 100 * (1 - summary.mean["frr"])
        axes.plot(*point, "o", color=colour, markersize=6, markeredgecolor="white", zorder=3)
    axes.plot([], [], "o", color="#444444", label="at the threshold from validation")
    axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal", title=title)
    axes.set_xlabel("FAR: attacks accepted (%)")
    axes.set_ylabel("1 − FRR: bona fide accepted (%)")
    axes.grid(color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.95)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _mean_curve(runs: Sequence[ScoreTable]) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    curves = []
    for run in runs:
        answered = run.rows(run.answered)
        curves.append(metrics.roc(answered.score, answered.label))
    if len(curves) == 1:
        return curves[0]
    grid = np.unique(np.concatenate([far for far, _ in curves]))
    # Between two points of a curve the rate is that of the lower one: the share surely reached.
    held = [tpr[np.searchsorted(far, grid, side="right") - 1] for far, tpr in curves]
    return np.append(0.0, grid), np.append(0.0, np.mean(held, axis=0))
