"""From drawn domains to a table of scores: rendering, preparation, features, heads. Finished work is found again.

The domains, their videos and their features lie in a cache. The heads are fitted on the sources once for each seed, and
once more without each source, and score all targets.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fas_jax.base.declarations import check_ranges, how, key, what
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Execution, Features, Preparation, Synthesis
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.evaluation.scores import CROSS_SOURCE, SHIFTED, TEST, VALIDATION, ScoreTable
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.experiment.planning import Plan, cross_source_plans
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import Desk, Failed, Job, Method
from fas_jax.methods.data import WHOLE, Rows, Scores, Task
from fas_jax.pixels.renditions import preparation_key
from fas_jax.protocols.assignment import assign
from fas_jax.protocols.presets import SYNTHETIC, make_protocol
from fas_jax.runtime.progress import progress_bar
from fas_jax.synthetic import VERSION, render_domain
from fas_jax.synthetic.shifts import MANIFEST, RandomDomain, source_domain, target_domain

PROTOCOL = "sources_to_targets"
_RENDITION = "whole"


@dataclass(frozen=True)
class DomainShift:
    """Domains, videos and features of the study."""

    seed: int = what(0, at_least=0)
    """Of the domains and their videos."""
    targets: int = what(30, at_least=1)
    """Target domains; the camera, the light, the instruments and all of them are shifted in turns."""
    sources: int = what(4, at_least=2)
    """Source domains."""
    source_size: float = what(0.7, at_least=0)
    """How far the sources lie from the reference, in units (see fas_jax/synthetic/shifts.py)."""
    smallest: float = what(0.0, at_least=0)
    """Least size of a target's shift; it is drawn uniformly up to `largest`."""
    largest: float = what(3.0, above=0)
    """Greatest size of a target's shift."""
    subjects: int = what(12, at_least=4)
    """Subjects of a domain; no two domains share any."""
    videos_per_subject: int = what(4, at_least=2)
    """Videos of a subject, half of them bona fide, the others prints and replays."""
    frames: int = what(6, at_least=2)
    """Frames of a video, before its random variation; every second one is kept, at most four."""
    frame_size: int = what(224, at_least=32)
    """Side in pixels to which kept frames are resized."""
    backbone: str = what("efficientnet_lite0")
    """Of the features."""
    weights: str = what("package")
    """Of the backbone, as `features.weights`."""
    validation_fraction: float = what(0.25, above=0, below=1)
    """Share of each source's subjects that is held out of training."""
    seeds: int = what(3, at_least=1)
    """Cuts of the sources into training and validation, each with its own fitting."""
    workers: int = how(0, at_least=0)
    """Processes that render and decode; 0 is one for each core."""

    @property
    def synthesis(self) -> Synthesis:
        """The settings of a domain's videos."""
        return Synthesis(
            subjects=self.subjects,
            videos_per_subject=self.videos_per_subject,
            frames=self.frames,
            seed=self.seed,
            workers=self.workers,
        )

    def domains(self) -> tuple[list[RandomDomain], list[RandomDomain]]:
        """Sources and targets. Raises `UserError` for sizes that are no range, or a number out of its range."""
        check_ranges(self)
        if self.smallest > self.largest:
            raise UserError(f"smallest is {self.smallest:g} and largest {self.largest:g}; give smallest <= largest")
        sources = [source_domain(self.seed, number, self.source_size) for number in range(self.sources)]
        targets = [target_domain(self.seed, number, (self.smallest, self.largest)) for number in range(self.targets)]
        return sources, targets


class Stores(NamedTuple):
    """Features of all domains, and of the sources' videos with their frames shifted."""

    ordinary: list[FeatureStore]
    """Sources first."""
    shifted: list[FeatureStore]


def make_stores(settings: DomainShift, cache: Path) -> Stores:
    """Renders, prepares and extracts every domain that the cache does not hold yet.

    Args:
        settings: Which domains.
        cache: Folder of the videos, the kept frames and the features, as an experiment's cache.

    Raises:
        UserError: As `render_domain`, `prepare_listing` and `extract`.
    """
    from fas_jax.features.extraction import extract
    from fas_jax.features.shifted import extract_shifted

    sources, targets = settings.domains()
    renditions = {_RENDITION: Rendition(segment=2, max_frames=4, size=settings.frame_size)}
    preparation = Preparation(workers=settings.workers)
    features = Features(backbone=settings.backbone, weights=settings.weights)
    place = cache / "features"
    stores = Stores([], [])
    with progress_bar(total=len(sources) + len(targets), desc="domains", unit="domain") as bar:
        for split, domains in (("train", sources), ("test", targets)):
            for domain in domains:
                made = fingerprint([key(settings.synthesis), dict(domain.values), split, VERSION])[:16]
                root = render_domain(domain, cache / "rendered" / f"{domain.name}-{made}", settings.synthesis, split)
                listing, kept = _listing(root), fingerprint([made, preparation_key(preparation, renditions)])[:16]
                folder = cache / "prepared" / f"{SYNTHETIC}{domain.name}-{kept}"
                prepared = prepare_listing(listing, folder, preparation, renditions)
                stores.ordinary.append(extract(prepared, _RENDITION, place, features))
                if split == "train":
                    paths = [video.path for video in listing.videos]
                    stores.shifted.append(extract_shifted(prepared, _RENDITION, paths, place, features))
                bar.update()
    return stores


