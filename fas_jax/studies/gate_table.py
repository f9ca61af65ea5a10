"""How often the gate refuses videos of a run, by PAI species and for bona fide: refusals are non-responses."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from fas_jax.base.errors import UserError
from fas_jax.base.locks import locked
from fas_jax.base.record import BONA_FIDE, Video
from fas_jax.datasets.layout import Listing
from fas_jax.evaluation.intervals import binomial_interval
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.ledger import stored_cache
from fas_jax.experiment.run import IN_USE, read_inputs, read_run
from fas_jax.experiment.stages import list_videos, renditions_read
from fas_jax.pixels.decoding import Undecoded, decode_videos
from fas_jax.pixels.gate.checks import CheckedClip, check_clip
from fas_jax.pixels.gate.frames import gate_rendition
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.pictures import unpack_frame
from fas_jax.pixels.selection import spread
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.reporting.grid import Grid
from fas_jax.runtime.progress import progress_bar

_GATE, _ALL = "gate", "all"
_TEXT = (
    "Videos of the official training splits, as the gate before a verdict judges them; no video of a target's test is "
    "read. Without a decision: refused by the gate or not decoded, in % with exact 95 % binomial intervals, which take "
    "the videos of a subject as independent. For a species of attacks this is the APNRR that the gate adds, for bona "
    "fide the BPNRR. A gate that refuses attacks more often than bona fide videos sees something of the attack; it is "
    "no detector. Failed checks: refused videos in which some frame fails the check."
)


Key: TypeAlias = tuple[str, str]
"""Dataset and path of a video."""
Chosen: TypeAlias = Sequence[tuple[Listing, Sequence[Video]]]
"""Videos, with the list that each is in."""


class Judged(NamedTuple):
    """What the gate says of a video."""

    video: Video
    found: CheckedClip | None
    """None if the video could not be decoded."""


def tabulate(run: Path, limits: Gate, most: int = 0, cache: Path | None = None) -> ExtraTable:
    """Leaves the table in the run's folder, for its next report; reads official training splits alone.

    Args:
        run: Folder of a trained run.
        limits: Of the gate.
        most: Videos of a dataset and PAI species, evenly spread over its list; 0 for all.
        cache: Where the cache is now, if it was moved.

    Raises:
        UserError: The run's videos are not where they were, none is of a training split, or another process is at work
            in the run's folder.
    """
    experiment, inputs = read_run(run), read_inputs(run)
    place = cache or stored_cache(inputs)
    with locked(run, IN_USE):
        chosen = listed(experiment, place, most, lambda video: video.split == "train")
        if not chosen:
            raise UserError(
                f"no video of {run} is of an official training split, of which alone the gate's table is made"
            )
        table = gate_table(refusals(experiment, limits, chosen))
        write_extra_table(run, "gate", table)
    return table


def listed(experiment: Experiment, cache: Path, most: int, wanted: Callable[[Video], bool]) -> Chosen:
    """Videos of an experiment, with the lists that they are in, none of which is empty; no video is opened.

    Args:
        experiment: Whose videos are listed.
        cache: Where rendered videos lie.
        most: Videos of a dataset and PAI species, evenly spread over its list; 0 for all.
        wanted: Whether a video is one of those.

    Raises:
        UserError: The videos are not where they were.
    """
    chosen = [
        (listing, _chosen([video for video in listing.videos if wanted(video)], most))
        for listing in list_videos(dataclasses.replace(experiment, cache=str(cache)))
    ]
    return [each for each in chosen if each[1]]


def refusals(experiment: Experiment, limits: Gate, chosen: Chosen) -> list[Judged]:
    """What the gate says of videos.

    Args:
        experiment: Whose first rendition is read.
        limits: Of the gate.
        chosen: The videos, from `listed`.
    """
    count = sum(len(videos) for _, videos in chosen)
    rendition = {_GATE: gate_rendition(experiment.renditions[renditions_read(experiment)[0]], limits)}

    def judged(listing: Listing, videos: Sequence[Video]) -> Iterator[Judged]:
        paths = [video.path for video in videos]
        outcomes = decode_videos(listing.root, paths, experiment.preparation, rendition, listing.sources)
        for video, outcome in zip(videos, outcomes, strict=True):
            if isinstance(outcome, Undecoded):
                yield Judged(video, None)
            else:
                yield Judged(video, check_clip([unpack_frame(each) for each in outcome.frames[_GATE]], limits))

    found = []
    with progress_bar(total=count, desc="gate", unit="video") as bar:
        for listing, videos in chosen:
            for each in judged(listing, videos):
                found.append(each)
                bar.update()
    return found


def _chosen(videos: Iterable[Video], most: int) -> list[Video]:
    """At most so many of each PAI species."""
    by_species: dict[str, list[Video]] = {}
    for video in videos:
        by_species.setdefault(video.pai, []).append(video)
    return [video for own in by_species.values() for video in spread(own, most)]


def of_species(label: int, pai: str) -> str:
    """What tables call the PAI species of a video, and bona fide ones."""
    return "bona fide" if label == BONA_FIDE else pai or "unknown"


def gate_table(found: Sequence[Judged]) -> ExtraTable:
    """Refusals by dataset and PAI species, and by species over all datasets if there are several.

    Args:
        found: At least one.
    """
    groups: dict[tuple[str, str], list[Judged]] = {}
    datasets = list(dict.fromkeys(each.video.dataset for each in found))
    for each in found:
        species = of_species(each.video.label, each.video.pai)
        for dataset in (each.video.dataset, *([_ALL] if len(datasets) > 1 else [])):
            groups.setdefault((dataset, species), []).append(each)
    order = {name: place for place, name in enumerate([*datasets, _ALL])}
    rows = []
    for (dataset, species), own in sorted(
        groups.items(), key=lambda item: (order[item[0][0]], item[0][1] != "bona fide", item[0][1])
    ):
        undecoded = sum(each.found is None for each in own)
        refused = [each.found for each in own if each.found is not None and not each.found.passed]
        silent = undecoded + len(refused)
        failed = Counter(check.name for clip in refused for check in clip.checks if check.failed)
        rows.append(
            [
                dataset,
                species,
                str(len(own)),
                str(undecoded),
                str(len(refused)),
                f"{100 * silent / len(own):.1f}{binomial_interval(silent, len(own))}",
                ", ".join(f"{name} {count}" for name, count in failed.most_common()) or "—",
            ]
        )
    header = ["dataset", "species", "videos", "not decoded", "refused", "without a decision", "failed checks"]
    return ExtraTable("The gate", _TEXT, Grid(header, rows))
