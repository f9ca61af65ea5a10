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
from fas_jax.pixels.augmentation import Augmentation, augment, augment_alike
from fas_jax.training.drawing import Sampler
from fas_jax.training.taking import ONE_AT_RANDOM, Take


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
    take: Take = ONE_AT_RANDOM
    """Which frames of a clip."""
    views: int = 1
    """Copies of each frame, each changed by itself; with single frames only."""
    further: tuple[StoredFrames, ...] = ()
    """The same clips in other renditions; a clip's frame is of one of all that have frames of it, equally often."""

    def __call__(self, step: int) -> dict[str, Any]:
        """The batch of a step, which counts from 0.

        Returns:
            `frames` uint8, one frame of each clip, [b h w 3], or [b v h w 3] of v > 1 views; `slots` [b], 0 to b - 1;
            and `codes` of the clips. Where sequences are taken, `frames` [b t h w 3] and `mask` [b t], true at real
            frames; behind these, the last one is repeated, so that batch statistics see faces only.

        Raises:
            UserError: See `Take.length`, and `StoredFrames.frame`.
        """
        rows, take, burst = self.sampler.draw(step), self.take, self.frames.burst
        length = take.length(burst, "training") if take.sequence else self.views
        images = np.empty((len(rows), length, self.frames.size, self.frames.size, 3), np.uint8)
        mask = np.zeros((len(rows), length), bool)
        for slot, row in enumerate(rows.tolist()):
            rng = np.random.default_rng([self.seed, 12, step, slot])
            frames = self.frames
            if self.further:
                known = [frames, *(each for each in self.further if each.mask[row].any())]
                frames = known[int(rng.integers(len(known)))]
            numbers = take.numbers(int(frames.mask[row].sum()), frames.burst, rng)
            own = frames.some(row, numbers)
            if take.sequence:
                changed = augment_alike(own, rng, self.augmentation)
            else:
                changed = [augment(own[0], rng, self.augmentation) for _ in range(self.views)]
            images[slot] = [*changed, *changed[-1:] * (length - len(changed))]
            mask[slot, : len(changed)] = True
        codes = {name: values[rows] for name, values in self.codes.items()}
        several = take.sequence or self.views > 1
        seen = {"frames": images if several else images[:, 0]} | ({"mask": mask} if take.sequence else {})
        return {**seen, "slots": np.arange(len(rows), dtype=np.int32), **codes}


def codes_of(videos: VideoTable, train: Int[np.ndarray, " m"]) -> dict[str, Int[np.ndarray, " n"]]:
    """What losses may know of clips, int32 [n]: `labels` (1 bona fide, 0 attack), `domains`, `subjects`, `species`.

    The last three number datasets, subjects (of any dataset) and PAI species of the training clips, in the order of
    their names; what no training clip has is -1.
    """
    datasets, subjects = np.asarray(videos.dataset), np.asarray(videos.subject)
    people = [f"{dataset}\n{subject}" for dataset, subject in zip(datasets, subjects, strict=True)]
    named = {"domains": datasets, "subjects": np.array(people), "species": np.asarray(videos.pai)}
    found = {"labels": videos.label.astype(np.int32)}
    for name, values in named.items():
        known = {value: number for number, value in enumerate(np.unique(values[train]).tolist())}
        found[name] = np.array([known.get(value, -1) for value in values.tolist()], np.int32)
    return found
