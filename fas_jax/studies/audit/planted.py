"""Made-up features with a known amount of information."""

from statistics import NormalDist

import numpy as np


def gaussian_features(
    labels: np.ndarray, frames: int, dimension: int, frame_auc: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Noise, moved along one direction for bona fide so that one frame parts the classes with `frame_auc` at best.

    Frames are independent: a video of t frames parts them with `video_auc(frame_auc, t)` at best.
    """
    features = generator.normal(size=(len(labels), frames, dimension))
    features[..., 0] += separation(frame_auc) * labels[:, None]
    return features.astype(np.float32), np.ones(features.shape[:2], bool)


def separation(auc: float) -> float:
    """Distance of two unit Gaussians with this AUC."""
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


def video_auc(frame_auc: float, frames: int) -> float:
    """The AUC that the mean of independent frames allows."""
    return NormalDist().cdf(separation(frame_auc) * np.sqrt(frames) / np.sqrt(2))
