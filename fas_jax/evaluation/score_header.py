"""The header of a file of scores: which columns it has, and what they say of all rows. NumPy only."""

from collections.abc import Sequence
from pathlib import Path

from fas_jax.base.attributes import PREFIX, attribute_of
from fas_jax.base.csv_files import CsvFile
from fas_jax.base.errors import UserError, unknown_name

# Columns of other evaluation tools.
_ALIASES = {"video_key": "video", "is_bonafide": "label", "attack_type": "pai"}


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


def _name(path: Path, cell: str) -> str:
    try:
        attribute = attribute_of(cell)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return _ALIASES.get(cell.lower(), cell.lower()) if attribute is None else PREFIX + attribute
