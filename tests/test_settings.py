"""Settings: declared, described, in their ranges; read from plain dictionaries and written back."""

import ast
import dataclasses
import importlib
import inspect
import json
import math
import typing

import pytest

from fas_jax.base import settings
from fas_jax.base.declarations import Declared, check_ranges, declared, how, key, what
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Optimisation, Synthesis, from_dict, to_dict
from fas_jax.experiment.configuration import Experiment
from fas_jax.methods.registry import find_kind, kinds


def sections(kind, found=None):
    """A dataclass of settings and all that are nested in it."""
    found = {} if found is None else found
    found[kind.__qualname__] = kind
    for hint in typing.get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            sections(hint, found)
    return found


EVERY = {
    **sections(Experiment),
    **sections(Rendition),
    **sections(Rendered),
    **{name: each for kind in kinds() for name, each in sections(find_kind(kind)).items()},
}


def fields():
    return [
        pytest.param(kind, field, id=f"{kind.__qualname__}.{field.name}")
        for kind in EVERY.values()
        for field in dataclasses.fields(kind)
    ]


def test_no_section_is_forgotten():
    own = {name for name, each in vars(settings).items() if dataclasses.is_dataclass(each)}
    # The former is part of every network's method; the latter joins it with `Execution` for the loop.
    assert own - set(EVERY) == {"Optimisation", "Training"}
    assert {find_kind(kind).__qualname__ for kind in kinds()} <= set(EVERY)


@pytest.mark.parametrize(("kind", "field"), fields())
def test_every_setting_is_declared(kind, field):
    assert declared(field) in Declared


@pytest.mark.parametrize(("kind", "field"), fields())
def test_every_number_has_a_range_that_holds_its_default(kind, field):
    hint = typing.get_type_hints(kind)[field.name]
    kinds_of_values = typing.get_args(hint) if typing.get_origin(hint) is tuple else (hint,)
    if {int, float} & set(kinds_of_values):
        limits = field.metadata["limits"]
        assert "at_least" in limits or "above" in limits
        check_ranges(kind())
        for wrong in (-(10**6), *([math.nan] if float in kinds_of_values else [])):
            value = (wrong,) * len(getattr(kind(), field.name) or (0,)) if typing.get_origin(hint) is tuple else wrong
            with pytest.raises(UserError, match=rf"^here\.{field.name} must be (at least|above) "):
                check_ranges(dataclasses.replace(kind(), **{field.name: value}), "here")


def test_a_setting_without_declaration_is_found():
    @dataclasses.dataclass(frozen=True)
    class Forgotten:
        declared: int = what(1)
        other: int = 2

    with pytest.raises(TypeError, match="'other' is not declared"):
        key(Forgotten())


@pytest.mark.parametrize("kind", EVERY.values(), ids=list(EVERY))
def test_every_setting_says_what_it_is(kind):
    """The text under each field is what --help prints."""
    module = importlib.import_module(kind.__module__)
    (found,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        field = isinstance(node, ast.AnnAssign) and node.target.id in kind.__dataclass_fields__
        # Sections of the experiment are described by their classes.
        if field and not dataclasses.is_dataclass(typing.get_type_hints(kind)[node.target.id]):
            assert isinstance(after, ast.Expr), f"{kind.__name__}.{node.target.id} has no description"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"learning_rat": 3}, "here: unknown setting 'learning_rat'; did you mean 'learning_rate'"),
        ({"batch_size": 3.5}, "here: batch_size must be of type int, not 3.5"),
        ({"batch_size": True}, "here: batch_size must be of type int, not True"),
        ({"monitor": "los"}, "here: monitor: unknown value 'los'; did you mean 'loss'"),
    ],
)
def test_wrong_values_are_told_where_and_what(table, message):
    with pytest.raises(UserError) as error:
        from_dict(Optimisation, table, "here")
    assert message in str(error.value)


def test_a_whole_number_is_good_for_a_float_setting():
    assert from_dict(Optimisation, {"learning_rate": 1}, "x").learning_rate == 1.0


def test_a_whole_number_is_the_same_key_as_the_float_that_it_is():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        share: float = what(0)
        count: int = what(0)

    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: Inner = what(Inner)

    written = json.dumps(key(Outer()))
    assert written == json.dumps(key(Outer(Inner(0.0, 0)))) == '{"inner": {"share": 0.0, "count": 0}}'


def test_keys_hold_what_decides_and_nothing_else():
    """What changes the result changes the key; how the work is done does not, and rounding only if it is asked for."""
    synthesis, features = Synthesis(), Features()
    assert key(synthesis) == key(dataclasses.replace(synthesis, workers=7))
    assert key(synthesis) != key(dataclasses.replace(synthesis, scale=0.5))
    other = dataclasses.replace(features, batch_size=7)
    assert key(features) == key(other)
    both = (Declared.WHAT, Declared.ROUNDING)
    assert key(features, *both) != key(other, *both)
    experiment = Experiment()
    assert key(experiment) == key(dataclasses.replace(experiment, name="other", cache="elsewhere"))
    for nested in ("synthesis", "features", "evaluation"):
        assert nested in key(experiment)
    assert "search" not in key(experiment)


@pytest.mark.parametrize("kind", kinds())
def test_methods_come_back_from_their_tables(kind):
    method = find_kind(kind)()
    assert from_dict(type(method), to_dict(method), "back") == method


def test_unknown_limits_are_a_fault_of_the_program():
    with pytest.raises(TypeError, match="atleast"):
        how(3, atleast=1)


def test_an_unknown_name_without_a_near_one_lists_all():
    assert str(unknown_name("layout", "zzz", ["b", "a"])) == "unknown layout 'zzz' Known: 'a', 'b'."
