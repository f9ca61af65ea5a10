"""Detectors with their thresholds and the labelled videos that they judge: those of a run, or of a bundle."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.frames import StoredFrames
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.manifest import read_manifest
from fas_jax.deployment.bundle_folder import load_bundle
from fas_jax.evaluation.thresholds import Threshold, thresholds
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.inputs import kept_backbone
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import plan
from fas_jax.experiment.results import run_scores, stored_detectors
from fas_jax.experiment.run import open_inputs, read_inputs, read_run
from fas_jax.experiment.stages import list_videos
from fas_jax.models import backbones
from fas_jax.models.backbones import Backbone, Params, cast_kernels
from fas_jax.pixels.decoding import Undecoded, decode_videos
from fas_jax.pixels.pictures import unpack_frame

ReadFrames = Callable[[int], UInt8[np.ndarray, "t h w 3"]]
"""From a video's row to its frames, RGB."""


@dataclass(frozen=True)
class Clips:
    """Some videos in some renditions."""

    infos: Sequence[ClipInfo]
    masks: Mapping[str, Bool[np.ndarray, "n t"]]
    """By rendition; True at real frames, which are the first."""
    frames: Mapping[str, ReadFrames]
    """By rendition."""


@dataclass(frozen=True)
class Judge:
    """The detectors of one protocol and seed."""

    protocol: str
    seed: int
    rows: Int[np.ndarray, " k"]
    """Of the videos that they judge."""
    thresholds: Mapping[str, float]
    """By method; NaN where there is none."""


@dataclass(frozen=True)
class Case:
    """What is disturbed, and who judges it."""

    name: str
    experiment: Experiment
    """Its methods, and how they are run."""
    videos: VideoTable
    """All that some judge judges."""
    judges: Sequence[Judge]
    fitted: Fitted
    """Detectors of every method, one for each judge."""
    clips: Clips
    """As they are."""
    moved: Callable[[Mapping[str, Rendition]], Clips]
    """The same videos, decoded again in other renditions of the same names."""
    backbone: Backbone
    params: Params
    features: Features
    renditions: Mapping[str, Rendition]
    """Those that the methods read."""


def case_of_run(folder: Path, cache: Path | None = None) -> Case:
    """A trained run with its targets' test videos; the ledger notes the reading.

    Args:
        folder: Of the run.
        cache: Where the cache with the run's inputs is now, if it was moved.

    Raises:
        UserError: The run is not trained, its inputs are not there, it has no target, or a target is sealed.
    """
    experiment, inputs = read_run(folder), read_inputs(folder)
    corpus = open_inputs(folder, cache)
    plans = plan(experiment, corpus.videos)
    tested = [each for each in plans if len(each.assignment.test)]
    if not tested:
        raise UserError(f"no protocol of {folder} tests on a target; add leave-one-out to evaluation.protocols")
    record_readings(experiment, tested, "study", cache or stored_cache(inputs))
    scores = run_scores(experiment, folder, inputs, cache)
    known = thresholds(scores, experiment.evaluation.threshold, experiment.evaluation.threshold_from)
    every = stored_detectors(experiment, folder, inputs)
    numbers = [number for number, each in enumerate(plans) if len(each.assignment.test)]
    fitted = Fitted({name: [own[number] for number in numbers] for name, own in every.detectors.items()})
    clips = corpus.open(np.concatenate([each.assignment.test for each in tested]))
    judges = [
        Judge(
            each.protocol.name,
            each.seed,
            clips.find(each.assignment.test),
            {name: _value(known.get((each.protocol.name, each.seed, name))) for name in experiment.methods},
        )
        for each in tested
    ]
    read = {item.name for method in experiment.methods.values() for item in method.inputs() if not item.of_method}
    stored = {name: clips.frames(name) for name in read}
    opened = Clips(
        clips.facts(next(iter(sorted(read)))),
        {name: each.mask for name, each in stored.items()},
        {name: partial(_stored, each) for name, each in stored.items()},
    )

    # Rendered videos lie in the cache, wherever the command runs.
    here = dataclasses.replace(experiment, cache=str(cache or stored_cache(inputs)))

    def moved(renditions: Mapping[str, Rendition]) -> Clips:
        return decoded(list_videos(here), clips.videos, experiment.preparation, renditions)

    params, origin = kept_backbone(folder)
    return Case(
        name=experiment.name,
        experiment=experiment,
        videos=clips.videos,
        judges=judges,
        fitted=fitted,
        clips=opened,
        moved=moved,
        backbone=backbones.get(origin["backbone"]),
        params=cast_kernels(jax.device_put(params), experiment.features.precision),
        features=experiment.features,
        renditions={name: experiment.renditions[name] for name in sorted(read)},
    )


