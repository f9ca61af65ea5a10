"""Scores of whole clips, for methods that read other methods' scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from fas_jax.base.logits import sigmoid
from fas_jax.base.parameters import load_about, load_tree, save_tree
from fas_jax.methods.data import Scores


@dataclass(frozen=True, eq=False)
class ClipScores:
    """Scores of n clips by the detectors of r tasks, in memory: two numbers for each clip and task."""

    logit: Float64[np.ndarray, "r n"]
    """NaN where there is no score."""
    reasons: dict[tuple[int, int], str] = field(default_factory=dict)
    """By task and clip, why there is no score."""
    of_tasks: dict[int, str] = field(default_factory=dict)
    """Why a task has no scores at all."""

    @classmethod
    def empty(cls, clips: int, tasks: int) -> "ClipScores":
        """Without any score."""
        return cls(np.full((tasks, clips), np.nan))

    def put(self, task: int, rows: Int[np.ndarray, " m"], scores: Scores) -> None:
        """Takes the scores of some clips by the detectors of a task."""
        self.logit[task, rows] = scores.logits()
        for row, reason in zip(rows.tolist(), scores.reason, strict=False):
            if reason:
                self.reasons[task, row] = reason

    def lack(self, task: int, reason: str) -> None:
        """Notes why a task has no scores."""
        self.logit[task] = np.nan
        self.of_tasks[task] = reason

    def take(
        self,
        task: int,
        rows: Int[np.ndarray, " m"],
        other: "ClipScores",
        its_task: int,
        its_rows: Int[np.ndarray, " m"],
    ) -> None:
        """Copies a task from another table, which has other rows."""
        self.logit[task, rows] = other.logit[its_task, its_rows]
        places = dict(zip(its_rows.tolist(), rows.tolist(), strict=True))
        self.reasons.update(
            {(task, places[row]): why for (number, row), why in other.reasons.items() if number == its_task}
        )
        if its_task in other.of_tasks:
            self.of_tasks[task] = other.of_tasks[its_task]

    def of_task(self, task: int, rows: Int[np.ndarray, " m"]) -> Scores:
        """The scores of some clips by the detectors of a task."""
        logit = self.logit[task, rows]
        silent = np.isnan(logit)
        general = self.of_tasks.get(task, "it was not asked")
        reasons: Sequence[str] = [
            self.reasons.get((task, row), general) if none else ""
            for row, none in zip(rows.tolist(), silent.tolist(), strict=True)
        ]
        return Scores(sigmoid(logit), None, reasons if silent.any() else (), logit)

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Writes a file; `about` is JSON-able and comes back by `load_about`."""
        reasons = [[task, row, why] for (task, row), why in self.reasons.items()]
        save_tree(path, {"logit": self.logit}, {**about, "reasons": reasons, "lacking": list(self.of_tasks.items())})

    @classmethod
    def load(cls, path: Path) -> "ClipScores":
        """What `save` wrote."""
        params, about = load_tree(path)
        reasons = {(task, row): why for task, row, why in about["reasons"]}
        return cls(np.array(params["logit"]), reasons, dict(about["lacking"]))

    @staticmethod
    def holds(path: Path, key: str) -> bool:
        """Whether a file was saved with `key` in its `about`."""
        return path.exists() and load_about(path)["key"] == key
