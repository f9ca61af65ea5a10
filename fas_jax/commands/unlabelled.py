"""Shows what unlabelled videos of the target would give to a trained run."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional], cache: Path | None = None) -> None:
    """Moves the thresholds of a trained run by unlabelled videos of its targets, for the report alone.

    The videos are those of the target's training and development splits, in streams with shares of attacks of 0, 10, 50
    and 90 %; the target's test videos judge. The table is printed, and shown beside the strict figures by the next
    fas-jax evaluate RUN; the strict figures stay as they are. The ledger notes the reading as target-unlabelled.

    Args:
        run: Folder of a trained run.
        cache: Where the cache with the run's inputs is now, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.runtime import devices
    from fas_jax.studies.unlabelled import adapt_to_unlabelled

    devices.use_cores()
    devices.check()
    table = adapt_to_unlabelled(run, cache)
    print(f"{table.text}\n\n{markdown(table.grid)}")


command = partial(cli.main, main)
