"""Which frames of a video the gate checks. Imports no JAX."""

from fas_jax.base.rendition import Rendition
from fas_jax.pixels.gate.settings import Gate


def gate_rendition(read: Rendition, settings: Gate) -> Rendition:
    """Whole frames in native pixels, of those from which a detector's rendition takes its own.

    They are spread over these, or where the rendition keeps the first ones (`cap`) as many as it keeps, the last of
    which are checked.

    Args:
        read: The rendition of the detector.
        settings: With the largest number of frames.
    """
    kept = read.bursts if read.burst > 1 else read.max_frames
    # While a video runs, its first frames are kept, and the gate sees the latest of them (`checks.Latest`).
    first = bool(kept) and read.cap == "first" and read.burst == 1
    return Rendition(
        segment=read.segment,
        seconds=read.seconds,
        position=read.position,
        max_frames=kept if first else min(kept or settings.frames, settings.frames),
        cap="first" if first else "spread",
        crop="whole",
        size=0,
    )
