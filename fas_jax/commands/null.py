"""Checks intervals and tests of significance where there is nothing to find."""

from functools import partial
from pathlib import Path

from fas_jax.base.files import write_json
from fas_jax.reporting.grid import markdown
from fas_jax.runtime import cli
from fas_jax.studies import null


def main(
    repetitions: int = 400,
    subjects: tuple[int, ...] = (20, 50),
    models: tuple[int, ...] = (2, 4),
    separation: tuple[float, ...] = (0.0, 1.5),
    videos: int = 4,
    of_subject: float = 0.3,
    of_class: float = 0.3,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Evaluates tables of simulated scores, whose truth is known, and counts how often the intervals hold it.

    With separation 0 the labels are random: HTER and AUC are 50 %, and no model is better than another. Otherwise both
    follow from the distribution. Intervals should hold the truth in 92 to 98 % of tables, and with random labels bold
    should appear in at most 5 %; what lies outside is printed in bold.

    Args:
        repetitions: Tables of each population; the uncertainty of the counts is printed with them.
        subjects: Of the test videos; half as many set the threshold.
        models: In a table; their scores are independent.
        separation: Between the classes, in standard deviations of a class.
        videos: Of each class of a subject.
        of_subject: Share of the variance that all videos of a subject have in common.
        of_class: Share that those of one class of a subject have in common besides.
        seed: Of the scores.
        out: JSON file for the table; none: it is only printed.
    """
    found = [
        null.measure(null.Population(count, videos, several, of_subject, of_class, apart), repetitions, seed)
        for apart in separation
        for count in subjects
        for several in models
    ]
    grid = null.table(found)
    print(f"\nTables in which 95 % intervals hold the truth, and in which bold appears; in %.\n\n{markdown(grid)}")
    if out:
        write_json(out, {"header": list(grid.header), "rows": [list(row) for row in grid.rows]})


command = partial(cli.main, main)
