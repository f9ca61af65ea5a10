"""Shows how often the gate refuses a run's videos, by PAI species, and the errors behind it."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.declarations import check_ranges
from fas_jax.base.errors import UserError
from fas_jax.pixels.gate.settings import Gate
from fas_jax.runtime import cli

_MOST = 20


def main(
    run: Annotated[Path, tyro.conf.Positional],
    limits: Gate = Gate(),  # noqa: B008 - frozen
    most: int | None = None,
    target: bool = False,
    cache: Path | None = None,
) -> None:
    """Prints a table and leaves it in the run's folder, for its next report (fas-jax evaluate RUN).

    The gate is that of fas-jax predict --gate. Only videos of the official training splits are read, so nothing of a
    target's test is seen, unless --target asks for the run's error rates with the gate.

    Args:
        run: Folder of a trained run, whose videos are where they were.
        limits: Limits of the checks.
        most: Videos of each dataset and PAI species, evenly spread over its list; 0 for all. By default 20, or with
            --target all.
        target: Whether to judge the targets' test videos instead: non-responses and error rates of every method without
            and with the gate, at the run's thresholds, by PAI species. The cache's ledger notes the reading.
        cache: Where the cache is now, if it was moved.
    """
    from fas_jax.reporting.grid import markdown
    from fas_jax.studies.gate_table import tabulate
    from fas_jax.studies.gate_target import tabulate_target

    check_ranges(limits, "limits")
    if most is not None and most < 0:
        raise UserError(f"most is a number of videos, or 0 for all, not {most}")
    if most is None:
        most = 0 if target else _MOST
    tables = tabulate_target(run, limits, most, cache) if target else (tabulate(run, limits, most, cache),)
    print("\n\n".join(f"{table.text}\n\n{markdown(table.grid)}" for table in tables))


command = partial(cli.main, main)
