"""A network and a recurrent layer trained together on sequences of frames.

Muhammad, Hoque, Oussalah and Laaksonen (*Deep Ensemble Learning with Frame Skipping for Face Anti-Spoofing*, IPTA 2023)
train LSTM, BiLSTM and GRU on the features of a frozen network, and leave "motion prediction in end-to-end learning" to
later work. There is no release to reproduce. Cells, logits and losses are those of this package's `lstm`, `bilstm` and
`gru`; network, optimiser and schedule are those of `finetune`. It differs from the paper's models in that

- the network trains with the recurrent layer, which is therefore small (64 units);
- it reads sequences of neighbouring kept frames (`take = "clip:4"`), or bursts of consecutive ones (`take = "burst"`
  with a rendition that sets `burst`): frames a second apart cannot show a blink;
- it may read what changes between neighbouring frames (`differences`) in place of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fas_jax.base.declarations import how, what
from fas_jax.base.errors import UserError
from fas_jax.methods.base import Detector, Variants, vary
from fas_jax.methods.finetune import FinetuneSearch
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frames import FrameMethod

if TYPE_CHECKING:
    from fas_jax.training.sequences import SequenceClassification


@dataclass(frozen=True)
class End2End(FrameMethod):
    """A network whose every weight is trained on sequences of frames, with an LSTM, BiLSTM or GRU behind it."""

    kind = "end2end"
    sequences = True

    cell: Literal["lstm", "bilstm", "gru"] = what("gru")
    """The recurrent layer."""
    hidden: int = what(64, at_least=1)
    """Hidden units, in each direction."""
    initialisation: Literal["he", "orthogonal", "glorot"] = what("orthogonal")
    """Of the recurrent weights."""
    differences: Literal["none", "frames", "features"] = what("none")
    """What is read: every frame; the difference of its pixels from the frame before; or the difference of its features.
    A clip of one frame has no difference, and no score."""
    counted: Literal["frames", "last"] = what("frames")
    """Which logits make the loss and the score of a sequence: those at all frames, as in the paper, or at the last."""
    take: str = what("clip:4")
    """Frames that a step takes of a clip: clip:4, so many consecutive ones of the rendition, cut at random; or burst, a
    whole burst, at random."""
    per_class: int = what(4, at_least=1)
    """Bona fide clips of a step, and as many attacks; from every dataset with balanced = domain."""
    dropout: float = what(0.2, at_least=0, below=1)
    """Share of the features that a step sets to zero before the recurrent layer, the same ones in all frames."""
    search: FinetuneSearch = how(FinetuneSearch)
    """What fas-jax search draws."""

    @property
    def least_frames(self) -> int:
        """See `FrameSettings.least_frames`."""
        return 1 if self.differences == "none" else 2

    def objective(self) -> SequenceClassification:
        """See `FrameSettings.objective`."""
        from fas_jax.training.sequences import SequenceClassification

        return SequenceClassification(
            self.backbone(),
            self.precision,
            self.momentum,
            self.rematerialise,
            self.cell,
            self.hidden,
            self.initialisation,
            self.differences,
            self.counted,
            self.dropout,
            self.label_smoothing,
        )

    def detector(self, params: Any, made: Made) -> Detector:
        """See `FrameSettings.detector`."""
        from fas_jax.methods.sequence_scoring import SequenceDetector

        return SequenceDetector(self, params, made)

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)

    def check(self, name: str) -> None:
        """Refuses, besides what `FrameMethod.check` does, sequences that cannot be read as they are asked to be."""
        super().check(name)
        if self.cell == "bilstm" and self.counted == "last":
            raise UserError(
                f'methods.{name}: at the last frame, a BiLSTM has read nothing from behind; set counted = "frames", or '
                "another cell"
            )
        if self.take == "clip:1" and self.least_frames > 1:
            raise UserError(f"methods.{name}: a clip of one frame has no difference; set take to clip:2 or more")
