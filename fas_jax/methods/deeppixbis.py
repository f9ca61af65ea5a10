"""DeepPixBiS (George and Marcel, *Deep Pixel-wise Binary Supervision for Face Presentation Attack Detection*, 2019).

A network is cut at stride 16; a 1x1 convolution makes a map of P(bona fide) of what it gives, and a linear layer reads
the map. Every cell of the map has the frame's label, so that no depth map is needed.

Published (ICB 2019, and its authors' code in bob): DenseNet-161 up to its second transition, ImageNet weights, faces of
224x224 aligned by the eyes, a map of 14x14; loss 0.5 BCE(map) + 0.5 BCE(classifier); flip and colour jitter; Adam at
1e-4 with weight decay 1e-5, batches of 32, 50 epochs; score: the mean of the map.

The defaults are these, but for:

- EfficientNet-Lite0 in place of DenseNet-161, because its weights come with a package; the published network is
  `network = "densenet161"` with the path of its weights;
- 300 steps of which validation chooses, in place of 50 epochs, and the average of the weights, as in `finetune`;
- batches with as many bona fide frames as attacks;
- decay that is decoupled (AdamW), and leaves biases and normalisations as they are;
- a clip's score is the sigmoid of the mean log odds of its frames' maps; `fusion = "mean"` is the mean of the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fas_jax.base.declarations import how, what
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.finetune import FinetuneSearch
from fas_jax.methods.frames import FrameMethod
from fas_jax.pixels.augmentation import Augmentation

if TYPE_CHECKING:
    from fas_jax.training.pixel_maps import PixelMaps


def _published() -> Augmentation:
    """Flip and colour jitter."""
    return Augmentation(crop=0, blur=0, noise=0, jpeg=0)


@dataclass(frozen=True)
class DeepPixBiS(FrameMethod):
    """A network whose feature map is supervised cell by cell."""

    kind = "deeppixbis"

    stride: int = what(16, at_least=1)
    """Pixels of the frame, in both directions, for one cell of the map: where the network is cut."""
    map_side: int = what(14, at_least=1)
    """Cells of the map in each direction: the rendition's size divided by the stride."""
    decided_by: Literal["map", "classifier"] = what("map")
    """What scores a frame: the mean of its map, or the classifier that reads the map."""
    per_class: int = what(16, at_least=1)
    """Bona fide clips of a step, and as many attacks; from every dataset with balanced = domain."""
    schedule: Literal["constant", "cosine", "step"] = what("constant")
    """How the learning rate falls: not at all, along half a cosine to zero, or by a factor every so many steps."""
    warm_up: int = what(0, at_least=0)
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = what(1e-5, at_least=0)
    """Of kernels only; decoupled in AdamW, part of the gradient in gradient descent."""
    label_smoothing: float = what(0.0, at_least=0, below=1)
    """Share of the label that is spread over both classes."""
    dropout: float = what(0.0, at_least=0, below=1)
    """Share of the feature map's values that a step sets to zero."""
    augment: Augmentation = what(_published)
    """How training frames are changed at random."""
    search: FinetuneSearch = how(FinetuneSearch)
    """What fas-jax search draws."""

    def objective(self) -> PixelMaps:
        """See `FrameSettings.objective`."""
        from fas_jax.training.pixel_maps import PixelMaps

        return PixelMaps(
            self.backbone().cut(self.stride),
            self.precision,
            self.momentum,
            self.rematerialise,
            self.map_side,
            self.decided_by,
            self.dropout,
            self.label_smoothing,
        )

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)

    def check(self, name: str) -> None:
        """Refuses, besides what `FrameMethod.check` does, a network without a map of this stride."""
        super().check(name)
        self.objective()
