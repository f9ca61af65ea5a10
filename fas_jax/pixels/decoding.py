"""A pool of processes that decode videos, one decoder thread each. Workers import neither JAX nor TFDS."""

import dataclasses
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pebble

from fas_jax.base.contents import FileState
from fas_jax.base.errors import UserError
from fas_jax.base.files import inside
from fas_jax.base.processes import SpawnWithoutMain
from fas_jax.base.record import ClipInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.pixels.content import PICTURES, DecodeError, kind_of
from fas_jax.pixels.pictures import pack_frame
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.video import decode_file, decode_images
from fas_jax.runtime.workers import address_limit, check_workers, worker_count

# An untrusted file may ask for any amount of memory. 8K video needs about 3 GiB of address space.
MEMORY_LIMIT = 8 << 30
# Videos handed out per worker: enough to keep all busy behind one slow video, and a bound on what waits.
IN_FLIGHT = 4


@dataclass(frozen=True)
class Decoded:
    """What a worker found in a video."""

    info: ClipInfo
    frames: dict[str, list[bytes]]
    """The kept frames as they are stored, for each rendition; none where it could not be made."""
    files: dict[str, FileState] = field(default_factory=dict)
    """The files that it was made of, by path, as they were read."""


@dataclass(frozen=True)
class Undecoded:
    """Why there is no clip."""

    reason: str
    transient: bool = False
    """Whether another try may end otherwise: a worker that hung or died, not a file that is damaged."""
    files: dict[str, FileState] = field(default_factory=dict)
    """As `Decoded.files`; empty where `transient`."""


def decode_videos(
    root: Path,
    paths: Iterable[str],
    settings: Preparation,
    renditions: Mapping[str, Rendition],
    sources: Mapping[str, Source] | None = None,
) -> Generator[Decoded | Undecoded, None, None]:
    """Decodes videos in parallel, each once for all renditions, and yields the outcomes in the order of `paths`.

    `sources` says, by path, what has to be known besides the file.

    A worker that hangs for `settings.timeout` seconds or dies is replaced, and its video is `Undecoded`. A bounded
    number of videos is in flight, however many there are. Any other exception in a worker is a fault of this
    program and is raised here.
    """
    known = sources or {}
    calls = ((os.fspath(root), path, known.get(path, Source()), settings, dict(renditions)) for path in paths)
    workers = worker_count(settings.workers)
    with _new_pool(workers) as pool:
        try:
            yield from _outcomes(pool, workers, _decode, calls, settings.timeout)
        except BaseException:
            pool.stop()
            raise


def decode_files(
    paths: Iterable[Path], settings: Preparation, renditions: Mapping[str, Rendition]
) -> Generator[Decoded | Undecoded, None, None]:
    """As `decode_videos`, for files from anywhere.

    The processes wait for the next call, no more of them than there are files.
    """
    calls = [(os.fspath(path), settings, dict(renditions)) for path in paths]
    if calls:
        workers = _workers_for(len(calls), settings.workers)
        yield from _outcomes(_kept_pool(workers), workers, _decode_file, iter(calls), settings.timeout)


def start_workers(files: int) -> None:
    """Starts the processes that `decode_files` will use for so many files, so that it need not wait for them."""
    # Pebble starts them when it is asked whether the pool is alive.
    if files and not _kept_pool(_workers_for(files, 0)).active:
        raise RuntimeError("the worker processes did not start")


def _workers_for(files: int, asked: int) -> int:
    # One of few sizes, so that few pools are kept.
    return min(1 << (files - 1).bit_length(), worker_count(asked))


def _new_pool(workers: int) -> pebble.ProcessPool:
    check_workers()
    return pebble.ProcessPool(max_workers=workers, context=SpawnWithoutMain(), initializer=_start)


_kept: dict[int, pebble.ProcessPool] = {}


def _kept_pool(workers: int) -> pebble.ProcessPool:
    """A pool that goes on until the program ends."""
    if workers not in _kept or not _kept[workers].active:
        _kept[workers] = _new_pool(workers)
    return _kept[workers]


