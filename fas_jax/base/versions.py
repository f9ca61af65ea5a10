"""Versions of the packages that make a result; recorded beside it by whoever makes it."""

import importlib.metadata
from collections.abc import Iterable, Mapping

from fas_jax import __version__


def installed(*packages: str) -> dict[str, str]:
    """The versions of this package and of some installed ones, none of which is imported."""
    return {"fas-jax": __version__, **{name: importlib.metadata.version(name) for name in packages}}


def joined(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The versions of all makers of a result; several versions of one package are named one after the other."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(each)) for name, each in found.items()}
