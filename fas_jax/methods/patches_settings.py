"""Settings of patch networks: which faces each reads, and how tiles become a score. Imports no JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from fas_jax.base.declarations import how, what
from fas_jax.base.errors import UserError
from fas_jax.methods.base import Cost
from fas_jax.methods.finetune import Finetune, FinetuneSearch
from fas_jax.methods.inputs import Input
from fas_jax.pixels.augmentation import Augmentation


def _unscaled() -> Augmentation:
    """Changes that leave single pixels as sharp as they are."""
    return Augmentation(crop=0, blur=0, jpeg=0)


@dataclass(frozen=True)
class PatchesSearch(FinetuneSearch):
    """What a search draws."""

    learning_rate: tuple[float, float] = how((3e-4, 1e-2), above=0)
    """From and to; drawn evenly on a logarithmic scale, as are the other ranges."""


@dataclass(frozen=True)
class TileNetwork(Finetune):
    """One of the two networks, with the settings of both."""

    kind = "patches"

    face_from: int = what(0, at_least=0)
    """Smallest face in native pixels that it reads."""
    face_to: int = what(0, at_least=0)
    """Largest face in native pixels that it reads; 0 for no limit."""


@dataclass(frozen=True)
class PatchesSettings(Finetune):
    """Two networks on tiles; the size of the face in pixels chooses between them. All settings apply to both."""

    kind = "patches"
    frame_scores: ClassVar[bool] = False

    network: str = what("patch_low")
    """Name of the network that reads small faces."""
    high_network: str = what("patch_high")
    """Name of the network that reads large faces."""
    weights: str = what("random")
    """Initial weights of both networks: 'random', or as for other networks on frames."""
    rendition: str = what("tiles")
    """Rendition that it reads: a name of [renditions.NAME] with `tiles` above 0."""
    low_from: int = what(32, at_least=1)
    """Smallest face in native pixels, by the longer side of its box, that the low network reads. In renditions of whole
    frames, the frame's shorter side counts in place of the face's, here and below."""
    low_to: int = what(288, at_least=1)
    """Largest face in native pixels that the low network reads."""
    high_from: int = what(192, at_least=1)
    """Smallest face in native pixels that the high network reads. Faces from this size to
    `low_to` are read by both networks, and their logits are averaged."""
    pooling: Literal["mean", "quantile"] = what("mean")
    """How the tiles' logits give the frame's logit: as their mean, or as a quantile; with a low one, a few suspicious
    tiles suffice."""
    quantile: float = what(0.25, at_least=0, at_most=1)
    """The quantile for pooling = quantile, from 0 for the smallest logit to 1 for the largest."""
    learning_rate: float = what(1e-3, above=0)
    """After the warm-up."""
    augment: Augmentation = what(_unscaled)
    """How training tiles are changed at random; crop and rotation, which resample pixels, are refused."""
    search: PatchesSearch = how(PatchesSearch)
    """What fas-jax search draws."""

    def networks(self) -> dict[str, TileNetwork]:
        """The two networks as methods of their own, by the names `low` and `high`."""
        shared = {each.name: getattr(self, each.name) for each in dataclasses.fields(Finetune)}
        high = {**shared, "network": self.high_network}
        return {
            "low": TileNetwork(**shared, face_from=self.low_from, face_to=self.low_to),
            "high": TileNetwork(**high, face_from=self.high_from),
        }

    def reads(self) -> dict[str, tuple[float, float]]:
        """The smallest and the largest face in pixels that a network reads, by its name."""
        return {name: (each.face_from, each.face_to or float("inf")) for name, each in self.networks().items()}

    def inputs(self) -> Sequence[Input]:
        """The tiles of its rendition, and what says where the face is."""
        return (Input("frames", self.rendition), Input("facts", self.rendition))

    def cost(self, clips: int, width: int) -> Cost:
        """See `Method.cost`; of both networks."""
        costs = [each.cost(clips, width) for each in self.networks().values()]
        return Cost(sum(each.steps for each in costs), sum(each.bytes for each in costs))

    def files(self) -> Mapping[str, str]:
        """The files of weights that training begins with."""
        found = {name: each.files() for name, each in self.networks().items()}
        return {f"{name} {setting}": sha256 for name, own in found.items() for setting, sha256 in own.items()}

    def check(self, name: str) -> None:
        """Refuses, besides what `FrameMethod.check` does for each network, faces that no network reads, and changes of
        training tiles that resample pixels.
        """
        for each in self.networks().values():
            each.check(name)
        if not self.low_from < self.low_to:
            raise UserError(f"methods.{name}: low_from {self.low_from} must be below low_to {self.low_to}")
        if self.high_from > self.low_to:
            raise UserError(
                f"methods.{name}: faces between low_to = {self.low_to} and high_from = {self.high_from} pixels would "
                "have no network; raise low_to or lower high_from"
            )
        if resampling := [each for each in ("crop", "rotation") if getattr(self.augment, each)]:
            raise UserError(
                f"methods.{name}: augment.{resampling[0]} resamples pixels, and tiles are to keep theirs; set it to 0"
            )
