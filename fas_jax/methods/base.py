"""The interface of everything that scores clips. Imports no JAX: a method's settings are read by `--help`.

A *method* is a frozen dataclass of settings that fits *detectors*; a detector scores clips. Evaluation, search, oracle,
audit, bundles, export and `predict` know these classes and no method by name. To add a method, see
docs/add-a-method.md.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from fas_jax.base.declarations import key
from fas_jax.base.settings import Execution, to_dict
from fas_jax.methods.inputs import Input

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from fas_jax.methods.data import Batch, Clips, Rows, Scores, Task


class Range(NamedTuple):
    """Numbers that a search draws evenly on a logarithmic scale."""

    low: float
    high: float


Variants: TypeAlias = Mapping[str, Range | tuple[Any, ...]]
"""By setting: a range, or values of which each is drawn equally often."""


class Cost(NamedTuple):
    """What one fitting takes at most."""

    steps: int
    """Gradient steps."""
    bytes: int
    """Of the parameters."""


class Job(NamedTuple):
    """A method to be fitted for a task; a search gives several methods of one kind."""

    method: Method
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
    of: str = ""
    """Of the run's method, where `name` is that of one of several networks that it trains."""
    part: bool = False
    """Whether other commands fit the rest of the run's jobs, so that it is no error if all jobs here fail."""


@runtime_checkable
class Detector(Protocol):
    """A fitted method. It can be stored as its method's settings, its `about` and its `params`."""

    @property
    def method(self) -> Method:
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

        A third result may be the clips' logits, if the detector knows them where their scores are rounded to 0 or 1.
        Other methods' scores of clips, which it may read, come as logits [b], NaN where there is none.

        None for a detector that is no function of arrays.
        """


@dataclass(frozen=True)
class Method(ABC):
    """Settings of one way to score clips. Subclasses are frozen dataclasses whose fields are declared settings."""

    kind: ClassVar[str]
    """Its name in `[methods.NAME] kind = ...`."""
    frame_scores: ClassVar[bool] = False
    """Whether its detectors score frames, which a stack over sequences needs."""
    one_sequence: ClassVar[bool] = False
    """Whether its detectors read all frames of a clip as one sequence, with a state from frame to frame: bursts, which
    lie a second or more apart, are none."""
    least_burst: ClassVar[int] = 1
    """Smallest burst of the renditions that it reads; 1 if it needs no bursts."""
    epochs: ClassVar[bool] = False
    """Whether it is fitted in epochs, of which validation chooses one, and keeps the parameters of every validation
    where `Execution.snapshots` asks for them (`fas_jax.training.snapshots`)."""
    measures: ClassVar[bool] = False
    """Whether the features that it reads have to be measures of image quality, which renditions with native pixels
    have."""
    settings_from: ClassVar[str] = ""
    """Where its default settings come from, if a reader of its figures must know, such as `published (target-tuned)`;
    reports say so in its row. It holds whatever a configuration changes: what it leaves was still chosen there."""
    block: ClassVar[int] = 1024
    """Number of clips that are read at a time when many are scored or fitted on."""
    version: ClassVar[int] = 1
    """Raised when the same settings and data give another detector."""

    @abstractmethod
    def inputs(self) -> Sequence[Input]:
        """What it reads."""

    def training_inputs(self) -> Sequence[Input]:
        """What fitting reads beside `inputs`, and scoring does not."""
        return ()

    def held_out_by(self) -> Literal["subject", "source"]:
        """What out-of-fold scores leave out, if it reads scores of clips: subjects or sources."""
        return "subject"

    def rendered_part(self, sources: int, tables: int) -> float:
        """Share of its training clips that is drawn from [rendered.NAME] tables, of which there are some, beside so
        many other datasets."""
        return 0.0

    @classmethod
    @abstractmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """Fits all jobs, whose methods are of this kind; all at once, so that small networks train side by side.

        Args:
            jobs: At least one.
            clips: What the tasks' rows point into.
            desk: Where to keep checkpoints; fittings that it holds already are not done again.
        """

    @abstractmethod
    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
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

    def fuse_frames(self, frames: Float[np.ndarray, "n t"]) -> Float[np.ndarray, " n"] | None:
        """Scores of clips whose frames have these scores, for a method that scores each frame by itself.

        None for any other: the frames of its clips cannot be resampled.
        """
        return None

    def cost(self, clips: int, width: int) -> Cost | None:
        """What a fitting on so many clips with features of this width takes; None where there are no steps to count."""
        return None

    def files(self) -> Mapping[str, str]:
        """By setting, the SHA-256 of a file that the setting names and that decides what is fitted.

        A detector of a run is reused only as long as these are the same.
        """
        return {}

    def variants(self) -> Variants:
        """What a search may draw for its settings; empty where there is nothing to tune."""
        return {}

    def check(self, name: str) -> None:  # noqa: B027 - most methods have nothing to check
        """Raises `UserError` where the settings of `[methods.name]` make no sense."""


@runtime_checkable
class Explained(Protocol):
    """A detector that can say in words why it gives a score."""

    def rules(self) -> Sequence[str]:
        """Its rules, in lines of plain words."""

    def explain(self, batch: Batch) -> list[dict[str, Any]]:
        """For each clip, JSON-able: `experts`, by name their `score` or the `reason` why there is none, and `because`,
        the sentences that lead to the score."""


@runtime_checkable
class Counted(Protocol):
    """A detector without a function for `Detector.apply` that knows how much it computes."""

    def flops(self, batch: Batch) -> float:
        """FLOPs of scoring a batch, as XLA counts them, without those of the features or measures that it holds."""


@runtime_checkable
class Differentiable(Protocol):
    """A detector whose score has a logit that can be traced: it does not saturate as a rounded probability does."""

    def log_odds(self) -> Callable[..., Any]:
        """As `Detector.apply`, in float32, but for the result: the clips' logits [b]."""


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


def score_in_blocks(detector: Detector, clips: Clips, rows: Rows, task: int = 0) -> Scores:
    """Scores of many clips by one detector, in memory of a fixed size: `Method.block` clips at a time."""
    import numpy as np

    from fas_jax.methods.data import Scores

    # In the order in which they lie on disk, so that each file is opened a few times and not once a clip.
    order, block = np.argsort(rows), detector.method.block
    inputs = detector.method.inputs()
    clip = np.full(len(rows), np.nan)
    frame: np.ndarray | None = None
    logit: np.ndarray | None = None
    reason = [""] * len(rows)
    for start in range(0, len(rows), block):
        places = order[start : start + block]
        found = detector.score(clips.read(rows[places], inputs, task))
        clip[places] = found.clip
        if found.frame is not None:
            frame = np.zeros((len(rows), found.frame.shape[1]), np.float32) if frame is None else frame
            frame[places] = found.frame
        if found.logit is not None:
            logit = np.full(len(rows), np.nan) if logit is None else logit
            logit[places] = found.logit
        for place, why in zip(places.tolist(), found.reason, strict=False):
            reason[place] = why
    return Scores(clip, frame, reason if any(reason) else (), logit)
