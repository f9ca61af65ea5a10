"""From a detector's score to two answers, or to three."""

from typing import NamedTuple

from fas_jax.base.errors import UserError
from fas_jax.evaluation.conformal import Band


class Decision(NamedTuple):
    """From a score to a verdict; fitted on the sources."""

    threshold: float
    """Bona fide from it on."""
    band: Band | None = None
    """For three answers; bundles of earlier versions have none."""

    def accepts(self, score: float) -> bool:
        """Whether a score means bona fide; compared in float64, and never for NaN."""
        return float(score) >= self.threshold

    def three(self, name: str) -> Band:
        """The band of the detector with this name. Raises `UserError` if there is none."""
        if self.band is None:
            raise UserError(
                f"this bundle has no band for three answers of detector {name}, as bundles of earlier versions have "
                "none; make it again by fas-jax evaluate RUN"
            )
        return self.band
