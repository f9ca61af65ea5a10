"""Measures bytes and time of stored tiles against tiles that are cut from stored native frames; see --help."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from fas_jax.base.record import Source, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation, Synthesis
from fas_jax.datasets.builder import RecordCodec
from fas_jax.pixels.decoding import decode_video
from fas_jax.pixels.pictures import unpack_frame
from fas_jax.runtime import cli
from fas_jax.synthetic.plan import planned_videos
from fas_jax.synthetic.recording import record

TILE = 64
WAYS = {
    "tiles": Rendition(segment=1, crop="annotation", size=TILE, tiles=16),
    "native face": Rendition(segment=1, crop="annotation", size=0),
    "native frame": Rendition(segment=1, crop="whole", size=0),
}


def main(scales: tuple[float, ...] = (0.25, 1.0), layout: str = "oulu_npu", frames: int = 3, reads: int = 50) -> None:
    """Renders the frames of a bona fide video, stores them in three ways, and reads tiles at random as training does.

    Times are of this process's CPU, so that other work on the machine does not count.

    Args:
        scales: Shares of the layout's official frame size.
        layout: Of the rendered video.
        frames: Kept frames.
        reads: Tiles that are read.
    """
    print("frame      face  way            KB a frame   store ms a frame   read ms a tile")
    video = next(each for each in planned_videos(layout, Synthesis(subjects=3)) if each.bona_fide)
    for scale in scales:
        recording = record(video, Synthesis(subjects=3, frames=frames * 2, scale=scale), None)
        box = tuple(recording.boxes[0].tolist())
        with TemporaryDirectory() as folder:
            names = [f"{number}.png" for number in range(frames)]
            for name, frame in zip(names, recording.frames, strict=False):
                cv2.imwrite(str(Path(folder) / name), frame[..., ::-1])
            height, width = frame.shape[:2]
            for way, rendition in WAYS.items():
                source = Source(frames=tuple(names), box=box)
                start = time.process_time()
                clip = decode_video(Path(folder), "a", source, Preparation(), {"it": rendition})
                codec = RecordCodec(["it"])
                stored = codec.encode(
                    Video("a", "O", "s", "test", 1, "bonafide", "bonafide", "", ""), clip.info, clip.frames
                )
                spent = time.process_time() - start
                figures = len(stored) / frames / 1e3, 1e3 * spent / frames, read_time(codec, stored, reads)
                print(
                    f"{width:4}x{height:<4} {max(box[2:]):5.0f}  {way:13} {figures[0]:10.0f} {figures[1]:17.1f} "
                    f"{figures[2]:15.2f}",
                    flush=True,
                )


def read_time(codec: RecordCodec, stored: bytes, reads: int) -> float:
    """Milliseconds to read one tile of a clip at random, from its record to an array."""
    rng = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(reads):
        frames = codec.decode(stored)[2]["it"]
        frame = unpack_frame(frames[int(rng.integers(len(frames)))])
        top, left = (int(rng.integers(max(1, side - TILE + 1))) for side in frame.shape[:2])
        np.ascontiguousarray(frame[top : top + TILE, left : left + TILE])
    return 1e3 * (time.process_time() - start) / reads


if __name__ == "__main__":
    cli.main(main)
