"""Made-up datasets with a known amount of information and at most one shortcut, for the audit to find."""

from statistics import NormalDist

import numpy as np

from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.video_table import VideoTable
from fas_jax.features.corpus import Pool

SHORTCUTS = ("length", "fps", "border", "codec", "brightness", "order")


def plant(
    shortcut: str, seed: int, *, frame_auc: float = 0.5, subjects: int = 30, dataset: str = "X"
) -> tuple[Pool, np.ndarray]:
    """Videos of one dataset, and their edge brightness.

    Args:
        shortcut: One of `SHORTCUTS`, or empty for a clean set.
        seed: Of everything.
        frame_auc: What a single frame's features tell, at best.
        subjects: Each with two bona fide videos and four attacks, in shuffled order.
        dataset: Name.
    """
    generator = np.random.default_rng(seed)
    labels = np.tile([1, 1, 0, 0, 0, 0], subjects)
    people = np.repeat(np.arange(subjects), 6)
    order = generator.permutation(len(labels))
    if shortcut == "order":
        order = order[np.argsort(-labels[order], kind="stable")]
    labels, people = labels[order], people[order]
    mark = labels == 1
    videos, infos = [], []
    for number, (label, person) in enumerate(zip(labels.tolist(), people.tolist(), strict=True)):
        pai = "bonafide" if label else "print"
        videos.append(Video(f"{number}.avi", dataset, f"{person:02d}", "train", label, pai, pai, "", ""))
        frames = int(generator.integers(100, 200)) + (60 if shortcut == "length" and label else 0)
        fps = float(generator.choice([25.0, 30.0])) + (0.5 if shortcut == "fps" and label else 0)
        colour = generator.uniform(80, 160, 6) + (25 if shortcut == "brightness" and label else 0)
        codec = str(generator.choice(["avc1", "mp4v"], p=[0.9, 0.1] if shortcut == "codec" and label else [0.5, 0.5]))
        kept = tuple(range(29, frames, 30))
        size = int(frames * generator.uniform(900, 1100))
        whole = RenditionInfo(kept, tuple(colour.tolist()))
        infos.append(ClipInfo(frames, fps, 640, 480, codec, size, renditions={"whole": whole}))
    edges = generator.normal(0, 5, len(labels)) - (10 if shortcut == "border" else 0) * mark
    features, mask = gaussian_features(labels, 4, 16, frame_auc, generator)
    return Pool(VideoTable.of(videos), tuple(infos), features, mask, np.arange(len(videos))), edges


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
