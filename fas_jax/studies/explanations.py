"""Overlays of what decides in the worst-scored videos of a run."""

from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name
from fas_jax.deployment.attribution import Maps
from fas_jax.reporting.extra_figures import write_extra_figure
from fas_jax.reporting.overlays import Overlay, overlay_figure
from fas_jax.studies.overlays import overlay_of
from fas_jax.studies.run_pixels import open_pixels
from fas_jax.studies.worst_videos import worst_rows

_MOST_FRAMES = 6
"""Of a clip in the report; its map is that of all its frames."""
WORDS = {
    "gradient": "Red: how much the logit changes with a pixel.",
    "guided": "Red: guided back-propagation, through rectifiers that pass only what speaks for the decision.",
    "occlusion": "Red: how much the logit loses where a square is covered; blue where that strengthens the decision.",
}


def draw_explanations(
    run: Path, method: str = "", protocol: str = "", way: str = "gradient", videos: int = 6, cache: Path | None = None
) -> Path:
    """Writes the figure into the run's folder, for its next report; returns its PNG.

    This reads frames of the target, and the cache's ledger notes it.

    Args:
        run: Folder of a run with scores.
        method: Name of the method; the first one whose detectors read pixels if empty.
        protocol: Protocol that gives the test videos; the first one if empty.
        way: gradient, guided or occlusion.
        videos: Number of videos, half of them attacks.
        cache: The cache's folder, if it was moved.

    Raises:
        UserError: As `open_pixels` and `Maps.of`; or no video has frames.
    """
    opened = open_pixels(run, method, protocol, cache)
    maps, table, overlays = Maps.of(opened.chain, way), opened.table, list[Overlay]()
    for row in worst_rows(table, videos).tolist():
        frames, score = opened.frames(row), float(table.score[row])
        kind = "bona fide" if table.label[row] else str(table.pai[row])
        accepted = score >= opened.threshold
        title = (
            f"{kind}: {Path(str(table.video[row])).name}, {'accepted' if accepted else 'rejected'}, "
            f"score {score:.4g}, threshold {opened.threshold:.4g}"
        )
        if len(frames):
            overlays.append(overlay_of(maps, frames, title, accepted, _MOST_FRAMES))
    name = opened.chain.name
    if not overlays:
        raise UserError(f"{run}: no test video of {opened.protocol} has a score of {name} and frames")
    text = (
        "What decides in the worst-scored videos: attacks with the highest scores, and bona fide videos with the "
        f"lowest. {WORDS[way]} Colours are relative to the largest value of a clip."
    )
    title = f"Explanations of {name}, {opened.protocol} ({way})"
    return write_extra_figure(run, plain_name(f"explanations-{name}-{way}"), title, text, overlay_figure(overlays))
