"""Kinds of methods by name, and the order in which methods that read each other's scores are fitted."""

import itertools

import pytest

from fas_jax.base.errors import UserError
from fas_jax.methods.base import Method, identity, method_to_dict
from fas_jax.methods.inputs import Input
from fas_jax.methods.logistic import MeanFeature
from fas_jax.methods.recurrent import Gru, Lstm
from fas_jax.methods.registry import (
    SETS,
    check_installed,
    find_kind,
    in_order,
    kinds,
    method_from_dict,
    package_of,
    score_inputs,
)
from fas_jax.methods.stack import LstmStack


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_what_its_name_says_and_comes_back_from_its_table(kind):
    found = find_kind(kind)
    assert issubclass(found, Method)
    assert found.kind == kind
    assert package_of(kind) == "fas_jax"
    method = found()
    assert method_from_dict("x", method_to_dict(method), "back") == method
    assert identity(method)["kind"] == kind
    assert identity(method)["version"] >= 1
    assert all(isinstance(item, Input) for item in method.inputs())
    # Every hyper-parameter that a search may draw is a setting.
    assert set(method.variants()) <= set(vars(method))


def test_every_set_of_methods_can_be_made():
    for tables in SETS.values():
        for name, table in tables.items():
            method_from_dict(name, table, "a set")


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="unknown method kind 'lsmt-stack'; did you mean 'lstm-stack'"):
        find_kind("lsmt-stack")


def test_a_kind_that_is_not_installed_names_its_package():
    check_installed("gru", "fas_jax", "detector gru")
    with pytest.raises(UserError, match=r"detector x is of kind 'tcn' of the package tcn-head, .* install it"):
        check_installed("tcn", "tcn-head", "detector x")


def test_methods_come_behind_those_whose_scores_they_read_and_keep_their_order_otherwise():
    methods = {
        "top": LstmStack(over=("meta", "gru")),
        "meta": LstmStack(over=("lstm",)),
        "gru": Gru(),
        "mean": MeanFeature(),
        "lstm": Lstm(),
    }
    for names in itertools.permutations(methods):
        order = in_order({name: methods[name] for name in names})
        assert sorted(order) == sorted(names)
        for name in names:
            for item in score_inputs(methods[name]):
                assert order.index(item.name) < order.index(name)
    assert in_order(methods) == ["lstm", "meta", "gru", "top", "mean"]
    alone = {"b": Gru(), "a": Lstm(), "c": MeanFeature()}
    assert in_order(alone) == list(alone)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"a": LstmStack(over=("b",)), "b": LstmStack(over=("a",))}, "in a circle: a <- b <- a"),
        ({"a": LstmStack(over=("a",))}, "in a circle: a <- a"),
        (
            {"a": LstmStack(over=("gruu",)), "gru": Gru()},
            "methods.a reads scores: unknown method 'gruu'; did you mean 'gru'",
        ),
        (
            {"a": LstmStack(over=("mean",)), "mean": MeanFeature()},
            "methods.a reads the frames' scores of 'mean', a mean-feature, which scores clips alone",
        ),
    ],
)
def test_stacks_that_cannot_be_are_refused(methods, message):
    with pytest.raises(UserError) as error:
        in_order(methods)
    assert message in str(error.value)
