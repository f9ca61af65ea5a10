"""Maps of the tiles' scores by patch networks, on their worst-scored videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import plain_name
from fas_jax.base.logits import sigmoid
from fas_jax.base.rendition import Rendition
from fas_jax.evaluation.scores import TEST
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import plan as planned
from fas_jax.experiment.results import stored_scores
from fas_jax.experiment.run import open_inputs, read_inputs, read_run
from fas_jax.methods.base import Failed
from fas_jax.methods.data import Clips
from fas_jax.methods.patches import Patches
from fas_jax.methods.patches_fitting import PatchesDetector
from fas_jax.pixels.tiles import tile_corners
from fas_jax.reporting.extra_figures import write_extra_figure
from fas_jax.reporting.tile_maps import TileMap, tile_figure
from fas_jax.studies.worst_videos import first_plan, numbers_of, worst_videos

TEXT = (
    "The patch networks' score of each tile of a kept frame: attacks with the highest scores, and bona fide videos "
    "with the lowest. Tiles that no network read have no colour."
)


def draw_tile_maps(run: Path, method: str = "", protocol: str = "", videos: int = 6, cache: Path | None = None) -> Path:
    """Writes the figure into the run's folder, for its next report; returns its PNG.

    This reads frames of the target, and the cache's ledger notes it.

    Args:
        run: Folder of a run with scores.
        method: Name of a method of kind patches; may be empty if there is only one.
        protocol: Protocol that gives the test videos; the first one if empty.
        videos: Number of videos, half of them attacks.
        cache: The cache's folder, if it was moved.

    Raises:
        UserError: The run has no such method or protocol, or no scores; its fitting failed; frames are missing; or the
            target is sealed.
    """
    experiment, inputs = read_run(run), read_inputs(run)
    known = {name: each for name, each in experiment.methods.items() if isinstance(each, Patches)}
    if not known or (len(known) > 1 and not method):
        told = f"several methods of kind patches; give --method, one of {', '.join(known)}" if known else "no patches"
        raise UserError(f"{run} has {told}")
    name = method or next(iter(known))
    if name not in known:
        raise unknown_name("method of kind patches", name, known)
    protocol, seed, plan = first_plan(inputs, protocol)
    detector = DetectorStore(run, name, known[name], inputs["detectors"][name]).load(plan)
    if isinstance(detector, Failed):
        raise UserError(f"{run}: the fitting of {name} failed: {detector.reason}")
    table = stored_scores(run, inputs).select(protocol=protocol, model=name, role=TEST, seed=seed)
    corpus = open_inputs(run, cache)
    read = [each for each in planned(experiment, corpus.videos) if each.name == plan]
    record_readings(experiment, read, "study", cache or stored_cache(inputs))
    numbers = numbers_of(corpus, worst_videos(table, videos))
    clips = corpus.open(numbers)
    rendition = experiment.renditions[known[name].rendition]
    maps = maps_of(cast(PatchesDetector, detector), clips, clips.find(numbers).tolist(), rendition)
    if not maps:
        raise UserError(f"{run}: no tile of a test video of {protocol} has a score of {name}")
    figure = tile_figure(maps)
    return write_extra_figure(run, plain_name(f"tiles-{name}"), f"Tiles of {name}, {protocol}", TEXT, figure)


def maps_of(detector: PatchesDetector, clips: Clips, rows: Sequence[int], rendition: Rendition) -> list[TileMap]:
    """A map of the middle frame of each clip that has scored tiles; two networks' logits are averaged."""
    tiles, facts = detector.method.inputs()
    found = []
    for row in rows:
        batch = clips.read(np.array([row]), detector.method.inputs())
        (info,) = batch.data[facts]
        made = info.renditions.get(facts.name)
        if made is None or not made.frame_indices:
            continue
        indices = np.array(made.frame_indices)
        frames = np.unique(indices)
        own = np.flatnonzero(indices == frames[len(frames) // 2])
        logits = np.stack([each[0, own] for each in detector.tile_logits(batch).values()])
        read = ~np.isnan(logits)
        box = made.boxes[4 * own[0] : 4 * own[0] + 4]
        face = (box[0], box[1], box[2], box[3]) if any(box) else None
        corners = tile_corners(info.height, info.width, face, rendition)
        # Frames of a video that changes its size have corners that nobody stored.
        if not read.any() or len(corners) != len(own):
            continue
        with np.errstate(invalid="ignore"):
            scores = sigmoid(np.where(read, logits, 0).sum(0) / read.sum(0))
        video = clips.videos[np.array([row])]
        kind = "bona fide" if video.label[0] else str(video.pai[0])
        title = f"{kind}: {Path(str(video.path[0])).name}"
        found.append(TileMap(title, batch.data[tiles][0, own], corners, scores))
    return found
