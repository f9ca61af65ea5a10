"""Patch networks: one for small faces and one for large ones, on tiles of native pixels.

Stadelmann et al. (ANNPR 2018) describe only the idea: two convolutional networks, for low and for high resolution, read
tiles of fixed size from the unscaled image. Everything else is this package's design. The face's size in native pixels
decides which network reads a frame, or whether both do. The logits of a frame's tiles are pooled to the frame's logit,
those of two networks are averaged, and the clip's score comes from its frames as in other networks on frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.patches_settings import PatchesSettings

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips


@dataclass(frozen=True)
class Patches(PatchesSettings):
    """Two networks on tiles; the size of the face in pixels chooses between them. All settings apply to both."""

    block = 32  # of seven frames with 16 tiles of 64x64 pixels each, they take 44 MB

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`; networks train one after the other."""
        from fas_jax.methods.patches_fitting import fit_patches

        return fit_patches(jobs, clips, desk)

    def detector(self, params: Any, made: Made) -> Detector:
        """A detector whose networks both answer, from their parameters by name."""
        from fas_jax.methods.patches_fitting import PatchesDetector

        parts: dict[str, Any] = {name: each.detector(params[name], made) for name, each in self.networks().items()}
        return PatchesDetector(self, parts)

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        from fas_jax.methods.patches_fitting import PatchesDetector

        networks = self.networks()
        answering = {name: about[name] for name in networks if isinstance(about.get(name), Mapping)}
        if set(about) != set(networks) or set(params) != set(answering):
            raise UserError(f"the parameters of a {self.kind} are not those of its networks: {sorted(params)}")
        parts: dict[str, Any] = {
            name: each.rebuild(params[name], answering[name]) if name in answering else str(about[name])
            for name, each in networks.items()
        }
        return PatchesDetector(self, parts)
