"""The settings that all verdicts over experts share. Imports no JAX."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fas_jax.base.declarations import what
from fas_jax.base.errors import UserError
from fas_jax.methods.base import Method
from fas_jax.methods.inputs import Input

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

VERDICTS = {
    "paper": ("patches", "quality", "recurrent"),
    "all": ("patches", "quality", "recurrent", "motion"),
}
"""The experts of the setting `verdict`, by the names of their methods."""
MOST_EXPERTS = 6
"""Each combination of experts has its own model, and every further expert doubles their number."""


@dataclass(frozen=True)
class VerdictSettings(Method):
    """A stack over the scores that experts give a clip, of which some may be missing."""

    verdict: Literal["paper", "all"] = what("paper")
    """The experts if `over` is empty: `paper` names the methods patches, quality and recurrent, after Stadelmann et al.
    (2018); `all` adds motion."""
    over: tuple[str, ...] = what(())
    """Names of the methods that are the experts, at most 6; empty takes those of `verdict`."""
    folds_by: Literal["subject", "source"] = what("subject")
    """Which detectors score the training clips that it learns from: those that have not seen the clip's subject, or
    those that have not seen its dataset, for which every expert is fitted once more for each source."""

    @property
    def experts(self) -> tuple[str, ...]:
        """The methods whose scores it reads."""
        return self.over or VERDICTS[self.verdict]

    def inputs(self) -> Sequence[Input]:
        """The experts' scores of the clip."""
        return tuple(Input("clip-scores", name) for name in self.experts)

    def held_out_by(self) -> Literal["subject", "source"]:
        """See `Method.held_out_by`."""
        return self.folds_by

    def check(self, name: str) -> None:
        """Refuses an expert that is named twice, and too many experts."""
        if len(set(self.over)) < len(self.over) or len(self.over) > MOST_EXPERTS:
            raise UserError(f"methods.{name}.over must name at most {MOST_EXPERTS} methods, each once")

    @property
    @abstractmethod
    def ranks(self) -> Mapping[str, int]:
        """Ranks of the arrays of the model of one combination of experts."""

    @abstractmethod
    def fit_model(
        self,
        logits: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, " n"],
        seed: int,
    ) -> dict[str, np.ndarray]:
        """Fits the model of one combination of experts on clips of both classes that all of them have scored."""

    @abstractmethod
    def model_logits(self, params: Mapping[str, Any], logits: Any, mean: Any, xp: Any) -> Any:
        """Its logits [n] for the experts' logits [n d] and the mean [n] over all who have a score; xp is numpy or
        jax.numpy."""

    def model_rules(self, params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
        """The model in lines of plain words."""
        return []

    def model_path(
        self, params: Mapping[str, np.ndarray], names: Sequence[str], logits: Float[np.ndarray, " d"]
    ) -> list[str]:
        """How the model comes to its score for one clip, as sentences."""
        return self.model_rules(params, names)
