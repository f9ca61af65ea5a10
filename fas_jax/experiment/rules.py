"""The rules of verdicts over experts in plain words: files in the run's folder, and tables for its report."""

from collections.abc import Sequence
from pathlib import Path

from fas_jax.base.files import plain_name, write_text
from fas_jax.experiment.fitting import Fitted
from fas_jax.methods.base import Explained, Failed
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.reporting.grid import Grid


def leave_rules(folder: Path, fitted: Fitted, plans: Sequence[str]) -> None:
    """Writes `rules/METHOD.txt` and a table for every method whose detectors can explain themselves.

    Args:
        folder: The run's folder.
        fitted: The run's detectors.
        plans: Names of the plans.
    """
    for name, detectors in fitted.detectors.items():
        if not any(isinstance(each, Explained) for each in detectors):
            continue
        every = {plan: _lines(each) for plan, each in zip(plans, detectors, strict=True)}
        text = "\n".join(line for plan, lines in every.items() for line in (plan, *(f"  {each}" for each in lines)))
        write_text(folder / "rules" / f"{plain_name(name)}.txt", text + "\n")
        rows = [[plan, line.strip()] for plan, lines in every.items() for line in _of_all(lines)]
        said = (
            "Scores are the experts' P(bona fide); the line that holds for a clip gives its leaf. Shown is what "
            f"decides where all experts have a score; rules/{plain_name(name)}.txt has the rest."
        )
        table = ExtraTable(f"Rules of {name}", said, Grid(["protocol and seed", "rule"], rows))
        write_extra_table(folder, f"3-rules-{plain_name(name)}", table)


def _lines(detector: object) -> list[str]:
    if isinstance(detector, Failed):
        return [f"its fitting failed: {detector.reason}"]
    return list(detector.rules()) if isinstance(detector, Explained) else []


def _of_all(lines: Sequence[str]) -> Sequence[str]:
    """Up to the second combination of experts; the first has them all."""
    heads = [number for number, line in enumerate(lines) if line.startswith("With ")]
    return lines[: heads[1]] if len(heads) > 1 else lines
