"""What simple models make of a clip: the recurrent models have to beat them, or have learned nothing of order.

Each is a logistic regression on a handful of numbers a clip. A good result of `colour` or `metadata` says that the
data give the label away by something that is not the face.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression

from fas_jax.datasets.record import ClipInfo
from fas_jax.files import fingerprint

_CODEC_COLUMNS = 16


@dataclass(frozen=True)
class LogisticModel:
    """A logistic regression on standardised inputs."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weights: Float[np.ndarray, " d"]
    bias: float

    def scores(self, inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """P(bona fide)."""
        logits = ((inputs - self.mean) / self.scale) @ self.weights + self.bias
        # exp of a negative number only: no overflow on either side.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1, small) / (1 + small)


def fit_logistic(inputs: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> LogisticModel:
    """Fits with scikit-learn's defaults (L2, C = 1) after standardising; a constant input counts for nothing."""
    inputs = np.asarray(inputs, np.float64)
    mean, scale = inputs.mean(0), inputs.std(0)
    scale[scale == 0] = 1.0
    model = LogisticRegression(max_iter=10_000).fit((inputs - mean) / scale, labels)
    return LogisticModel(mean, scale, model.coef_[0], float(model.intercept_[0]))


def mean_feature(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n d"]:
    """The mean of the frames' features: all that a clip says without the order of its frames."""
    real = mask[..., None]
    return np.where(real, features, 0).sum(1, dtype=np.float64) / real.sum(1)


def colour(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n 6"]:
    """Mean and standard deviation of the colour channels."""
    return np.array([clip.colour for clip in clips], np.float64)


def metadata(
    features: Float[np.ndarray, "n t d"], mask: Bool[np.ndarray, "n t"], clips: Sequence[ClipInfo]
) -> Float[np.ndarray, "n d"]:
    """What is known of the file without a look at its pixels: frames, rate, size, bytes, bytes a frame, codec."""
    numbers = [(c.frame_count, c.fps, c.width, c.height, c.file_bytes, c.file_bytes / c.frame_count) for c in clips]
    # One of a fixed number of columns a codec, chosen by hash: no list of known codecs, and none depends on the data.
    codecs = np.zeros((len(clips), _CODEC_COLUMNS))
    codecs[range(len(clips)), [int(fingerprint(c.codec), 16) % _CODEC_COLUMNS for c in clips]] = 1
    return np.concatenate([np.array(numbers, np.float64), codecs], axis=1)


BASELINES: dict[str, Callable[..., Float[np.ndarray, "n d"]]] = {
    "mean-feature": mean_feature,
    "colour": colour,
    "metadata": metadata,
}