def case_of_bundle(folder: Path, videos: Path) -> Case:
    """A bundle with the test videos of a manifest or of a dataset's folder; with all of them where none is for tests.

    Args:
        folder: Of the bundle.
        videos: A manifest, or a folder in an official layout.

    Raises:
        UserError: As `load_bundle`, `read_manifest` and `scan`; or no video can be decoded.
    """
    bundle = load_bundle(folder)
    listings = [scan(videos)] if Path(videos).is_dir() else list(read_manifest(videos))
    listed = [video for each in listings for video in each.videos]
    wanted = [video for video in listed if video.split == "test"] or listed
    table = VideoTable.of(wanted)
    clips = decoded(listings, table, bundle.preparation, bundle.renditions)
    methods = {name: detector.method for name, detector in bundle.detectors.items()}
    tau = {name: bundle.decisions[name].threshold if name in bundle.decisions else np.nan for name in methods}
    most = max((each.most_frames for each in bundle.renditions.values()), default=0)
    return Case(
        name=Path(folder).resolve().name,
        experiment=Experiment(methods=methods),
        videos=table,
        judges=[Judge(bundle.about["protocol"], bundle.about["seed"], np.arange(len(table), dtype=np.int32), tau)],
        fitted=Fitted({name: [detector] for name, detector in bundle.detectors.items()}),
        clips=clips,
        moved=lambda renditions: decoded(listings, table, bundle.preparation, renditions),
        backbone=bundle.backbone,
        params=bundle.backbone_params,
        # As the bundle itself does it.
        features=dataclasses.replace(bundle.features, batch_size=min(most or 8, bundle.features.batch_size)),
        renditions=bundle.renditions,
    )


def decoded(
    listings: Sequence[Listing], videos: VideoTable, settings: Preparation, renditions: Mapping[str, Rendition]
) -> Clips:
    """Videos from their files, in their order; one that cannot be decoded has no frames, with the reason.

    Raises:
        UserError: A video is in none of these listings.
    """
    places = {listing.dataset: listing for listing in listings}
    infos: dict[int, ClipInfo] = {}
    packed: dict[int, Mapping[str, list[bytes]]] = {}
    for dataset in videos.dataset.present():
        rows = np.flatnonzero(videos.dataset == dataset).tolist()
        paths = [str(videos.path[row]) for row in rows]
        listing = places.get(dataset)
        if listing is None or (lost := {*paths} - {video.path for video in listing.videos}):
            what = f"of {dataset}" if listing is None else f"such as {dataset}: {min(lost)}"
            raise UserError(f"videos that the detectors judge, {what}, are not where they were; restore the dataset")
        sources: Mapping[str, Source] = listing.sources
        outcomes = decode_videos(listing.root, paths, settings, renditions, sources)
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Undecoded):
                infos[row], packed[row] = ClipInfo(0, 0.0, 0, 0, "", 0), {}
            else:
                infos[row], packed[row] = outcome.info, outcome.frames

    def read(name: str, row: int) -> UInt8[np.ndarray, "t h w 3"]:
        frames = [unpack_frame(each) for each in packed[row].get(name, [])]
        size = renditions[name].size
        return np.stack(frames) if frames else np.zeros((0, size, size, 3), np.uint8)

    masks = {}
    for name in renditions:
        counts = np.array([len(packed[row].get(name, [])) for row in range(len(videos))])
        masks[name] = np.arange(max(1, counts.max(initial=0))) < counts[:, None]
    return Clips([infos[row] for row in range(len(videos))], masks, {name: partial(read, name) for name in renditions})


def _stored(stored: StoredFrames, row: int) -> UInt8[np.ndarray, "t h w 3"]:
    return stored[np.array([row])][0, : int(stored.mask[row].sum())]


def _value(found: Threshold | None) -> float:
    return found.value if found else np.nan
