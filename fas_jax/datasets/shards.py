"""Shards of clips: which videos each holds, decoding them, writing them whole, knowing them again."""

import dataclasses
import logging
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
from array_record.python.array_record_module import ArrayRecordWriter

from fas_jax.base.contents import FileState
from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path, fingerprint, read_json, sha256_file, write_json
from fas_jax.base.record import SPLITS, ClipInfo, Failure, RenditionInfo, Source, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.base.versions import installed
from fas_jax.datasets.builder import RECORD_VERSION, RecordCodec, shard_name
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.prepared import SUMMARY, Shard, clips_path, made_path
from fas_jax.pixels.decoding import Undecoded, decode_videos, source_files, used_source
from fas_jax.pixels.renditions import preparation_key
from fas_jax.runtime.progress import progress_bar

# One record a group allows random access; PNG does not compress again, and raw frames are not to be.
WRITER_OPTIONS = "group_size:1,uncompressed"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardContent:
    """What is known of a finished shard; its clips stay on disk, so that memory does not grow with them."""

    shard: Shard
    labels: frozenset[int]
    failures: tuple[Failure, ...]
    versions: Mapping[str, str]
    """Of the packages that made it."""


@dataclass(frozen=True)
class PlannedShard:
    name: str
    split: str
    videos: tuple[Video, ...]
    files: Mapping[str, tuple[str, ...]]
    """By video, the files whose contents decide the shard's content: videos, frames, annotations."""
    key: str
    """Of everything else that decides it."""


def decode_shards(
    listing: Listing,
    out: Path,
    settings: Preparation,
    renditions: Mapping[str, Rendition],
    planned: list[PlannedShard],
    done: dict[str, ShardContent],
) -> dict[str, ShardContent]:
    """Decodes the shards that are not done; all workers stay busy across the borders of shards."""
    pending = [shard for shard in planned if shard.name not in done]
    if not pending:
        return {}
    codec = RecordCodec(renditions)
    written = {}
    failed = sum(len(content.failures) for content in done.values())
    total = len(listing.videos)
    kept = total - sum(len(shard.videos) for shard in pending)
    paths = (video.path for shard in pending for video in shard.videos)
    with (
        closing(decode_videos(listing.root, paths, settings, renditions, listing.sources)) as outcomes,
        progress_bar(total=total, initial=kept, desc=f"preparing {listing.dataset}", unit="video") as progress,
    ):
        for shard in pending:
            clips: list[tuple[Video, ClipInfo]] = []
            failures: list[Failure] = []
            files: dict[str, FileState] = {}
            again: list[str] = []
            with _shard_writer(out / shard.name) as writer:
                for video in shard.videos:
                    outcome = next(outcomes)
                    files |= outcome.files
                    if isinstance(outcome, Undecoded):
                        failures.append(Failure(video, outcome.reason))
                        if outcome.transient:
                            again.append(video.path)
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
                "transient": bool(again),
                "clips": [
                    {"video": dataclasses.asdict(video), "info": dataclasses.asdict(info)} for video, info in clips
                ],
                "failures": [dataclasses.asdict(failure) for failure in failures],
            }
            _write_made(out, shard.name, installed("numpy") | versions(), files, again)
            # Written last: where this file is, the shard is whole.
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
        versions=read_json(made_path(out, shard.name))["versions"],
    )


def kept_shard(root: Path, out: Path, shard: PlannedShard) -> ShardContent | None:
    """What an earlier run wrote of this shard, if it is whole and what this run would write."""
    path, target = clips_path(out, shard.name), out / shard.name
    if not path.exists() or not target.exists():
        return None
    try:
        table = read_json(path)
        if table["key"] != shard.key or table["sha256"] != sha256_file(target):
            return None
        if not files_unchanged(root, out, shard):
            return None
        return _content(out, shard, table)
    except (UserError, KeyError, TypeError):
        return None


