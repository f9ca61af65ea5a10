"""What an epoch chosen on the target would have claimed."""

from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional]) -> None:
    """Trains a finished run's models a second time and scores the target at every look, for the report alone.

    Takes as long as the training did. The table is printed, and shown beside the honest figures by the next
    scripts/evaluate.py RUN.

    Args:
        run: Folder of a trained run.
    """
    from fas_jax import experiment
    from fas_jax.reporting.grid import markdown
    from fas_jax.reporting.page import read_extra_tables
    from fas_jax.runtime import devices

    devices.use_cores()
    folder = experiment.watch_target(experiment.trained_run(run))
    for table in read_extra_tables(folder):
        if table.title == "Epoch chosen on the target":
            print(f"{table.text}\n\n{markdown(table.grid)}")


if __name__ == "__main__":
    cli.main(main)
