"""Folds by subject: apart, balanced, and the same in any order."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.protocols.cuts import subject_folds
from tests.populations import population, video

sizes = st.tuples(st.integers(2, 6), st.sampled_from([0, 3]), st.integers(1, 4))
populations = st.builds(
    lambda prefix, **counts: population(prefix, **counts),
    st.sampled_from(["", "synth-"]),
    **dict.fromkeys("OCIM", sizes),
)


@settings(deadline=None)
@given(populations, st.integers(2, 6), st.integers(0, 99), st.data())
def test_folds_are_disjoint_balanced_and_need_no_order(videos, folds, seed, data):
    indices = np.array([i for i, video in enumerate(videos) if video.split != "test"])
    found = subject_folds(videos, indices, folds, seed)
    of_subject = defaultdict(set)
    subjects = defaultdict(set)
    for index, fold in zip(indices, found, strict=True):
        of_subject[videos[index].dataset, videos[index].subject].add(fold)
        subjects[videos[index].dataset, fold].add(videos[index].subject)
    assert all(len(own) == 1 for own in of_subject.values())
    for dataset in {each.dataset for each in videos}:
        counts = [len(subjects[dataset, fold]) for fold in range(folds)]
        assert max(counts) - min(counts) <= 1
    totals = np.bincount(found, minlength=folds)
    assert totals.max() - totals.min() <= 3  # one subject's videos
    for fold in range(folds):
        assert {videos[i].label for i in indices[found == fold]} == {0, 1}
        assert {videos[i].label for i in indices[found != fold]} == {0, 1}

    order = data.draw(st.permutations(range(len(indices))))
    shuffled = [videos[index] for index in indices[order]]
    again = subject_folds(shuffled, np.arange(len(shuffled)), folds, seed)
    np.testing.assert_array_equal(again, found[order])


def test_folds_place_both_classes_wherever_they_can():
    def folds(*kinds, number=2):
        videos = [video("O", f"s{i}", "train", label) for i, kind in enumerate(kinds) for label in kind]
        found = subject_folds(videos, np.arange(len(videos)), number, 0)
        return [{videos[i].label for i in np.flatnonzero(found == fold)} for fold in range(number)]

    assert folds((0, 1), (1,), (0,)) == [{0, 1}, {0, 1}]
    assert folds((1,), (0,), (1,), (0,)) == [{0, 1}, {0, 1}]
    assert folds((1,), (1,), (1,), (0,), (0,), (0,), (0, 1), number=4) == [{0, 1}] * 4
    with pytest.raises(UserError, match="bona fide videos of at least 2 subjects"):
        folds((0, 1), (0,), (0,))
    with pytest.raises(UserError, match="only 2 subjects"):
        folds((0, 1), (0, 1), number=3)
    with pytest.raises(UserError, match="at least 2, not 1"):
        folds((0, 1), (0, 1), number=1)
