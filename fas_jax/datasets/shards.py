"""Shards of clips: which videos each holds, decoding them, writing them whole, knowing them again."""

import dataclasses
import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from array_record.python.array_record_module import ArrayRecordWriter

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path, fingerprint, read_json, sha256_file, write_json
from fas_jax.base.record import SPLITS, ClipInfo, Failure, Source, Video
from fas_jax.base.settings import Preparation
from fas_jax.datasets.builder import RENDITIONS, RecordCodec, shard_name
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.prepared import Shard, clips_path, content_settings
from fas_jax.pixels.decoding import Undecoded, decode_videos
from fas_jax.runtime.progress import progress_bar

# One record a group allows random access; PNG does not compress again, and raw frames are not to be.
WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class ShardContent:
    """What is known of a finished shard; its clips stay on disk, so that memory does not grow with them."""

    shard: Shard
    labels: frozenset[int]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class PlannedShard:
    name: str
    split: str
    videos: tuple[Video, ...]
    key: str
    """Of everything that decides the shard's content."""


def decode_shards(
    listing: Listing,
    out: Path,
    settings: Preparation,
    planned: list[PlannedShard],
    done: dict[str, ShardContent],
) -> dict[str, ShardContent]:
    """Decodes the shards that are not done; all workers stay busy across the borders of shards."""
    pending = [shard for shard in planned if shard.name not in done]
    if not pending:
        return {}
    codec = RecordCodec()
    written = {}
    failed = sum(len(content.failures) for content in done.values())
    total = len(listing.videos)
    kept = total - sum(len(shard.videos) for shard in pending)
    paths = (video.path for shard in pending for video in shard.videos)
    with (
        closing(decode_videos(listing.root, paths, settings, listing.sources)) as outcomes,
        progress_bar(total=total, initial=kept, desc=f"preparing {listing.dataset}", unit="video") as progress,
    ):
        for shard in pending:
            clips: list[tuple[Video, ClipInfo]] = []
            failures: list[Failure] = []
            transient = False
            with _shard_writer(out / shard.name) as writer:
                for video in shard.videos:
                    outcome = next(outcomes)
                    if isinstance(outcome, Undecoded):
                        failures.append(Failure(video, outcome.reason))
                        transient |= outcome.transient
                    else:
                        writer.write(codec.encode(video, outcome.info, outcome.frames))
                        clips.append((video, outcome.info))
                    progress.update()
            failed += len(failures)
            progress.set_postfix(failed=failed)
            table = {
                "key": shard.key,
                "size": (out / shard.name).stat().st_size,
                "sha256": sha256_file(out / shard.name),
                "transient": transient,
                "clips": [
                    {"video": dataclasses.asdict(video), "info": dataclasses.asdict(info)} for video, info in clips
                ],
                "failures": [dataclasses.asdict(failure) for failure in failures],
            }
            # Written after the shard: where this file is, the shard is whole.
            write_json(clips_path(out, shard.name), table)
            written[shard.name] = _content(out, shard, table)
    return written


@contextmanager
def _shard_writer(target: Path) -> Iterator[ArrayRecordWriter]:
    """An ArrayRecord file that appears under its name when it is whole and on disk."""
    with atomic_path(target) as temporary:
        try:
            writer = ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
            yield writer
            # A full disk shows only here.
            writer.close()
        except RuntimeError as error:
            raise UserError(f"cannot write {target}: {error}") from error


def _content(out: Path, shard: PlannedShard, table: dict[str, Any]) -> ShardContent:
    return ShardContent(
        shard=Shard(
            split=shard.split,
            name=shard.name,
            clips=len(table["clips"]),
            size=table["size"],
            sha256=table["sha256"],
            clips_sha256=sha256_file(clips_path(out, shard.name)),
        ),
        labels=frozenset(clip["video"]["label"] for clip in table["clips"]),
        failures=tuple(Failure(Video(**row["video"]), row["reason"]) for row in table["failures"]),
    )


def kept_shard(out: Path, shard: PlannedShard) -> ShardContent | None:
    """What an earlier run wrote of this shard, if it is whole and what this run would write."""
    path, target = clips_path(out, shard.name), out / shard.name
    if not path.exists() or not target.exists():
        return None
    try:
        table = read_json(path)
        # A worker that hung or died may do better now; a file that did not decode will not.
        if table["key"] != shard.key or table["transient"] or table["sha256"] != sha256_file(target):
            return None
        return _content(out, shard, table)
    except (UserError, KeyError, TypeError):
        return None


def plan_shards(listing: Listing, settings: Preparation) -> list[PlannedShard]:
    shards = []
    step = settings.videos_per_shard
    for split in SPLITS:
        videos = tuple(video for video in listing.videos if video.split == split)
        count = -(-len(videos) // step)
        for index in range(count):
            mine = videos[index * step : (index + 1) * step]
            key = {
                "settings": content_settings(settings),
                "versions": versions(),
                "videos": [[dataclasses.asdict(video), listing.sizes[video.path]] for video in mine],
                "sources": [source_key(listing, video.path, settings) for video in mine],
            }
            name = shard_name(listing.layout.name, split, index, count)
            shards.append(PlannedShard(name, split, mine, fingerprint(key)))
    return shards


def source_key(listing: Listing, path: str, settings: Preparation) -> list[Any]:
    """What a video's source adds to what decides its clip; an annotation counts by its content, where it is used."""
    source = listing.sources.get(path, Source())
    content = ""
    if settings.faces == "annotation" and source.annotation and not source.box:
        file = listing.root / source.annotation
        content = sha256_file(file) if file.is_file() else "absent"
    turned = source.upside_down if settings.rotation == "list" else None
    box = source.box if settings.faces == "annotation" else ()
    return [list(source.frames), source.fps, turned, list(box), content]


def versions() -> dict[str, str]:
    """What decides the stored bits besides the settings: decoder, resizer, PNG writer, and the record's fields."""
    fields = [field.name for kind in (Video, ClipInfo) for field in dataclasses.fields(kind)] + [*RENDITIONS]
    return {"opencv": cv2.__version__, "record": fingerprint(fields)[:8], "machine": platform.machine()}
