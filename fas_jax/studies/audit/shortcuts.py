"""What tells the label of a dataset's videos without a look at the face: one quantity at a time. NumPy only.

A quantity is flagged where its AUC differs from 0.5 by more than chance would have it: a z-test with the standard
error of a bootstrap over subjects, corrected for the number of quantities (Bonferroni). A flag says that a model
could use the quantity, if it can see it; not that any model does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from fas_jax.base.record import ClipInfo, Video
from fas_jax.evaluation import intervals, metrics

LEVEL = 0.01
"""Probability of any false flag on a dataset without shortcuts."""
_RESAMPLES = 500
_SEED = 0
_RING = 0.03


@dataclass(frozen=True)
class Shortcut:
    """One quantity of one dataset."""

    dataset: str
    quantity: str
    auc: float
    """Of the quantity itself as a score; far from 0.5 on either side gives the label away."""
    z: float
    limit: float
    """|z| beyond it is flagged."""
    flagged: bool


def find_shortcuts(
    videos: Sequence[Video],
    infos: Sequence[ClipInfo],
    edges: Float64[np.ndarray, " n"] | None = None,
    rendition: str = "whole",
) -> list[Shortcut]:
    """Tests every quantity of every dataset; one that is the same for all videos of a dataset is no shortcut.

    Args:
        videos: In the order of the dataset's list, which is tested, too.
        infos: Of the same videos.
        edges: Of `edge_brightness`, where the frames were at hand.
        rendition: Whose frames are counted and measured; all of these videos have it.

    Raises:
        MetricError: A dataset lacks a class.
    """
    found: list[Shortcut] = []
    names = np.array([video.dataset for video in videos])
    for dataset in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero(names == dataset).tolist()
        mine, own = [videos[i] for i in rows], [infos[i] for i in rows]
        quantities = _quantities(own, rendition) | ({} if edges is None else {"border": edges[rows]})
        quantities = {name: values for name, values in quantities.items() if len(set(values.tolist())) > 1}
        limit = NormalDist().inv_cdf(1 - LEVEL / 2 / max(1, len(quantities)))
        labels = np.array([video.label for video in mine])
        _, subjects = np.unique([video.subject for video in mine], return_inverse=True)
        draws = intervals.draw_subjects(int(subjects.max()) + 1, _RESAMPLES, _SEED)
        for name, values in quantities.items():
            auc, z = _test(values, labels, subjects, draws)
            found.append(Shortcut(str(dataset), name, auc, z, limit, bool(abs(z) > limit)))
    return found


def edge_brightness(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean of a frame's outermost ring (3 % of each side) minus that of the rest: borders, bezels, letter boxes."""
    height, width = frame.shape[:2]
    ring: Bool[np.ndarray, "h w"] = np.ones((height, width), bool)
    across, down = max(1, round(_RING * width)), max(1, round(_RING * height))
    ring[down:-down, across:-across] = False
    return float(frame[ring].mean() - frame[~ring].mean())


def _quantities(infos: Sequence[ClipInfo], rendition: str) -> dict[str, Float64[np.ndarray, " n"]]:
    made = [info.renditions[rendition] for info in infos]
    columns: dict[str, Sequence[float]] = {
        "kept frames": [len(each.frame_indices) for each in made],
        "length (frames)": [info.frame_count for info in infos],
        "frame rate": [info.fps for info in infos],
        "frame width": [info.width for info in infos],
        "frame height": [info.height for info in infos],
        "bytes a frame": [info.file_bytes / max(1, info.frame_count) for info in infos],
        "brightness": [float(np.mean(each.colour[:3])) for each in made],
        "contrast": [float(np.mean(each.colour[3:])) for each in made],
        "order in the list": range(len(infos)),
    }
    for codec in sorted({info.codec for info in infos}):
        columns[f"codec {codec}"] = [float(info.codec == codec) for info in infos]
    return {name: np.array(values, np.float64) for name, values in columns.items()}


def _test(
    values: Float64[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
    subjects: Int64[np.ndarray, " n"],
    draws: Int64[np.ndarray, "r s"],
) -> tuple[float, float]:
    auc = metrics.auc(values, labels)
    spread = intervals.resampled_auc(values, labels, subjects, draws)
    bona_fide = int(labels.sum())
    attacks = len(labels) - bona_fide
    # What independent videos would have: a bootstrap of values that part perfectly has no spread at all.
    least = np.sqrt((len(labels) + 1) / (12 * bona_fide * attacks))
    return auc, (auc - 0.5) / max(float(np.nanstd(spread)), least)
