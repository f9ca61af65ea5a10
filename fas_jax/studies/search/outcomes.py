"""What a search found. Imports no JAX."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fas_jax.protocols.presets import Protocol
from fas_jax.studies.search.space import Setting


@dataclass(frozen=True)
class Figures:
    """What one setting reaches; an entry for each fold."""

    hter: Float[np.ndarray, " k"]
    """NaN where the fold lacks a class, or where the fitting failed."""
    auc: Float[np.ndarray, " k"]
    failed: tuple[str, ...]
    """Why the setting has no figure on the fold although the fold has both classes; empty where it has one."""


@dataclass(frozen=True)
class Outcome:
    """What a trial's setting is worth."""

    number: int
    """Of the trial, in the order in which the settings were drawn."""
    setting: Setting
    figures: Figures

    @property
    def failed(self) -> bool:
        """Whether the setting failed on some fold."""
        return any(self.figures.failed)

    @property
    def score(self) -> float:
        """Mean HTER over the folds that can be scored; NaN where the setting failed on one of them."""
        return np.nan if self.failed else float(np.nanmean(self.figures.hter))

    @property
    def order(self) -> tuple[bool, float, float, int]:
        """Sorts the best first and the failed last: by HTER, then AUC, then number."""
        if self.failed:
            return True, 0.0, 0.0, self.number
        # Equal shares have means that may differ in their last bits.
        return False, round(self.score, 12), round(-float(np.nanmean(self.figures.auc)), 12), self.number


@dataclass(frozen=True)
class Found:
    """The result of searching one protocol."""

    protocol: Protocol
    outcomes: tuple[Outcome, ...]
    """Sorted, the best first."""
    folds: tuple[str, ...]
    """Names of the folds, of all seeds."""
    datasets: tuple[str, ...]
    """The sources."""
    undefined: tuple[str, ...]
    """What some of the folds lack."""
    caveats: tuple[str, ...] = ()
    """What a reader must know of the sources' features before any figure."""
    by_source: bool = False
    """Whether the folds are the sources."""
