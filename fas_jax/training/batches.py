"""Batches of frames for training: a pure function of the step's number. Imports no JAX.

So a position in the stream is a number, and nothing of a loader has to be saved: any number of threads and workers
makes the same batches, and a training that goes on at step s sees what an unbroken one sees.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.frames import StoredFrames
from fas_jax.pixels.augmentation import Augmentation, augment
from fas_jax.training.drawing import Sampler


@dataclass(frozen=True, eq=False)
class FrameBatches:
    """Makes the batch of a step. Can be pickled, for worker processes."""

    frames: StoredFrames
    sampler: Sampler
    """Of clips that have frames."""
    augmentation: Augmentation
    seed: int
    codes: dict[str, Int[np.ndarray, " n"]]
    """By name, a number for every clip that goes with its frame; see `codes_of`."""
    further: tuple[StoredFrames, ...] = ()
    """The same clips in other renditions; a clip's frame is of one of all that have frames of it, equally often."""

    def __call__(self, step: int) -> dict[str, Any]:
        """The batch of a step, which counts from 0.

        Returns:
            `frames` uint8 [b h w 3], one random frame of each clip; `slots` [b], 0 to b - 1; and `codes` of the clips.
        """
        rows = self.sampler.draw(step)
        images = np.empty((len(rows), self.frames.size, self.frames.size, 3), np.uint8)
        for slot, row in enumerate(rows.tolist()):
            rng = np.random.default_rng([self.seed, 12, step, slot])
            frames = self.frames
            if self.further:
                known = [frames, *(each for each in self.further if each.mask[row].any())]
                frames = known[int(rng.integers(len(known)))]
            number = int(rng.integers(int(frames.mask[row].sum())))
            images[slot] = augment(frames.frame(row, number), rng, self.augmentation)
        codes = {name: values[rows] for name, values in self.codes.items()}
        return {"frames": images, "slots": np.arange(len(rows), dtype=np.int32), **codes}


def codes_of(videos: VideoTable) -> dict[str, Int[np.ndarray, " n"]]:
    """What losses may know of clips, int32 [n]: `labels` (1 bona fide, 0 attack), `domains`, `subjects`, `species`.

    The last three number datasets, subjects (of any dataset) and PAI species in the order of their names.
    """
    datasets, subjects = np.asarray(videos.dataset), np.asarray(videos.subject)
    people = [f"{dataset}\n{subject}" for dataset, subject in zip(datasets, subjects, strict=True)]
    named = {"domains": datasets, "subjects": np.array(people), "species": np.asarray(videos.pai)}
    numbers = {name: np.unique(values, return_inverse=True)[1] for name, values in named.items()}
    return {name: values.astype(np.int32) for name, values in {"labels": videos.label, **numbers}.items()}
