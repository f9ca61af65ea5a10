"""A detector's verdict on a clip, and how far its score depends on which frames were kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from fas_jax.deployment.given_frames import Frames
from fas_jax.evaluation.intervals import Interval, percentile_interval
from fas_jax.methods.base import Method
from fas_jax.methods.data import Scores
from fas_jax.pixels.gate.checks import CheckedClip

NO_DECISION: Literal["no decision"] = "no decision"
FEWEST = 4
"""Of three frames, 1 resample in 27 holds the lowest one three times: the interval would always be their full range."""
_RESAMPLES = 10_000
_ROUNDED = 1e-3
NO_INTERVAL = Interval(np.nan, np.nan)
"""Of a score that has no interval."""


@dataclass(frozen=True)
class Verdict:
    """A detector's decision on one clip, with its score; prints itself."""

    source: str
    """The file, or `array`."""
    detector: str
    threshold: float
    """A clip is accepted as bona fide if its score is at least this."""
    decision: Literal["bona fide", "attack", "uncertain", "no decision"]
    """Only `bona fide` is accepted. `uncertain` is given only if three answers were asked for. It and `no decision`
    always have a `reason`."""
    score: float = np.nan
    """Higher means bona fide, mostly P(bona fide); NaN where there is no decision."""
    reason: str = ""
    """Why there is no decision, or why it is uncertain."""
    alpha: float = np.nan
    """Error rate of three answers; NaN if there are two."""
    interval: Interval = NO_INTERVAL
    """Holds 95 % of the scores of resamples of the clip's kept frames; NaN if `interval_note` says why."""
    interval_note: str = ""
    """What the interval covers, or why there is none."""
    gate: CheckedClip | None = None
    """The checks before the verdict, if they were asked for; while they refuse there is no decision and no score. A
    file that they refuse is not scored at all, whereas a session reads on."""
    explanation: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able: the explanation by a detector that explains its scores; part of `to_json`."""
    frames: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By rendition, the indices of the frames that were kept."""
    sha256: str = ""
    """The file's facts; empty for an array, and for a file that cannot be decoded."""
    damaged_frames: int = 0
    rendered_share: float = 0.0
    """Share of rendered clips in the detector's training."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The dictionary that `fas-jax predict` prints, JSON-able."""
        found: dict[str, Any] = {"path": self.source, "detector": self.detector, "threshold": self.threshold}
        found |= {"rendered_share": self.rendered_share} if self.rendered_share else {}
        undecided = self.decision == NO_DECISION
        found |= {"decision": self.decision, "reason": self.reason} if undecided else {"score": self.score}
        found |= {"decision": self.decision, **self.explanation}
        found |= {} if np.isnan(self.alpha) else {"alpha": self.alpha}
        found |= {"reason": self.reason} if self.reason else {}
        found |= {"gate": self.gate.to_json()} if self.gate else {}
        found |= {"frames": {name: list(kept) for name, kept in self.frames.items()}} if self.frames else {}
        found |= {"sha256": self.sha256} if self.sha256 else {}
        found |= {"damaged_frames": self.damaged_frames} if self.damaged_frames else {}
        return found | {"seconds": self.seconds}

    def __str__(self) -> str:
        if self.decision == NO_DECISION:
            return f"{self.source}: no decision, because {self.reason} (detector {self.detector})"
        why = f" ({self.reason})" if self.reason else ""
        said = f"{self.source}: {self.decision}{why}, score {self.score:.3f}{bounds(self.interval)}, "
        return f"{said}threshold {self.threshold:.3f} (detector {self.detector})\n{self.interval_note}"

    __repr__ = __str__


Seen: TypeAlias = Callable[[Verdict, Mapping[str, Frames]], object]
"""Takes a verdict and, by rendition, the frames that it was reached from."""


def bounds(interval: Interval) -> str:
    """A space and the interval of a score in brackets; empty if it is undefined."""
    return "" if np.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"


def frame_interval(method: Method, scores: Scores, indices: Sequence[int], burst: int = 1) -> tuple[Interval, str]:
    """How far the score of one clip depends on which of its frames were kept: bootstrap over the frames, or bursts.

    It is defined for methods that score each frame by itself, and for clips of at least `FEWEST` frames, or bursts.

    Args:
        method: The detector's method.
        scores: Scores of the clip and its frames; the real frames come first.
        indices: For each of them, the number of its frame in the video; items of one frame are drawn together.
        burst: Number of frames in a burst; the frames of a burst are drawn together.

    Returns:
        The interval and what it covers; or NaN and the reason.
    """
    if scores.frame is None:
        return NO_INTERVAL, "no interval: the detector scores a clip as a whole"
    frames: Float[np.ndarray, " t"] = scores.frame[0, : len(indices)].astype(np.float64)
    again = method.fuse_frames(frames[None])
    if again is None:
        return NO_INTERVAL, "no interval: the detector reads a clip's frames in order, so they cannot be resampled"
    kind, whose = ("bursts", np.arange(len(frames)) // burst) if burst > 1 else ("frames", np.asarray(indices))
    _, unit, sizes = np.unique(whose, return_inverse=True, return_counts=True)
    if len(sizes) < FEWEST:
        return NO_INTERVAL, f"no interval: the clip has {len(sizes)} kept {kind}, fewer than {FEWEST}"
    if len(set(sizes.tolist())) > 1:
        return NO_INTERVAL, f"no interval: its {kind} do not all count the same"
    if not abs(again[0] - scores.clip[0]) < _ROUNDED:
        return NO_INTERVAL, "no interval: scores of its frames are rounded to 0 or 1, and do not give the clip's"
    places = np.argsort(unit, kind="stable").reshape(len(sizes), -1)
    # The same bits for the same clip.
    drawn = np.random.default_rng(0).integers(len(sizes), size=(_RESAMPLES, len(sizes)))
    values = method.fuse_frames(frames[places[drawn].reshape(_RESAMPLES, -1)])
    assert values is not None
    return percentile_interval(values), (
        f"interval: 95 % of resamples of its {len(sizes)} {kind}, that is how far the score depends on which were "
        "kept; it says nothing of other videos or other attacks"
    )
