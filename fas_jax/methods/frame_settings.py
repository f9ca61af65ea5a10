"""What the training of a network on frames needs to know of a method. Imports no JAX."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fas_jax.base.declarations import rounding, what
from fas_jax.methods.base import Method
from fas_jax.methods.inputs import Input
from fas_jax.pixels.augmentation import Augmentation
from fas_jax.training.network_settings import NetworkTraining

if TYPE_CHECKING:
    from fas_jax.training.classification import Classification

BLOCK = 128
"""Clips whose frames are in memory when many are scored: of seven frames of 224x224 pixels, they take 135 MB."""


@dataclass(frozen=True)
class FrameSettings(NetworkTraining, Method):
    """Settings of a network on frames with logits of attack and bona fide for each."""

    frame_scores: ClassVar[bool] = True

    network: str = what("efficientnet_lite0")
    """Name of the network that is trained; every weight of it trains."""
    weights: str = what("package")
    """Weights to begin with: the path of published ones (.pth, .safetensors), 'package' for those that an installed
    package brings (EfficientNet-Lite0), or 'random'."""
    rendition: str = what("whole")
    """Whose frames it reads: a name of [renditions.NAME]."""
    further_renditions: tuple[str, ...] = what((), later=True)
    """Further renditions of the same size, such as tighter and looser crops, whose frames training draws as often as
    those of `rendition`; scores read `rendition` alone."""
    rendered_share: float = what(0.5, later=True, at_least=0, at_most=1)
    """Share of the clips of [rendered.NAME] tables in every class of a step, or in a step with balanced = none, rounded
    to whole clips. With balanced = domain each of these tables counts as one more dataset instead."""
    balanced: Literal["class", "domain", "none"] = what("class")
    """What a step draws as many clips of: bona fide ones and attacks, both of these from every dataset, or nothing."""
    per_class: int = what(8, at_least=1)
    """Bona fide clips of a step, and as many attacks; from every dataset with balanced = domain. A step sees one random
    frame of each."""
    label_smoothing: float = what(0.05, at_least=0, below=1)
    """Share of the label that is spread over both classes, which keeps scores from saturating."""
    dropout: float = what(0.2, at_least=0, below=1)
    """Share of the features that a step sets to zero before the classifier."""
    augment: Augmentation = what(Augmentation)
    """How training frames are changed at random."""
    fusion: Literal["mean-logit", "mean"] = what("mean-logit")
    """How the frames' scores become the clip's: the sigmoid of their mean logit, or their mean P(bona fide). Where a
    network is sure of itself, probabilities end at 0 and 1, and their mean counts frames; the mean logit still ranks
    clips."""
    score_frames: int = rounding(32, at_least=1)
    """Frames that are scored at a time."""

    def inputs(self) -> Sequence[Input]:
        """The frames of its rendition."""
        return (Input("frames", self.rendition),)

    def training_inputs(self) -> Sequence[Input]:
        """The frames of further renditions."""
        return tuple(Input("frames", name) for name in self.further_renditions)

    def rendered_part(self, sources: int, tables: int) -> float:
        """See `Method.rendered_part`; of whole clips, as the sampler draws them."""
        if self.balanced == "domain":
            return tables / (sources + tables)
        clips = self.per_class if self.balanced == "class" else 2 * self.per_class
        return round(clips * self.rendered_share) / clips

    @abstractmethod
    def objective(self) -> Classification:
        """The network with its loss."""
