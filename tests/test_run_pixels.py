"""A run's test videos for studies of pixels: each row of its table has the frames of its own video."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from fas_jax.base.record import Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.studies.run_pixels import RunPixels
from tests.made_up import HeldFrames
from tests.stores import clip_info


def test_frames_are_those_of_the_row_whatever_the_order_of_clips() -> None:
    lengths = [2, 3, 1]
    mask = np.arange(3) < np.array(lengths)[:, None]
    images = np.random.default_rng(0).integers(0, 255, (3, 3, 8, 8, 3)).astype(np.uint8)
    opened = ClipFeatures(np.zeros((3, 3, 1), np.float32), mask, [clip_info(each) for each in lengths])
    videos = VideoTable.of(Video(f"{n}.avi", "X", "s", "test", 0, "print", "print", "", "") for n in range(3))
    numbers = np.array([2, 5, 7])
    clips = CorpusClips(videos, numbers, lambda _: opened, {}, lambda _: HeldFrames.of(images, mask))
    chain: Any = SimpleNamespace(rendition="whole", settings=Rendition(size=8))
    table: Any = None
    # As a table names them; the fourth could not be prepared.
    pixels = RunPixels(chain, "OCI_to_M", 0.5, table, clips, np.array([7, 2, 5, 9]))
    for row, clip in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(pixels.frames(row), images[clip, : lengths[clip]])
    assert pixels.frames(3).shape == (0, 8, 8, 3)
