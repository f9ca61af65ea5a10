"""Settings written as TOML, which `tomllib` reads back to equal values."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fas_jax.base.errors import UserError


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as a TOML document; nested mappings are tables.

    Raises:
        UserError: A value that TOML cannot say: nothing (None), or text that is not Unicode, as a file's name may be.
    """
    return "\n".join(_toml_lines(settings, "")).lstrip("\n")


def _toml_lines(table: Mapping[str, Any], prefix: str) -> list[str]:
    lines = [
        f"{_toml_key(name)} = {_toml_value(value)}" for name, value in table.items() if not isinstance(value, Mapping)
    ]
    # A table that holds nothing but tables needs no header of its own.
    if prefix and (lines or not table):
        lines = ["", f"[{prefix}]", *lines]
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines += _toml_lines(value, f"{prefix}.{_toml_key(name)}" if prefix else _toml_key(name))
    return lines


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{value!r} holds bytes that are not UTF-8, which a TOML file cannot name; rename it")
        # JSON's escapes are TOML's, except for characters beyond 16 bits, which stay as they are, and for delete.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml_key(name)} = {_toml_value(each)}' for name, each in value.items())}}}"
    raise UserError(f"TOML has no value {value!r}")
