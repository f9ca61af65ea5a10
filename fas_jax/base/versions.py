"""Versions of the packages that made a result; each stage records them beside its result."""

from collections.abc import Iterable, Mapping

VERSION = "0.1.0"
"""Of this package; `pyproject.toml` repeats it."""


def installed(*packages: str) -> dict[str, str]:
    """The versions of this package and of these installed ones; imports none of them."""
    import importlib.metadata  # only here: whatever imports the package reads its version

    return {"fas-jax": VERSION, **{name: importlib.metadata.version(name) for name in packages}}


def joined(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The versions of all parts of a result; lists all versions of a package that occur."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(each)) for name, each in found.items()}
