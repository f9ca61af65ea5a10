"""What each setting means for stored results, declared beside the setting; every cache and resume key derives from it.

Four classes: *what* decides the result; *how* changes the way the work is done and not one bit of the result;
*rounding* changes the result within a tolerance (the order of sums on another device); *failure policy* decides which
faults stop the work. A setting without a declaration is an error, so that no key can forget one.
"""

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

_KEY = "declared"


class Declared(Enum):
    """The class of a setting."""

    WHAT = "what"
    HOW = "how"
    ROUNDING = "rounding"
    FAILURE_POLICY = "failure policy"


def what(default: Any) -> Any:
    """A dataclass field with this default, which decides the result."""
    return _field(default, Declared.WHAT)


def how(default: Any) -> Any:
    """A dataclass field with this default, which changes no bit of the result."""
    return _field(default, Declared.HOW)


def rounding(default: Any) -> Any:
    """A dataclass field with this default, which changes the result by rounding alone."""
    return _field(default, Declared.ROUNDING)


def failure_policy(default: Any) -> Any:
    """A dataclass field with this default, which decides which faults stop the work."""
    return _field(default, Declared.FAILURE_POLICY)


def declared(field: "dataclasses.Field[Any]") -> Declared:
    """The class of a field; a field without one is a `TypeError`."""
    if _KEY not in field.metadata:
        raise TypeError(
            f"setting {field.name!r} is not declared as what, how, rounding or failure policy; "
            "give its default by one of the functions of fas_jax.base.declarations"
        )
    found: Declared = field.metadata[_KEY]
    return found


def key(settings: Any, *classes: Declared) -> dict[str, Any]:
    """The values of the settings of these classes (*what*, if none is named), JSON-able; nested settings alike.

    Two settings with equal keys of class *what* give the same result up to rounding; with *rounding* added, on one
    machine, the same bits.

    Args:
        settings: A dataclass all of whose fields are declared. A nested dataclass contributes its own fields, whatever
            the field that holds it is declared as, unless that is *how*.
        classes: Which settings count.

    Raises:
        TypeError: A field is not declared.
    """
    wanted = classes or (Declared.WHAT,)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        own = declared(field)
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            if own in wanted or own is not Declared.HOW:
                found[field.name] = key(value, *wanted)
        elif isinstance(value, Mapping) and any(map(dataclasses.is_dataclass, value.values())):
            if own in wanted or own is not Declared.HOW:
                found[field.name] = {name: key(each, *wanted) for name, each in value.items()}
        elif own in wanted:
            found[field.name] = value
    # JSON knows lists only: a key is compared with keys read from files.
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _field(default: Any, declaration: Declared) -> Any:
    metadata = {_KEY: declaration}
    if callable(default):  # a nested section's class, or what makes a fresh dictionary
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
