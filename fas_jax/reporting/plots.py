"""Figures for reports."""

from pathlib import Path

import numpy as np

from fas_jax.evaluation import curves
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import TEST, ScoreTable
from fas_jax.reporting.figures import new_figure, write_figure
from fas_jax.reporting.naming import Models


def draw_roc(path: Path, title: str, protocol: str, models: Models, results: Results, scores: ScoreTable) -> None:
    """Writes the ROC curves of all models on the test videos of one protocol as a PNG.

    Args:
        path: file to write.
        title: of the figure.
        protocol: whose rows are drawn.
        models: of the results.
        results: whose operating points are marked.
        scores: over several seeds the curve is the mean of the seeds' at equal FAR.
    """
    figure = new_figure(6.4, 6.4, dpi=150)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="#BBBBBB", linewidth=0.8, zorder=1)
    for model in models.order:
        label, (colour, dashed) = models.name(model), models.style(model)
        line = "--" if dashed else "-"
        summary = results.summary(protocol, model)
        if summary is None or np.isnan(summary.mean["auc"]):
            axes.plot([], [], color=colour, linestyle=line, label=f"{label}: undefined")
            continue
        rows = scores.select(protocol=protocol, model=model, role=TEST)
        far, tpr = curves.mean_roc([rows.select(seed=seed) for seed in summary.seeds])
        steps = "default" if len(summary.seeds) == 1 else "steps-post"
        auc = f"{label}: AUC {100 * summary.mean['auc']:.1f} %"
        axes.plot(
            100 * far, 100 * tpr, drawstyle=steps, color=colour, linestyle=line, linewidth=1.6, label=auc, zorder=2
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
    write_figure(figure, path)
