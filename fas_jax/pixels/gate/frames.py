"""Which frames of a video the gate checks. Imports no JAX."""

from fas_jax.base.rendition import Rendition
from fas_jax.pixels.gate.settings import Gate


def gate_rendition(read: Rendition, settings: Gate) -> Rendition:
    """Whole frames in native pixels, spread over those from which a detector's rendition takes its own.

    Args:
        read: The rendition of the detector.
        settings: With the largest number of frames.
    """
    kept = read.bursts if read.burst > 1 else read.max_frames
    return Rendition(
        segment=read.segment,
        seconds=read.seconds,
        position=read.position,
        max_frames=min(kept or settings.frames, settings.frames),
        crop="whole",
        size=0,
    )
