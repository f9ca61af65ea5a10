"""Writes golden/rendering.npz: pixels of rendered frames of every kind.

    python -m tests.make_golden_rendering

The file came from version 3 of the renderer. Frames that differ from it by more than rounding does need a new
`fas_jax.synthetic.VERSION`, with which this file is renewed; the largest difference is printed.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.plan import PlannedVideo, official_videos
from fas_jax.synthetic.recording import record

GOLDEN = Path(__file__).parent / "golden" / "rendering.npz"
SETTINGS = Synthesis(frames=3, scale=0.1)
LAYOUTS = ("casia_fasd", "replay_attack")
"""Between them they have every instrument, held and at rest."""


def videos() -> dict[str, PlannedVideo]:
    """One of each layout, species and support."""
    found: dict[str, PlannedVideo] = {}
    for layout in LAYOUTS:
        for video in official_videos(layout):
            found.setdefault(f"{layout} {video.fine} {video.support}".strip(), video)
    return found


def pixels(video: PlannedVideo) -> UInt8[np.ndarray, "h w 3"]:
    """Some pixels of the last frame, in which everything has moved and the camera has adapted."""
    return list(record(video, SETTINGS, None).frames)[-1][2::6, 2::6]


if __name__ == "__main__":
    frames = {name: pixels(video) for name, video in videos().items()}
    if GOLDEN.exists():
        with np.load(GOLDEN) as known:
            changes = [np.abs(known[name].astype(int) - frame).max() for name, frame in frames.items()]
        print("largest difference in grey levels:", max(changes))
    np.savez_compressed(GOLDEN, **frames)  # type: ignore[arg-type]
