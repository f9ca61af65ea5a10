"""Evaluates a trained run, or scores of any system."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fas_jax.base.errors import UserError
from fas_jax.evaluation.conformal import ALPHA
from fas_jax.reporting.report import evaluate_scores
from fas_jax.runtime import cli


def main(
    run: Annotated[Path | None, tyro.conf.Positional] = None,
    scores: Path | None = None,
    out: Path | None = None,
    threshold: str = "pooled",
    alpha: float = ALPHA,
    cache: Path | None = None,
) -> None:
    """Writes the report of a run that fas-jax train has trained, or of a table of scores.

    Give either the run's folder, or --scores and --out. The latter needs no JAX and no models of this package.

    Args:
        run: Folder of a trained run.
        scores: CSV or a spreadsheet's text with the columns video, label (1 bona fide, 0 attack) and score (higher is
            bona fide), and optionally protocol, seed, role (validation sets the threshold, test is judged), model,
            dataset, subject, pai, pai_fine, device, session, split.
        out: Folder for the report on --scores.
        threshold: Rule for --scores: pooled, balanced (every source dataset with the same weight), apcer:0.01,
            cost:10,1 or fixed:0.5.
        alpha: Error rate of three answers for --scores, between 0 and 1; for a run, evaluation.alpha says it.
        cache: Where the cache with the run's inputs is now, if it was moved.
    """
    if (run is None) == (scores is None):
        raise UserError("give either the folder of a trained run, or --scores FILE.csv with --out FOLDER")
    if scores is not None:
        if out is None:
            raise UserError("--scores needs --out, the folder for the report")
        evaluate_scores(scores, out, threshold, alpha)
        folder = out
    else:
        # Only here, because evaluating a table of scores must not need JAX.
        from fas_jax.experiment.results import report

        assert run is not None
        folder = report(run, cache)
    print((folder / "results.md").read_text(encoding="utf-8"))


command = partial(cli.main, main)
