"""SSDG: Jia, Zhang, Shan, Chen, Single-Side Domain Generalization for Face Anti-Spoofing, CVPR 2020.

Bona fide frames are made alike across domains by a discriminator of domains whose gradient is reversed, and attacks are
kept apart by domain by triplets in which all bona fide frames are one class. The release is github.com/taylover-pei,
SSDG-CVPR2020; `configs/reproduce/ssdg-*.toml` hold its settings for each target (SSDG-R). The defaults here have its
weights of losses, margin, dropout and layers, and are otherwise those of `finetune`, so that only the loss differs:
EfficientNet-Lite0, whose weights a package brings, AdamW, this package's augmentations, averaged weights.

Of the release's oddities, these are kept:

- features are divided by the root of twice their length, not by their length;
- the classifier's weights are normalised over the two classes at each feature (`weight_norm = "paper"`: over the
  features of each class), in place, so that no gradient passes through the normalisation;
- the first step already reverses a little, as its counter begins with 1.

Deviations in any configuration: batches are always full, where the release's last ones of a round are smaller; random
convolutions are He-uniform by inputs, where its layer4 is He-normal by outputs; the triplets' distances are roots of
summed squares of differences, which round less than its products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fas_jax.base.declarations import how, what
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.frames import FrameMethod

if TYPE_CHECKING:
    from fas_jax.training.single_side import SingleSide


@dataclass(frozen=True)
class SsdgSearch:
    """What a search draws."""

    learning_rate: tuple[float, float] = how((3e-5, 1e-3), above=0)
    """From and to; drawn evenly on a logarithmic scale, as are the other ranges."""
    triplet: tuple[float, float] = how((0.1, 4.0), above=0)
    """From and to."""
    adversarial: tuple[float, float] = how((0.03, 1.0), above=0)
    """From and to."""


@dataclass(frozen=True)
class Ssdg(FrameMethod):
    """A network whose bona fide features are alike in all domains, and whose attacks are apart by domain."""

    kind = "ssdg"
    settings_from = "published (target-tuned)"

    balanced: Literal["class", "domain", "none"] = what("domain")
    """What a step draws as many clips of: bona fide ones and attacks, both of these from every dataset, or nothing."""
    per_class: int = what(4, at_least=1)
    """Bona fide clips of a step, and as many attacks, from every dataset; the release has 10."""
    label_smoothing: float = what(0.0, at_least=0, below=1)
    """Share of the label that is spread over both classes."""
    dropout: float = what(0.5, at_least=0, below=1)
    """Share of the features that a step sets to zero, and of the discriminator's hidden values."""
    width: int = what(512, at_least=1)
    """Of the bottleneck behind the network, whose values are the features, and of the discriminator."""
    triplet: float = what(1.0, at_least=0)
    """Weight of the triplets (lambda 1); the release has 2 for target O."""
    margin: float = what(0.1, at_least=0)
    """By which clips of another class have to be farther away in a triplet."""
    adversarial: float = what(0.5, at_least=0)
    """Weight of the discriminator of domains (lambda 2); the release has 0.1 for target O."""
    weight_norm: Literal["release", "paper"] = what("release")
    """What has length 1 in the classifier: the two classes' weights of each feature, or the weights of each class."""
    search: SsdgSearch = how(SsdgSearch)
    """What fas-jax search draws."""

    def objective(self) -> SingleSide:
        """See `FrameSettings.objective`."""
        from fas_jax.training.single_side import SingleSide

        return SingleSide(
            self.backbone(),
            self.precision,
            self.momentum,
            self.rematerialise,
            width=self.width,
            dropout=self.dropout,
            smoothing=self.label_smoothing,
            triplet=self.triplet,
            margin=self.margin,
            adversarial=self.adversarial,
            steps=self.steps,
            weight_norm=self.weight_norm,
        )

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)
