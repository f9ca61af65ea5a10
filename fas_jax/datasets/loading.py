"""Streams of prepared data; the only Grain import.

Frames go to the feature stage shard by shard, without regard to clips; single clips are read by their position, and
what is made of them is made ahead.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, SupportsIndex, TypeVar

import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count, without_main
from fas_jax.datasets.builder import RecordCodec
from fas_jax.datasets.prepared import SUMMARY, Prepared, Shard
from fas_jax.pixels.pictures import unpack_frame

# PNG decoding frees the interpreter lock: a thread a core, and more than 16 only wait for the lock.
DECODING_THREADS = min(16, max(2, core_count()))
# Clips that wait decoded; bounds the memory.
BUFFERED_CLIPS = 8 * DECODING_THREADS

Item = TypeVar("Item")
_END = object()


@dataclass(frozen=True)
class FrameBatch:
    """Frames of a fixed number; the last `len(frames) - valid` are zero."""

    frames: UInt8[np.ndarray, "b h w 3"]
    """RGB."""
    valid: int


def shard_records(prepared: Prepared, shard: Shard) -> Iterator[bytes]:
    """The stored records of a shard in order, for `RecordCodec.decode`."""
    if shard.clips:
        records = _records(prepared, [shard])
        for index in range(shard.clips):
            yield records[index]


def shard_frames(prepared: Prepared, shard: Shard, batch_size: int, rendition: str) -> Iterator[FrameBatch]:
    """All frames of a shard's clips in stored order, in batches of one fixed size, whatever clip they are of.

    Only the last batch is padded. Threads decode ahead of the consumer; the memory is bounded.

    Args:
        prepared: The prepared dataset.
        shard: One of `prepared.shards`.
        batch_size: Frames in every batch.
        rendition: Its name; a clip of which it could not be made adds no frame.

    Raises:
        UserError: There is no such rendition, frames differ in size, or the shard is damaged.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    prepared.rendition(rendition)
    batch: np.ndarray | None = None
    filled = 0
    for frames in _decoded_clips(prepared, shard, rendition):
        for frame in frames:
            if batch is None:
                batch = np.zeros((batch_size, *frame.shape), np.uint8)
            if frame.shape != batch.shape[1:]:
                sizes = [f"{shape[1]}x{shape[0]}" for shape in (frame.shape, batch.shape[1:])]
                raise UserError(f"{prepared.path(shard)} holds frames of {' and '.join(sizes)} pixels; prepare again")
            batch[filled] = frame
            filled += 1
            if filled == batch_size:
                yield FrameBatch(batch, filled)
                # The consumer may still be copying the last one to its device: never write into it again.
                batch, filled = None, 0
    if batch is not None:
        yield FrameBatch(batch, filled)


def prefetched(source: Generator[Item, None, None], ahead: int) -> Iterator[Item]:
    """The items of `source`, which runs in a thread of its own, at most `ahead` items before the consumer.

    What it raises is raised here. It is closed when this iterator is.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, source, _END) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item  # type: ignore[misc]
        finally:
            # Once the item that it is at is made: a generator that runs cannot be closed.
            thread.shutdown(cancel_futures=True)
            source.close()


def made_ahead(
    make: Callable[[int], Item], numbers: range, threads: int = 0, processes: int = 0
) -> Generator[Item, None, None]:
    """`make(number)` for each of the numbers, in order, made ahead of the consumer in memory of a fixed size.

    Args:
        make: A pure function; what it gives does not depend on who calls it. With processes it must be picklable.
        numbers: Rising by 1.
        threads: That call it; 0 is one for each core, up to 16.
        processes: Worker processes, each with its threads; 0 makes all in this process.
    """
    if not len(numbers):
        return
    threads = threads or DECODING_THREADS
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    made = grain.MapDataset.range(numbers.start, numbers.stop).map(make).to_iter_dataset(options)
    if processes:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl's flags, which this package does not use
        made = made.mp_prefetch(grain.MultiprocessingOptions(num_workers=processes))
    with contextlib.closing(iter(made)) as iterator:
        first: list[Item] = []
        if processes:
            # Grain starts a worker for each of the first items, which would import the running script.
            with without_main():
                first += itertools.islice(iterator, processes)
        yield from first
        yield from iterator


class FrameClips:
    """Random access to clips in stored order, with their decoded frames in one rendition. Can be pickled.

    An item is a dictionary with `sequence` (uint8 [t h w 3], RGB; no frames where the rendition could not be made),
    `label` (1 bona fide, 0 attack) and `index` (the clip's position).
    """

    def __init__(self, prepared: Prepared, shards: Sequence[Shard], rendition: str) -> None:
        """Raises `UserError` if there is no such rendition."""
        side = prepared.rendition(rendition)["size"]
        self._nothing = np.zeros((0, side, side, 3), np.uint8)
        self._records = _records(prepared, shards)
        self._codec = RecordCodec(prepared.renditions)
        self._rendition = rendition
        self.where = prepared.directory

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        video, _, frames = self._codec.decode(self._records[index])
        found = [unpack_frame(frame) for frame in frames[self._rendition]]
        sequence = np.stack(found) if found else self._nothing
        return {"sequence": sequence, "label": video.label, "index": index.__index__()}

    def frames(self, index: int, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "h w 3"]]:
        """Some frames of a clip; the others are not decoded.

        Raises:
            UserError: The record or a frame in it is damaged.
        """
        try:
            stored = self._codec.decode(self._records[index])[2][self._rendition]
            return [unpack_frame(stored[number]) for number in numbers]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(
                f"{self.where} is damaged at clip {index} ({str(error).splitlines()[0]}); delete "
                f"{self.where / SUMMARY} and run fas-jax prepare again"
            ) from error


def _decoded_clips(prepared: Prepared, shard: Shard, rendition: str) -> Iterator[list[UInt8[np.ndarray, "h w 3"]]]:
    if shard.clips == 0:
        return
    codec = RecordCodec(prepared.renditions)

    def decode(content: bytes) -> list[np.ndarray]:
        return [unpack_frame(frame) for frame in codec.decode(content)[2][rendition]]

    try:
        records = grain.MapDataset.source(_records(prepared, [shard])).map(decode)
        options = grain.ReadOptions(num_threads=DECODING_THREADS, prefetch_buffer_size=BUFFERED_CLIPS)
        with contextlib.closing(iter(records.to_iter_dataset(options))) as iterator:
            yield from iterator
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{prepared.path(shard)} is damaged ({str(error).splitlines()[0]}); delete {prepared.directory / SUMMARY} "
            "and run fas-jax prepare again"
        ) from error


@dataclass(frozen=True)
class _WholeFile:
    """What ArrayRecord wants to know of a file that is read as a whole; a bare path is parsed for brackets."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


def _records(prepared: Prepared, shards: Sequence[Shard]) -> grain.sources.ArrayRecordDataSource:
    files = [_WholeFile(str(prepared.path(shard)), 0, shard.clips, shard.clips) for shard in shards if shard.clips]
    return grain.sources.ArrayRecordDataSource(files)
