"""What the training of a network on frames needs to know of a method. Imports no JAX."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from fas_jax.base.declarations import rounding, what
from fas_jax.methods.base import Detector, Method
from fas_jax.methods.inputs import Input
from fas_jax.pixels.augmentation import Augmentation
from fas_jax.training.drawing import rendered_clips
from fas_jax.training.network_settings import NetworkTraining

if TYPE_CHECKING:
    from fas_jax.models.trainable import Trainable
    from fas_jax.training.objectives import Objective


class Made(NamedTuple):
    """What of its training a detector has to know."""

    weights: str = ""
    """SHA-256 of the weights that training began with; empty for random ones."""
    domains: int = 1
    """Datasets that it was trained on."""
    burst: int = 1
    """Frames of a burst, where clips are bursts; 1 where a clip is one sequence."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Made:
        """From what `Detector.about` says."""
        return cls(str(about.get("weights", "")), int(about.get("domains", 1)), int(about.get("burst", 1)))


@dataclass(frozen=True)
class FrameSettings(NetworkTraining, Method):
    """Settings of a network on frames with logits of attack and bona fide for each."""

    frame_scores: ClassVar[bool] = True
    sequences: ClassVar[bool] = False
    """Whether it trains on sequences of frames; others see one frame of a clip in a step."""

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
    further_renditions: tuple[str, ...] = what((), later=True)
    """Further renditions of the same size, such as tighter and looser crops, whose frames training draws as often as
    those of `rendition`; scores read `rendition` alone."""
    rendered_share: float = what(0.5, later=True, at_least=0, at_most=1)
    """Share of the clips of [rendered.NAME] tables in every class of a step, or in a step with balanced = none, rounded
    to whole clips. With balanced = domain each of these tables counts as one more dataset instead."""
    balanced: Literal["class", "domain", "none"] = what("class")
    """What a step draws as many clips of: bona fide ones and attacks, both of these from every dataset, or nothing."""
    per_class: int = what(8, at_least=1)
    """Bona fide clips of a step, and as many attacks; from every dataset with balanced = domain."""
    take: str = what("random", later=True)
    """Frames that a step takes of a clip. random: one, at random; frame:6: the one with this number, counted from 0, or
    the last of a shorter clip; every:5: one of every fifth, at random. Methods that read sequences take clip:4, so many
    consecutive ones cut at random, or burst, a whole burst."""
    rare_every: int = what(0, later=True, at_least=0)
    """Every so many steps, the attacks are as many of each PAI species, however rare it is; 0 never."""
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

    @property
    def least_frames(self) -> int:
        """A clip of fewer frames neither trains nor has a score."""
        return 1

    def backbone(self) -> Trainable:
        """The network that is trained, whole."""
        from fas_jax.models import trainable

        return trainable.get(self.network).with_adapters(self.adapters)

    def training_inputs(self) -> Sequence[Input]:
        """The frames of further renditions."""
        return tuple(Input("frames", name) for name in self.further_renditions)

    def rendered_part(self, sources: int, tables: int) -> float:
        """See `Method.rendered_part`; of whole clips, as the sampler draws them."""
        if self.balanced == "domain":
            return tables / (sources + tables)
        clips = self.per_class if self.balanced == "class" else 2 * self.per_class
        return rendered_clips(clips, self.rendered_share) / clips

    @abstractmethod
    def detector(self, params: Any, made: Made) -> Detector:
        """A detector from `backbone`, `head` and the running statistics `stats`."""

    @abstractmethod
    def objective(self) -> Objective:
        """The network with its loss."""
