"""Fine-tuning (empirical risk minimisation): what every method for unseen datasets has to beat.

A network with published weights learns to tell bona fide frames from attacks by cross-entropy, with no regard to which
dataset a frame is of. There is no release to reproduce; the defaults are this package's own recipe: EfficientNet-Lite0,
8 bona fide frames and 8 attacks a step, label smoothing 0.05, AdamW at 1e-4 for 300 steps, and the average of the
weights, since a single step's weights move thresholds from one validation to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fas_jax.base.declarations import how
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.frames import FrameMethod

if TYPE_CHECKING:
    from fas_jax.training.classification import Classification


@dataclass(frozen=True)
class FinetuneSearch:
    """What a search draws."""

    learning_rate: tuple[float, float] = how((3e-5, 1e-3), above=0)
    """From and to; drawn evenly on a logarithmic scale, as are the other ranges."""
    weight_decay: tuple[float, float] = how((1e-5, 1e-1), above=0)
    """From and to."""


@dataclass(frozen=True)
class Finetune(FrameMethod):
    """A network whose every weight is trained on frames, with a linear classifier."""

    kind = "finetune"

    search: FinetuneSearch = how(FinetuneSearch)
    """What fas-jax search draws."""

    def objective(self) -> Classification:
        """See `FrameSettings.objective`."""
        from fas_jax.training.classification import Classification

        return Classification(
            self.backbone(),
            self.precision,
            self.momentum,
            self.rematerialise,
            self.dropout,
            self.label_smoothing,
        )

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)
