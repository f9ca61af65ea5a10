"""Shows which measure of image quality separates what, and which tells only the dataset."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.experiment.run import open_inputs, read_run
from fas_jax.features.measured import FLAVOUR
from fas_jax.features.quality.measures import names
from fas_jax.methods.inputs import Input
from fas_jax.methods.quality import Quality
from fas_jax.methods.quality_fitting import clip_measures
from fas_jax.reporting.extra_tables import write_extra_table
from fas_jax.reporting.grid import markdown
from fas_jax.runtime import cli
from fas_jax.studies.measure_tables import measure_tables


def main(run: Annotated[Path, tyro.conf.Positional], rendition: str = "", cache: Path | None = None) -> None:
    """Prints two tables and leaves them in the run's folder, for its next report (fas-jax evaluate RUN).

    Only videos of the official training splits are read, so nothing of a target's test is seen.

    Args:
        run: Folder of a trained run that reads a rendition with native pixels.
        rendition: Which; empty where there is one.
        cache: Where the cache is now, if it was moved.
    """
    corpus = open_inputs(run, cache)
    settings = read_run(run).renditions
    native = [name for name in corpus.stores if not settings[name].size]
    if not native:
        raise UserError(f"no method of {run} reads a rendition with native pixels (size = 0)")
    if len(native) > 1 and not rendition:
        raise UserError(
            f"{run} has several renditions with native pixels; give --rendition, one of {', '.join(native)}"
        )
    name = rendition or native[0]
    if name not in native:
        raise unknown_name("rendition with native pixels", name, native)
    clips = corpus.open(np.flatnonzero(corpus.videos.split == "train"))
    batch = clips.read(np.arange(len(clips)), [Input("features", name)])
    values = clip_measures(Quality(renditions=(name,)), batch)
    shown = measure_tables(values, names(FLAVOUR), clips.videos)
    for number, table in enumerate(shown, 1):
        write_extra_table(run, f"quality-{name}-{number}", table)
        print(f"## {table.title}\n\n{table.text}\n\n{markdown(table.grid)}\n")


command = partial(cli.main, main)
