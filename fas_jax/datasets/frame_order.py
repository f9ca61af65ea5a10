"""The order of a clip's frames by the numbers in their names.

Names hold other numbers beside the frame's: a hash, a confidence, a size, a subject. The number that orders them stands
at the same place in all names and never twice; where several such numbers would order the frames differently, nothing
is guessed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Any

# What a name is made of: times such as 00-00-01.040, decimals such as conf0.97, and words of letters and digits.
_PART = re.compile(
    r"(?P<time>(?<![^\W_])\d{1,2}([-:])[0-5]\d\2[0-5]\d([.,]\d+)?(?![^\W_]|[.,]\d))"
    r"|(?P<decimal>(?<![^\W_])(?<!\d\.)[^\W\d_]*\d+\.\d+(?![^\W_]|\.\d))"
    r"|(?P<word>[^\W_]+)"
)
_LETTERS = re.compile(r"[^\W\d_]*")
_SIZE = re.compile(r"\d+x\d+", re.IGNORECASE)
# Words before numbers that measure a frame and do not count it.
_MEASURES = frozenset(("conf", "confidence", "score", "prob", "quality", "sharpness", "blur"))
_FRAME = "frame"


class _Rank(IntEnum):
    """How surely a number counts frames; only those of the best rank are compared."""

    FRAME = 0
    WHOLE = 1
    DECIMAL = 2


@dataclass(frozen=True)
class _Number:
    text: str
    """As it stands in the name."""
    value: tuple[Decimal, ...]
    context: str
    """What stands around it, with # for digits: the same in all names, or it is not the same number."""
    rank: _Rank


def in_order_of_frames(names: Iterable[str]) -> list[str]:
    """Frame files in the order of the frame numbers, or times, in their names.

    The number is the one that stands at the same place in all names, counted from the name's begin or end, with the
    same letters around it, and differs in all of them. Sizes (640x480) and numbers after words such as conf or score
    never count. A number after the word frame is preferred to others, and a whole number or a time (00-00-01.040) to a
    decimal. A single name needs no number.

    Args:
        names: Paths; folders and suffixes do not count.

    Raises:
        ValueError: No number is in all names or none differs in all, or several would give different orders; the
            message names them.
    """
    names = sorted(names)
    if len(names) < 2:
        return names
    parts = [list(_parts(PurePosixPath(name).stem)) for name in names]
    places = [*_places(parts, lambda part: part), *_places(parts, lambda part: part[::-1])]
    if not places:
        lacking = next((name for name, each in zip(names, parts, strict=True) if not any(each)), None)
        if lacking is not None:
            raise ValueError(f"frame {lacking} has no number in its name to be ordered by")
        raise ValueError(f"frames {names[0]} and {names[1]} have no number at the same place in their names")
    found = [numbers for numbers in places if len({number.value for number in numbers}) == len(names)]
    if not found:
        raise ValueError(_repeated(names, places))
    best = min(numbers[0].rank for numbers in found)
    orders: dict[tuple[str, ...], Sequence[_Number]] = {}
    for numbers in found:
        if numbers[0].rank == best:
            ordered = sorted(zip(numbers, names, strict=True), key=lambda pair: pair[0].value)
            orders.setdefault(tuple(name for _, name in ordered), numbers)
    if len(orders) > 1:
        choices = " or ".join(repr(numbers[0].text) for numbers in orders.values())
        raise ValueError(
            f"frames could be ordered by several numbers in their names: in {names[0]} by {choices}; write 'frame' "
            "before the one that counts, or rename the files to that number"
        )
    return list(next(iter(orders)))


def _repeated(names: Sequence[str], places: Sequence[Sequence[_Number]]) -> str:
    """Why no number orders the frames, by the one that comes nearest to it."""
    numbers = max(places, key=lambda numbers: len({number.value for number in numbers}))
    first: dict[Any, str] = {}
    for name, number in zip(names, numbers, strict=True):
        if (earlier := first.setdefault(number.value, name)) != name:
            return f"frames {earlier} and {name} have the same number ({number.text}), and no other orders them"
    raise AssertionError("some number is there twice")


def _places(
    parts: Sequence[Sequence[list[_Number]]], turned: Callable[[Sequence[list[_Number]]], Sequence[list[_Number]]]
) -> Iterator[Sequence[_Number]]:
    """For each place that all names have in common, the number there in each name."""
    for together in zip(*map(turned, parts), strict=False):
        for numbers in zip(*together, strict=False):
            if len({(number.context, number.rank) for number in numbers}) == 1:
                yield numbers


def _parts(stem: str) -> Iterator[list[_Number]]:
    """The numbers of each part of a name; a part without numbers is an empty list."""
    before = ""
    for match in _PART.finditer(stem):
        text = match[0]
        letters = _LETTERS.match(text)[0]  # type: ignore[index]
        label = letters.lower() or before
        before = label if letters == text else ""
        if label in _MEASURES or _SIZE.fullmatch(text):
            yield []
        elif match["time"]:
            times = tuple(map(Decimal, re.split("[-:]", text.replace(",", "."))))
            yield [_Number(text, times, "time", _Rank.WHOLE)]
        elif match["decimal"]:
            yield [_Number(text, (Decimal(text.removeprefix(letters)),), f"{label}#.#", _Rank.DECIMAL)]
        else:
            yield list(_whole(text, label))


def _whole(word: str, label: str) -> Iterator[_Number]:
    context = re.sub(r"\d+", "#", word.lower())
    for number, digits in enumerate(re.findall(r"\d+", word)):
        rank = _Rank.FRAME if number == 0 and label == _FRAME else _Rank.WHOLE
        yield _Number(digits, (Decimal(digits),), f"{context} {number}", rank)
