"""Renders a single video, to try the package with."""

from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.plan import planned_videos
from fas_jax.synthetic.rendering import render_video

LAYOUT = "replay_attack"


def render_sample(folder: Path, attack: bool = False, frames: int = 32, scale: float = 1.0, seed: int = 0) -> Path:
    """Renders a video of a face that does not exist, in this process; it says nothing about real faces or attacks.

    Args:
        folder: Folder of the file; it is created if needed.
        attack: Whether the video shows an attack (a print or a screen) instead of a person.
        frames: Approximate number of frames, at 25 frames per second.
        scale: Size of the frames as a share of 320x240.
        seed: Seed of all random choices.

    Returns:
        The video file.

    Raises:
        UserError: Invalid settings, or a folder that cannot be written to.
    """
    if frames < 1:
        raise UserError(f"frames must be at least 1, not {frames}")
    settings = Synthesis(subjects=3, videos_per_subject=2, frames=frames, scale=scale, seed=seed)
    video = next(each for each in planned_videos(LAYOUT, settings) if each.bona_fide != attack)
    render_video(Path(folder), video, settings, ())
    return Path(folder) / video.path
