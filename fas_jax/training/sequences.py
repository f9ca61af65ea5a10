"""A network on frames and a recurrent classifier behind it, trained together on clips and bursts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from fas_jax.models.architecture import padded
from fas_jax.models.recurrent import Initialisation, Kind, RecurrentClassifier
from fas_jax.models.trainable import Mode
from fas_jax.training.classification import cross_entropy, dropped
from fas_jax.training.objectives import Objective

_GREY = np.float32(127.5)


@dataclass(frozen=True)
class SequenceClassification(Objective):
    """Cross-entropy of a recurrent classifier's logits, over what a network makes of each frame, or of its changes.

    Frames of a sequence lie behind each other, real ones first, and no state leaves a sequence.
    """

    cell: Kind = "gru"
    hidden: int = 64
    """Hidden units, in each direction."""
    initialisation: Initialisation = "orthogonal"
    """Of the recurrent weights."""
    differences: Literal["none", "frames", "features"] = "none"
    """Whether the classifier reads what the network makes of each frame; of the difference of its pixels from those of
    the frame before, halved and laid on grey; or the difference of its features. The first frame has no difference: the
    classifier then reads that nothing changed, and its logits do not count."""
    counted: Literal["frames", "last"] = "frames"
    """Which logits the loss and the score are of: those at every frame, or those at the last one."""
    dropout: float = 0.0
    """Share of the features that are set to zero in training, the same ones in all frames of a sequence."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""

    def head(self, seed: int) -> dict[str, Any]:
        """A fresh recurrent classifier."""
        return self._classifier.init(jax.random.key(seed))

    @property
    def _classifier(self) -> RecurrentClassifier:
        return RecurrentClassifier(self.cell, self.network.dimension, self.hidden, self.initialisation)

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`; frames are [b t h w 3], with `mask` [b t]. All sequences count the same."""
        frames, mask = batch["frames"], batch["mask"]
        features, stats = self.features(params, stats, frames, self.training(axis))
        kept = dropped(jnp.ones_like(features[:, 0]), self.dropout, batch["slots"], key)
        logits = self._logits(params, features * kept[:, None], mask)
        labels = jnp.repeat(batch["labels"], mask.shape[1])
        losses = cross_entropy(logits.reshape(-1, 2), labels, self.smoothing).reshape(mask.shape)
        counts = self.counts(mask)
        number = jnp.maximum(jnp.sum(counts, 1), 1).astype(jnp.float32)
        return jnp.mean(jnp.sum(jnp.where(counts, losses, 0), 1) / number), stats

    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """Of sequences of one frame."""
        return self.sequence_log_odds(params, stats, frames[:, None], jnp.ones((len(frames), 1), bool))[:, 0]

    def sequence_log_odds(
        self, params: Any, stats: Any, frames: Num[Array, "b t h w 3"], mask: Bool[Array, "b t"]
    ) -> Float[Array, "b t"]:
        """Log odds of bona fide at every frame; those of padded frames mean nothing, and no frame sees padding.

        At a frame of a sequence they depend on the frames before it, with a BiLSTM also on those behind it.
        """
        features, _ = self.features(params, stats, frames, self.scoring)
        return self.read(params, features, mask)

    def features(
        self, params: Any, stats: Any, frames: Num[Array, "b t h w 3"], mode: Mode
    ) -> tuple[Float[Array, "b t d"], Any]:
        """What the classifier reads of every frame of sequences, and the statistics as they run on."""
        found, stats = self.encode(params, stats, flat(frames), flat(before(frames)), mode)
        return found.reshape(*frames.shape[:2], -1), stats

    def encode(
        self, params: Any, stats: Any, frames: Num[Array, "b h w 3"], earlier: Num[Array, "b h w 3"], mode: Mode
    ) -> tuple[Float[Array, "b d"], Any]:
        """Features of single frames, each with the frame before it, and the statistics as they run on."""
        if self.differences == "frames":
            frames = _GREY + (frames.astype(jnp.float32) - earlier.astype(jnp.float32)) / 2
        found: tuple[Array, Any] = self.network.apply(params["backbone"], stats, frames, mode)
        return found

    def read(self, params: Any, features: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b t"]:
        """Log odds of bona fide at every frame from the features of all."""
        logits = self._logits(params, features, mask)
        return logits[..., 1] - logits[..., 0]

    def _logits(self, params: Any, features: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b t 2"]:
        if self.differences == "features":
            features = features - before(features)
        return self._classifier.apply(params["head"], padded(jnp.where(mask[..., None], features, 0), mask))

    def counts(self, mask: Bool[Array | np.ndarray, "b t"]) -> Bool[Array | np.ndarray, "b t"]:
        """Whose logits count."""
        if self.differences != "none":
            mask = mask & (np.arange(mask.shape[1]) > 0)[None]
        if self.counted == "last":
            mask = mask & (mask.cumsum(1) == mask.sum(1, keepdims=True))
        return mask


def before(values: Num[Array, "b t *n"]) -> Num[Array, "b t *n"]:
    """What lies one frame earlier; for the first frame, itself."""
    return jnp.concatenate([values[:, :1], values[:, :-1]], 1)


def flat(frames: Num[Array, "b t h w 3"]) -> Num[Array, "f h w 3"]:
    """The frames of all sequences, one after the other."""
    return frames.reshape(frames.shape[0] * frames.shape[1], *frames.shape[2:])
