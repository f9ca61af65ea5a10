"""Preparing a dataset once: videos in an official layout to shards of clips that stream.

A shard is the unit of resuming. Which videos it holds depends on the folder and the settings alone, so that
neither the number of workers nor an interruption changes a bit of the result. What is there already is kept as long as
the videos hold the same bytes, whatever their names and times; see `fas_jax.base.contents`.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fas_jax.base.attributes import write_attributes
from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, read_json, remove_leftovers, write_json
from fas_jax.base.locks import is_lock, locked
from fas_jax.base.record import ATTACK, BONA_FIDE, SPLITS, Failure
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation, from_dict
from fas_jax.base.versions import joined
from fas_jax.datasets.builder import write_tfds_metadata
from fas_jax.datasets.layout import Listing, check_whole, left_single, shortfall
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.prepared import CLIPS, MADE, SUMMARY, Prepared, attributes_path, content_fingerprint
from fas_jax.datasets.shards import (
    PlannedShard,
    ShardContent,
    decode_shards,
    files_unchanged,
    kept_shard,
    plan_shards,
    try_again,
)
from fas_jax.pixels.renditions import check_renditions, preparation_key

PLAN = "plan.json"
FAILURES = "failures.json"

log = logging.getLogger(__name__)


def prepare_dataset(
    root: Path,
    out: Path,
    settings: Preparation,
    renditions: Mapping[str, Rendition],
    layout: str | None = None,
) -> Prepared:
    """Decodes every video of a dataset once and stores its kept frames in every rendition.

    Started again after a kill, it keeps the finished shards. Where another process prepares the same, this one waits
    and takes over its result. Videos of which no rendition can be made are recorded with their reason and left out;
    those that timed out, or whose decoding process died, are tried again by every later call. Where only some
    renditions of a video can be made, the reason why a rendition lacks is with the clip.

    Args:
        root: The dataset in an official layout.
        out: The folder of the prepared dataset; one folder holds one dataset with one set of settings.
        settings: See `fas_jax.base.settings.Preparation`.
        renditions: By name; see `fas_jax.base.settings.Rendition`.
        layout: A key of `LAYOUTS`; None finds it out.

    Raises:
        UserError: the dataset cannot be read (see `fas_jax.datasets.layouts.scan`), `out` holds another dataset,
            other settings or something else, or more videos failed than `settings.allow_failures` (the shards stay
            then, so that a run that allows more is quick), or a rendition could be made of no video at all.
    """
    return prepare_listing(scan(root, layout), out, settings, renditions)


def prepare_listing(
    listing: Listing, out: Path, settings: Preparation, renditions: Mapping[str, Rendition]
) -> Prepared:
    """As `prepare_dataset`, for videos that have been listed already, such as a manifest's."""
    _check(settings)
    check_renditions(renditions)
    for names, what in (
        (listing.unknown, "not named by the official rules and lists, and not used"),
        (listing.missing, "named by the dataset's own lists and not there"),
    ):
        if names:
            log.warning("%s: %d videos are %s, such as %s", listing.root, len(names), what, ", ".join(names[:3]))
    check_whole(listing, settings.allow_partial)
    for gap in shortfall(listing, most=3):
        log.warning("%s is only a part: %s", listing.root, gap)
    if single := left_single(listing, renditions):
        log.warning(
            "%s: of %d videos that are images, such as %s, renditions keep one frame only; if their frames were chosen "
            "from a longer video already, say so in the manifest by a column frames = chosen",
            listing.dataset,
            len(single),
            single[0],
        )
    out = Path(out)
    # Another process that prepares the same is waited for, and what it made is then found here.
    with locked(out):
        plan = {
            "dataset": listing.dataset,
            "layout": listing.layout.name,
            "settings": preparation_key(settings, renditions),
        }
        _check_same(out, plan)
        planned = plan_shards(listing, settings, renditions)
        prepared = _finished(listing.root, out, planned)
        if try_again(listing, out, settings, renditions, planned):
            prepared = None
        if prepared is None:
            (out / SUMMARY).unlink(missing_ok=True)
            write_json(out / PLAN, plan)
            prepared = _prepare(listing, out, settings, renditions, planned)
        _check_failures(prepared.failures, out, settings.allow_failures)
        write_attributes(attributes_path(out), listing.attributes)
    _check_made(prepared)
    _warn_of_lost_tags(listing, prepared)
    return prepared


