"""Methods that train a network on frames: what they share. Imports no JAX until one fits or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Cost, Desk, Detector, Failed, Job
from fas_jax.methods.frame_settings import FrameSettings, Made
from fas_jax.training.taking import Take

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from fas_jax.methods.data import Clips


@dataclass(frozen=True)
class FrameMethod(FrameSettings):
    """A network on frames with logits of attack and bona fide for each, trained and scored here."""

    block = 128  # of seven frames of 224x224 pixels each, they take 135 MB

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`; networks train one after the other."""
        from fas_jax.methods.frame_training import fit_networks

        return fit_networks(jobs, clips, desk)

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        import jax
        import numpy as np

        from fas_jax.methods.frame_training import initial, objective_for

        made = Made.of(about)
        objective = objective_for(self, made.domains)
        params = {"stats": {}, **params}  # of a network without any, files hold none
        expected = jax.eval_shape(lambda: initial(objective, *objective.network.shaped(), 0))
        if jax.tree.map(np.shape, params) != jax.tree.map(lambda leaf: leaf.shape, expected):
            raise UserError(f"the parameters of a {self.kind} do not have the shapes of its network, {self.network}")
        return self.detector(params, made)

    def detector(self, params: Any, made: Made) -> Detector:
        """See `FrameSettings.detector`."""
        from fas_jax.methods.frame_training import FrameDetector

        return FrameDetector(self, params, made)

    def fuse_frames(self, frames: Float[np.ndarray, "n t"]) -> Float[np.ndarray, " n"] | None:
        """See `Method.fuse_frames`; None for sequences, whose frames are read in order."""
        import numpy as np

        from fas_jax.base.logits import nearest_logit
        from fas_jax.methods.frame_training import fused

        if self.sequences:
            return None
        return fused(nearest_logit(frames), np.ones(frames.shape, bool), self.fusion)

    def cost(self, clips: int, width: int) -> Cost:
        """See `Method.cost`."""
        import jax

        from fas_jax.methods.frame_training import initial

        objective = self.objective()
        shapes = jax.eval_shape(lambda: initial(objective, *objective.network.shaped(), 0))
        return Cost(self.steps, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)))

    def files(self) -> Mapping[str, str]:
        """The file of weights that training begins with."""
        from fas_jax.methods.frame_weights import weights_sha256

        sha256 = weights_sha256(self.backbone(), self.weights)
        return {"weights": sha256} if sha256 else {}

    def check(self, name: str) -> None:
        """Refuses an unknown network, patterns that match nothing, weights that are not there, and frames of the wrong
        kind, before any work.
        """
        from fas_jax.models.backbones.weights import package_file

        network = self.backbone()
        try:
            own = self.objective().network
            own.held(self.freeze)
            own.named(self.reset, "reset")
            own.named(self.may_be_missing, "may_be_missing")
        except UserError as error:
            raise UserError(f"methods.{name}: {error}") from error
        if Take.parse(self.take, f"methods.{name}.take").sequence != self.sequences:
            instead = '"clip:4" or "burst"' if self.sequences else '"random", "frame:6" or "every:5"'
            reads = "sequences" if self.sequences else "single frames"
            raise UserError(f'methods.{name}: a {self.kind} reads {reads}; set take to {instead}, not "{self.take}"')
        if self.rare_every and self.balanced == "none":
            raise UserError(f'methods.{name}: rare_every draws attacks by species; balanced must not be "none"')
        if {self.rendition} & {*self.further_renditions}:
            raise UserError(
                f"methods.{name}: further_renditions names {self.rendition}, which is its rendition already"
            )
        if self.weights == "random":
            return
        if self.weights == "package":
            if network.package is None:
                raise UserError(
                    f"methods.{name}: no package has weights of {self.network}; set weights to the path of published "
                    "ones, or to 'random'"
                )
            package_file(*network.package)
        elif not Path(self.weights).is_file():
            raise UserError(f"methods.{name}: weights {self.weights} do not exist")