def files_unchanged(root: Path, out: Path, shard: PlannedShard) -> bool:
    """Whether the files that a shard was made of hold the same bytes; only those with another size or time are read.

    Videos that `try_again` decodes anew do not count.
    """
    try:
        made = read_json(made_path(out, shard.name))
        known = {path: FileState(*state) for path, state in made["files"].items()}
        versions, again = made["versions"], made.get("again", [])
    except (UserError, KeyError, TypeError, AttributeError):
        return False
    wanted = {path for video, files in shard.files.items() if video not in again for path in files}
    now = {path: known[path].now(root, path) for path in wanted if path in known}
    same = len(now) == len(wanted) and all(state.sha256 == known[path].sha256 for path, state in now.items())
    if same and now != known:
        # The next run need not hash what was only touched.
        _write_made(out, shard.name, versions, now, again)
    return same


def try_again(
    listing: Listing,
    out: Path,
    settings: Preparation,
    renditions: Mapping[str, Rendition],
    planned: list[PlannedShard],
) -> bool:
    """Decodes anew the videos whose decoding process hung or died; a file that did not decode is not tried again.

    Where such a video now ends otherwise, its shard and the dataset are no longer whole, and `decode_shards` makes the
    shard again.

    Returns:
        Whether there is such a shard.
    """
    wanted = {video: shard for shard in planned for video in _again(out, shard)}
    if not wanted:
        return False
    log.warning("%s: %d videos timed out, or their process died; trying them again", out, len(wanted))
    changed = False
    with closing(decode_videos(listing.root, wanted, settings, renditions, listing.sources)) as outcomes:
        for shard, outcome in zip(wanted.values(), outcomes, strict=True):
            if not (isinstance(outcome, Undecoded) and outcome.transient):
                (out / SUMMARY).unlink(missing_ok=True)
                clips_path(out, shard.name).unlink(missing_ok=True)
                changed = True
    return changed


def _again(out: Path, shard: PlannedShard) -> list[str]:
    """The videos of a finished shard that `try_again` decodes."""
    if not clips_path(out, shard.name).exists():
        return []
    try:
        return [video for video in read_json(made_path(out, shard.name)).get("again", []) if video in shard.files]
    except (UserError, TypeError, AttributeError):
        return []


def plan_shards(listing: Listing, settings: Preparation, renditions: Mapping[str, Rendition]) -> list[PlannedShard]:
    """The shards of a dataset in order. What is said of the videos decides them as much as the settings do."""
    made = {"settings": preparation_key(settings, renditions), "versions": versions()}
    shards = []
    step = settings.videos_per_shard
    for split in SPLITS:
        videos = tuple(video for video in listing.videos if video.split == split)
        count = -(-len(videos) // step)
        for index in range(count):
            mine = videos[index * step : (index + 1) * step]
            given = (listing.sources.get(video.path, Source()) for video in mine)
            sources = [used_source(source, settings, renditions) for source in given]
            key = {
                **made,
                "videos": [dataclasses.asdict(video) for video in mine],
                "sources": [dataclasses.asdict(source) for source in sources],
            }
            files = {video.path: source_files(video.path, each) for video, each in zip(mine, sources, strict=True)}
            name = shard_name(listing.layout.name, split, index, count)
            shards.append(PlannedShard(name, split, mine, files, fingerprint(key)))
    return shards


def versions() -> dict[str, str]:
    """What decides the stored bits besides the settings: decoders, resizer, PNG writer, and the record's fields."""
    fields = [field.name for kind in (Video, ClipInfo, RenditionInfo) for field in dataclasses.fields(kind)]
    build = cv2.getBuildInformation()
    ffmpeg = [
        f"{name} {version}" for name, version in re.findall(r"(avcodec|avformat|swscale): +YES \(([\d.]+)\)", build)
    ]
    return {
        "opencv": cv2.__version__,
        "ffmpeg": ", ".join(ffmpeg),
        "av": av.__version__,
        "record": f"{RECORD_VERSION}-{fingerprint(fields)[:8]}",
        "machine": platform.machine(),
    }


def _write_made(
    out: Path, name: str, versions: Mapping[str, str], files: Mapping[str, FileState], again: Sequence[str]
) -> None:
    states = {path: dataclasses.astuple(state) for path, state in sorted(files.items())}
    write_json(made_path(out, name), {"versions": dict(versions), "files": states, "again": list(again)})
