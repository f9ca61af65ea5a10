"""A corpus of made-up stores whose clips have frames, for tests of what trains networks on them without videos."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from fas_jax.experiment.corpus import Corpus, CorpusClips
from tests.made_up import HeldFrames


@dataclass(frozen=True)
class FramedCorpus(Corpus):
    """A corpus of stores of numbers whose clips have frames in memory: bona fide ones are lighter on the left."""

    def open(self, numbers: np.ndarray | None = None) -> CorpusClips:
        found = super().open(numbers)
        mask = found.features("whole")[1]
        rngs = [np.random.default_rng([7, number]) for number in found.numbers.tolist()]
        images = np.stack([rng.integers(0, 160, (mask.shape[1], 32, 32, 3)) for rng in rngs])
        images[:, :, :, :16] += 70 * found.labels[:, None, None, None, None]
        held = HeldFrames.of((images * mask[:, :, None, None, None]).astype(np.uint8), mask)
        return dataclasses.replace(found, opened_frames=lambda _: held)
