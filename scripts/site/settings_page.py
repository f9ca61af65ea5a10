"""Two pages of the reference from the dataclasses of settings: those of an experiment, and those of every method."""

import dataclasses
import importlib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from fas_jax.base.declarations import Declared, declared
from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.rendition import Rendition
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.options import texts_of
from fas_jax.methods.base import Method
from fas_jax.methods.registry import kinds

_TABLES = {"renditions": Rendition, "rendered": Rendered}
"""Settings that are tables by a name of the user's."""
_SIGNS = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
_CLASSES = (
    "Each setting has its default, its limits and its class: *what* decides the result, and another value another "
    "result; *how* changes the way the work is done and no bit of the result; *rounding* changes the result within a "
    "tolerance; *failure policy* decides which faults stop the work. [Keys](architecture.md#keys) says what this means "
    "for caches and runs."
)


def experiment_page() -> str:
    """All settings of an experiment but its methods', in Markdown."""
    parts = [
        "# Settings of an experiment",
        "A configuration is a TOML file of these tables. On the command line `batch_size` of `[features]` is "
        "`--features.batch-size`. The defaults are those of the code; a configuration, such as `quickstart`, has its "
        f"own. {_CLASSES}",
        "## Top level",
    ]
    sections = [field for field in dataclasses.fields(Experiment) if _section(field) is not None]
    parts += _table(Experiment, [field for field in dataclasses.fields(Experiment) if field not in sections])
    for field in sections:
        kind, name = _section(field), field.name
        assert kind is not None
        title = f"[{name}.NAME]" if name in _TABLES else f"[{name}]"
        parts += [f"## {title}", _escape(texts_of(Experiment).get(name) or inspect.cleandoc(kind.__doc__ or ""))]
        parts += _table(kind, list(dataclasses.fields(kind)))
    return "\n\n".join(parts) + "\n"


def methods_page() -> str:
    """The settings of every kind of method, those that several share once, in Markdown."""
    methods = {name: _load(where) for name, where in kinds().items() if where.startswith("fas_jax.")}
    # Beside `kind`, a method has the fields of all classes that it comes from.
    users: dict[type, list[str]] = {}
    for name, method in methods.items():
        for each in method.__mro__:
            if _own(each):
                users.setdefault(each, []).append(name)
    shared = {each: names for each, names in users.items() if len(names) > 1}
    parts = [
        "# Settings of methods",
        "A table `[methods.NAME]` has a `kind` and that kind's settings; on the command line they are "
        f"`--methods.NAME.hidden` and so on. {_CLASSES}",
    ]
    for name, method in methods.items():
        own = {field for each in method.__mro__ if each not in shared for field in _own(each)}
        rows = _table(method, [field for field in dataclasses.fields(method) if field.name in own])
        links = ", ".join(f"[{_title(each)}](#{_slug(each)})" for each in method.__mro__ if each in shared)
        also = ["", f"It has the settings of {links}" + (", and these:" if rows else ".")] if links else [""]
        parts += [f"## {name}", " ".join([_escape(_first(method)), *filter(None, also)]), *rows]
    for each, names in shared.items():
        parts += [f"## {_title(each)}", f"{_escape(_first(each))} For {', '.join(f'`{name}`' for name in names)}."]
        own_fields = _own(each)
        parts += _table(each, [field for field in dataclasses.fields(each) if field.name in own_fields])
    return "\n\n".join(parts) + "\n"


def _load(where: str) -> type[Method]:
    module, _, name = where.partition(":")
    found: type[Method] = getattr(importlib.import_module(module), name)
    return found


def _own(kind: type) -> set[str]:
    """Settings that this class itself declares; not those that it inherits, nor class variables."""
    if not dataclasses.is_dataclass(kind):
        return set()
    fields = {field.name for field in dataclasses.fields(kind)}
    return {name for name in vars(kind).get("__annotations__", {}) if name in fields}


def _title(kind: type) -> str:
    return f"Shared: {kind.__name__}"


def _slug(kind: type) -> str:
    return f"shared-{kind.__name__.lower()}"


def _first(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _section(field: "dataclasses.Field[Any]") -> type | None:
    """The dataclass of a section, or of each table of a mapping; None for a plain setting and for methods."""
    hint = typing.get_type_hints(Experiment)[field.name]
    if field.name in _TABLES:
        return _TABLES[field.name]
    return hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None


def _table(kind: type, fields: "list[dataclasses.Field[Any]]") -> list[str]:
    rows = list(_rows(kind, fields))
    return ["\n".join(["| setting | meaning |", "|---|---|", *rows])] if rows else []


def _rows(kind: type, fields: "list[dataclasses.Field[Any]]", values: Any = None, prefix: str = "") -> Iterator[str]:
    """A row for each setting, nested ones under their section's name; `values` has other defaults than the class."""
    hints, texts = typing.get_type_hints(kind), texts_of(kind)
    for field in fields:
        default = _default(field) if values is None else getattr(values, field.name)
        if dataclasses.is_dataclass(default):
            yield from _rows(type(default), list(dataclasses.fields(default)), default, f"{prefix}{field.name}.")
            continue
        name = f"`{prefix}{field.name}`"
        facts = [_written(default), *_limits(hints[field.name], field), f"*{_declared(field)}*"]
        text = texts.get(field.name, "")
        if isinstance(default, Mapping):  # methods, which have a page of their own
            facts, text = [f"*{_declared(field)}*"], f"{text} See [Settings of methods](method-settings.md)."
        yield f"| {name}<br>{', '.join(facts)} | {_escape(text)} |"


def _declared(field: "dataclasses.Field[Any]") -> str:
    found: Declared = declared(field)
    return found.value


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else ""


def _written(value: Any) -> str:
    """As TOML writes it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(_written(each).strip("`") for each in value) + "]`"
    return f"`{value}`"


def _limits(hint: Any, field: "dataclasses.Field[Any]") -> Iterator[str]:
    for each in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        if typing.get_origin(each) is typing.Literal:
            yield "one of " + ", ".join(_written(value) for value in typing.get_args(each))
    for limit, bound in field.metadata["limits"].items():
        yield f"{_SIGNS[limit]} {bound:g}"


def _escape(text: str) -> str:
    """A docstring as a cell: tables in brackets are code, and an asterisk or bar is itself."""
    return (
        " ".join(text.split())
        .replace("|", "\\|")
        .replace("*", "\\*")
        .replace("<", "&lt;")
        .replace("[methods.NAME]", "`[methods.NAME]`")
        .replace("[renditions.NAME]", "`[renditions.NAME]`")
        .replace("[rendered.NAME]", "`[rendered.NAME]`")
        .replace("[synthesis]", "`[synthesis]`")
    )
