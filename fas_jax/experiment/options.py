"""Settings as a tree of plain dataclasses, from which tyro makes options with help. Imports no JAX.

tyro names options after fields, so a mapping of settings becomes a dataclass with a field for each name. It would also
read a class's source once for every field to find the text under it; here each module is read once.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import tyro


def attribute(name: str) -> str:
    """The field that stands for a name of a mapping."""
    return name.replace("-", "_")


def as_options(settings: Any) -> Any:
    """An instance of a new dataclass with the values of these settings, nested ones and mappings alike."""
    if isinstance(settings, Mapping):
        own = {attribute(name): as_options(value) for name, value in settings.items()}
        fields: list[Any] = [
            (name, Annotated[type(value), tyro.conf.arg(help=_about(value))], dataclasses.field(default=value))
            for name, value in own.items()
        ]
        tables = dataclasses.make_dataclass("Tables", fields, frozen=True)
        tables.__doc__ = None
        return tables()
    hints, texts = typing.get_type_hints(type(settings)), texts_of(type(settings))
    fields = []
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        if dataclasses.is_dataclass(value) or _holds_settings(value):
            value = as_options(value)
            hint, text = type(value), _about(value, texts.get(field.name, ""))
        else:
            text = texts[field.name]
        hint = Annotated[hint, tyro.conf.arg(help=text)]
        fields.append((field.name, hint, dataclasses.field(default=value)))
    kind = dataclasses.make_dataclass(type(settings).__name__, fields, frozen=True)
    kind.__doc__ = type(settings).__doc__
    return kind()


def from_options(options: Any, like: Any) -> Any:
    """The settings of the kind of `like` that hold the values of what `as_options` made of `like`."""
    if isinstance(like, Mapping):
        return {name: from_options(getattr(options, attribute(name)), value) for name, value in like.items()}
    if not dataclasses.is_dataclass(like) or isinstance(like, type):
        return options
    own = {
        field.name: from_options(getattr(options, field.name), getattr(like, field.name))
        for field in dataclasses.fields(like)
    }
    return type(like)(**own)


def _about(settings: Any, text: str = "") -> str:
    """What the help says of a group of settings."""
    return inspect.cleandoc(type(settings).__doc__ or text)


def _holds_settings(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(dataclasses.is_dataclass, value.values()))


def texts_of(kind: type) -> dict[str, str]:
    """The text under each field of a dataclass, in its class or the one that it inherits the field from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        found |= _of_module(each.__module__).get(each.__qualname__, {}) if dataclasses.is_dataclass(each) else {}
    return found


@functools.cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """By class of the module and field, the text under the field."""
    return {
        node.name: {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in ast.parse(inspect.getsource(sys.modules[name])).body
        if isinstance(node, ast.ClassDef)
    }
