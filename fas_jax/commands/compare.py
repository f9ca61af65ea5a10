"""Puts two runs or two tables of scores side by side."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.runtime import cli
from fas_jax.studies import comparison


def main(
    one: Annotated[Path, tyro.conf.Positional],
    other: Annotated[Path, tyro.conf.Positional],
    out: Path = Path("comparison"),
    threshold: str = "pooled",
) -> None:
    """Compares the models of two evaluated runs on the same test videos, paired over subjects, in one page.

    Args:
        one: Folder of an evaluated run, or a CSV of scores as fas-jax evaluate takes it.
        other: The same, for the second side.
        out: Folder for the page, as HTML, Markdown and CSV.
        threshold: Rule for both sides: pooled, balanced (every source dataset with the same weight), apcer:0.01,
            cost:10,1 or fixed:0.5.
    """
    first, second = comparison.read_sides(one, other)
    pairs = comparison.compare(first, second, threshold)
    print(comparison.write_comparison(out, first, second, pairs, comparison.caveats_of(first, second)))


command = partial(cli.main, main)
