"""Trees of arrays as single safetensors files: reading one runs no code, and its header describes the arrays."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path

_HEADER = "tree"


def save_tree(path: Path, tree: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes a nested dictionary of arrays, with `about` (JSON-able) in the header, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    # Not ascontiguousarray, which makes a row of one of a number.
    flat = {name: np.asarray(array, order="C") for name, array in _flatten(tree, "")}
    told = json.dumps(about, sort_keys=True, allow_nan=False)
    # One entry: several would be written in another order each time, and equal trees are to be equal files.
    header = json.dumps({"about": told, "sha256": _digest(flat, told)})
    with atomic_path(path) as temporary:
        try:
            save_file(flat, temporary, metadata={_HEADER: header})
        except SafetensorError as error:
            # Which it also raises for a full disk.
            raise UserError(f"cannot write {path}: {error}") from error


def load_tree(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The nested dictionary of arrays, and `about` from the header.

    Raises:
        UserError: The file is missing or not readable, or its contents do not match its checksum.
    """
    try:
        with safe_open(path, "numpy") as file:
            header = _header(file)
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        told = header.get("about", "{}")
        if header.get("sha256") != _digest(flat, told):
            raise UserError(
                f"{path} is damaged: its contents do not match their checksum; remove it and run the command again"
            )
        about = json.loads(told)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from error
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return tree, about


def load_about(path: Path) -> dict[str, Any]:
    """`about` from the header, without reading an array."""
    try:
        with safe_open(path, "numpy") as file:
            return dict(json.loads(_header(file).get("about", "{}")))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from error


def _header(file: Any) -> dict[str, str]:
    return dict(json.loads((file.metadata() or {}).get(_HEADER, "{}")))


def _digest(flat: dict[str, np.ndarray], told: str) -> str:
    found = hashlib.sha256(told.encode())
    for name, array in sorted(flat.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        # As bytes: Python has no word for bfloat16.
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _flatten(tree: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for name, value in tree.items():
        items += _flatten(value, f"{prefix}{name}/") if isinstance(value, dict) else [(prefix + name, value)]
    return items
