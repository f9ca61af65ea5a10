"""Shows which measure of image quality separates what, and which tells only the dataset."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional], rendition: str = "", cache: Path | None = None) -> None:
    """Prints two tables and leaves them in the run's folder, for its next report (fas-jax evaluate RUN).

    Only videos of the official training splits are read, so nothing of a target's test is seen.

    Args:
        run: Folder of a trained run that reads a rendition with native pixels.
        rendition: Which; empty where there is one.
        cache: Where the cache is now, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.studies.measured_run import tabulate

    for table in tabulate(run, rendition, cache):
        print(f"## {table.title}\n\n{table.text}\n\n{markdown(table.grid)}\n")


command = partial(cli.main, main)
