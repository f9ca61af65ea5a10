"""Many videos as columns, which hold what videos share once. Imports no JAX."""

import dataclasses
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

import numpy as np
from jaxtyping import Int8, Int32

from fas_jax.base.files import fingerprint
from fas_jax.base.record import Video
from fas_jax.base.text_column import PackedTexts, PackedTextsBuilder, TextColumn, TextColumnBuilder

_FIELDS = tuple(field.name for field in dataclasses.fields(Video))
_SHARED = ("dataset", "subject", "split", "pai", "pai_fine", "device", "session")
# Videos that iteration makes from the columns at a time.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class VideoTable(Sequence[Video]):
    """Columns of equal length [n], named as the fields of `Video`; as a sequence, the videos themselves."""

    path: PackedTexts
    dataset: TextColumn
    subject: TextColumn
    split: TextColumn
    label: Int8[np.ndarray, " n"]
    pai: TextColumn
    pai_fine: TextColumn
    device: TextColumn
    session: TextColumn

    @classmethod
    def of(cls, videos: Iterable[Video]) -> "VideoTable":
        """A table of these videos in order, none of which it keeps; a table is returned unchanged."""
        if isinstance(videos, cls):
            return videos
        paths, labels = PackedTextsBuilder(), array("b")
        columns = {name: TextColumnBuilder() for name in _SHARED}
        for video in videos:
            paths.append(video.path)
            labels.append(video.label)
            for name, column in columns.items():
                column.append(getattr(video, name))
        shared: dict[str, Any] = {name: column.built() for name, column in columns.items()}
        return cls(path=paths.built(), label=np.array(labels, np.int8), **shared)

    def __len__(self) -> int:
        return len(self.label)

    def __iter__(self) -> Iterator[Video]:
        for start in range(0, len(self), _BLOCK):
            columns = [getattr(self, name)[start : start + _BLOCK] for name in _FIELDS]
            yield from map(Video, *(each.tolist() if isinstance(each, np.ndarray) else each for each in columns))

    @overload
    def __getitem__(self, which: int | np.integer) -> Video: ...
    @overload
    def __getitem__(self, which: np.ndarray | slice) -> "VideoTable": ...
    def __getitem__(self, which: Any) -> "Video | VideoTable":
        """A video, or those that a mask, indices or a slice pick."""
        if not isinstance(which, np.ndarray | slice):
            (video,) = self[np.array([which])]
            return video
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in _FIELDS}
        return VideoTable(**columns)

    @property
    def order(self) -> Int32[np.ndarray, " n"]:
        """The rows by dataset and path, so that nothing depends on the order in which videos were listed."""
        return self._sorted[0]

    @property
    def number(self) -> Int32[np.ndarray, " n"]:
        """A number for each row, the same where dataset and path are."""
        return self._sorted[1]

    @property
    def fingerprint(self) -> str:
        """Of the videos' datasets and paths in their order, whatever other videos a table held them among."""
        return fingerprint([[str(name) for name in self.dataset.tolist()], [str(path) for path in self.path]])

    @cached_property
    def _sorted(self) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
        order, new = np.zeros(len(self), np.int32), np.ones(len(self), bool)
        start = 0
        for name in sorted(set(self.dataset.texts)):
            rows = np.flatnonzero(self.dataset == name)
            keys = [self.path.encoded(row) for row in rows.tolist()]
            by_path = sorted(range(len(rows)), key=keys.__getitem__)
            order[start : start + len(rows)] = rows[by_path]
            again = [keys[one] == keys[other] for one, other in pairwise(by_path)]
            new[start + 1 : start + len(rows)] = np.logical_not(again)
            start += len(rows)
        number = np.zeros(len(self), np.int32)
        number[order] = np.cumsum(new)
        return order, number
