"""Tests whether a run's verdict over experts helps, and what a cascade of its experts costs."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli


def main(run: Annotated[Path, tyro.conf.Positional], name: str = "", seed: int = 0, cache: Path | None = None) -> None:
    """Compares a verdict with its best expert and with other verdicts; writes verdict/ in the run's folder.

    The study holds paired tests over subjects, the verdict without each expert, the correlation of errors, a control
    that sees availability only, and a cascade of the experts. It fits verdicts again on the scores that the run keeps,
    and no expert.

    Args:
        run: Folder of an evaluated run with a verdict, such as a method of kind = "tree".
        name: The verdict's method; the first verdict of the run if empty.
        seed: Seed of resamples and sign patterns.
        cache: Folder of the cache with the run's inputs, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.runtime import devices
    from fas_jax.studies.verdict.study import study

    devices.use_cores()
    devices.check()
    said, tables = study(run, name, cache, seed)
    print("\n".join(said))
    for table in tables:
        print(f"\n## {table.title}\n\n{table.text}\n\n{markdown(table.grid)}")
    print(f"\nThe page is {run / 'verdict' / 'verdict.html'}.")


command = partial(cli.main, main)
