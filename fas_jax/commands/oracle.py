"""Shows what an epoch chosen on the target would have claimed."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional], cache: Path | None = None) -> None:
    """Scores the target after every epoch that was validated, for the report alone.

    Takes the snapshots that --training.snapshots kept, or else trains the run a second time from its stored inputs,
    which takes as long as the training did. The table is printed, and shown beside the honest figures by the next
    fas-jax evaluate RUN.

    Args:
        run: Folder of a trained run.
        cache: Where the cache with the run's inputs is now, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.runtime import devices
    from fas_jax.studies.oracle import watch_target

    devices.use_cores()
    devices.check()
    table = watch_target(run, cache)
    print(f"{table.text}\n\n{markdown(table.grid)}")


command = partial(cli.main, main)
