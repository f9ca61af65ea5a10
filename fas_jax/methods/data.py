"""Clips as methods see them: their inputs, the tasks that divide them, and the scores that detectors give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.files import fingerprint
from fas_jax.base.logits import nearest_logit
from fas_jax.methods.inputs import Input

Rows: TypeAlias = Int[np.ndarray, " _"]
"""Indices of clips in the `Clips` that they belong to."""
WHOLE = "whole"
"""The part of a task that is kept: trained on all of its training clips."""


@dataclass(frozen=True)
class Batch:
    """All that a detector sees of n clips: no label, subject, dataset or path."""

    data: Mapping[Input, Any]
    """By input. `features`: float [n t d], zero where there is no frame; `frames`: uint8 [n t h w 3], RGB, likewise;
    `facts`: n `ClipInfo`s; `scores`: `Scores` with frames; `clip-scores`: `Scores`."""
    mask: Mapping[Input, Bool[np.ndarray, "n _"]]
    """True at real frames, which are the first of a clip; for all inputs but `facts`."""
    absent: Mapping[Input, Sequence[str]] = field(default_factory=dict)
    """By input, for each clip: empty, or why the input could not be made. An input that is not named is complete."""

    def __len__(self) -> int:
        for values in self.mask.values():
            return len(values)
        return max((len(values) for values in self.data.values()), default=0)


@dataclass(frozen=True)
class Scores:
    """What a detector says of n clips; a higher score means bona fide."""

    clip: Float[np.ndarray, " n"]
    """P(bona fide), or another score between 0 and 1; NaN where there is no decision."""
    frame: Float[np.ndarray, "n t"] | None = None
    """P(bona fide) at every frame, for methods that have one; values at padded frames mean nothing."""
    reason: Sequence[str] = ()
    """Why there is no decision, for each clip, empty where there is one; () where there is one for all."""
    logit: Float[np.ndarray, " n"] | None = None
    """log(clip / (1 - clip)), for methods that know it better than `clip` tells, which may be rounded to 0 or 1; NaN
    where there is no decision, and infinite where the method is certain."""

    def __post_init__(self) -> None:
        undecided = np.isnan(self.clip)
        reasons = self.reason or [""] * len(self.clip)
        for row in np.flatnonzero(undecided | np.array([bool(each) for each in reasons], bool)).tolist():
            if not undecided[row] or not reasons[row]:
                raise ValueError(f"clip {row}: score {self.clip[row]} with reason {reasons[row]!r}; NaN needs one")

    def logits(self) -> Float[np.ndarray, " n"]:
        """The clips' logits, from `clip` where the method gives none; NaN where there is no decision."""
        found = nearest_logit(self.clip)
        if self.logit is not None:
            found = np.where(np.isnan(self.logit), found, self.logit)
        return np.where(np.isnan(self.clip), np.nan, found)

    @classmethod
    def none(cls, count: int, reason: str) -> "Scores":
        """No decision on any of `count` clips, for one reason."""
        return cls(np.full(count, np.nan), None, [reason] * count)


@dataclass(frozen=True)
class Task:
    """One fitting: who trains, who validates, and who is scored out of fold."""

    number: int
    """Of the protocol and seed among those of the run; parts of one task share it."""
    name: str
    """Protocol, seed and part, for people."""
    protocol: str
    seed: int
    part: str
    """`WHOLE`, or the fold that is left out, such as `fold 2/5`."""
    train: Rows
    validation: Rows
    """Choose the epoch; seen by no gradient."""
    held: Rows
    """Scored by this fitting for methods that read its scores: the fold that is left out, or the validation clips."""
    rendered: Rows = field(default_factory=lambda: np.zeros(0, np.int32))
    """Clips of rendered domains ([rendered.NAME]) that may be trained on beside `train`; methods on features leave them
    out."""


def fingerprint_of(clips: "Clips", parts: Sequence[Rows]) -> str:
    """Names parts of some clips, in their order, by datasets and paths: whatever other clips are open with them."""
    return fingerprint([clips.videos[part].fingerprint for part in parts])


@runtime_checkable
class Clips(Protocol):
    """Clips with their labels, for whoever fits, and their inputs. `fas_jax.experiment.corpus` opens them."""

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """1 bona fide, 0 attack."""

    @property
    def videos(self) -> Any:
        """`VideoTable` of n rows: dataset, subject, PAI species and so on."""

    def features(self, rendition: str) -> tuple[Any, Bool[np.ndarray, "n t"]]:
        """Features [n t d], as an array or a `training.streaming.FeatureSource`, and their mask."""

    def frames(self, rendition: str) -> Any:
        """The frames that features are made of, left on disk: `fas_jax.datasets.frames.StoredFrames`."""

    def facts(self, rendition: str) -> Sequence[Any]:
        """What decoding found: a `ClipInfo` for each clip, of which `renditions[rendition]` is the rendition's own."""

    def sequences(self, rendition: str, resident_mb: int = 0) -> Any:
        """The features with mask and labels as `fas_jax.training` takes them; on the device if they fit there."""

    def mask(self, item: Input) -> Bool[np.ndarray, "n t"]:
        """Where there are frames of an input of any kind but `facts`."""

    def scores(self, method: str) -> Any:
        """Another method's scores of the clips' frames: `fas_jax.features.frame_scores.FrameScores`."""

    def absent(self, item: Input, rows: Rows | None = None) -> Sequence[str]:
        """Why an input could not be made, for each of these clips, or of all; empty where it could."""

    def read(self, rows: Rows, inputs: Sequence[Input], task: int = 0) -> Batch:
        """Some clips' inputs in memory; of `scores`, those that belong to the task of this number."""
