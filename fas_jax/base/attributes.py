"""Columns `attr.NAME` of manifests and tables of scores: what somebody wants errors broken down by. Imports no JAX.

No method reads attributes, and they are in no key: a changed one needs no new features.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, write_json

PREFIX = "attr."
_NAME = re.compile(r"[A-Za-z0-9._-]+")

Attributes = Mapping[str, Mapping[str, str]]
"""Of a dataset's videos: by name, the value of each video's path; videos without one are left out."""


def attribute_of(column: str) -> str | None:
    """The name of the attribute that a column holds, or None for another column.

    Raises:
        UserError: The column begins with `attr.`, and what follows is no name.
    """
    if column[: len(PREFIX)].lower() != PREFIX:
        return None
    name = column[len(PREFIX) :]
    if not _NAME.fullmatch(name):
        raise UserError(
            f"column {column!r} names no attribute: {PREFIX} must be followed by letters, digits, dots, hyphens and "
            f"underscores, as in {PREFIX}skin-type"
        )
    return name


def write_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Writes attributes as JSON; where there are none, removes what was written earlier."""
    if not attributes:
        path.unlink(missing_ok=True)
    elif not path.exists() or read_json(path) != attributes:
        write_json(path, attributes)
