"""The kinds of methods by name: those of this package, and those of others by entry point. Imports no JAX.

Another package names its methods in its own pyproject.toml:

    [project.entry-points."fas_jax.methods"]
    my-kind = "my_package.my_module:MyMethod"

A kind is imported when it is named, and no other.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping
from functools import cache
from typing import Any

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import from_dict
from fas_jax.methods.base import Method
from fas_jax.methods.inputs import Input

GROUP = "fas_jax.methods"
_BUILT_IN = {
    "lstm": "fas_jax.methods.recurrent:Lstm",
    "bilstm": "fas_jax.methods.recurrent:BiLstm",
    "gru": "fas_jax.methods.recurrent:Gru",
    "lstm-stack": "fas_jax.methods.stack:LstmStack",
    "mean-feature": "fas_jax.methods.logistic:MeanFeature",
    "colour": "fas_jax.methods.logistic:Colour",
    "metadata": "fas_jax.methods.logistic:Metadata",
    "quality": "fas_jax.methods.quality:Quality",
    "finetune": "fas_jax.methods.finetune:Finetune",
    "deeppixbis": "fas_jax.methods.deeppixbis:DeepPixBiS",
    "end2end": "fas_jax.methods.end2end:End2End",
    "motion": "fas_jax.methods.motion:Motion",
    "ssdg": "fas_jax.methods.ssdg:Ssdg",
    "safas": "fas_jax.methods.safas:Safas",
}
PAPER: dict[str, dict[str, Any]] = {
    "lstm": {"kind": "lstm"},
    "bilstm": {"kind": "bilstm"},
    "gru": {"kind": "gru"},
    "meta": {"kind": "lstm-stack"},
}
"""The methods of Muhammad et al. (IPTA 2023) with their settings, as tables."""
BASELINES: dict[str, dict[str, Any]] = {name: {"kind": name} for name in ("mean-feature", "colour", "metadata")}
"""What every other method has to beat."""
SETS = {"paper": PAPER, "baselines": BASELINES}
"""Sets of methods that `methods = NAME` asks for."""


def kinds() -> Mapping[str, str]:
    """Where each kind of method is defined, `module:class`, by name.

    Raises:
        UserError: Two packages define a kind of the same name.
    """
    return {name: value for name, (value, _) in _known().items()}


@cache
def _known() -> dict[str, tuple[str, str]]:
    """By kind, where it is defined and by which distribution."""
    known = {name: (value, "fas_jax") for name, value in _BUILT_IN.items()}
    for point in importlib.metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an unnamed package"
        if point.name in known and known[point.name] != (point.value, package):
            raise UserError(f"method kind {point.name!r} is defined by {known[point.name][1]} and by {package}")
        known[point.name] = (point.value, package)
    return known


def package_of(kind: str) -> str:
    """The name of the package that defines a known kind, for people who have to install it."""
    return _known()[kind][1]


def check_installed(kind: str, package: str, where: str) -> None:
    """Raises `UserError` that names the package, as `package_of` gave it where it was installed, unless it is here."""
    if kind not in _known():
        raise UserError(f"{where} is of kind {kind!r} of the package {package}, which is not installed; install it")


def find_kind(kind: str) -> type[Method]:
    """The class of a kind.

    Raises:
        UserError: No installed package defines it, or its module cannot be imported.
    """
    known = _known()
    if kind not in known:
        raise unknown_name("method kind", kind, known)
    value, package = known[kind]
    module, _, name = value.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever another package's module raises
        raise UserError(
            f"method kind {kind!r} of {package} cannot be imported from {value} ({type(error).__name__}: {error}); "
            f"mend or reinstall {package}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"method kind {kind!r} of {package}: {value} is no subclass of fas_jax.methods.base.Method")
    return found


def method_from_dict(name: str, table: Any, where: str) -> Method:
    """A method from its table `[methods.NAME]`.

    Raises:
        UserError: No kind, an unknown kind or setting, or a value of another type.
    """
    where = f"{where}: methods.{name}"
    if not isinstance(table, Mapping):
        raise UserError(f"{where} must be a table, not {table!r}")
    if "kind" not in table:
        raise UserError(f'{where} has no kind; write kind = "NAME", one of {", ".join(sorted(_known()))}')
    kind = str(table["kind"])
    if kind not in _known():
        raise UserError(f"{where}: {unknown_name('method kind', kind, _known())}")
    settings = {setting: value for setting, value in table.items() if setting != "kind"}
    return from_dict(find_kind(kind), settings, where)


def in_order(methods: Mapping[str, Method]) -> list[str]:
    """The methods' names, each behind those whose scores it reads; otherwise as they are given.

    Raises:
        UserError: A method reads scores of one that is not there, of itself, or in a circle, or of one without scores
            of frames.
    """
    found: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise UserError(f"methods read each other's scores in a circle: {' <- '.join([*path, name])}")
        if name in found:
            return
        for item in score_inputs(methods[name]):
            if item.name not in methods:
                raise UserError(f"methods.{name} reads scores: {unknown_name('method', item.name, methods)}")
            if not methods[item.name].frame_scores:
                raise UserError(
                    f"methods.{name} reads the frames' scores of {item.name!r}, a {methods[item.name].kind}, which "
                    "scores clips alone"
                )
            visit(item.name, (*path, name))
        found.append(name)

    for name in methods:
        visit(name, ())
    return found


def score_inputs(method: Method) -> list[Input]:
    """Those of its inputs that are other methods' scores."""
    return [item for item in method.inputs() if item.kind == "scores"]


def below(methods: Mapping[str, Method], name: str) -> list[str]:
    """The methods whose scores a method reads, and those that these read, and so on."""
    found: list[str] = []
    for item in score_inputs(methods[name]):
        found += [*below(methods, item.name), item.name]
    return list(dict.fromkeys(found))


def read_by_others(methods: Mapping[str, Method]) -> set[str]:
    """The names of the methods whose scores another of them reads."""
    return {item.name for method in methods.values() for item in score_inputs(method)}
