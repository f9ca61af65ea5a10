"""What a search found. Imports no JAX."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fas_jax.protocols.presets import Protocol
from fas_jax.studies.search.space import Setting


@dataclass(frozen=True)
class Outcome:
    """What a setting is worth; arrays have an entry for each cut."""

    number: int
    """Of the trial, in the order in which the settings were drawn."""
    setting: Setting
    hter: Float[np.ndarray, " k"]
    """NaN where the fold lacks a class, or where the training failed."""
    auc: Float[np.ndarray, " k"]
    epoch: Int[np.ndarray, " k"]
    """Whose parameters were the best on the validation part; 0 for the mean feature."""
    failed: Int[np.ndarray, " k"]
    """The epoch at which the loss was found not to be finite; 0 where it always was."""

    @property
    def score(self) -> float:
        """Mean HTER over the folds that can be scored; NaN where the training failed on one of them."""
        return np.nan if self.failed.any() else float(np.nanmean(self.hter))

    @property
    def order(self) -> tuple[bool, float, float, int]:
        """Sorts the best first and the failed last: by HTER, then AUC, then number."""
        if self.failed.any():
            return True, 0.0, 0.0, self.number
        return False, self.score, -float(np.nanmean(self.auc)), self.number


@dataclass(frozen=True)
class Found:
    """The result of searching one protocol."""

    protocol: Protocol
    outcomes: tuple[Outcome, ...]
    """Sorted, the best first."""
    cuts: tuple[str, ...]
    """Names of the folds."""
    datasets: tuple[str, ...]
    """The sources."""
    undefined: tuple[str, ...]
    """What some of them lack."""
