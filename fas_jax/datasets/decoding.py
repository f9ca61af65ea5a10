"""A pool of processes that decode videos, one decoder thread each. Workers import neither JAX nor TFDS."""

import itertools
import multiprocessing
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pebble
from jaxtyping import UInt8

from fas_jax.config import Preparation
from fas_jax.datasets.record import ClipInfo
from fas_jax.errors import UserError
from fas_jax.files import inside
from fas_jax.video import DecodeError, decode_clip, decode_image, encode_png, is_image

# An untrusted file may ask for any amount of memory. 8K video needs about 3 GiB of address space.
MEMORY_LIMIT = 8 << 30
# Videos handed out per worker: enough to keep all busy behind one slow video, and a bound on what waits.
IN_FLIGHT = 4


@dataclass(frozen=True)
class Decoded:
    """What a worker found in a video."""

    info: ClipInfo
    frames: dict[str, list[bytes]]
    """PNG bytes of the kept frames, for each rendition."""


@dataclass(frozen=True)
class Undecoded:
    """Why there is no clip."""

    reason: str
    transient: bool = False
    """Whether another try may end otherwise: a worker that hung or died, not a file that is damaged."""


def decode_videos(
    root: Path, paths: Iterable[str], settings: Preparation
) -> Generator[Decoded | Undecoded, None, None]:
    """Decodes videos in parallel and yields the outcomes in the order of `paths`.

    A worker that hangs for `settings.timeout` seconds or dies is replaced, and its video is `Undecoded`. A bounded
    number of videos is in flight, however many there are. Any other exception in a worker is a fault of this
    program and is raised here.
    """
    return _in_pool(_decode, ((os.fspath(root), path, settings) for path in paths), settings)


def decode_files(paths: Iterable[Path], settings: Preparation) -> Generator[Decoded | Undecoded, None, None]:
    """As `decode_videos`, for files from anywhere, of which PNG and JPEG images are clips of one frame."""
    return _in_pool(_decode_file, ((os.fspath(path), settings) for path in paths), settings)


def _in_pool(
    function: Callable[..., Decoded | Undecoded], calls: Iterable[tuple[Any, ...]], settings: Preparation
) -> Generator[Decoded | Undecoded, None, None]:
    workers = worker_count(settings)
    calls = iter(calls)
    waiting: deque[pebble.ProcessFuture] = deque()
    context = multiprocessing.get_context("spawn")
    with _empty_main(), pebble.ProcessPool(max_workers=workers, context=context, initializer=_start) as pool:

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


def worker_count(settings: Preparation) -> int:
    """Decoding processes: `settings.workers`, or one for each core that this process may use."""
    if settings.workers:
        return settings.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(future: pebble.ProcessFuture, timeout: float) -> Decoded | Undecoded:
    try:
        outcome: Decoded | Undecoded = future.result()
        return outcome
    except FutureTimeoutError:
        return Undecoded(f"decoding did not end within {timeout:g} s", transient=True)
    except pebble.ProcessExpired as error:
        return Undecoded(f"the decoding process died (exit code {error.exitcode})", transient=True)


def _decode(root: str, path: str, settings: Preparation) -> Decoded | Undecoded:
    try:
        file = inside(Path(root), path)
    except UserError:
        return Undecoded("a link that leads out of the dataset's folder")
    return _outcome_of(decode_clip, file, settings)


def _decode_file(path: str, settings: Preparation) -> Decoded | Undecoded:
    try:
        decode = decode_image if is_image(Path(path)) else decode_clip
    except OSError as error:
        return Undecoded(f"cannot be read: {error.strerror}")
    return _outcome_of(decode, Path(path), settings)


def _outcome_of(
    decode: Callable[[Path, Preparation], tuple[ClipInfo, UInt8[np.ndarray, "t h w 3"]]],
    file: Path,
    settings: Preparation,
) -> Decoded | Undecoded:
    try:
        info, frames = decode(file, settings)
    except DecodeError as error:
        return Undecoded(str(error))
    return Decoded(info, {"whole": [encode_png(frame) for frame in frames]})


def _start() -> None:
    cv2.setNumThreads(1)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))


@contextmanager
def _empty_main() -> Iterator[None]:
    """Hides the main script from new workers, which would otherwise run its imports (JAX, for one) again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
