"""A look at a prepared dataset: one HTML page that needs no network. Imports no JAX."""

import base64
import html
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64

from fas_jax.base.files import read_json
from fas_jax.base.outputs import write_new
from fas_jax.base.record import BONA_FIDE, SPLITS, ClipInfo, Video
from fas_jax.datasets.builder import RecordCodec
from fas_jax.datasets.loading import shard_records
from fas_jax.datasets.prepared import SUMMARY, Prepared
from fas_jax.pixels.pictures import unpack_frame
from fas_jax.reporting.grid import Grid, to_html
from fas_jax.runtime.progress import progress_bar

HASH_SIDE = 16
# Of 256 bits. Encoding a video anew changes a few where it is flat; other scenes differ in about a half.
SAME = 16
THUMBNAIL = 96
_SHOWN = 7
_ROWS = 256
_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{padding:.2rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:left;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}"
    ".warn{background:#fff3cd;padding:.5rem .8rem;border-left:4px solid #c98a00}"
    "p{overflow-wrap:anywhere}.n{white-space:nowrap}"
    "figure{display:inline-block;vertical-align:top;width:420px;max-width:100%;margin:0 .6rem 1rem 0}"
    "figcaption{font-size:12px;overflow-wrap:anywhere}img{display:block;max-width:100%}"
)


@dataclass(frozen=True)
class Duplicate:
    """Two videos in different splits whose middle frames look the same."""

    first: Video
    second: Video
    distance: int
    """Bits that differ, of 256."""


