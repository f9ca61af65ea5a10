"""Deciding while a video runs: as soon as the running score leaves a band, which source validation videos set.

The band's ends bound the errors of the whole wait: of the attacks, at most a share `far` may ever reach the upper end,
whenever that is, and of the bona fide at most a share `frr` may ever fall below the lower end.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.errors import UserError

Answer: TypeAlias = Literal["bona fide", "attack", "uncertain"]


@dataclass(frozen=True)
class Sequential:
    """When a running score decides."""

    accept: float
    """A score of at least this is bona fide."""
    reject: float
    """A score below this is an attack; at most `accept`."""
    seconds: float
    """Seconds of video after which a score between the two is uncertain."""

    def __post_init__(self) -> None:
        if not (self.reject <= self.accept and 0 < self.seconds < np.inf):
            raise UserError(
                f"a sequential rule needs reject <= accept and seconds above 0, not reject = {self.reject}, "
                f"accept = {self.accept}, seconds = {self.seconds}"
            )

    def answer(self, score: float) -> Answer:
        """What a score says; NaN is uncertain."""
        if float(score) >= self.accept:
            return "bona fide"
        return "attack" if float(score) < self.reject else "uncertain"

    @classmethod
    def of(cls, about: Any, where: str) -> "Sequential":
        """From what a file says of one.

        Raises:
            UserError: It lacks a number.
        """
        try:
            return cls(*(float(about[name]) for name in ("accept", "reject", "seconds")))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where} is no sequential rule; it needs accept, reject and seconds") from error


def fit_sequential(
    scores: Float[np.ndarray, "n t"], labels: Int[np.ndarray, " n"], seconds: float, far: float, frr: float
) -> Sequential:
    """The narrowest band that keeps the error rates on these videos.

    Args:
        scores: After every kept frame, of videos of the sources; NaN after the last, and where there is no score.
        labels: 1 bona fide, 0 attack.
        seconds: Until a video is uncertain; `scores` hold no frame that comes later.
        far: Share of the attacks that may ever be accepted.
        frr: Share of the bona fide that may ever be rejected.

    Raises:
        UserError: A class has no video with a score.
    """
    known = ~np.isnan(scores).all(1)
    attacks, bona_fide = scores[known & (labels == 0)], scores[known & (labels == 1)]
    if not len(attacks) or not len(bona_fide):
        raise UserError("the sources' validation videos lack scores of bona fide videos or of attacks")
    highest, lowest = np.sort(np.nanmax(attacks, 1)), np.sort(np.nanmin(bona_fide, 1))
    # All but the share of the highest lie below the upper end, and all but that of the lowest at or above the lower.
    accept = float(np.nextafter(highest[len(highest) - 1 - int(far * len(highest))], np.inf))
    reject = float(lowest[int(frr * len(lowest))])
    if reject > accept:
        # Anything in the gap keeps both promises.
        accept = reject = (accept + reject) / 2
    return Sequential(accept, reject, seconds)


def decide(
    scores: Float[np.ndarray, "n t"], rule: Sequential
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Which videos are accepted, which are uncertain, and after how many frames each was decided (or the last one).

    Args:
        scores: After every kept frame until the rule's end; NaN after a video's last.
        rule: When they decide.
    """
    with np.errstate(invalid="ignore"):
        up, down = scores >= rule.accept, scores < rule.reject
    decided = (up | down).any(1)
    first = np.argmax(up | down, 1)
    frames = np.where(decided, first + 1, (~np.isnan(scores)).sum(1))
    accepted: np.ndarray = decided & up[np.arange(len(scores)), first]
    uncertain: np.ndarray = np.logical_not(decided)
    return accepted, uncertain, frames