def _warn_of_lost_tags(listing: Listing, prepared: Prepared) -> None:
    """Tells of videos that the dataset's list calls upside down and whose files carry no tag that says so."""
    listed = {path for path, source in listing.sources.items() if source.upside_down}
    if not listed or prepared.settings.rotation == "list":
        return
    lost = [
        video.path
        for shard in prepared.shards
        for video, info in prepared.clips(shard)
        if video.path in listed and info.rotation == 0
    ]
    if lost:
        log.warning(
            "%d videos that %s lists as upside down carry no rotation tag, such as %s: if this copy was encoded anew "
            "they may be upright already; if they are not, prepare it with --rotation list",
            len(lost),
            listing.layout.title,
            lost[0],
        )


def counts(prepared: Prepared) -> list[tuple[str, str, str, str]]:
    """Split, class or fine PAI species, number of videos found, and the official number, `-` where there is none."""
    table = read_json(prepared.directory / SUMMARY)
    found, official = table["found"], table["official"]
    return [
        (
            split,
            pai,
            str(found.get(split, {}).get(pai, 0)),
            str(official.get(split, {}).get(pai, 0 if official else "-")),
        )
        for split in SPLITS
        if split in {*found, *official}
        for pai in dict.fromkeys([*official.get(split, {}), *found.get(split, {})])
    ]


def counts_table(prepared: Prepared) -> list[str]:
    """`counts` as lines of a Markdown table."""
    lines = ["| split | class or PAI species | found | official |", "|---|---|---:|---:|"]
    return lines + [f"| {' | '.join(row)} |" for row in counts(prepared)]


def _prepare(
    listing: Listing,
    out: Path,
    settings: Preparation,
    renditions: Mapping[str, Rendition],
    planned: list[PlannedShard],
) -> Prepared:
    _remove_leftovers(out, listing.layout.name, planned)
    done = {shard.name: content for shard in planned if (content := kept_shard(listing.root, out, shard)) is not None}
    done |= decode_shards(listing, out, settings, renditions, planned, done)

    contents = [done[shard.name] for shard in planned]
    shards = tuple(content.shard for content in contents)
    failures = tuple(failure for content in contents for failure in content.failures)
    _check_failures(failures, out, settings.allow_failures)
    _check_clips(listing, contents, out)
    sizes: dict[str, list[tuple[int, int]]] = {}
    for shard in shards:
        sizes.setdefault(shard.split, []).append((shard.clips, shard.size))
    write_tfds_metadata(out, listing.layout, renditions, sizes)
    prepared = Prepared(
        directory=out,
        dataset=listing.dataset,
        layout=listing.layout.name,
        synthetic=listing.synthetic,
        complete=listing.complete,
        settings=from_dict(Preparation, key(settings), where="preparation"),
        renditions=preparation_key(settings, renditions)["renditions"],
        fingerprint="",
        failures=failures,
        splits={split: sum(count for count, _ in counts) for split, counts in sizes.items()},
        shards=shards,
        versions=joined(content.versions for content in contents),
    )
    write_json(out / SUMMARY, _summary(prepared, listing, planned))
    return Prepared.open(out)


def _check_same(out: Path, plan: dict[str, Any]) -> None:
    if not (out / PLAN).exists():
        if any(not is_lock(path) for path in out.iterdir()):
            raise UserError(f"{out} is not empty and holds no prepared dataset; choose another --out")
        return
    old, new = _flat(read_json(out / PLAN)), _flat(plan)
    differences = [
        f"{name} is {old.get(name, 'not set')!r} there and {new.get(name, 'not set')!r} now"
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]
    if differences:
        raise UserError(
            f"{out} was prepared differently: {'; '.join(differences)}. Choose another --out, or delete that folder"
        )


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted names; those of `settings` by their own."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            prefix = "" if name == "settings" else f"{name}."
            found |= {f"{prefix}{inner}": each for inner, each in _flat(value).items()}
        else:
            found[name] = value
    return found


