"""Text in a table, held once for all rows that share it. Imports no JAX."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, Int32


class TextColumn:
    """A column of text: a number for each row, and each text once. Compared with a text it gives a mask, as an array
    does, and NumPy takes it for an array of its texts; what it is compared with is not another column.
    """

    __slots__ = ("codes", "texts")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codes: Int32[np.ndarray, " n"], texts: Sequence[str]) -> None:
        """`texts` are distinct; some may be in no row."""
        self.codes, self.texts = codes.view(), texts
        self.codes.flags.writeable = False

    @classmethod
    def of(cls, values: "TextColumn | Iterable[Any]") -> "TextColumn":
        """Of texts in order, or of what `str` makes texts of; a column as it is."""
        if isinstance(values, cls):
            return values
        if isinstance(values, str):
            raise TypeError(f"one text is no column of texts: {values!r}")
        known: dict[str, int] = {}
        values = values.tolist() if isinstance(values, np.ndarray) else values
        codes = np.fromiter((known.setdefault(str(value), len(known)) for value in values), np.int32)
        return cls(codes, list(known))

    @classmethod
    def constant(cls, text: str, count: int) -> "TextColumn":
        """The same text in every row; takes no memory."""
        return cls(np.broadcast_to(np.int32(0), count), [text])

    @classmethod
    def concatenate(cls, columns: Sequence["TextColumn"]) -> "TextColumn":
        """All rows, in order."""
        known: dict[str, int] = {}
        # Columns of one video list share their texts, which are then looked up once.
        places: dict[int, np.ndarray] = {}
        for column in columns:
            if id(column.texts) not in places:
                found = (known.setdefault(text, len(known)) for text in column.texts)
                places[id(column.texts)] = np.fromiter(found, np.int32, len(column.texts))
        parts = [places[id(column.texts)][column.codes] for column in columns]
        return cls(np.concatenate([np.zeros(0, np.int32), *parts]), list(known))

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return map(self.texts.__getitem__, self.codes.tolist())

    @overload
    def __getitem__(self, which: int | np.integer[Any]) -> str: ...
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

    def tolist(self) -> list[str]:
        """The text of every row."""
        return list(self)
