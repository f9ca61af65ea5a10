"""Methods that train a small network on sequences: what they share. Imports no JAX until one fits or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.declarations import what
from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.methods.base import Cost, Desk, Detector, Failed, Job
from fas_jax.methods.head_settings import HeadSettings
from fas_jax.methods.inputs import Input

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips, Rows, Scores
    from fas_jax.training.steps import Clips as Sequences


@dataclass(frozen=True)
class HeadMethod(HeadSettings):
    """A network over a clip's sequence with attack and bona fide logits at every frame, trained and scored here."""

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

    def cost(self, clips: int, width: int) -> Cost:
        """See `Method.cost`; a stack reads two numbers of each method below it, or two in all."""
        import jax

        below = sum(item.kind == "scores" for item in self.inputs())
        shapes = jax.tree.leaves(self.architecture(2 * below or width).shapes())
        return Cost(self.max_epochs * -(-clips // self.batch_size), sum(4 * leaf.size for leaf in shapes))

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        import jax
        import numpy as np

        from fas_jax.methods.head_training import HeadDetector

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

    def sequences(self, clips: Clips, tasks: Sequence[int], execution: Execution) -> Sequences:
        """See `HeadSettings.sequences`: all tasks share these."""
        found: Sequences = clips.sequences(self.rendition, execution.resident_mb)
        return found

    def traced_sequences(self, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, Any]:
        """See `HeadSettings.traced_sequences`."""
        import jax.numpy as jnp

        (item,) = self.inputs()
        # As a padded clip's features are in training: zero.
        return jnp.where(mask[item][..., None], data[item].astype(jnp.float32), 0), mask[item]
