"""A column of text does what an array of the same texts does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.text_column import TextColumn

TEXTS = st.lists(st.sampled_from(["", "a", "b", "a long text", "\udc80", "z\0"]))


@given(TEXTS, st.data())
def test_a_column_does_what_a_list_does(texts, data):
    column = TextColumn.of(texts)
    assert column.tolist() == list(column) == texts
    assert len(column) == len(texts)
    assert len(column.texts) == len(set(texts))
    for text in ("a", "nowhere"):
        assert (column == text).tolist() == [each == text for each in texts]
        assert (column != text).tolist() == [each != text for each in texts]
    assert column.isin({"a", "\udc80"}).tolist() == [each in ("a", "\udc80") for each in texts]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), bool)
    assert column[mask].tolist() == [each for each, wanted in zip(texts, mask, strict=True) if wanted]
    assert column[::-1].tolist() == texts[::-1]
    for i, text in enumerate(texts):
        assert column[i] == column[np.int64(i)] == text


@given(st.lists(TEXTS), TEXTS)
def test_columns_are_joined_in_order(parts, shared):
    columns = [TextColumn.of(each) for each in parts]
    whole = TextColumn.of(shared)
    # Two views of the same texts, some of which are in no row.
    columns += [whole[:1], whole]
    found = TextColumn.concatenate(columns)
    assert found.tolist() == [text for each in parts for text in each] + shared[:1] + shared
    assert len(set(found.texts)) == len(found.texts)


def test_what_numpy_makes_of_a_column():
    column = TextColumn.of(["b", "a", "b"])
    assert np.asarray(column).dtype == np.dtype("<U1")
    assert np.unique(column, return_counts=True)[1].tolist() == [1, 2]
    assert np.asarray(TextColumn.of([])).shape == (0,)
    assert TextColumn.of(np.array(["x", "y"])).tolist() == ["x", "y"]
    assert TextColumn.constant("x", 3).tolist() == ["x"] * 3
    with pytest.raises(ValueError, match="read-only"):
        column.codes[0] = 1


def test_columns_are_not_compared_with_each_other():
    # Their numbers mean different texts.
    column = TextColumn.of(["a"])
    with pytest.raises(TypeError, match="compared with a text"):
        assert column != TextColumn.of(["a"])
    with pytest.raises(TypeError):
        hash(column)
    with pytest.raises(TypeError, match="no column"):
        TextColumn.of("abc")