def write_inspection(prepared: Prepared, out: Path, samples: int = 4) -> tuple[Duplicate, ...]:
    """Writes the page and returns the duplicates across splits that it shows.

    Reads every clip once; memory holds hashes, thumbnails of the samples and the clips' rows.

    Args:
        prepared: The dataset.
        out: The HTML file.
        samples: Clips shown of every class and PAI species.
    """
    clips: list[tuple[Video, ClipInfo]] = []
    hashes: list[UInt64[np.ndarray, 4]] = []
    strips: dict[tuple[int, str], list[str]] = defaultdict(list)
    total = sum(prepared.splits.values())
    with progress_bar(total=total, desc=f"inspecting {prepared.dataset}", unit="video") as bar:
        for video, info, frames in _read(prepared):
            clips.append((video, info))
            # Every clip has one rendition at least, or it would be a failure.
            stored = next(each for each in frames.values() if each)
            hashes.append(difference_hash(unpack_frame(stored[len(stored) // 2])))
            shown = strips[-video.label, video.pai_fine]
            if len(shown) < samples:
                shown.append(_strip(video, info, frames))
            bar.update()
    pairs = duplicates([video for video, _ in clips], np.array(hashes, np.uint64).reshape(-1, 4))
    write_new(out, _page(prepared, clips, strips, pairs))
    return pairs


def difference_hash(image: UInt8[np.ndarray, "h w 3"]) -> UInt64[np.ndarray, "4"]:
    """256 bits: whether each of 16 x 16 places of the shrunk grey image is darker than its right neighbour.

    Such bits stay when a video is encoded anew, resized or brightened (Krawetz's difference hash).
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.int64)
    return np.packbits(small[:, :-1] < small[:, 1:]).view(np.uint64)


def duplicates(videos: Sequence[Video], hashes: UInt64[np.ndarray, "n 4"]) -> tuple[Duplicate, ...]:
    """Pairs in different splits whose hashes differ in at most `SAME` bits, the nearest first."""
    splits = np.array([video.split for video in videos])
    found = []
    for start in range(0, len(videos), _ROWS):
        part = hashes[start : start + _ROWS]
        distance = np.bitwise_count(part[:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64)
        near = (distance <= SAME) & (splits[start : start + _ROWS, None] != splits[None])
        for row, column in np.argwhere(near):
            if start + row < column:
                found.append(Duplicate(videos[start + row], videos[column], int(distance[row, column])))
    return tuple(sorted(found, key=lambda pair: (pair.distance, pair.first.path, pair.second.path)))


def _read(prepared: Prepared) -> Iterator[tuple[Video, ClipInfo, dict[str, list[bytes]]]]:
    codec = RecordCodec(prepared.renditions)
    for shard in prepared.shards:
        for record in shard_records(prepared, shard):
            yield codec.decode(record)


def _strip(video: Video, info: ClipInfo, frames: dict[str, list[bytes]]) -> str:
    """A row of small frames for each rendition, in order, with their names and indices below."""
    shown = {name: stored[:_SHOWN] for name, stored in frames.items() if stored}
    strip = np.full((THUMBNAIL * len(shown), THUMBNAIL * max(map(len, shown.values())), 3), 255, np.uint8)
    for row, stored in enumerate(shown.values()):
        for column, frame in enumerate(stored):
            small = cv2.resize(unpack_frame(frame), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
            top, left = row * THUMBNAIL, column * THUMBNAIL
            strip[top : top + THUMBNAIL, left : left + THUMBNAIL] = small
    done, content = cv2.imencode(".jpg", strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    data = base64.b64encode(content.tobytes()).decode()
    told = [f"{video.path} ({video.split}, subject {video.subject})"]
    told += [
        f"{name}: {each.reason or 'frames ' + ', '.join(map(str, each.frame_indices))}"
        for name, each in info.renditions.items()
    ]
    image = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{'<br>'.join(map(html.escape, told))}</figcaption></figure>"


def _page(
    prepared: Prepared,
    clips: list[tuple[Video, ClipInfo]],
    strips: dict[tuple[int, str], list[str]],
    pairs: tuple[Duplicate, ...],
) -> str:
    summary = read_json(prepared.directory / SUMMARY)
    parts = [f"<h1>{html.escape(prepared.dataset)}</h1>", _warnings(prepared, pairs)]
    parts.append(f"<p>Layout {html.escape(prepared.layout)}; {len(clips)} clips.</p>")
    parts += ["<h2>Videos by split, class and PAI species</h2>", to_html(_counts(summary, clips))]
    parts += ["<h2>Durations, frame rates and sizes</h2>", to_html(_lengths(clips)), to_html(_formats(clips))]
    parts += ["<h2>Subjects</h2>", to_html(_subjects(clips))]
    parts += ["<h2>Renditions</h2>", to_html(_renditions(prepared, clips)), _lacking(clips)]
    names = html.escape(", ".join(prepared.renditions))
    parts.append(f"<h2>Sample clips</h2><p>The kept frames in order, a row for each rendition ({names}).</p>")
    for (_, pai), shown in sorted(strips.items()):
        parts += [f"<h3>{html.escape(pai)}</h3>", *shown]
    parts += ["<h2>Failures</h2>", _failures(prepared)]
    for name, title in (("absent", "Missing"), ("missing", "Named by the folder's lists and not there")):
        if names := summary.get(name):
            parts += [f"<h2>{title} ({len(names)})</h2>", f"<p>{html.escape(', '.join(names))}</p>"]
    if names := summary.get("unknown"):
        parts += [f"<h2>Other videos, not used ({len(names)})</h2>", f"<p>{html.escape(', '.join(names))}</p>"]
    parts.append("<h2>Duplicates across splits</h2>")
    if pairs:
        rows = [[str(p.distance), p.first.split, p.first.path, p.second.split, p.second.path] for p in pairs]
        parts.append(to_html(Grid(["bits of 256", "split", "video", "split", "video"], rows)))
    else:
        parts.append(f"<p>None: no two videos in different splits differ in {SAME} of 256 bits or fewer.</p>")
    settings = [[name, str(value)] for name, value in summary["settings"].items()]
    settings += [
        [f"{name}: {setting}", str(value)]
        for name, made in prepared.renditions.items()
        for setting, value in made.items()
    ]
    settings += [[f"version of {name}", value] for name, value in prepared.versions.items()]
    parts += ["<h2>Settings</h2>", to_html(Grid(["setting", "value"], settings))]
    title = html.escape(f"Data: {prepared.dataset}")
    width = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<head><meta charset="utf-8">{width}<title>{title}</title><style>{_STYLE}</style></head>'
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en">{head}<body>{body}</body></html>\n'


def _warnings(prepared: Prepared, pairs: tuple[Duplicate, ...]) -> str:
    found = []
    if prepared.synthetic:
        found.append("Rendered videos: they say nothing about real attacks.")
    if not prepared.complete:
        found.append("Not the complete official set.")
    if prepared.failures:
        found.append(f"Videos that could not be prepared: {len(prepared.failures)}.")
    if pairs:
        found.append(f"Pairs of videos in different splits that look the same: {len(pairs)}.")
    return "".join(f'<p class="warn">{html.escape(text)}</p>' for text in found)


def _counts(summary: dict[str, Any], clips: list[tuple[Video, ClipInfo]]) -> Grid:
    prepared = Counter((video.split, video.pai_fine) for video, _ in clips)
    found, official = summary["found"], summary["official"]
    rows = []
    for split in (each for each in SPLITS if each in {*official, *found}):
        for pai in dict.fromkeys([*official.get(split, {}), *found.get(split, {})]):
            subjects = {video.subject for video, _ in clips if (video.split, video.pai_fine) == (split, pai)}
            numbers = [found.get(split, {}).get(pai, 0), prepared[split, pai], len(subjects)]
            rows.append([split, pai, str(official.get(split, {}).get(pai, "")), *map(str, numbers)])
    return Grid(["split", "class or PAI species", "official", "found", "prepared", "subjects"], rows)


def _lengths(clips: list[tuple[Video, ClipInfo]]) -> Grid:
    measures: dict[str, Callable[[ClipInfo], float]] = {
        "frames": lambda info: info.frame_count,
        "frames a second": lambda info: info.fps,
        "seconds": lambda info: info.frame_count / info.fps if info.fps else float("nan"),
        "bytes a frame": lambda info: info.file_bytes / info.frame_count,
    }
    rows = []
    for name, measure in measures.items():
        for label, kind in ((BONA_FIDE, "bona fide"), (1 - BONA_FIDE, "attack")):
            values = [measure(info) for video, info in clips if video.label == label]
            values = [value for value in values if value == value]
            if values:
                rows.append([name, kind, *(_figure(each) for each in (min(values), median(values), max(values)))])
    return Grid(["", "class", "least", "median", "most"], rows)


def _renditions(prepared: Prepared, clips: list[tuple[Video, ClipInfo]]) -> Grid:
    rows = []
    for name in prepared.renditions:
        infos = [info.renditions[name] for _, info in clips]
        counts = [len(each.frame_indices) for each in infos if not each.reason]
        spread = [_figure(each(counts)) for each in (min, median, max)] if counts else ["", "", ""]
        faceless = sum(each.no_face for each in infos)
        rows.append([name, str(len(counts)), str(len(infos) - len(counts)), *spread, str(faceless)])
    header = ["rendition", "clips", "clips without it", "least frames", "median", "most", "frames without a face"]
    return Grid(header, rows)


def _lacking(clips: list[tuple[Video, ClipInfo]]) -> str:
    rows = [
        [name, video.split, video.pai_fine, video.path, each.reason]
        for video, info in clips
        for name, each in info.renditions.items()
        if each.reason
    ]
    header = ["rendition that lacks", "split", "class or PAI species", "video", "reason"]
    return to_html(Grid(header, rows)) if rows else "<p>Every clip has every rendition.</p>"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _formats(clips: list[tuple[Video, ClipInfo]]) -> Grid:
    def kind(info: ClipInfo) -> tuple[str, str, str]:
        turned = f"{info.rotation}{', mirrored' if info.mirrored else ''}"
        return f"{info.width} x {info.height}", info.codec, turned

    counts = Counter(kind(info) for _, info in clips)
    damaged = Counter(kind(info) for _, info in clips if info.damaged_frames)
    rows = [[*each, str(number), str(damaged[each])] for each, number in counts.most_common()]
    return Grid(["size", "codec", "turned by", "videos", "with damaged frames"], rows)


def _subjects(clips: list[tuple[Video, ClipInfo]]) -> Grid:
    counts = Counter((video.split, video.subject, video.label) for video, _ in clips)
    people = sorted(
        {(split, subject) for split, subject, _ in counts}, key=lambda each: (SPLITS.index(each[0]), each[1])
    )
    rows = [
        [split, subject, str(counts[split, subject, BONA_FIDE]), str(counts[split, subject, 1 - BONA_FIDE])]
        for split, subject in people
    ]
    return Grid(["split", "subject", "bona fide", "attacks"], rows)


def _failures(prepared: Prepared) -> str:
    if not prepared.failures:
        return "<p>None.</p>"
    rows = [[each.video.split, each.video.pai_fine, each.video.path, each.reason] for each in prepared.failures]
    return to_html(Grid(["split", "class or PAI species", "video", "reason"], rows))
