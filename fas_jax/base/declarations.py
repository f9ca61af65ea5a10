"""What each setting means for stored results, declared beside the setting; every cache and resume key derives from it.

Four classes: *what* decides the result; *how* changes the way the work is done and not one bit of the result;
*rounding* changes the result within a tolerance (the order of sums on another device); *failure policy* decides which
faults stop the work. A setting without a declaration is an error, so that no key can forget one.
"""

import dataclasses
import json
import math
import operator
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, get_type_hints

from fas_jax.base.errors import UserError

_KEY, _LIMITS, _LATER = "declared", "limits", "later"


class Declared(Enum):
    """The class of a setting."""

    WHAT = "what"
    HOW = "how"
    ROUNDING = "rounding"
    FAILURE_POLICY = "failure policy"


def what(default: Any, *, later: bool = False, **limits: float) -> Any:
    """A dataclass field with this default, which decides the result.

    Args:
        default: The value, or what makes one (a nested section's class).
        later: For a setting that joined others whose keys are stored: keys leave it out where it has its default, which
            must give the bits that were there before it.
        limits: `at_least`, `above`, `at_most` or `below`, which `check_ranges` compares numbers with.
    """
    return _field(default, Declared.WHAT, limits, later)


def how(default: Any, **limits: float) -> Any:
    """As `what`, of a setting that changes no bit of the result."""
    return _field(default, Declared.HOW, limits)


def rounding(default: Any, **limits: float) -> Any:
    """As `what`, of a setting that changes the result by rounding alone."""
    return _field(default, Declared.ROUNDING, limits)


def failure_policy(default: Any, **limits: float) -> Any:
    """As `what`, of a setting that decides which faults stop the work."""
    return _field(default, Declared.FAILURE_POLICY, limits)


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
        elif own in wanted and not (field.metadata.get(_LATER) and value == _default(field)):
            # A whole number in place of a float is the same value, and must not be another text.
            whole = type(value) is int and get_type_hints(type(settings))[field.name] is float
            found[field.name] = float(value) if whole else value
    # JSON knows lists only: a key is compared with keys read from files.
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _default(field: "dataclasses.Field[Any]") -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def check_ranges(settings: Any, where: str = "") -> None:
    """Compares every number of the settings, nested ones included, with the limits that its field declares.

    Args:
        settings: A dataclass whose fields are declared, or a mapping of such.
        where: What the error names before the setting, such as `methods.lstm`.

    Raises:
        UserError: A number lies outside of its range, or is not finite.
    """
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            check_ranges(value, f"{where}.{name}")
        return
    for field in dataclasses.fields(settings):
        name = f"{where}.{field.name}" if where else field.name
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            check_ranges(value, name)
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            for limit, bound in field.metadata.get(_LIMITS, {}).items():
                words, holds = _COMPARISONS[limit]
                if not holds(number, bound):
                    raise UserError(f"{name} must be {words} {bound:g}, not {number:g}")
            if not math.isfinite(number):  # JSON has no word for it
                raise UserError(f"{name} must be a finite number, not {number:g}")


_COMPARISONS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "at_least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def _field(default: Any, declaration: Declared, limits: Mapping[str, float], later: bool = False) -> Any:
    if unknown := limits.keys() - _COMPARISONS.keys():
        raise TypeError(f"unknown limits {sorted(unknown)}")
    metadata = {_KEY: declaration, _LIMITS: dict(limits), _LATER: later}
    if callable(default):  # a nested section's class, or what makes a fresh dictionary
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
