"""The interface of everything that scores clips. Imports no JAX: a method's settings are read by `--help`.

A *method* is a frozen dataclass of settings that fits *detectors*; a detector scores clips. Evaluation, search, oracle,
audit, bundles, export and `predict` know these classes and no method by name. To add a method, see
docs/add-a-method.md.
"""

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.declarations import key
from fas_jax.base.settings import Execution, to_dict

Rows: TypeAlias = Int[np.ndarray, " _"]
"""Indices of clips in the `Clips` that they belong to."""
WHOLE = "whole"
"""The part of a task that is kept: trained on all of its training clips."""


class Range(NamedTuple):
    """Numbers that a search draws evenly on a logarithmic scale."""

    low: float
    high: float


Variants: TypeAlias = Mapping[str, Range | tuple[Any, ...]]
"""By setting: a range, or values of which each is drawn equally often."""


class Input(NamedTuple):
    """Something that a method reads of a clip."""

    kind: Literal["features", "facts", "scores"]
    """`features`: a sequence of vectors of a rendition's frames; `facts`: what decoding found (`ClipInfo`);
    `scores`: what another method makes of the clip."""
    name: str
    """The rendition, or the other method. Facts are those of a rendition."""


@dataclass(frozen=True)
class Batch:
    """All that a detector sees of n clips: no label, subject, dataset or path."""

    data: Mapping[Input, Any]
    """By input. `features`: float [n t d], zero where there is no frame; `facts`: n `ClipInfo`s; `scores`: `Scores`."""
    mask: Mapping[Input, Bool[np.ndarray, "n _"]]
    """True at real frames, which are the first of a clip; for `features` and `scores`."""
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

    def __post_init__(self) -> None:
        undecided = np.isnan(self.clip)
        reasons = self.reason or [""] * len(self.clip)
        for row in np.flatnonzero(undecided | np.array([bool(each) for each in reasons], bool)).tolist():
            if not undecided[row] or not reasons[row]:
                raise ValueError(f"clip {row}: score {self.clip[row]} with reason {reasons[row]!r}; NaN needs one")

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


class Job(NamedTuple):
    """A method to be fitted for a task; a search gives several methods of one kind."""

    method: "Method"
    task: Task


@dataclass(frozen=True)
class Failed:
    """A fitting that gave no detector."""

    reason: str


@dataclass(frozen=True)
class Desk:
    """Where a fitting may keep checkpoints and curves, and how it may use the machine. It leads to no target."""

    name: str
    """Of the method, for files and progress bars."""
    execution: Execution
    """How the machine is used."""
    folder: Path | None = None
    """For checkpoints, finished parts and learning curves; None keeps nothing."""
    data: str = ""
    """Fingerprint of the clips' inputs, so that what was trained on others is refused."""
    quiet: bool = False
    """Writes no learning curves, and accepts without a warning that fittings fail."""


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

    def facts(self, rendition: str) -> Sequence[Any]:
        """What decoding found: a `ClipInfo` for each clip, of which `renditions[rendition]` is the rendition's own."""

    def sequences(self, rendition: str, resident_mb: int = 0) -> Any:
        """The features with mask and labels as `fas_jax.training` takes them; on the device if they fit there."""

    def mask(self, item: Input) -> Bool[np.ndarray, "n t"]:
        """Where there are frames of an input of kind `features` or `scores`."""

    def scores(self, method: str) -> Any:
        """What another method made of the clips: `fas_jax.features.frame_scores.FrameScores`."""

    def absent(self, item: Input, rows: Rows | None = None) -> Sequence[str]:
        """Why an input could not be made, for each of these clips, or of all; empty where it could."""

    def read(self, rows: Rows, inputs: Sequence[Input], task: int = 0) -> Batch:
        """Some clips' inputs in memory; of `scores`, those that belong to the task of this number."""


