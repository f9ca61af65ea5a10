"""Shows which pixels decide, on the worst-scored videos of a run."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(
    run: Annotated[Path, tyro.conf.Positional],
    method: str = "",
    protocol: str = "",
    by: str = "gradient",
    videos: int = 6,
    cache: Path | None = None,
) -> None:
    """Draws what decides over frames of the worst-scored videos, for the run's next report (fas-jax evaluate RUN).

    Args:
        run: Folder of a run with scores.
        method: Name of a method that reads frames, or features of frames; the first such one if empty.
        protocol: Protocol that gives the test videos; the first one if empty.
        by: gradient, guided (guided back-propagation, for networks with rectifiers) or occlusion.
        videos: Number of videos, half of them attacks.
        cache: The cache's folder, if it was moved.
    """
    from fas_jax.studies.explanations import draw_explanations

    print(draw_explanations(run, method, protocol, by, videos, cache))


command = partial(cli.main, main)
