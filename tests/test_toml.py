"""Settings as TOML: what is written is read back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.toml import to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
TABLES = st.dictionaries(
    TEXT,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)),
    max_size=4,
)


@given(TABLES)
def test_toml_is_what_tomllib_reads_back(table):
    assert tomllib.loads(to_toml(table)) == table


@pytest.mark.parametrize("text", ["\U0001f600", "\x7f", "\x00\t\r\n", '"\\', "a\n"])
def test_toml_of_names_with_unusual_characters(text):
    assert tomllib.loads(to_toml({text: text, "table": {text: {"list": [text]}}})) == {
        text: text,
        "table": {text: {"list": [text]}},
    }


@pytest.mark.parametrize("value", [None, "\udcff", ["a", None]])
def test_what_toml_cannot_say_is_an_error(value):
    with pytest.raises(UserError, match="TOML"):
        to_toml({"name": value})