@runtime_checkable
class Detector(Protocol):
    """A fitted method. It can be stored as its method's settings, its `about` and its `params`."""

    @property
    def method(self) -> "Method":
        """The settings that it was fitted with."""

    @property
    def params(self) -> Any:
        """A nested dictionary of arrays."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What `Method.rebuild` needs besides settings and parameters, JSON-able: the inputs' widths, for example."""

    def score(self, batch: Batch) -> Scores:
        """Scores of a batch of any size; a clip's score depends neither on its mates nor on padding."""

    def apply(self) -> Callable[..., Any] | None:
        """The pure function from parameters, {input: array} and {input: mask} to clip and frame scores, for export.

        None for a detector that is no function of arrays.
        """


@dataclass(frozen=True)
class Method(ABC):
    """Settings of one way to score clips. Subclasses are frozen dataclasses whose fields are declared settings."""

    kind: ClassVar[str]
    """Its name in `[methods.NAME] kind = ...`."""
    frame_scores: ClassVar[bool] = False
    """Whether its detectors score frames, which a stack over sequences needs."""
    epochs: ClassVar[bool] = False
    """Whether it is fitted in epochs, of which validation chooses one, and keeps the parameters of every validation
    where `Execution.snapshots` asks for them (`fas_jax.training.snapshots`)."""
    version: ClassVar[int] = 1
    """Raised when the same settings and data give another detector."""

    @abstractmethod
    def inputs(self) -> Sequence[Input]:
        """What it reads."""

    @classmethod
    @abstractmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence["Detector | Failed"]:
        """Fits all jobs, whose methods are of this kind; all at once, so that small networks train side by side.

        Args:
            jobs: At least one.
            clips: What the tasks' rows point into.
            desk: Where to keep checkpoints; fittings that it holds already are not done again.
        """

    @abstractmethod
    def rebuild(self, params: Any, about: Mapping[str, Any]) -> "Detector":
        """A detector from what was stored of one.

        Raises:
            UserError: The parameters are not those of a detector with these settings.
        """

    @classmethod
    def score_all(
        cls, detectors: Sequence[Detector], clips: Clips, rows: Sequence[Rows], tasks: Sequence[int], desk: Desk
    ) -> list[Scores]:
        """Scores of `rows[i]` by `detectors[i]`, whose task has the number `tasks[i]`; reads a block at a time."""
        return [
            score_in_blocks(detector, clips, own, task)
            for detector, own, task in zip(detectors, rows, tasks, strict=True)
        ]

    def variants(self) -> Variants:
        """What a search may draw for its settings; empty where there is nothing to tune."""
        return {}

    def check(self, name: str) -> None:  # noqa: B027 - most methods have nothing to check
        """Raises `UserError` where the settings of `[methods.name]` make no sense."""


def identity(method: Method) -> dict[str, Any]:
    """What decides a method's result: kind, version, and the settings declared *what*; JSON-able."""
    return {"kind": method.kind, "version": method.version, **key(method)}


def method_to_dict(method: Method) -> dict[str, Any]:
    """A method as a table of settings, JSON-able; the registry's `method_from_dict` reads it back."""
    return {"kind": method.kind, **to_dict(method)}


def vary(search: Any) -> Variants:
    """The variants that a dataclass of ranges declares: a field `tuple[float, float]` is a range, others are values."""
    hints = typing.get_type_hints(type(search))
    return {
        name: Range(*values) if hints[name] == tuple[float, float] else tuple(values)
        for name, values in vars(search).items()
    }


BLOCK = 1024
"""Clips that `score_in_blocks` reads at a time."""


def score_in_blocks(detector: Detector, clips: Clips, rows: Rows, task: int = 0) -> Scores:
    """Scores of many clips by one detector, in memory of a fixed size."""
    # In the order in which they lie on disk, so that each file is opened a few times and not once a clip.
    order = np.argsort(rows)
    inputs = detector.method.inputs()
    clip = np.full(len(rows), np.nan)
    frame: np.ndarray | None = None
    reason = [""] * len(rows)
    for start in range(0, len(rows), BLOCK):
        places = order[start : start + BLOCK]
        found = detector.score(clips.read(rows[places], inputs, task))
        clip[places] = found.clip
        if found.frame is not None:
            frame = np.zeros((len(rows), found.frame.shape[1]), np.float32) if frame is None else frame
            frame[places] = found.frame
        for place, why in zip(places.tolist(), found.reason, strict=False):
            reason[place] = why
    return Scores(clip, frame, reason if any(reason) else ())
