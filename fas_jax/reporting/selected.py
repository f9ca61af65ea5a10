"""The table of the epochs that `evaluation.selection` chose. Imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fas_jax.reporting.extra_tables import ExtraTable
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import model_name, protocol_name

_ORACLE = (
    "ORACLE: the target's own test videos chose the epochs, so that every figure of these models on that target is "
    "optimistic; no deployed system can choose so."
)
_LEFT_OUT = (
    "Every source was left out once, and each epoch of the detectors that have not seen it scored its videos: the "
    "epoch with the lowest mean HTER was kept of the training on all sources. The target took no part. It cost {cost} "
    "further fittings of each of these models and of those that they read. Folds of stacks are the sources."
)
_COLUMNS = (
    " HTER in %, at the threshold from the validation videos of the datasets that were trained on; beside it, the "
    "epoch that training-domain selection would have kept."
)


@dataclass(frozen=True)
class Selected:
    """The epoch that one detector kept."""

    method: str
    protocol: str
    seed: int
    epoch: int
    usual: int
    """The epoch that its own sources' validation videos chose."""
    hter: Mapping[str, float]
    """At the epoch that is kept, by the dataset that judged it; NaN where undefined."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON has no NaN."""
        values = {name: None if np.isnan(value) else value for name, value in self.hter.items()}
        return {**asdict(self), "hter": values}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Selected":
        """From what `to_json` gave."""
        values = {name: np.nan if value is None else value for name, value in row["hter"].items()}
        return cls(**{**row, "hter": values, "notes": tuple(row["notes"])})


def selection_table(selection: str, chosen: Sequence[Selected], cost: int) -> ExtraTable:
    """What was chosen, how, and what has to be known of it.

    Args:
        selection: `leave-one-source-out` or `oracle`.
        chosen: One a detector.
        cost: Further fittings that it took.
    """
    judges = list(dict.fromkeys(name for each in chosen for name in each.hter))
    oracle = selection == "oracle"
    header = ["protocol", "seed", "model", "epoch kept", "epoch by training-domain"]
    header += [f"HTER on {name}{'' if oracle else ', unseen'}" for name in judges]
    rows = []
    for each in chosen:
        cells = ["—" if name not in each.hter else _percent(each.hter[name]) for name in judges]
        first = [protocol_name(each.protocol), str(each.seed), model_name(each.method)]
        rows.append([*first, str(each.epoch), str(each.usual), *cells])
    notes: dict[str, list[str]] = {}
    for each in chosen:
        for note in each.notes:
            notes.setdefault(f"{protocol_name(each.protocol)}: {note}", [])
    text = (_ORACLE if oracle else _LEFT_OUT.format(cost=cost)) + _COLUMNS + "".join(f" {note}" for note in notes)
    return ExtraTable(
        "Epochs chosen on the target (oracle)" if oracle else f"Epochs by {selection}", text, Grid(header, rows)
    )


def _percent(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{100 * value:.2f}"
