"""Text in a table: stored once for all rows that share it, or as bytes where few rows do. Imports no JAX."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer, UInt8


class TextColumn:
    """A column of text: a number for each row, and each text once.

    Comparing it with a text gives a mask, as comparing an array does; comparing it with another column is an error.
    NumPy converts it to an array of its texts.
    """

    __slots__ = ("codes", "texts")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codes: Integer[np.ndarray, " n"], texts: Sequence[str]) -> None:
        """`texts` are distinct; a text may be in no row."""
        self.codes, self.texts = codes.view(), texts
        self.codes.flags.writeable = False

    @classmethod
    def of(cls, values: "TextColumn | Iterable[Any]") -> "TextColumn":
        """A column of these values in order, each as `str` gives it; a column is returned unchanged."""
        if isinstance(values, cls):
            return values
        if isinstance(values, str):
            raise TypeError(f"one text is no column of texts: {values!r}")
        column = TextColumnBuilder()
        for value in values.tolist() if isinstance(values, np.ndarray) else values:
            column.append(str(value))
        return column.built()

    @classmethod
    def constant(cls, text: str, count: int) -> "TextColumn":
        """The same text in every row; takes no memory."""
        return cls(np.broadcast_to(np.uint8(0), count), [text])

    @classmethod
    def concatenate(cls, columns: Sequence["TextColumn"]) -> "TextColumn":
        """All rows, in order."""
        known: dict[str, int] = {}
        # Columns of one video list share their texts, which are then looked up once.
        indices: dict[int, np.ndarray] = {}
        for column in columns:
            if id(column.texts) not in indices:
                found = (known.setdefault(text, len(known)) for text in column.texts)
                indices[id(column.texts)] = np.fromiter(found, np.int32, len(column.texts))
        kind = _narrowest(len(known))
        parts = [indices[id(column.texts)].astype(kind)[column.codes] for column in columns]
        return cls(np.concatenate([np.zeros(0, kind), *parts]), list(known))

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return map(self.texts.__getitem__, self.codes.tolist())

    @overload
    def __getitem__(self, which: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, which: np.ndarray | slice) -> "TextColumn": ...
    def __getitem__(self, which: Any) -> "str | TextColumn":
        """The text of a row, or the rows that a mask, indices or a slice pick."""
        found = self.codes[which]
        return TextColumn(found, self.texts) if isinstance(found, np.ndarray) else self.texts[found]

    def __eq__(self, text: object) -> Bool[np.ndarray, " n"]:  # type: ignore[override]
        """True where a row has this text."""
        if not isinstance(text, str):
            raise TypeError(f"a column of text is compared with a text, not with {type(text).__name__}")
        return self.isin((text,))

    def __ne__(self, text: object) -> Bool[np.ndarray, " n"]:  # type: ignore[override]
        """True where a row has another text."""
        return ~(self == text)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The texts, as NumPy holds them: as wide as the longest."""
        return np.array(self.tolist(), dtype or np.str_)

    def isin(self, texts: Collection[str]) -> Bool[np.ndarray, " n"]:
        """True where a row has one of these texts."""
        if len(self) < len(self.texts):  # a few rows of a large table
            return np.fromiter((text in texts for text in self), np.bool_, len(self))
        wanted = np.fromiter((text in texts for text in self.texts), np.bool_, len(self.texts))
        return wanted[self.codes]

    def present(self) -> set[str]:
        """The texts of all rows."""
        return {self.texts[code] for code in np.unique(self.codes).tolist()}

    def tolist(self) -> list[str]:
        """The text of every row."""
        return list(self)


class TextColumnBuilder:
    """Builds a column row by row."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._codes = array("i")

    def append(self, text: str) -> None:
        """Adds a row."""
        self._codes.append(self._known.setdefault(text, len(self._known)))

    def built(self) -> TextColumn:
        """The column of all rows so far."""
        return TextColumn(np.array(self._codes, _narrowest(len(self._known))), list(self._known))


class PackedTexts(Sequence[str]):
    """Texts of which few are equal, stored as their bytes, end to end."""

    __slots__ = ("_bytes", "_lengths", "_starts")

    def __init__(
        self, content: UInt8[np.ndarray, " bytes"], starts: Int64[np.ndarray, " n"], lengths: Int32[np.ndarray, " n"]
    ) -> None:
        self._bytes, self._starts, self._lengths = content, starts, lengths

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, which: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, which: np.ndarray | slice) -> "PackedTexts": ...
    def __getitem__(self, which: Any) -> "str | PackedTexts":
        """A text, or those that a mask, indices or a slice pick; their bytes are shared."""
        if isinstance(which, np.ndarray | slice):
            return PackedTexts(self._bytes, self._starts[which], self._lengths[which])
        return self.encoded(which).decode("utf-8", "surrogatepass")

    def encoded(self, row: int | np.integer) -> bytes:
        """A text's bytes, which are ordered as the texts are."""
        start = self._starts[row]
        return self._bytes[start : start + self._lengths[row]].tobytes()


class PackedTextsBuilder:
    """Builds `PackedTexts` text by text."""

    def __init__(self) -> None:
        self._bytes, self._lengths = bytearray(), array("i")

    def append(self, text: str) -> None:
        """Adds a text. Names of files that are not UTF-8 hold lone surrogates, which are kept."""
        content = text.encode("utf-8", "surrogatepass")
        self._bytes += content
        self._lengths.append(len(content))

    def built(self) -> PackedTexts:
        """All texts; none can be added afterwards."""
        lengths = np.array(self._lengths, np.int32)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        return PackedTexts(np.frombuffer(self._bytes, np.uint8), starts, lengths)


def _narrowest(count: int) -> np.dtype:
    """The smallest unsigned type that numbers `count` things."""
    return np.min_scalar_type(max(0, count - 1))
