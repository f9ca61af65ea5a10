"""Streams of prepared data; the only Grain import.

Frames go to the feature stage shard by shard, without regard to clips; clips of frames or of features go to the
classifiers as padded, masked batches whose order depends on the seed alone.
"""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsIndex, TypeVar, runtime_checkable

import grain
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.processes import core_count
from fas_jax.base.record import ClipInfo, Video
from fas_jax.datasets.builder import RecordCodec
from fas_jax.datasets.prepared import SUMMARY, Prepared, Shard
from fas_jax.pixels.video import unpack_frame

# PNG decoding frees the interpreter lock: a thread a core, and more than 16 only wait for the lock.
DECODING_THREADS = min(16, max(2, core_count()))
# Clips that wait decoded; bounds the memory.
BUFFERED_CLIPS = 8 * DECODING_THREADS

Item = TypeVar("Item")


@dataclass(frozen=True)
class FrameBatch:
    """Frames of a fixed number; the last `len(frames) - valid` are zero."""

    frames: UInt8[np.ndarray, "b h w 3"]
    """RGB."""
    valid: int


@runtime_checkable
class ClipSource(Protocol):
    """Random access to clips.

    An item is a dictionary with `sequence` ([t, ...], t frames or feature vectors), `label` (1 bona fide,
    0 attack) and `index` (the clip's position in its split).
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...


def shard_clips(prepared: Prepared, shard: Shard) -> list[tuple[Video, ClipInfo]]:
    """The clips of a shard without their frames, in stored order. Reads no frame."""
    return prepared.clips(shard)


def shard_records(prepared: Prepared, shard: Shard) -> Iterator[bytes]:
    """The stored records of a shard in order, for `RecordCodec.decode`."""
    if shard.clips:
        records = _records(prepared, [shard])
        for index in range(shard.clips):
            yield records[index]


def shard_frames(prepared: Prepared, shard: Shard, batch_size: int, rendition: str = "whole") -> Iterator[FrameBatch]:
    """All frames of a shard's clips in stored order, in batches of one fixed size, whatever clip they are of.

    Only the last batch is padded. Threads decode ahead of the consumer; the memory is bounded.

    Args:
        prepared: The prepared dataset.
        shard: One of `prepared.shards`.
        batch_size: Frames in every batch.
        rendition: Which rendition of the frames.

    Raises:
        UserError: There is no such rendition, frames differ in size, or the shard is damaged.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
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
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(ahead)
    closed = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        end: BaseException = StopIteration()
        try:
            for item in source:
                put(item, None)
                if closed.is_set():
                    break
        except BaseException as error:
            end = error
        finally:
            source.close()
        put(None, end)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def clip_source(prepared: Prepared, split: str, rendition: str = "whole") -> "FrameClips":
    """The clips of a split with their decoded frames, in stored order."""
    shards = [shard for shard in prepared.shards if shard.split == split]
    if not shards:
        raise ValueError(f"{prepared.directory} has no split {split!r}; it has {', '.join(prepared.splits)}")
    return FrameClips(prepared, shards, rendition)


class FrameClips:
    """A `ClipSource` over stored frames; `sequence` is uint8 [t h w 3], RGB. Can be pickled."""

    def __init__(self, prepared: Prepared, shards: Sequence[Shard], rendition: str) -> None:
        self._records = _records(prepared, shards)
        self._codec = RecordCodec()
        self._rendition = rendition

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        video, _, frames = self._codec.decode(self._records[index])
        sequence = np.stack([unpack_frame(frame) for frame in frames[self._rendition]])
        return {"sequence": sequence, "label": video.label, "index": index.__index__()}


def clip_batches(
    source: ClipSource,
    *,
    batch_size: int,
    max_frames: int,
    seed: int | None,
    epochs: int | None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 0,
) -> grain.DatasetIterator:
    """Padded, masked batches of clips as a Grain iterator, with `get_state` and `set_state`.

    Each epoch visits every clip once, in an order drawn from the seed and the epoch's number, and ends with a
    padded batch where the batch size does not divide the number of clips. Clips are shared out after they were
    shuffled and batched, so that the global batches do not depend on the number of processes.

    Args:
        source: The clips. Its first item tells the shape and type of all.
        batch_size: Clips in a batch, over all processes.
        max_frames: Length T to which sequences are padded; a longer one is an error, never cut.
        seed: Of the order; None keeps the stored order.
        epochs: How often all clips are visited; None never ends.
        process_index: Which of the processes this is.
        process_count: Number of processes; each gets its `batch_size / process_count` rows of every batch.
        threads: Threads that read ahead: 0 for clips in memory, a few for clips that have to be decoded.

    Returns:
        An iterator over dictionaries with `sequence` [b T ...] (zero beyond a clip's end), `mask` bool [b T],
        `label` int64 [b], `index` int64 [b] (-1 in padding rows) and `valid` bool [b].
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size {batch_size} must be a positive multiple of process_count {process_count}")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} must lie in [0, {process_count})")
    if len(source) == 0:
        raise ValueError("there is no clip to batch")
    rows = batch_size // process_count
    mine = slice(process_index * rows, (process_index + 1) * rows)
    first = np.asarray(source[0]["sequence"])

    def pad_batch(positions: Sequence[int]) -> Int64[np.ndarray, " b"]:
        return np.array([*positions, *[-1] * (batch_size - len(positions))], np.int64)

    def load(positions: Int64[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        return _load(source, positions[mine], max_frames, first)

    order = grain.MapDataset.range(len(source))
    if seed is not None:
        order = order.shuffle(seed=seed)
    batches = order.batch(batch_size, batch_fn=pad_batch).repeat(epochs).map(load)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    return iter(batches.to_iter_dataset(options))


def _load(
    source: ClipSource, positions: Int64[np.ndarray, " b"], max_frames: int, like: np.ndarray
) -> dict[str, np.ndarray]:
    size = len(positions)
    sequence = np.zeros((size, max_frames, *like.shape[1:]), like.dtype)
    mask: Bool[np.ndarray, "b t"] = np.zeros((size, max_frames), bool)
    label, index = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    for row, position in enumerate(positions):
        if position < 0:
            continue
        clip = source[int(position)]
        length = len(clip["sequence"])
        if not 0 < length <= max_frames:
            raise ValueError(f"clip {clip['index']} has {length} frames; expected 1 to {max_frames}")
        sequence[row, :length] = clip["sequence"]
        mask[row, :length] = True
        label[row], index[row] = clip["label"], clip["index"]
    return {"sequence": sequence, "mask": mask, "label": label, "index": index, "valid": index >= 0}


def _decoded_clips(prepared: Prepared, shard: Shard, rendition: str) -> Iterator[list[UInt8[np.ndarray, "h w 3"]]]:
    if shard.clips == 0:
        return
    codec = RecordCodec()

    def decode(content: bytes) -> list[np.ndarray]:
        frames = codec.decode(content)[2]
        if rendition not in frames:
            raise UserError(f"{prepared.directory} holds no rendition {rendition!r}; it holds {', '.join(frames)}")
        return [unpack_frame(frame) for frame in frames[rendition]]

    try:
        records = grain.MapDataset.source(_records(prepared, [shard])).map(decode)
        options = grain.ReadOptions(num_threads=DECODING_THREADS, prefetch_buffer_size=BUFFERED_CLIPS)
        with contextlib.closing(iter(records.to_iter_dataset(options))) as iterator:
            yield from iterator
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{prepared.path(shard)} is damaged ({str(error).splitlines()[0]}); delete {prepared.directory / SUMMARY} "
            "and run scripts/prepare.py again"
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
