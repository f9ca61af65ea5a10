"""Methods that train a network on frames: what they share. Imports no JAX until one fits or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Desk, Detector, Failed, Job, score_in_blocks
from fas_jax.methods.frame_settings import BLOCK, FrameSettings

if TYPE_CHECKING:
    from fas_jax.methods.data import Clips, Rows, Scores


@dataclass(frozen=True)
class FrameMethod(FrameSettings):
    """A network on frames with logits of attack and bona fide for each, trained and scored here."""

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`; networks train one after the other."""
        from fas_jax.methods.frame_training import fit_networks

        return fit_networks(jobs, clips, desk)

    @classmethod
    def score_all(
        cls, detectors: Sequence[Detector], clips: Clips, rows: Sequence[Rows], tasks: Sequence[int], desk: Desk
    ) -> list[Scores]:
        """As `Method.score_all`, in smaller blocks: frames take more memory than features."""
        return [
            score_in_blocks(detector, clips, own, task, BLOCK)
            for detector, own, task in zip(detectors, rows, tasks, strict=True)
        ]

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        import jax
        import numpy as np

        from fas_jax.methods.frame_training import FrameDetector, initial, objective_for

        domains = int(about.get("domains", 1))
        objective = objective_for(self, domains)
        params = {"stats": {}, **params}  # of a network without any, files hold none
        expected = jax.eval_shape(lambda: initial(objective, *objective.network.shaped(), 0))
        if jax.tree.map(np.shape, params) != jax.tree.map(lambda leaf: leaf.shape, expected):
            raise UserError(f"the parameters of a {self.kind} do not have the shapes of its network, {self.network}")
        return FrameDetector(self, params, str(about["weights"]), domains)

    def check(self, name: str) -> None:
        """Refuses an unknown network, patterns that match nothing, and weights that are not there, before any work."""
        from fas_jax.models.backbones.weights import package_file

        network = self.backbone()
        try:
            own = self.objective().network
            own.held(self.freeze)
            own.named(self.reset, "reset")
            own.named(self.may_be_missing, "may_be_missing")
        except UserError as error:
            raise UserError(f"methods.{name}: {error}") from error
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
