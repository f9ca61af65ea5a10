"""Writes golden/methods.csv: scores of all default methods on made-up features.

    python -m tests.make_golden_methods

The file came from commit c49a7d6, before methods had an interface, with equal settings on the same features. A change
that is meant to move a score renews it in a commit of its own that says by how much; the largest move is printed.
"""

import csv
import tempfile
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fas_jax.base.settings import Execution
from fas_jax.evaluation.scores import ScoreTable
from tests import stores, synthetic_stores

GOLDEN = Path(__file__).parent / "golden" / "methods.csv"
KEY = ("protocol", "seed", "role", "dataset", "video")
METHODS = stores.methods(learning_rate=2e-2, max_epochs=6, validate_every=2, patience=4)
EXPERIMENT = stores.experiment(seeds=(0, 1), methods=METHODS, training=Execution(events=False))
Table: TypeAlias = dict[tuple[str, ...], dict[str, float]]
"""By the columns of `KEY`, then by method."""


def compute() -> Table:
    """The scores by this version."""
    with tempfile.TemporaryDirectory() as place:
        made = synthetic_stores.make_stores(Path(place) / "stores")
        return as_table(stores.outcome(EXPERIMENT, made, Path(place) / "run").scores)


def as_table(scores: ScoreTable) -> Table:
    """Rows of scores as the golden file has them."""
    found: Table = {}
    for *names, model, score in zip(*(getattr(scores, name) for name in (*KEY, "model", "score")), strict=True):
        found.setdefault(tuple(map(str, names)), {})[str(model)] = float(score)
    return found


def read() -> Table:
    """The golden scores."""
    with GOLDEN.open(newline="") as file:
        return {
            tuple(row[name] for name in KEY): {name: float(row[name]) for name in METHODS}
            for row in csv.DictReader(file)
        }


def main() -> None:
    found, known = compute(), read()
    moved = [abs(found[key][name] - known[key][name]) for key in found.keys() & known.keys() for name in METHODS]
    print(f"the largest move is {np.max(moved):.3g}")
    with GOLDEN.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*KEY, *METHODS])
        table.writerows([*key, *(repr(found[key][name]) for name in METHODS)] for key in sorted(found))


if __name__ == "__main__":
    main()
