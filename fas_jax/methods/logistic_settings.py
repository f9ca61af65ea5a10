"""What the fitting of a logistic regression needs to know of a method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.declarations import what
from fas_jax.methods.base import Method

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from fas_jax.methods.data import Batch


@dataclass(frozen=True)
class LogisticSettings(Method):
    """Settings of a logistic regression on standardised numbers of a clip."""

    c: float = what(1.0, above=0)
    """scikit-learn's C: how little large weights cost."""
    rendition: str = what("whole")
    """Which rendition of the frames it reads: a name of [renditions.NAME]."""

    @abstractmethod
    def numbers(self, batch: Batch) -> Float[np.ndarray, "n d"]:
        """What it reads of the clips; NaN in a clip's row where its input is absent."""

    def traced(self) -> Callable[..., Any] | None:
        """See `Detector.apply`."""
        return None
