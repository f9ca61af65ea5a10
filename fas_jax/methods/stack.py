"""The LSTM meta-learner (Muhammad et al. 2023, section 3.4; Wolpert 1992): an LSTM over other methods' scores.

It is trained on out-of-fold scores: those of detectors that have not seen the subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fas_jax.base.declarations import what
from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.methods.heads import HeadMethod
from fas_jax.methods.inputs import Input

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips
    from fas_jax.models.architecture import Architecture
    from fas_jax.training.steps import Clips as Sequences


@dataclass(frozen=True)
class LstmStack(HeadMethod):
    """An LSTM over the frame scores of other methods."""

    kind = "lstm-stack"

    over: tuple[str, ...] = what(("lstm", "bilstm", "gru"))
    """The methods whose scores it reads, which all read the same frames."""
    hidden: int = what(20, at_least=1)
    """Hidden units."""
    initialisation: Literal["he", "orthogonal", "glorot"] = what("he")
    """Of the recurrent weights."""
    combine: Literal["concat", "sum"] = what("concat")
    """How the methods' probabilities are joined: the paper concatenates, the authors' code sums."""
    max_epochs: int = what(100, at_least=1)
    """Epochs after which training ends in any case."""

    def check(self, name: str) -> None:
        """See `Method.check`."""
        if not self.over or len(set(self.over)) < len(self.over):
            raise UserError(f"methods.{name}.over must name at least one method, each once, not {list(self.over)}")

    def inputs(self) -> Sequence[Input]:
        """The other methods' scores."""
        return tuple(Input("scores", name) for name in self.over)

    def architecture(self, width: int) -> Architecture:
        """See `HeadSettings.architecture`."""
        from fas_jax.models.recurrent import RecurrentClassifier

        return RecurrentClassifier("lstm", width, self.hidden, self.initialisation)

    def sequences(self, clips: Clips, tasks: Sequence[int], execution: Execution) -> Sequences:
        """See `HeadSettings.sequences`: each task has its own scores."""
        from fas_jax.features.frame_scores import StackedScores
        from fas_jax.training.steps import Clips as Sequences

        scores = tuple(clips.scores(name) for name in self.over)
        stacked = StackedScores(scores, tuple(tasks), self.combine)
        return Sequences(stacked, stacked.mask, clips.labels.astype("int32"))

    def traced_sequences(self, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, Any]:
        """See `HeadSettings.traced_sequences`."""
        import jax.numpy as jnp

        from fas_jax.methods.data import Scores

        real = mask[self.inputs()[0]]
        pairs = []
        for item in self.inputs():
            scores = data[item].frame if isinstance(data[item], Scores) else data[item]
            frames = jnp.where(real, jnp.asarray(scores, jnp.float32), 0)
            pairs.append(jnp.stack([1 - frames, frames], -1))
        joined = jnp.concatenate(pairs, -1) if self.combine == "concat" else sum(pairs[1:], pairs[0])
        return joined, real
