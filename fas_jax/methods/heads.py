"""Methods that train a small network on sequences: what they share. Imports no JAX until one fits or scores."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool

from fas_jax.base.declarations import what
from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution, Optimisation, Training
from fas_jax.methods.base import Batch, Clips, Desk, Detector, Failed, Input, Job, Method, Rows, Scores

if TYPE_CHECKING:
    from fas_jax.models.architecture import Architecture
    from fas_jax.training.steps import Clips as Sequences


@dataclass(frozen=True)
class HeadMethod(Optimisation, Method):
    """A network over a clip's sequence with attack and bona fide logits at every frame.

    Jobs whose settings differ only in `side_by_side` train in one program, along an axis of runs.
    """

    frame_scores: ClassVar[bool] = True
    epochs: ClassVar[bool] = True
    side_by_side: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "balance")

    fusion: Literal["mean", "last", "median", "minimum"] = what("mean")
    """How the frames' P(bona fide) become the clip's score."""

    @abstractmethod
    def architecture(self, width: int) -> "Architecture":
        """The network for sequences of vectors of this width."""

    @abstractmethod
    def sequences(self, clips: Clips, tasks: Sequence[int], execution: Execution) -> "Sequences":
        """The clips' sequences [n t d], or [r n t d] with those of each of the tasks with these numbers."""

    @abstractmethod
    def traced_sequences(self, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, Any]:
        """Sequences float32 [b t d], zero at padded frames, and their mask [b t], from a batch's arrays; traceable."""

    def training(self, execution: Execution) -> Training:
        """What the training loop is given."""
        own = {name: getattr(self, name) for name in Optimisation.__dataclass_fields__}
        return Training(**own, **vars(execution))

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`."""
        from fas_jax.methods.head_training import fit_heads

        return fit_heads(jobs, clips, desk)

    @classmethod
    def score_all(
        cls, detectors: Sequence[Detector], clips: Clips, rows: Sequence[Rows], tasks: Sequence[int], desk: Desk
    ) -> list[Scores]:
        """As `Method.score_all`, side by side."""
        from fas_jax.methods.head_training import score_heads

        return score_heads(detectors, clips, rows, tasks, desk.execution)

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> "HeadDetector":
        """See `Method.rebuild`."""
        import jax

        architecture = self.architecture(int(about["width"]))
        expected = jax.tree.map(lambda leaf: tuple(leaf.shape), architecture.shapes())
        if jax.tree.map(np.shape, params) != expected:
            raise UserError(f"the parameters of a {self.kind} do not have the shapes of its settings")
        return HeadDetector(self, int(about["width"]), params)


@dataclass(frozen=True)
class FeatureHead(HeadMethod):
    """A head on the features of one rendition's frames."""

    rendition: str = what("whole")
    """Whose features it reads: a name of [renditions.NAME]."""

    def inputs(self) -> Sequence[Input]:
        """The features of its rendition."""
        return (Input("features", self.rendition),)

    def sequences(self, clips: Clips, tasks: Sequence[int], execution: Execution) -> "Sequences":
        """See `HeadMethod.sequences`: all tasks share these."""
        found: Sequences = clips.sequences(self.rendition, execution.resident_mb)
        return found

    def traced_sequences(self, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, Any]:
        """See `HeadMethod.traced_sequences`."""
        import jax.numpy as jnp

        (item,) = self.inputs()
        # As a padded clip's features are in training: zero.
        return jnp.where(mask[item][..., None], data[item].astype(jnp.float32), 0), mask[item]


@dataclass(frozen=True)
class HeadDetector:
    """A trained head."""

    method: HeadMethod
    width: int
    """Of the vectors that it reads."""
    params: Any
    """Of the architecture, without an axis of runs."""

    @property
    def about(self) -> dict[str, Any]:
        """See `Detector.about`."""
        return {"width": self.width}

    def score(self, batch: Batch) -> Scores:
        """See `Detector.score`."""
        from fas_jax.methods.head_training import score_batch

        return score_batch(self, batch)

    def apply(self) -> Callable[..., Any]:
        """See `Detector.apply`."""
        from fas_jax.methods.head_training import traced_scores

        return traced_scores(self)


def present(mask: Bool[np.ndarray, "n t"], rows: Rows) -> Rows:
    """Those of the clips that have frames."""
    filled = np.any(mask, axis=1)
    return rows[filled[rows]]
