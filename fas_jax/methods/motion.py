"""Tells the motion within a face from the motion of a flat picture, on bursts of consecutive frames.

Stadelmann et al. (*Deep Learning in the Wild*, ANNPR 2018) let a recurrent network with LSTM cells judge several
frames: the micro-movements of a real face against the translations and rotations of a flat one. They publish neither
the network nor what it reads. Here it reads no pixels, because a network that sees pixels learns textures first:

- The method removes the affine motion and the change of brightness between neighbouring frames. The flow within the
  face is left. Hand-made features of the different motion of flat pictures were used by Bao et al. (*A liveness
  detection method for face recognition based on optical flow field*, IASP 2009) and Kollreider et al. (*Non-intrusive
  liveness detection by face images*, 2009).
- A map holds the coherence of every cell: how well its motion persists, at three scales of time. Coherence is a
  correlation: it does not depend on the strength of a movement, texture or noise, and shuffling the frames destroys it
  (`fas_jax/models/residual_motion.py`).
- Two convolutions and an LSTM read the maps of a burst; the LSTM's last logit is the burst's score.

The method separates live faces from prints and photographs. It cannot separate them from attacks that move like a face:
a replayed video, a mask, eyes behind a cut print, bending paper. A single frame shows no motion, and gets no score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fas_jax.base.declarations import how, what
from fas_jax.methods.base import Detector, Variants, vary
from fas_jax.methods.finetune import FinetuneSearch
from fas_jax.methods.frame_settings import Made
from fas_jax.methods.frames import FrameMethod
from fas_jax.pixels.augmentation import Augmentation

if TYPE_CHECKING:
    from fas_jax.models.trainable import Trainable
    from fas_jax.training.motion import MotionClassification


def _moving() -> Augmentation:
    """What changes nothing of the motion. Noise and JPEG would be the same in all frames of a burst, and so stand still
    before a face that moves.
    """
    return Augmentation(crop=0.15, rotation=15, colour=0, noise=0, jpeg=0)


@dataclass(frozen=True)
class Motion(FrameMethod):
    """Reads the motion within a face, on bursts of consecutive frames, by a small network and an LSTM."""

    kind = "motion"
    sequences = True
    least_burst = 3

    rendition: str = what("burst")
    """Rendition that it reads: a name of [renditions.NAME] with a burst of 3 or more; 8 or more frames work better."""
    network: Literal["coherence"] = what("coherence")
    """The network that reads maps of coherence."""
    weights: Literal["random"] = what("random")
    """What it begins with."""
    cell: Literal["lstm", "gru"] = what("lstm")
    """The recurrent layer."""
    hidden: int = what(16, at_least=1)
    """Hidden units."""
    cell_size: int = what(8, at_least=2)
    """Pixels of a frame, in both directions, whose motion is one place of a map."""
    take: Literal["burst"] = what("burst")
    """Frames of a clip that a step takes: a whole burst, at random."""
    learning_rate: float = what(3e-3, above=0)
    """After the warm-up."""
    dropout: float = what(0.0, at_least=0, below=1)
    """Share of the features that a step sets to zero before the recurrent layer, the same ones in all frames."""
    augment: Augmentation = what(_moving)
    """How training frames are changed at random; all frames of a burst get the same change."""
    search: FinetuneSearch = how(FinetuneSearch)
    """What fas-jax search draws."""

    @property
    def least_frames(self) -> int:
        """See `FrameSettings.least_frames`."""
        return self.least_burst

    def backbone(self) -> Trainable:
        """See `FrameSettings.backbone`."""
        from fas_jax.models.trainable.coherence import COHERENCE

        return COHERENCE.with_adapters(self.adapters)

    def objective(self) -> MotionClassification:
        """See `FrameSettings.objective`."""
        from fas_jax.training.motion import MotionClassification

        return MotionClassification(
            self.backbone(),
            self.precision,
            self.momentum,
            self.rematerialise,
            self.cell,
            self.hidden,
            counted="last",
            dropout=self.dropout,
            smoothing=self.label_smoothing,
            cell_size=self.cell_size,
        )

    def detector(self, params: Any, made: Made) -> Detector:
        """See `FrameSettings.detector`."""
        from fas_jax.methods.motion_scoring import MotionDetector

        return MotionDetector(self, params, made)

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)
