"""Lists runs, or compares two or more."""

import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.experiment.run_list import RunEntry, list_runs
from fas_jax.reporting.grid import Grid, markdown
from fas_jax.reporting.naming import protocol_name
from fas_jax.runtime import cli
from fas_jax.studies import comparison


def main(
    compared: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    runs: Path = Path("runs"),
    threshold: str = "pooled",
) -> None:
    """Lists the runs in a folder, or compares two or more: settings that differ, HTER, paired differences.

    The command compares every run with the first one, model by model, on the test videos that both have scored. Paired
    differences have intervals, and p-values that are corrected for all differences shown. If two runs cannot be
    compared, the output gives the reason. fas-jax compare writes the comparison of two runs as a page.

    Args:
        compared: Folders of evaluated runs, names of runs under --runs, or CSVs of scores. Without any, the command
            lists the runs.
        runs: Folder that holds runs.
        threshold: Rule that sets thresholds: pooled, balanced, apcer:0.01, cost:10,1 or fixed:0.5.
    """
    if not compared:
        found = list_runs(runs)
        print(markdown(listing(found)) if found else f"there are no runs under {runs}")
        return
    if len(compared) < 2:
        raise UserError("name two runs or more to compare them, or none to list all")
    print(comparison.beside(comparison.read_all([place(each, runs) for each in compared]), threshold))


def place(named: Path, runs: Path) -> Path:
    """A run's folder, by its path or by its name."""
    return named if named.exists() or not (runs / named).exists() else runs / named


def listing(found: list[RunEntry]) -> Grid:
    """Runs by name."""
    rows = []
    for each in found:
        date = datetime.datetime.fromtimestamp(each.changed).strftime("%Y-%m-%d %H:%M")
        best = "; ".join(f"{protocol_name(p)}: {100 * hter:.1f} ({model})" for p, (model, hter) in each.hter.items())
        state = each.state + (", in use" if each.busy else "")
        seeds = " ".join(map(str, each.seeds))
        rows.append([each.folder.name, state, date, ", ".join(each.methods), seeds, best or each.problem])
    return Grid(["run", "state", "changed", "methods", "seeds", "lowest HTER %"], rows)


command = partial(cli.main, main)
