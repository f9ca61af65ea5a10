"""What training leaves as it is: parameters that take no step, and normalisations whose statistics do not run on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fas_jax.models.trainable.layers import HELD

Path = tuple[str, ...]


class Frozen(NamedTuple):
    """Paths in nested dictionaries. Static: programs are compiled for it."""

    params: frozenset[Path] = frozenset()
    """Of arrays, from the tree of all parameters on."""
    stats: frozenset[Path] = frozenset()
    """Of normalisations, which use their running statistics in training, too."""

    def divide(self, params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters that are trained, and those that are not; `join` puts them together."""
        return _part(params, self.params, False), _part(params, self.params, True)

    def divide_stats(self, stats: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The statistics that run on, and those that do not; `join` puts them together."""
        paths = frozenset((*path, name) for path in self.stats for name in ("mean", "variance"))
        return _part(stats, paths, False), _part(stats, paths, True)

    def join(self, moving: Any, held: Any) -> Any:
        """The inverse of `divide` and `divide_stats`."""
        return _joined(moving, held) if held else moving

    def mark(self, stats: Any) -> Any:
        """The statistics as a network reads which of them stay."""
        return _marked(stats, self.stats, ()) if self.stats else stats

    def unmark(self, stats: Any) -> Any:
        """The inverse of `mark`."""
        return _unmarked(stats) if self.stats else stats


NOTHING = Frozen()


def _part(tree: Mapping[str, Any], paths: frozenset[Path], held: bool, at: Path = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            # Without those that are empty: a part is to have no trace of what the other one holds.
            if inner := _part(value, paths, held, (*at, name)):
                found[name] = inner
        elif ((*at, name) in paths) == held:
            found[name] = value
    return found


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found = {**one, **other}
    return found | {name: _joined(one[name], other[name]) for name in one.keys() & other.keys()}


def _marked(tree: Mapping[str, Any], paths: frozenset[Path], at: Path) -> dict[str, Any]:
    found = {
        name: _marked(value, paths, (*at, name)) if isinstance(value, Mapping) else value
        for name, value in tree.items()
    }
    return found | {HELD: None} if at in paths else found


def _unmarked(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _unmarked(value) if isinstance(value, Mapping) else value for name, value in tree.items() if name != HELD
    }
