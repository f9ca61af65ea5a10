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
    from fas_jax.models.trainable import Trainable
    from fas_jax.training.objectives import Objective

BLOCK = 128
"""Clips whose frames are in memory when many are scored: of seven frames of 224x224 pixels, they take 135 MB."""


@dataclass(frozen=True)
class FrameSettings(NetworkTraining, Method):
    """Settings of a network on frames with logits of attack and bona fide for each."""

    frame_scores: ClassVar[bool] = True

    network: str = what("efficientnet_lite0")
    """Name of the network that is trained; every weight of it trains that `freeze` does not name."""
    weights: str = what("package")
    """Weights to begin with: the path of published ones (.pth, .safetensors), 'package' for those that an installed
    package brings (EfficientNet-Lite0 and -Lite2), or 'random'."""
    may_be_missing: tuple[str, ...] = what((), later=True)
    """Patterns of names of published tensors, such as 'layer4.*', that begin at random where the file lacks them; any
    other tensor that it lacks is an error."""
    reset: tuple[str, ...] = what((), later=True)
    """Patterns of names of published tensors that begin at random whatever the file holds."""
    freeze: tuple[str, ...] = what((), later=True)
    """Patterns of names of published tensors that stay as they are. Where they name a normalisation's running mean and
    variance, it uses these in training, too; where they name its weights alone, its statistics run on."""
    adapters: int = what(0, at_least=0, later=True)
    """Width of the bottleneck adapters in every block of a transformer, which begin with adding nothing; 0 for none."""
    rendition: str = what("whole")
    """Whose frames it reads: a name of [renditions.NAME]."""
    balanced: Literal["class", "domain", "none"] = what("class")
    """What a step draws as many clips of: bona fide ones and attacks, both of these from every dataset, or nothing."""
    per_class: int = what(8, at_least=1)
    """Bona fide clips of a step, and as many attacks; from every dataset with balanced = domain. A step sees one frame
    of each."""
    train_frame: Literal["random", "first"] = what("random", later=True)
    """Which frame of a clip a step sees: any of them, or its first one each time. Scores are of all frames."""
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

    def backbone(self) -> Trainable:
        """The network that is trained, whole."""
        from fas_jax.models import trainable

        return trainable.get(self.network).with_adapters(self.adapters)

    @abstractmethod
    def objective(self) -> Objective:
        """The network with its loss."""
