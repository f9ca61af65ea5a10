"""Error against cost: HTER and time a video for 1 to 15 frames a clip (the paper finds 4 to 7 sufficient)."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.evaluation.results import Results
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.features.stage import frame_features, load_backbone
from fas_jax.methods.base import Method
from fas_jax.methods.data import Batch
from fas_jax.methods.frame_settings import FrameSettings, Made
from fas_jax.methods.frame_training import initial
from fas_jax.methods.frames import FrameMethod
from fas_jax.models.backbones import Backbone, Params
from fas_jax.pixels.selection import middles
from fas_jax.protocols.assignment import Assignment
from fas_jax.reporting import charts
from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.figures import as_image
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.page import legend
from fas_jax.reporting.palette import style
from fas_jax.studies.one_method import fit_and_score, score_rows

_TEXT = (
    "Every count of frames is trained, stopped and given its threshold from the sources, and judged on the target; "
    "frames are spread evenly over the kept ones, and a clip that has fewer keeps them all. HTER in % with 95 % "
    "intervals by bootstrap over the target's subjects, means over seeds. Time: frames times the measured time of a "
    "frame in the network that reads it, which is the method's own where it is trained on frames, and else that of the "
    "feature stage; decoding hardly depends on how many frames are kept, and a small method's share is small."
)


def keep_evenly(clips: CorpusClips, rendition: str, count: int) -> CorpusClips:
    """The clips with at most `count` of each one's frames, spread evenly over them."""
    _, real = clips.features(rendition)
    lengths = real.sum(1)
    order = np.zeros((len(lengths), count), int)
    for row, length in enumerate(lengths.tolist()):
        kept = middles(length, count)
        order[row, : len(kept)] = kept
    return clips.picked(rendition, order, np.arange(count) < lengths[:, None])


def curve(
    clips: CorpusClips,
    rendition: str,
    assignment: Assignment,
    counts: Sequence[int],
    seeds: Sequence[int],
    methods: Mapping[str, Method],
) -> ScoreTable:
    """Scores by every method for every count; one named `gru` is named `gru, 4` with four frames a clip.

    Args:
        clips: All that `assignment` names, as its indices point to them, with features in memory.
        rendition: Whose frames are left out.
        assignment: Who trains, validates and is tested.
        counts: Most frames of a clip.
        seeds: Of weights and order.
        methods: By name; each reads that rendition.
    """
    tables = []
    for count in counts:
        own = keep_evenly(clips, rendition, count)
        for name, method in methods.items():
            for seed in seeds:
                scores = fit_and_score(method, own, assignment, seed, f"{name}, {count}")
                tables.append(score_rows(own, assignment, f"{name}, {count}", seed, scores))
    return ScoreTable.concatenate(tables)


def check_counts(method: Method, counts: Sequence[int]) -> None:
    """Refuses counts of frames of which a method can score no clip.

    Raises:
        UserError: The method's kind and the least count.
    """
    if isinstance(method, FrameSettings) and min(counts) < method.least_frames:
        raise UserError(
            f"this {method.kind} reads what changes between frames and scores no clip of fewer than "
            f"{method.least_frames}; give --counts of {method.least_frames} and more"
        )


def seconds_of(
    methods: Mapping[str, Method], clips: CorpusClips, features: Features, size: int, batch_size: int
) -> dict[str, float]:
    """Median time for one frame, by method: of its own network where it reads frames, else of the feature stage.

    Args:
        methods: By name.
        clips: Whose frames' size counts for networks on frames.
        features: The feature stage; random weights do.
        size: Side of the frames that the feature stage is measured on.
        batch_size: Frames in a step there.
    """
    found: dict[str, float] = {}
    stage = np.nan
    for name, method in methods.items():
        if isinstance(method, FrameMethod):
            found[name] = _seconds_of_network(method, clips.frames(method.rendition).size)
            continue
        if np.isnan(stage):
            backbone, params, _ = load_backbone(features)
            stage = seconds_a_frame(backbone, params, size, batch_size)
        found[name] = stage
    return found


def _seconds_of_network(method: FrameMethod, size: int) -> float:
    """Median time of a frame with random weights, compiled, scored as many at a time as the method says."""
    objective, (item,) = method.objective(), method.inputs()
    detector = method.detector(initial(objective, *objective.network.init(0), 0), Made())
    frames = np.random.default_rng(0).integers(0, 256, (1, method.score_frames, size, size, 3), dtype=np.uint8)
    batch = Batch({item: frames}, {item: np.ones(frames.shape[:2], bool)})
    return _median_seconds(lambda: detector.score(batch)) / method.score_frames


def _median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    work()  # compiles
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def seconds_a_frame(backbone: Backbone, params: Params, size: int, batch_size: int) -> float:
    """Median time of the feature stage for one frame, compiled, in full batches."""
    frames = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    return _median_seconds(lambda: frame_features(backbone, params, frames, batch_size)) / batch_size


def report(results: Results, counts: Sequence[int], seconds: Mapping[str, float]) -> tuple[ExtraTable, str]:
    """The table, and the figure as HTML; `seconds`, by method, are NaN where they were not measured."""
    (protocol,) = results.protocols
    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in results.models))
    rows, lines = [], []
    for name in names:
        found = [results.summary(protocol, f"{name}, {count}") for count in counts]
        summaries = [each for each in found if each is not None]
        for count, each in zip(counts, summaries, strict=True):
            cost = "not measured" if np.isnan(seconds[name]) else f"{1000 * seconds[name] * count:.1f}"
            figures = [f"{100 * each.mean['hter']:.2f}{each.hter_interval}", f"{100 * each.mean['auc']:.1f}", cost]
            rows.append([name, str(count), *figures])
        hters = [100 * each.mean["hter"] for each in summaries]
        bounds = [
            [100 * getattr(each.hter_interval, side) for each in summaries] if name == names[0] else []
            for side in ("low", "high")
        ]
        colour, dashed = style(name, names)
        lines.append(charts.Line(name, colour, list(counts), hters, dashed, bounds[0], bounds[1], marks=True))
    grid = Grid(["model", "frames a clip", "HTER %", "AUC %", "network's time a video (ms)"], rows)
    shown = legend([(line.label, line.colour, line.dashed) for line in lines])
    chart = as_image(charts.lines("frames a clip", "HTER (%)", lines), "HTER against frames a clip")
    return ExtraTable("Error against cost", _TEXT, grid), shown + chart
