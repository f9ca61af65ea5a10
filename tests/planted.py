"""Made-up datasets with a known amount of information and at most one shortcut, for the audit to find."""

import numpy as np

from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.studies.audit.planted import gaussian_features

SHORTCUTS = ("length", "fps", "border", "codec", "brightness", "order")


def plant(
    shortcut: str, seed: int, *, frame_auc: float = 0.5, subjects: int = 30, dataset: str = "X"
) -> tuple[CorpusClips, np.ndarray]:
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
    found = ClipFeatures(features, mask, infos)
    return CorpusClips(VideoTable.of(videos), np.arange(len(videos)), lambda rendition: found), edges
