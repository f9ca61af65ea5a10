"""A classifier of measures of image quality, of the whole frame, of the face, or of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.quality_settings import CLASSIFIERS, QualitySettings

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips


@dataclass(frozen=True)
class Quality(QualitySettings):
    """Measures of image quality, averaged over a clip's frames and standardised, into one of three classifiers."""

    kind = "quality"

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`."""
        from fas_jax.methods.quality_fitting import fit_quality

        return [fit_quality(job, clips) for job in jobs]

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        import numpy as np

        from fas_jax.methods.quality_fitting import QualityDetector, expected_ranks

        chosen = about.get("classifier")
        if chosen not in CLASSIFIERS or expected_ranks(chosen) != {
            name: np.ndim(each) for name, each in params.items()
        }:
            raise UserError(f"the parameters of a {self.kind} are not those of {chosen}: {sorted(params)}")
        return QualityDetector(self, params, dict(about))
