"""What the audit reads from prepared frames: their edges, and features of frames without their middle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Features
from fas_jax.datasets.frames import StoredFrames
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.prepared import Prepared
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.features.stage import frame_features, load_backbone
from fas_jax.runtime.progress import progress_bar
from fas_jax.studies.audit.shortcuts import edge_brightness

# Share of the frame's width and height that is made grey: where a face is in frames that show head and shoulders.
MASKED = (0.6, 0.8)


def mask_middle(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames with a grey box in their middle."""
    masked = frames.copy()
    height, width = frames.shape[1:3]
    across, down = round(width * (1 - MASKED[0]) / 2), round(height * (1 - MASKED[1]) / 2)
    masked[:, down : height - down, across : width - across] = 128
    return masked


@dataclass(frozen=True, eq=False, kw_only=True)
class WithoutMiddle(StoredFrames):
    """The frames of another with a grey box in their middle."""

    source: StoredFrames

    @classmethod
    def of(cls, source: StoredFrames) -> "WithoutMiddle":
        """All frames of `source`."""
        return cls((), source.part, source.place, source.mask, source.size, source.burst, source=source)

    def some(self, row: int, numbers: Sequence[int]) -> Sequence[UInt8[np.ndarray, "h w 3"]]:
        """See `StoredFrames.some`."""
        return list(mask_middle(np.stack(self.source.some(row, numbers))))


def read_frames(
    prepared: Sequence[Prepared], clips: CorpusClips, rendition: str, settings: Features | None
) -> tuple[Float64[np.ndarray, " n"], CorpusClips | None]:
    """Edge brightness of every clip, and, with `settings`, the clips with features of frames without their middle.

    A method that reads frames needs no such features: `WithoutMiddle` has its frames.

    Args:
        prepared: The datasets that the clips are of.
        clips: With features in memory.
        rendition: Whose frames are read; all of the clips have it.
        settings: How the clips' features were made.

    Raises:
        UserError: A clip is in none of the prepared datasets.
    """
    row = {(video.dataset, video.path): i for i, video in enumerate(clips.videos)}
    edges = np.full(len(clips), np.nan)
    known, mask = clips.features(rendition)
    features = np.zeros_like(known)
    loaded = load_backbone(settings) if settings else None
    shards = [(dataset, shard) for dataset in prepared for shard in dataset.shards]
    with progress_bar(total=len(row), desc="frames", unit="clip") as bar:
        for dataset, shard in shards:
            wanted = [row.get((video.dataset, video.path)) for video, _ in dataset.clips(shard)]
            if all(place is None for place in wanted):
                continue
            stored = FrameClips(dataset, [shard], rendition)
            for number, place in enumerate(wanted):
                if place is None:
                    continue
                frames = stored[number]["sequence"]
                edges[place] = np.mean([edge_brightness(frame) for frame in frames])
                if settings and loaded:
                    found = frame_features(
                        loaded[0],
                        loaded[1],
                        mask_middle(frames),
                        settings.batch_size,
                        settings.precision,
                        settings.store_dtype,
                    )
                    features[place, : len(found)] = found
                bar.update()
    if np.isnan(edges).any():
        missing = clips.videos[int(np.flatnonzero(np.isnan(edges))[0])]
        raise UserError(f"{missing.dataset} {missing.path} is in none of the prepared datasets; give all --prepared")
    return edges, clips.with_features(rendition, features, mask) if settings else None
