"""Puts the tasks of a run together."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional]) -> None:
    """Puts together what `fas-jax train --task N` has trained, and writes the report as fas-jax evaluate does.

    It names the tasks that are not done or have failed. Afterwards the run is like any other, and its folder `tasks`
    may be removed.

    Args:
        run: Folder of the run.
    """
    from fas_jax.experiment.collecting import collect

    print((collect(run) / "results.md").read_text(encoding="utf-8"))


command = partial(cli.main, main)
