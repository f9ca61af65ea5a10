"""Shows what patch networks say of the tiles of the videos that they judge worst."""

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
    """Draws heat maps over frames, and leaves them in the run's folder, for its next report (fas-jax evaluate RUN).

    Args:
        run: Folder of a run with scores.
        method: Of kind patches; empty where there is one.
        protocol: Whose test videos; empty for the first.
        videos: How many, half of them attacks.
        cache: Where the cache is now, if it was moved.
    """
    from fas_jax.studies.tile_maps import draw_tile_maps

    print(draw_tile_maps(run, method, protocol, videos, cache))


command = partial(cli.main, main)
