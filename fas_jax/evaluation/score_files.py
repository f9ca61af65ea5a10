"""Files of scores: which columns they have, what these say of all rows, and what a row's cells mean. NumPy only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.attributes import PREFIX, attribute_of
from fas_jax.base.csv_files import CsvFile
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import ATTACK, BONA_FIDE

# Columns of other evaluation tools.
_ALIASES = {"video_key": "video", "is_bonafide": "label", "attack_type": "pai"}
# Values for columns that a foreign file lacks.
_DEFAULTS = {
    "protocol": "scores",
    "seed": "0",
    "role": "test",
    "model": "model",
    "dataset": "",
    "subject": "",
    "pai": "",
    "pai_fine": "",
    "device": "",
    "session": "",
    "split": "",
    "reason": "",
}
_LABELS = {"1": BONA_FIDE, "1.0": BONA_FIDE, "true": BONA_FIDE, "bonafide": BONA_FIDE, "bona fide": BONA_FIDE}
_LABELS |= {"0": ATTACK, "0.0": ATTACK, "false": ATTACK, "attack": ATTACK}
OPTIONAL_NUMBERS = ("score", "logit")
"""Columns whose cells may be empty, which means NaN."""


def column_names(path: Path, cells: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns of a file by the names that a table of scores has for them; `attr.NAME` keeps its name.

    Raises:
        UserError: A column is unknown, there twice or lacks a name, or one of `video`, `label` and `score` is missing.
    """
    names = [_name(path, cell.strip()) for cell in cells]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a column is named twice: {', '.join(names)}")
    missing = [name for name in ("video", "label", "score") if name not in names]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)} (found {', '.join(names) or 'nothing'})")
    if "" in names:
        raise UserError(
            f"{path}: column {names.index('') + 1} has no name; remove it (pandas writes its index so, unless told "
            "index=False)"
        )
    for name in names:
        if name not in known and not name.startswith(PREFIX):
            raise UserError(f"{path}: {unknown_name('column', name, known)}")
    return names


def check_roles(path: Path, names: list[str], file: CsvFile, validation: str, test: str) -> None:
    """Without roles all videos are tested; raises `UserError` if their splits say otherwise."""
    if "role" in names or "split" not in names:
        return
    at = names.index("split")
    found = [(line, cells[at].strip()) for line, cells in file.rows if len(cells) > at]
    if others := [(line, split) for line, split in found if split.lower() not in ("", test)]:
        line, split = others[0]
        raise UserError(
            f"{path}: {len(others)} rows are of other splits than {test} (line {line}: {split}), and no column role "
            f"says which videos set the threshold ({validation}) and which are judged by it ({test}); add one, or "
            "remove these rows"
        )


def parsed(cells: dict[str, str], file: CsvFile, path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """The values of a row of a file by the table's columns, with what a foreign file leaves out.

    Raises:
        ValueError: A cell has no value of its column.
    """
    row: dict[str, Any] = {name: cells.get(name, _DEFAULTS.get(name, "")) for name in columns}
    label = _LABELS.get(row["label"].strip().lower())
    if label is None:
        raise ValueError(f"label {row['label']!r} is not 1 or bonafide, 0 or attack")
    row["label"] = label
    for name in OPTIONAL_NUMBERS:
        try:
            row[name] = file.number(row[name]) if row[name].strip() else np.nan
        except ValueError:
            raise ValueError(f"{name} {row[name]!r} is not a number") from None
    try:
        row["seed"] = int(row["seed"])
    except ValueError:
        raise ValueError(f"seed {row['seed']!r} is not a whole number") from None
    if np.isnan(row["score"]) and not row["reason"]:
        row["reason"] = f"no score in {Path(path).name}"
    if label == BONA_FIDE and "pai" not in cells:
        row["pai"] = "bonafide"
    return row


def _name(path: Path, cell: str) -> str:
    try:
        attribute = attribute_of(cell)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return _ALIASES.get(cell.lower(), cell.lower()) if attribute is None else PREFIX + attribute