def score_targets(
    clips: CorpusClips, shifted: CorpusClips, settings: DomainShift, methods: Mapping[str, Method]
) -> ScoreTable:
    """Scores of source and target videos by every method and seed.

    The roles are `validation`, `shifted-validation` (the same videos with their frames shifted), `leave-one-source-out`
    (all source videos by detectors that have not seen their domain) and `test` (the videos of all targets).

    Args:
        clips: Of all domains.
        shifted: Of the sources' videos with their frames shifted.
        settings: The same as for `make_stores`.
        methods: By name; none reads another one's scores.

    Raises:
        UserError: A fitting failed.
    """
    sources, targets = ([f"{SYNTHETIC}{each.name}" for each in part] for part in settings.domains())
    datasets = np.asarray(clips.videos.dataset)
    test = np.flatnonzero(np.isin(datasets, targets))
    protocol = make_protocol("strict", sources, targets[0])
    plans = [
        Plan(protocol, seed, assign(protocol, clips.videos, settings.validation_fraction, seed))
        for seed in range(settings.seeds)
    ]
    moved = {key: row for row, key in enumerate(_keys(shifted.videos))}
    fittings = [
        _Part(plan, CROSS_SOURCE, clips, plan.assignment.test) for _, plan in cross_source_plans(plans, clips.videos)
    ]
    for plan in plans:
        held = plan.assignment.validation
        rows = np.array([moved[key] for key in _keys(clips.videos[held])], np.int64)
        fittings.append(_Part(plan, VALIDATION, clips, held))
        fittings.append(_Part(plan, SHIFTED, shifted, rows))
        fittings.append(_Part(plan, TEST, clips, test))
    tables = []
    with progress_bar(total=len(methods), desc="heads", unit="method") as bar:
        for name, method in methods.items():
            found = _fit_and_score(name, method, clips, fittings)
            for part, own in zip(fittings, found, strict=True):
                videos, seed = part.clips.videos[part.rows], part.plan.seed
                tables.append(
                    ScoreTable.from_videos(PROTOCOL, seed, part.role, name, videos, own.clip, own.reason or None)
                )
            bar.update()
    return ScoreTable.concatenate(tables)


class _Part(NamedTuple):
    """Videos that the detector of a plan scores."""

    plan: Plan
    role: str
    clips: CorpusClips
    rows: Rows


def _keys(videos: VideoTable) -> list[tuple[str, str]]:
    return list(zip(videos.dataset.tolist(), videos.path, strict=True))


def _fit_and_score(name: str, method: Method, clips: CorpusClips, parts: Sequence[_Part]) -> list[Scores]:
    """The scores of each part; a plan that occurs several times is fitted once."""
    plans = list({id(part.plan): part.plan for part in parts}.values())
    tasks = {}
    for number, plan in enumerate(plans):
        train, validation = plan.assignment.train, plan.assignment.validation
        tasks[id(plan)] = Task(number, plan.name, plan.protocol.name, plan.seed, WHOLE, train, validation, validation)
    desk = Desk(name, Execution())
    detectors = method.fit([Job(method, task) for task in tasks.values()], clips, desk)
    found: dict[int, Scores] = {}
    for source in {id(part.clips): part.clips for part in parts}.values():
        own = [number for number, part in enumerate(parts) if part.clips is source]
        numbers = [tasks[id(parts[number].plan)].number for number in own]
        chosen = []
        for number in numbers:
            detector = detectors[number]
            if isinstance(detector, Failed):
                raise UserError(f"{name} could not be fitted ({plans[number].name}): {detector.reason}")
            chosen.append(detector)
        scored = method.score_all(chosen, source, [parts[number].rows for number in own], numbers, desk)
        found |= zip(own, scored, strict=True)
    return [found[number] for number in range(len(parts))]


def _listing(root: Path) -> Listing:
    """The videos of a rendered domain, under a name that says that they are rendered."""
    (found,) = read_manifest(root / MANIFEST)
    name = f"{SYNTHETIC}{found.dataset}"
    videos = tuple(dataclasses.replace(video, dataset=name) for video in found.videos)
    return dataclasses.replace(found, dataset=name, videos=videos)
