"""Error against cost: HTER and time a video for 1 to 15 frames a clip (the paper finds 4 to 7 sufficient)."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from fas_jax.base.settings import Training
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.features.corpus import Pool
from fas_jax.features.extraction import frame_features
from fas_jax.models.backbones import Backbone, Params
from fas_jax.models.recurrent import Kind
from fas_jax.protocols.assignment import Assignment
from fas_jax.reporting import charts
from fas_jax.reporting.figures import as_image
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.page import ExtraTable, legend
from fas_jax.reporting.palette import style
from fas_jax.studies.audit.controls import score_models

_TEXT = (
    "Every count of frames is trained, stopped and given its threshold from the sources, and judged on the target; "
    "frames are spread evenly over the kept ones, and a clip that has fewer keeps them all. HTER in % with 95 % "
    "intervals by bootstrap over the target's subjects, means over seeds. Time: the feature stage alone, frames times "
    "the measured time of a frame; decoding hardly depends on how many frames are kept, and the recurrent model's "
    "share is small."
)


def keep_evenly(pool: Pool, count: int) -> Pool:
    """At most `count` of every clip's frames, spread evenly over them."""
    lengths = pool.mask.sum(1)
    if not (pool.mask == (np.arange(pool.mask.shape[1]) < lengths[:, None])).all():
        raise ValueError("clips must be padded behind their frames")
    features = np.zeros((len(lengths), count, pool.features.shape[2]), np.float32)
    mask = np.zeros((len(lengths), count), bool)
    for row, length in enumerate(lengths.tolist()):
        own = min(count, length)
        # The middles of equal parts, so that one frame is the middle one.
        places = ((np.arange(own) + 0.5) * length / own).astype(int)
        features[row, :own] = pool.features[row, places]
        mask[row, :own] = True
    return dataclasses.replace(pool, features=features, mask=mask)


def curve(
    pool: Pool,
    assignment: Assignment,
    counts: Sequence[int],
    seeds: Sequence[int],
    kind: Kind,
    hidden: int,
    settings: Training,
) -> ScoreTable:
    """Scores of the recurrent model and of the mean-feature baseline for every count; models named `gru, 4`."""
    tables = []
    for count in counts:
        own = keep_evenly(pool, count)
        tables.append(score_models(own, assignment, seeds, kind, hidden, settings, suffix=f", {count}"))
    return ScoreTable.concatenate(tables)


def seconds_a_frame(backbone: Backbone, params: Params, size: int, batch_size: int, repeats: int = 5) -> float:
    """Median time of the feature stage for one frame, compiled, in full batches."""
    frames = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    frame_features(backbone, params, frames, batch_size)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        frame_features(backbone, params, frames, batch_size)
        taken.append((time.perf_counter() - start) / batch_size)
    return float(np.median(taken))


def report(results: Results, counts: Sequence[int], seconds: float) -> tuple[ExtraTable, str]:
    """The table, and the figure as HTML; `seconds` is NaN where it was not measured."""
    (protocol,) = results.protocols
    kinds = list(dict.fromkeys(name.rpartition(", ")[0] for name in results.models))
    rows, lines = [], []
    for kind in kinds:
        found = [results.summary(protocol, f"{kind}, {count}") for count in counts]
        summaries = [each for each in found if each is not None]
        for count, each in zip(counts, summaries, strict=True):
            hter, low, high = (100 * x for x in (each.mean["hter"], each.hter_interval.low, each.hter_interval.high))
            cost = "not measured" if np.isnan(seconds) else f"{1000 * seconds * count:.1f}"
            figures = [f"{hter:.2f} [{low:.1f}, {high:.1f}]", f"{100 * each.mean['auc']:.1f}", cost]
            rows.append([kind, str(count), *figures])
        hters = [100 * each.mean["hter"] for each in summaries]
        bounds = [
            [100 * getattr(each.hter_interval, side) for each in summaries] if kind == kinds[0] else []
            for side in ("low", "high")
        ]
        colour, dashed = style(kind, kinds)
        lines.append(charts.Line(kind, colour, list(counts), hters, dashed, bounds[0], bounds[1], marks=True))
    grid = Grid(["model", "frames a clip", "HTER %", "AUC %", "feature time a video (ms)"], rows)
    shown = legend([(line.label, line.colour, line.dashed) for line in lines])
    chart = as_image(charts.lines("frames a clip", "HTER (%)", lines), "HTER against frames a clip")
    return ExtraTable("Error against cost", _TEXT, grid), shown + chart
