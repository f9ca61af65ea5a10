"""A pool of processes that decode videos, one decoder thread each. Workers import neither JAX nor TFDS."""

import dataclasses
import itertools
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pebble

from fas_jax.base.errors import UserError
from fas_jax.base.files import inside
from fas_jax.base.processes import core_count, without_main
from fas_jax.base.record import ClipInfo, Source
from fas_jax.base.settings import Preparation
from fas_jax.pixels.faces import face_renderer
from fas_jax.pixels.video import DecodeError, decode_frames, decode_views, is_image, pack_frame

# An untrusted file may ask for any amount of memory. 8K video needs about 3 GiB of address space.
MEMORY_LIMIT = 8 << 30
# Videos handed out per worker: enough to keep all busy behind one slow video, and a bound on what waits.
IN_FLIGHT = 4


@dataclass(frozen=True)
class Decoded:
    """What a worker found in a video."""

    info: ClipInfo
    frames: dict[str, list[bytes]]
    """The kept frames as they are stored, for each rendition."""


@dataclass(frozen=True)
class Undecoded:
    """Why there is no clip."""

    reason: str
    transient: bool = False
    """Whether another try may end otherwise: a worker that hung or died, not a file that is damaged."""


def decode_videos(
    root: Path, paths: Iterable[str], settings: Preparation, sources: Mapping[str, Source] | None = None
) -> Generator[Decoded | Undecoded, None, None]:
    """Decodes videos in parallel and yields the outcomes in the order of `paths`.

    `sources` says, by path, what has to be known besides the file.

    A worker that hangs for `settings.timeout` seconds or dies is replaced, and its video is `Undecoded`. A bounded
    number of videos is in flight, however many there are. Any other exception in a worker is a fault of this
    program and is raised here.
    """
    known = sources or {}
    calls = ((os.fspath(root), path, known.get(path, Source()), settings) for path in paths)
    return _in_pool(_decode, calls, settings)


def decode_files(paths: Iterable[Path], settings: Preparation) -> Generator[Decoded | Undecoded, None, None]:
    """As `decode_videos`, for files from anywhere, of which PNG and JPEG images are clips of one frame."""
    return _in_pool(_decode_file, ((os.fspath(path), settings) for path in paths), settings)


def _in_pool(
    function: Callable[..., Decoded | Undecoded], calls: Iterable[tuple[Any, ...]], settings: Preparation
) -> Generator[Decoded | Undecoded, None, None]:
    workers = settings.workers or core_count()
    calls = iter(calls)
    waiting: deque[pebble.ProcessFuture] = deque()
    context = multiprocessing.get_context("spawn")
    with without_main(), pebble.ProcessPool(max_workers=workers, context=context, initializer=_start) as pool:

        def hand_out(number: int) -> None:
            for arguments in itertools.islice(calls, number):
                waiting.append(pool.schedule(function, args=list(arguments), timeout=settings.timeout))

        try:
            hand_out(IN_FLIGHT * workers)
            while waiting:
                outcome = _outcome(waiting.popleft(), settings.timeout)
                hand_out(1)
                yield outcome
        except BaseException:
            pool.stop()
            raise


def _outcome(future: pebble.ProcessFuture, timeout: float) -> Decoded | Undecoded:
    try:
        outcome: Decoded | Undecoded = future.result()
        return outcome
    except FutureTimeoutError:
        return Undecoded(f"decoding did not end within {timeout:g} s", transient=True)
    except pebble.ProcessExpired as error:
        return Undecoded(f"the decoding process died (exit code {error.exitcode})", transient=True)


def decode_video(root: Path, path: str, source: Source, settings: Preparation) -> Decoded:
    """One video with all its renditions, in this process.

    Raises:
        DecodeError: it gives no clip.
    """
    try:
        file = inside(root, path)
        frames = [inside(root, frame) for frame in source.frames]
    except UserError:
        raise DecodeError("a link that leads out of the dataset's folder") from None
    render = face_renderer(root, source, settings)
    if frames:
        info, renditions = decode_frames(frames, settings, render, source.fps)
    else:
        upside_down = source.upside_down if settings.rotation == "list" else None
        info, renditions = decode_views(file, settings, render, upside_down)
        if source.fps and not info.fps:
            info = dataclasses.replace(info, fps=float(np.float32(source.fps)))
    packed = {name: [pack_frame(frame, settings.records) for frame in frames] for name, frames in renditions.items()}
    return Decoded(info, packed)


def _decode(root: str, path: str, source: Source, settings: Preparation) -> Decoded | Undecoded:
    try:
        return decode_video(Path(root), path, source, settings)
    except DecodeError as error:
        return Undecoded(str(error))


def _decode_file(path: str, settings: Preparation) -> Decoded | Undecoded:
    file = Path(path)
    if file.exists() and not file.is_file():
        # Opening a pipe would wait for a writer that never comes.
        return Undecoded("cannot be read: not a plain file")
    try:
        frames = (file.name,) if is_image(file) else ()
    except OSError as error:
        return Undecoded(f"cannot be read: {error.strerror}")
    # A file of the user's own may be a link to anywhere: its real folder is the root.
    file = file.resolve()
    return _decode(os.fspath(file.parent), file.name, Source(frames=(file.name,) if frames else ()), settings)


def _start() -> None:
    cv2.setNumThreads(1)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
