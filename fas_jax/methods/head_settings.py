"""What the training of a small network on sequences needs to know of a method. Imports no JAX."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from fas_jax.base.declarations import what
from fas_jax.base.settings import Execution, Optimisation, Training
from fas_jax.methods.base import Method
from fas_jax.methods.inputs import Input

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips
    from fas_jax.models.architecture import Architecture
    from fas_jax.training.steps import Clips as Sequences

Fusion: TypeAlias = Literal["mean", "last", "median", "minimum"]


@dataclass(frozen=True)
class HeadSettings(Optimisation, Method):
    """Settings of a network over a clip's sequence with attack and bona fide logits at every frame.

    Jobs whose settings differ only in `side_by_side` train in one program, along an axis of runs.
    """

    frame_scores: ClassVar[bool] = True
    one_sequence: ClassVar[bool] = True
    epochs: ClassVar[bool] = True
    side_by_side: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "balance")

    fusion: Fusion = what("mean")
    """How the frames' P(bona fide) become the clip's score."""

    @abstractmethod
    def architecture(self, width: int) -> Architecture:
        """The network for sequences of vectors of this width."""

    @abstractmethod
    def sequences(self, clips: Clips, tasks: Sequence[int], execution: Execution) -> Sequences:
        """The clips' sequences [n t d], or [r n t d] with those of each of the tasks with these numbers."""

    @abstractmethod
    def traced_sequences(self, data: Mapping[Input, Any], mask: Mapping[Input, Any]) -> tuple[Any, Any]:
        """Sequences float32 [b t d], zero at padded frames, and their mask [b t], from a batch's arrays; traceable."""

    def training(self, execution: Execution) -> Training:
        """What the training loop is given."""
        own = {name: getattr(self, name) for name in Optimisation.__dataclass_fields__}
        return Training(**own, **vars(execution))
