"""Versions of the packages that made a result; each stage records them beside its result."""

import importlib.metadata
from collections.abc import Iterable, Mapping

from fas_jax import __version__


def installed(*packages: str) -> dict[str, str]:
    """The versions of this package and of these installed ones; imports none of them."""
    return {"fas-jax": __version__, **{name: importlib.metadata.version(name) for name in packages}}


def joined(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The versions of all parts of a result; lists all versions of a package that occur."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(each)) for name, each in found.items()}
