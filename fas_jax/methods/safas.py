"""SA-FAS: Sun, Liu, Liu, Li, Chu, Rethinking Domain Generalization for Face Anti-spoofing, CVPR 2023.

Features keep domains and classes apart by supervised contrast of two views of every frame, and every domain has a
sigmoid head of its own. From some step on, each head is turned a little towards the one that differs most from it, so
that one boundary comes to separate all domains. A frame's score is the mean of the heads' probabilities. The release is
github.com/sunyiyou, SAFAS; `configs/reproduce/safas-*.toml` hold its settings for each target. The defaults here have
its contrast and its alignment, and are otherwise those of `finetune`, so that only the loss differs:
EfficientNet-Lite0, whose weights a package brings, AdamW, this package's augmentations, averaged weights.

Of the release's oddities, these are kept: the contrast is multiplied by temperature / 0.07; a domain without a frame in
the batch counts as a loss of 0; biases and the optimiser's momentum are not aligned.

Deviations in any configuration: batches are always full, where the release's last one of an epoch is smaller; scores
are of whole frames, all that the rendition has, where the release draws one frame and 90 % of its area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fas_jax.base.declarations import how, what
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.frames import FrameMethod

if TYPE_CHECKING:
    from fas_jax.training.domain_heads import DomainHeads


@dataclass(frozen=True)
class SafasSearch:
    """What a search draws."""

    learning_rate: tuple[float, float] = how((3e-5, 1e-3), above=0)
    """From and to; drawn evenly on a logarithmic scale, as is the other range."""
    contrast: tuple[float, float] = how((0.01, 1.0), above=0)
    """From and to."""


@dataclass(frozen=True)
class Safas(FrameMethod):
    """A network with a head for each domain, whose boundaries are drawn together."""

    kind = "safas"
    settings_from = "published (target-tuned)"

    balanced: Literal["class", "domain", "none"] = what("domain")
    """What a step draws as many clips of: bona fide ones and attacks, both of these from every dataset, or nothing."""
    per_class: int = what(3, at_least=1)
    """Bona fide clips of a step, and as many attacks, from every dataset; each is seen in two views. The release draws
    96 of all clips."""
    label_smoothing: float = what(0.0, at_least=0, below=1)
    """Share of the label that is spread over both classes."""
    dropout: float = what(0.0, at_least=0, below=1)
    """Share of the features that a step sets to zero before the heads."""
    contrast: float = what(0.1, at_least=0)
    """Weight of the supervised contrast, which is multiplied by temperature / 0.07 besides, as in the release."""
    temperature: float = what(0.1, above=0)
    """By which the contrast divides cosines."""
    keep: float = what(0.995, at_least=0, at_most=1)
    """What a head's direction keeps of itself in an alignment (alpha)."""
    align_from: int = what(60, at_least=0)
    """The step from which heads are aligned, after every step; the release begins after 20 of 100 epochs."""
    search: SafasSearch = how(SafasSearch)
    """What fas-jax search draws."""

    def objective(self) -> DomainHeads:
        """See `FrameSettings.objective`."""
        from fas_jax.training.domain_heads import DomainHeads

        return DomainHeads(
            self.backbone(),
            self.precision,
            self.momentum,
            self.rematerialise,
            dropout=self.dropout,
            smoothing=self.label_smoothing,
            contrast=self.contrast,
            temperature=self.temperature,
            keep=self.keep,
            align_from=self.align_from,
        )

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)
