"""Shows what a prepared dataset holds."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.datasets.prepared import Prepared
from fas_jax.runtime import cli
from fas_jax.studies.inspection import write_inspection


def main(prepared: Annotated[Path, tyro.conf.Positional], out: Path, samples: int = 4) -> None:
    """Writes one HTML page about a prepared dataset that is readable without a network: counts by split, class, PAI
    species and subject, durations, frame rates and sizes, sample clips, failures, and duplicates across splits.

    Args:
        prepared: Folder that fas-jax prepare has made.
        out: The HTML file to write.
        samples: Clips shown of every class and PAI species.
    """
    pairs = write_inspection(Prepared.open(prepared), out, samples)
    print(f"{out}: {len(pairs)} pairs of videos in different splits look the same")


command = partial(cli.main, main)
