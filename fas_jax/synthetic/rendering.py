"""Writes a rendered dataset in its official layout; can be interrupted and goes on."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import pebble

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import TEMPORARY, atomic_path, read_json, remove_leftovers, write_json
from fas_jax.base.locks import is_lock, locked
from fas_jax.base.processes import SpawnWithoutMain
from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.settings import Synthesis
from fas_jax.runtime.progress import progress_bar
from fas_jax.runtime.workers import check_workers, worker_count
from fas_jax.synthetic import textures
from fas_jax.synthetic.domains import Conditions, official_conditions
from fas_jax.synthetic.encoding import write_video
from fas_jax.synthetic.layouts import annotation, protocol_files
from fas_jax.synthetic.plan import LETTERS, MSU_UPSIDE_DOWN, PlannedVideo, planned_videos
from fas_jax.synthetic.recording import record
from fas_jax.synthetic.shifts import MANIFEST, RandomDomain, domain_conditions, domain_videos, manifest
from fas_jax.synthetic.textures import Photograph
from fas_jax.synthetic.variety import synthesis_of, variety_conditions, variety_manifest, variety_videos

VERSION = 3
"""Of the renderer: a change that changes any frame raises it."""
MARKER = "SYNTHETIC.json"
_NOTE = (
    "Rendered videos in the layout of the dataset whose letter they carry. They exercise the pipeline; results on "
    "them say nothing about real attacks or about the real dataset."
)


@dataclass(frozen=True)
class _Tree:
    """What a folder is to hold."""

    dataset: str
    layout: str
    videos: tuple[PlannedVideo, ...]
    texts: Mapping[str, str]
    """Protocol files or a manifest, by path."""
    conditions: Callable[[PlannedVideo], Conditions | None]
    about: Mapping[str, object]
    """What decides the frames beside the settings, JSON-able."""


class Workers:
    """Processes that render several datasets one after the other; they start when a video is to be rendered."""

    def __init__(self, asked: int = 0) -> None:
        """`asked` is the number of processes; 0 is one for each core."""
        self._asked = asked
        self._pool: pebble.ProcessPool | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            if self._pool.active:  # one that was stopped would go on with what it has left
                self._pool.close()
            self._pool.join()
            self._pool = None

    def pool(self, videos: int) -> pebble.ProcessPool:
        """Processes enough for so many videos."""
        count = min(worker_count(self._asked), videos)
        # A rendering that failed has stopped its pool, which takes no further video.
        if self._pool is not None and (self._count < count or not self._pool.active):
            self.__exit__()
        if self._pool is None:
            check_workers()
            self._pool, self._count = pebble.ProcessPool(count, context=SpawnWithoutMain(), initializer=_start), count
        return self._pool


def render_dataset(layout: str, root: Path, settings: Synthesis, workers: Workers | None = None) -> Path:
    """Renders one dataset into `root` and returns it.

    A complete tree is left as it is, and an interrupted one is completed. Where another process renders into the same
    folder, this one waits. Raises `UserError` for settings that cannot be met, a folder that holds something else or
    was rendered with other settings, pictures that cannot be read, and a disk that cannot be written.

    Args:
        layout: oulu_npu, casia_fasd, replay_attack or msu_mfsd.
        root: Folder of the tree; its SYNTHETIC.json says what it is, and whether it is complete.
        settings: How many videos of which size; see `Synthesis`.
        workers: Processes that render other datasets, too; None starts some for this one alone.
    """
    videos = planned_videos(layout, settings)
    texts = protocol_files(layout, videos)
    tree = _Tree(f"synth-{LETTERS[layout]}", layout, videos, texts, lambda video: None, {})
    return _fill(Path(root), tree, settings, workers)


def render_domain(domain: RandomDomain, root: Path, settings: Synthesis, split: str) -> Path:
    """Renders the videos of a random domain and the manifest that lists them, as `render_dataset` renders a dataset.

    Args:
        domain: Camera, light and instruments.
        root: Folder of the videos and of manifest.csv.
        settings: How many videos of how many frames; the size of frames is the camera's.
        split: The part of the manifest's videos: train, dev or test.
    """
    videos = domain_videos(domain, settings, split)
    texts = {MANIFEST: manifest(domain, videos)}
    about = {"domain": dict(domain.values)}

    def conditions(video: PlannedVideo) -> Conditions:
        return domain_conditions(domain, settings.seed, video)

    return _fill(Path(root), _Tree(f"synth-{domain.name}", "manifest", videos, texts, conditions, about), settings)


def render_variety(name: str, root: Path, settings: Rendered) -> Path:
    """Renders the random domains of a table [rendered.NAME] and the manifest that lists them, as `render_dataset`.

    Args:
        name: Of the table, and of the dataset in the manifest.
        root: Folder of the videos and of manifest.csv.
        settings: How many domains, subjects and videos.
    """
    videos = variety_videos(name, settings)
    texts = {MANIFEST: variety_manifest(name, videos)}
    about = {"variety": {**key(settings), "faces": ""}}  # the marker has the pictures' digest

    def conditions(video: PlannedVideo) -> Conditions:
        return variety_conditions(name, settings, video)

    tree = _Tree(f"synth-{name}", "manifest", videos, texts, conditions, about)
    return _fill(Path(root), tree, synthesis_of(settings))


def _fill(root: Path, tree: _Tree, settings: Synthesis, workers: Workers | None = None) -> Path:
    photos = textures.photographs(settings.faces) if settings.faces else ()
    if photos:
        # Before any work, so that a damaged picture does not stop it half-way.
        for photo in dict.fromkeys(_photograph(video, settings, photos) for video in tree.videos):
            textures.load_texture(photo)
    marker = _marker(tree, settings, textures.digest(photos)) | {"videos": _counts(tree.videos)}
    if _is_complete(root, marker):
        return root
    with locked(root):
        if _begin(root, marker):  # another process has rendered it meanwhile
            return root
        with contextlib.nullcontext(workers) if workers else Workers(settings.workers) as processes:
            _render(root, tree, settings, photos, processes)
        for path, text in tree.texts.items():
            _write_bytes(root / path, text)
        write_json(root / MARKER, marker | {"complete": True})
    return root


def _marker(tree: _Tree, settings: Synthesis, faces: str) -> dict[str, object]:
    content = dataclasses.asdict(settings)
    # The number of workers and the folder of the pictures change nothing in the files.
    del content["workers"]
    content["faces"] = faces
    return {
        "dataset": tree.dataset,
        "layout": tree.layout,
        "note": _NOTE,
        "renderer": VERSION,
        "settings": {**content, **tree.about},
        "complete": False,
    }


def _counts(videos: Sequence[PlannedVideo]) -> dict[str, dict[str, int]]:
    """Videos by split and fine PAI species, by which a reader knows that none is missing."""
    counts: dict[str, dict[str, int]] = {}
    for (split, fine), number in sorted(Counter((video.split, video.fine) for video in videos).items()):
        counts.setdefault(split, {})[fine] = number
    return counts


def _begin(root: Path, marker: dict[str, object]) -> bool:
    """Claims the folder, whose lock is held; returns whether it is complete already."""
    if _is_complete(root, marker):
        return True
    remove_leftovers([root, *(path for path in root.rglob("*") if path.is_dir())])
    write_json(root / MARKER, marker)
    return False


def _is_complete(root: Path, marker: dict[str, object]) -> bool:
    """Whether the folder holds the whole dataset; raises `UserError` if it holds something else."""
    # Listed before the marker is looked for: who renders here at the same time writes that first.
    strange = root.exists() and (not root.is_dir() or any(not _is_ours(path) for path in root.iterdir()))
    if (root / MARKER).exists():
        known = read_json(root / MARKER)
        if not isinstance(known, dict):
            raise UserError(f"{root / MARKER} is not a marker of a rendered dataset; remove {root} or choose another")
        differences = _differences(known, marker)
        if differences:
            raise UserError(
                f"{root} was rendered with other settings ({'; '.join(differences)}); remove it, or choose another"
            )
        return bool(known.get("complete"))
    if strange:
        raise UserError(f"{root} exists and is no rendered dataset; choose an empty or new folder")
    return False


def _is_ours(path: Path) -> bool:
    """A lock, or what is being written or was left by a killed process."""
    return is_lock(path) or path.name.startswith(TEMPORARY)


def _differences(known: dict[str, object], wanted: dict[str, object]) -> list[str]:
    def flat(marker: dict[str, object]) -> dict[str, object]:
        settings = marker.get("settings")
        return {
            **{name: marker.get(name) for name in ("dataset", "renderer")},
            **(settings if isinstance(settings, dict) else {}),
        }

    old, new = flat(known), flat(wanted)
    return [f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in new if old.get(name) != new[name]]


def _render(root: Path, tree: _Tree, settings: Synthesis, photos: tuple[Photograph, ...], workers: Workers) -> None:
    videos = [video for video in tree.videos if not (root / video.path).exists()]
    if not videos:
        return
    pool, total = workers.pool(len(videos)), len(tree.videos)
    with progress_bar(total=total, initial=total - len(videos), desc=f"rendering {root.name}", unit="video") as bar:
        try:
            futures = [
                pool.schedule(render_video, args=[root, video, settings, photos, tree.conditions(video)])
                for video in videos
            ]
            for future in as_completed(futures):
                future.result()
                bar.update()
        except pebble.ProcessExpired as error:
            pool.stop()
            raise UserError(
                f"a rendering process died ({error}), perhaps out of memory; start again with fewer --workers: "
                "finished videos are kept"
            ) from error
        except BaseException:
            pool.stop()
            raise


def _start() -> None:
    cv2.setNumThreads(1)


def render_video(
    root: Path,
    video: PlannedVideo,
    settings: Synthesis,
    photos: tuple[Photograph, ...],
    conditions: Conditions | None = None,
) -> None:
    """Renders one video and its annotation, under the conditions of its layout or these; runs in a worker."""
    conditions = conditions or official_conditions(settings.seed, video)
    texture = None
    if photos:
        texture = textures.load_texture(_photograph(video, settings, photos))
    recording = record(video, settings, texture, conditions)
    # The annotation goes first: a video that is there is then whole with all that belongs to it.
    note = annotation(video, recording.boxes, recording.eyes)
    if note is not None:
        _write_bytes(root / note[0], note[1])
    write_video(
        root / video.path,
        recording.frames,
        video.fps,
        conditions.encoding,
        upside_down=video.layout == "msu_mfsd"
        and video.bona_fide
        and video.device == "android"
        and video.subject in MSU_UPSIDE_DOWN,
    )


def _photograph(video: PlannedVideo, settings: Synthesis, photos: tuple[Photograph, ...]) -> Photograph:
    return textures.choose(photos, settings.seed, video.layout, f"{video.split}/{video.subject}")


def _write_bytes(path: Path, text: str) -> None:
    """Text with exactly the line ends that it has."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())