def _finished(root: Path, out: Path, planned: list[PlannedShard]) -> Prepared | None:
    """The prepared dataset, if it is finished and what it would be made of and with now is what it was."""
    if not (out / SUMMARY).exists():
        return None
    if read_json(out / SUMMARY).get("planned") != _planned(planned):
        log.warning(
            "since %s was prepared, what its lists say of the videos or the decoder has changed: prepared again", out
        )
        return None
    try:
        prepared = Prepared.open(out)
    except UserError as error:
        log.warning("%s: what is damaged is prepared again", error)
        return None
    if not all(files_unchanged(root, out, shard) for shard in planned):
        log.warning("the videos have changed since %s was prepared: what changed is prepared again", out)
        return None
    return prepared


def _planned(planned: list[PlannedShard]) -> str:
    return fingerprint([[shard.name, shard.key] for shard in planned])


def _check(settings: Preparation) -> None:
    for name, least in (
        ("videos_per_shard", 1),
        ("workers", 0),
        ("allow_failures", 0),
    ):
        if getattr(settings, name) < least:
            raise UserError(f"{name} must be at least {least}, not {getattr(settings, name)}")
    if settings.timeout <= 0:
        raise UserError(f"timeout must be above 0 seconds, not {settings.timeout}")


def _check_made(prepared: Prepared) -> None:
    """Tells of clips that lack a rendition; one that all of them lack is an error."""
    lacking: dict[str, list[str]] = {}
    for name, video, reason in prepared.not_made():
        lacking.setdefault(name, []).append(f"{video.path}: {reason}")
    clips = sum(prepared.splits.values())
    for name, lines in lacking.items():
        if len(lines) == clips:
            raise UserError(
                f"rendition {name} can be made of none of the {clips} videos of {prepared.dataset} ({lines[0]}; ...); "
                f"change [renditions.{name}] or leave it out"
            )
        log.warning(
            "%s: %d of %d clips lack the rendition %s, such as %s",
            prepared.dataset,
            len(lines),
            clips,
            name,
            "; ".join(lines[:3]),
        )


def _check_failures(failures: tuple[Failure, ...], out: Path, allowed: int) -> None:
    report = out / FAILURES
    if not failures:
        report.unlink(missing_ok=True)
        return
    write_json(report, [dataclasses.asdict(failure) for failure in failures])
    if len(failures) > allowed:
        first = "; ".join(f"{failure.video.path}: {failure.reason}" for failure in failures[:3])
        raise UserError(
            f"{len(failures)} videos failed and {allowed} may: {first}{'; ...' if len(failures) > 3 else ''}. All are "
            f"listed in {report}. Mend them, or allow them by --allow-failures {len(failures)} "
            "(--preparation.allow-failures of run.py); "
            "what is done is kept"
        )


def _check_clips(listing: Listing, contents: list[ShardContent], out: Path) -> None:
    for split in dict.fromkeys(video.split for video in listing.videos):
        if not any(content.labels for content in contents if content.shard.split == split):
            raise UserError(f"no video of the split {split} decodes; see {out / FAILURES}")
    listed = {video.label for video in listing.videos}
    for label, name in ((BONA_FIDE, "bona fide"), (ATTACK, "attack")):
        if label in listed and not any(label in content.labels for content in contents):
            raise UserError(f"no {name} video of {listing.root} decodes; see {out / FAILURES}")


def _summary(prepared: Prepared, listing: Listing, planned: list[PlannedShard]) -> dict[str, Any]:
    table = {field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)}
    del table["directory"]
    return {
        **table,
        "settings": key(prepared.settings),
        "fingerprint": content_fingerprint(prepared),
        "failures": [dataclasses.asdict(failure) for failure in prepared.failures],
        "shards": [dataclasses.asdict(shard) for shard in prepared.shards],
        "planned": _planned(planned),
        "found": listing.counts,
        "official": listing.layout.official,
        "missing": listing.missing,
        "absent": listing.absent,
        "unknown": listing.unknown,
    }


def _remove_leftovers(out: Path, layout: str, planned: list[PlannedShard]) -> None:
    """Deletes what a killed run, or a run on other videos, left of our own files."""
    names = {shard.name for shard in planned}
    pattern = f"{layout}-*.array_record-*"
    for path in [
        *out.glob(pattern),
        *(path for part in (CLIPS, MADE) for path in (out / part).glob(f"{pattern}.json")),
    ]:
        if path.name.removesuffix(".json") not in names:
            path.unlink()
    remove_leftovers([out, out / CLIPS, out / MADE])
