"""The tables of what measures of image quality separate, for a trained run."""

from pathlib import Path

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.experiment.run import open_inputs, read_run
from fas_jax.features.measured import FLAVOUR
from fas_jax.features.quality.measures import names
from fas_jax.methods.inputs import Input
from fas_jax.methods.quality import Quality
from fas_jax.methods.quality_fitting import clip_measures
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.studies.measure_tables import measure_tables


def tabulate(run: Path, rendition: str = "", cache: Path | None = None) -> tuple[ExtraTable, ExtraTable]:
    """Leaves the tables in the run's folder, for its next report; reads official training splits alone.

    Args:
        run: Folder of a trained run that reads a rendition with native pixels.
        rendition: Which; empty where there is one.
        cache: Where the cache is now, if it was moved.

    Raises:
        UserError: The run has no such rendition, or several and none is named; or its inputs are not there.
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
    tables = measure_tables(values, names(FLAVOUR), clips.videos)
    for number, table in enumerate(tables, 1):
        write_extra_table(run, f"quality-{name}-{number}", table)
    return tables
