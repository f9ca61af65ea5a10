"""Puts the tasks of a run together: python scripts/collect.py RUN"""

from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional]) -> None:
    """Puts together what `scripts/train.py --task N` has trained, and writes the report as scripts/evaluate.py does.

    It names the tasks that are not done or have failed. Afterwards the run is like any other, and its folder `tasks`
    may be removed.

    Args:
        run: Folder of the run.
    """
    from fas_jax.experiment.collecting import collect

    print((collect(run) / "results.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    cli.main(main)
