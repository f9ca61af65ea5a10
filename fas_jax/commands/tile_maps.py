"""Shows the tiles' scores by patch networks, on their worst-scored videos."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(
    run: Annotated[Path, tyro.conf.Positional],
    method: str = "",
    protocol: str = "",
    videos: int = 6,
    cache: Path | None = None,
) -> None:
    """Draws the scores of tiles as heat maps over frames, for the run's next report (fas-jax evaluate RUN).

    Args:
        run: Folder of a run with scores.
        method: Name of a method of kind patches; may be empty if there is only one.
        protocol: Protocol that gives the test videos; the first one if empty.
        videos: Number of videos, half of them attacks.
        cache: The cache's folder, if it was moved.
    """
    from fas_jax.studies.tile_maps import draw_tile_maps

    print(draw_tile_maps(run, method, protocol, videos, cache))


command = partial(cli.main, main)
