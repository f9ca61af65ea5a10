"""Which frames of a clip a training step sees. Imports no JAX.

Written as `random`, `frame:K`, `every:K`, `clip:T` or `burst`. The first three give one frame, the last two a sequence.
"""

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from fas_jax.base.errors import UserError, unknown_name

Kind = Literal["random", "frame", "every", "clip", "burst"]
_LEAST = {"frame": 0, "every": 1, "clip": 1}
"""The least number behind the colon, of those that have one."""


@dataclass(frozen=True)
class Take:
    """What a step takes of a clip."""

    kind: Kind = "random"
    """`random`: one frame, each with equal chance; `frame`: that with a number, or the last of a shorter clip; `every`:
    one of every so many; `clip`: so many consecutive ones, cut at random; `burst`: all of a burst, drawn at random."""
    number: int = 0
    """The number behind the colon. Frames of a clip are counted from 0."""

    @classmethod
    def parse(cls, text: str, where: str) -> "Take":
        """Reads a setting; `where` names it in errors.

        Raises:
            UserError: Another kind, or a number that is missing, superfluous or too small.
        """
        kind, colon, number = text.partition(":")
        if kind not in get_args(Kind):
            raise UserError(f"{where}: {unknown_name('way to take frames', kind, get_args(Kind))}")
        if kind not in _LEAST:
            if colon:
                raise UserError(f"{where}: {kind} has no number; write {kind!r}, not {text!r}")
            return cls(cast(Kind, kind))
        if not number.isdecimal() or int(number) < _LEAST[kind]:
            raise UserError(f"{where}: write {kind}:N with a number N of {_LEAST[kind]} or more, not {text!r}")
        return cls(cast(Kind, kind), int(number))

    @property
    def sequence(self) -> bool:
        """Whether it is several frames in order and not a single one."""
        return self.kind in ("clip", "burst")

    def length(self, burst: int, where: str) -> int:
        """Frames that it takes of a clip, at most.

        Args:
            burst: Frames that belong together, where clips are bursts; 1 where a clip is one sequence.
            where: What is trained, for errors.

        Raises:
            UserError: It asks for bursts that are not there, or for more frames than a burst has.
        """
        if self.kind == "burst":
            if burst == 1:
                raise UserError(
                    f'{where}: take = "burst" needs a rendition of bursts; set burst in its [renditions.NAME], or take '
                    '"clip:T"'
                )
            return burst
        if self.kind == "clip" and 1 < burst < self.number:
            raise UserError(
                f'{where}: take = "clip:{self.number}" is longer than the bursts of its rendition, which have {burst} '
                'frames; set a smaller number, or take "burst"'
            )
        return self.number if self.kind == "clip" else 1

    def numbers(self, count: int, burst: int, rng: np.random.Generator) -> list[int]:
        """The numbers of the frames, consecutive in their clip or burst; fewer than `length` of a shorter clip.

        Args:
            count: Frames of the clip, at least one.
            burst: As in `length`.
            rng: Decides what is drawn.
        """
        if self.kind == "random":
            return [int(rng.integers(count))]
        if self.kind == "frame":
            return [min(self.number, count - 1)]
        if self.kind == "every":
            return [self.number * int(rng.integers((count + self.number - 1) // self.number))]
        together = burst if burst > 1 else count
        first = together * int(rng.integers(count // together))
        length = together if self.kind == "burst" else min(self.number, together)
        start = first + int(rng.integers(together - length + 1))
        return list(range(start, start + length))


ONE_AT_RANDOM = Take()
