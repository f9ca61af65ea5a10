"""Objects that print themselves: as Markdown in a terminal, as a table in a notebook. Imports no JAX."""

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from fas_jax.reporting.grid import Grid, markdown, plain, to_html


@dataclass(frozen=True)
class Shown:
    """The printed form of an object."""

    title: str
    grid: Grid
    notes: Sequence[str] = ()
    """Lines below the table."""
    caveats: Sequence[str] = ()
    """Caveats, above the table."""


class Printed(ABC):
    """An object that prints itself."""

    @abstractmethod
    def _shown(self) -> Shown:
        """What it says."""

    def __str__(self) -> str:
        shown = self._shown()
        table = markdown(shown.grid) if shown.grid.rows else ""
        caveats = "\n".join(f"> {plain(line)}" for line in shown.caveats)
        return "\n\n".join(filter(None, (shown.title, caveats, table, "\n".join(shown.notes))))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        shown = self._shown()
        caveats = "".join(f"<p><b>{html.escape(line)}</b></p>" for line in shown.caveats)
        notes = "".join(f"<p><small>{html.escape(line)}</small></p>" for line in shown.notes)
        table = to_html(shown.grid) if shown.grid.rows else ""
        return f"<p>{html.escape(shown.title)}</p>{caveats}{table}{notes}"