def _outcomes(
    pool: pebble.ProcessPool,
    workers: int,
    function: Callable[..., Decoded | Undecoded],
    calls: Iterator[tuple[Any, ...]],
    timeout: float,
) -> Generator[Decoded | Undecoded, None, None]:
    waiting: deque[pebble.ProcessFuture] = deque()

    def hand_out(number: int) -> None:
        for arguments in itertools.islice(calls, number):
            waiting.append(pool.schedule(function, args=list(arguments), timeout=timeout))

    try:
        hand_out(IN_FLIGHT * workers)
        while waiting:
            outcome = _outcome(waiting.popleft(), timeout)
            hand_out(1)
            yield outcome
    finally:
        for future in waiting:
            future.cancel()


def _outcome(future: pebble.ProcessFuture, timeout: float) -> Decoded | Undecoded:
    try:
        outcome: Decoded | Undecoded = future.result()
        return outcome
    except FutureTimeoutError:
        return Undecoded(f"decoding did not end within {timeout:g} s", transient=True)
    except pebble.ProcessExpired as error:
        return Undecoded(f"the decoding process died (exit code {error.exitcode})", transient=True)


def decode_video(
    root: Path, path: str, source: Source, settings: Preparation, renditions: Mapping[str, Rendition]
) -> Decoded:
    """One video with all its renditions, in this process; its files are not hashed.

    Raises:
        DecodeError: it gives no clip.
    """
    try:
        file = inside(root, path)
        frames = [inside(root, frame) for frame in source.frames]
    except UserError:
        raise DecodeError("a link that leads out of the dataset's folder") from None
    if not frames or frames == [file]:
        # What a single file is does not depend on how it is named or listed.
        frames = [file] if kind_of(file) in PICTURES else []
    makers = rendition_makers(root, source, renditions)
    if frames:
        info, made = decode_images(frames, makers, source.fps)
    else:
        info, made = decode_file(file, makers, source.upside_down if settings.rotation == "list" else None)
        if source.fps and not info.fps:
            info = dataclasses.replace(info, fps=float(np.float32(source.fps)))
    return Decoded(info, {name: [pack_frame(frame, settings.records) for frame in each] for name, each in made.items()})


def used_source(source: Source, settings: Preparation, renditions: Mapping[str, Rendition]) -> Source:
    """The source without what has no effect under these settings."""
    if settings.rotation != "list":
        source = dataclasses.replace(source, upside_down=None)
    if all(rendition.crop != "annotation" for rendition in renditions.values()):
        return dataclasses.replace(source, annotation="", annotation_kind="", box=())
    return dataclasses.replace(source, annotation="", annotation_kind="") if source.box else source


def source_files(path: str, source: Source) -> tuple[str, ...]:
    """The files, relative to the root, whose contents decide what decoding a video gives; of its `used_source`."""
    return (*(source.frames or (path,)), *((source.annotation,) if source.annotation else ()))


def _decode(
    root: str, path: str, source: Source, settings: Preparation, renditions: Mapping[str, Rendition]
) -> Decoded | Undecoded:
    # Before decoding: a file that is changed meanwhile is another one the next time.
    files = {
        name: FileState.of(Path(root), name) for name in source_files(path, used_source(source, settings, renditions))
    }
    try:
        return dataclasses.replace(decode_video(Path(root), path, source, settings, renditions), files=files)
    except DecodeError as error:
        return Undecoded(str(error), files=files)


def _decode_file(path: str, settings: Preparation, renditions: Mapping[str, Rendition]) -> Decoded | Undecoded:
    # A file of the user's own may be a link to anywhere: its real folder is the root.
    try:
        file = Path(path).resolve()
    except RuntimeError:
        return Undecoded("cannot be read: a link that leads to itself")
    return _decode(os.fspath(file.parent), file.name, Source(), settings, renditions)


def _start() -> None:
    cv2.setNumThreads(1)
    if sys.platform == "linux":
        import resource

        limit = address_limit(MEMORY_LIMIT)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
