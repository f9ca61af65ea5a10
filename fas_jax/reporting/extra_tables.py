"""Tables that other commands leave in a run's folder for its next report. Imports no JAX."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, write_json
from fas_jax.reporting.grid import Grid

_EXTRAS = "extras"


@dataclass(frozen=True)
class BridgeColumn:
    """A further column of the table that leads from strict figures to the oracle's."""

    title: str
    cells: Mapping[str, Mapping[str, str]]
    """By protocol, then by model."""
    on_target: bool = False
    """Whether something was chosen on the labelled target, as the oracle's threshold is."""


@dataclass(frozen=True)
class ExtraTable:
    """A table that something other than the evaluation has made: an audit's verdict, an oracle's claims."""

    title: str
    text: str
    grid: Grid
    bridge: BridgeColumn | None = None


def write_extra_table(run: Path, name: str, table: ExtraTable) -> None:
    """Leaves a table in a run's folder, for the run's next report."""
    content: dict[str, Any] = {
        "title": table.title,
        "text": table.text,
        "header": table.grid.header,
        "rows": table.grid.rows,
    }
    if table.bridge:
        content["bridge"] = asdict(table.bridge)
    write_json(Path(run) / _EXTRAS / f"{name}.json", content)


def remove_extra_tables(run: Path, prefix: str) -> None:
    """Removes the tables whose names begin so, where others take their place."""
    for path in (Path(run) / _EXTRAS).glob(f"{prefix}*.json"):
        path.unlink()


def read_extra_tables(run: Path) -> tuple[ExtraTable, ...]:
    """The tables that were left in a run's folder, by name."""
    found = []
    for path in sorted((Path(run) / _EXTRAS).glob("*.json")):
        content = read_json(path)
        try:
            grid = Grid(content["header"], content["rows"])
            bridge = BridgeColumn(**content["bridge"]) if "bridge" in content else None
            found.append(ExtraTable(content["title"], content["text"], grid, bridge))
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is no table for a report; remove it") from error
    return tuple(found)
