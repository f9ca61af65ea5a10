"""Any dataset by itself: its own splits, folds by subject, and PAI species that training has not seen."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.protocols.assignment import PARTS, Assignment, assign, assign_all
from fas_jax.protocols.names import choose_protocols
from tests.populations import population, video

SPECIES = ("print", "replay", "silicone mask")


def own_set(train: int, dev: int, test: int, species: Sequence[str] = SPECIES) -> list[Video]:
    """Every subject has a bona fide video and an attack of each species."""
    return [
        video("mine", f"{split}{number}", split, label, copy, pai)
        for split, count in (("train", train), ("dev", dev), ("test", test))
        for number in range(count)
        for label, copy, pai in ((1, 0, ""), *((0, copy, pai) for copy, pai in enumerate(species)))
    ]


def assigned(name: str, videos: Sequence[Video], seed: int = 0, fraction: float = 0.3) -> dict[str, Assignment]:
    found = assign_all(Evaluation(protocols=(name,), validation_fraction=fraction), (seed,), videos)
    return {assignment.protocol.name: assignment for _, assignment in found}


def parts(assignment: Assignment, videos: Sequence[Video]) -> list[list[Video]]:
    return [[videos[row] for row in getattr(assignment, part)] for part in PARTS]


def test_a_manifests_own_dataset_is_tested_within_itself() -> None:
    videos = own_set(4, 2, 3)
    (assignment,) = assigned("intra-mine", videos).values()
    assert [{each.split for each in part} for part in parts(assignment, videos)] == [{"train"}, {"dev"}, {"test"}]
    assert sum(map(len, parts(assignment, videos))) == len(videos)
    # Without development videos a validation part is cut by subject.
    videos = own_set(5, 0, 3)
    train, validation, test = parts(assigned("intra-mine", videos)["intra-mine"], videos)
    assert {each.split for each in train + validation} == {"train"}
    assert {each.subject for each in train}.isdisjoint(each.subject for each in validation)
    assert len({each.subject for each in validation}) == 2  # 0.3 of 5
    assert {each.split for each in test} == {"test"}


def test_a_dataset_that_lacks_a_split_is_pointed_to_folds() -> None:
    for name in ("intra-mine", "loso-mine"):
        with pytest.raises(UserError, match=r"no videos of the split 'test'.*kfold-mine-5"):
            assigned(name, own_set(4, 2, 0))


def test_folds_that_cannot_be_are_refused() -> None:
    videos = own_set(3, 0, 0)
    with pytest.raises(UserError, match="only 3 subjects of dataset 'mine' have bona fide videos; ask for fewer folds"):
        assigned("kfold-mine-4", videos)
    with pytest.raises(UserError, match="kfold-mine-1 must be at least 2"):
        assigned("kfold-mine-1", videos)
    with pytest.raises(UserError, match="did you mean 'kfold-mine-5'"):
        assigned("kfold-mine", videos)
    # One subject is left to train and validate on.
    with pytest.raises(UserError, match=r"dataset mine: 1 subjects .* cannot be cut"):
        assigned("kfold-mine-2", own_set(2, 0, 0))


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([(0, 1), (0,), (1,)]), min_size=4, max_size=14),
    st.integers(2, 5),
    st.integers(0, 99),
    st.data(),
)
def test_folds_are_apart_and_cover_every_video_once(
    kinds: list[tuple[int, ...]], folds: int, seed: int, data: st.DataObject
) -> None:
    splits = ("train", "dev", "test")
    videos = [
        video("mine", f"s{number}", splits[number % 3], label, copy)
        for number, own in enumerate(kinds)
        for label in own
        for copy in range(2)
    ]
    assume(all(sum(label in own for own in kinds) >= folds for label in (0, 1)))
    try:
        found = assigned(f"kfold-mine-{folds}", videos, seed)
    except UserError as error:  # too few subjects are left to cut a validation part out of
        assert "cannot be cut" in str(error)  # noqa: PT017
        return
    assert list(found) == [f"kfold-mine-{folds}_{fold}" for fold in range(1, folds + 1)]
    tested: list[int] = []
    for assignment in found.values():
        divided = parts(assignment, videos)
        subjects = [{each.subject for each in part} for part in divided]
        assert sum(map(len, subjects)) == len(set.union(*subjects)) == len(kinds)
        assert sum(map(len, divided)) == len(videos)
        assert all({each.label for each in part} == {0, 1} for part in divided)
        tested += assignment.test.tolist()
    assert sorted(tested) == list(range(len(videos)))

    order = data.draw(st.permutations(range(len(videos))))
    shuffled = [videos[row] for row in order]
    for name, assignment in assigned(f"kfold-mine-{folds}", shuffled, seed).items():
        assert parts(assignment, shuffled) == parts(found[name], videos)


def test_folds_stay_the_same_over_versions() -> None:
    """Equal subjects are dealt out in the order of their hashes with the number 0, whatever the seed."""
    videos = own_set(6, 0, 3)
    subjects = sorted(
        {each.subject for each in videos}, key=lambda who: hashlib.sha256(f"0\0mine\0{who}".encode()).digest()
    )
    for fold, assignment in enumerate(assigned("kfold-mine-3", videos, seed=7).values()):
        assert {each.subject for each in parts(assignment, videos)[2]} == {*subjects[fold::3]}


def test_who_is_tested_in_a_fold_depends_on_no_seed() -> None:
    videos = own_set(6, 0, 3)
    one, other = assigned("kfold-mine-3", videos, 0), assigned("kfold-mine-3", videos, 1)
    assert all(one[name].test.tolist() == other[name].test.tolist() for name in one)
    assert any(one[name].validation.tolist() != other[name].validation.tolist() for name in one)


@settings(deadline=None)
@given(
    st.tuples(st.integers(2, 5), st.integers(0, 3), st.integers(1, 4)),
    st.lists(st.sampled_from(["print", "replay", "cut", "mask"]), min_size=2, max_size=4, unique=True),
    st.integers(0, 99),
    st.data(),
)
def test_the_species_that_is_tested_is_in_no_training(
    sizes: tuple[int, int, int], species: list[str], seed: int, data: st.DataObject
) -> None:
    videos = own_set(*sizes, species)
    found = assigned("loso-mine", videos, seed)
    assert set(found) == {f"loso-mine-{each}" for each in species}
    for name, assignment in found.items():
        tested = name.removeprefix("loso-mine-")
        train, validation, test = parts(assignment, videos)
        assert {each.pai for each in test} == {tested, "bonafide"}
        assert {each.pai for each in train + validation} == {*species, "bonafide"} - {tested}
        assert {each.split for each in test} == {"test"}
        assert {each.split for each in validation} == ({"dev"} if sizes[1] else {"train"})
        assert {each.path for each in test} == {
            each.path for each in videos if each.split == "test" and each.pai in (tested, "bonafide")
        }
    shuffled = data.draw(st.permutations(videos))
    for name, assignment in assigned("loso-mine", shuffled, seed).items():
        assert parts(assignment, shuffled) == parts(found[name], videos)


def test_one_species_by_name_and_names_that_files_can_have() -> None:
    videos = own_set(3, 0, 2)
    (assignment,) = assigned("loso-mine-silicone-mask", videos).values()
    assert assignment.protocol.display == "within mine, without silicone mask in training"
    assert {each.pai for each in parts(assignment, videos)[2]} == {"silicone mask", "bonafide"}
    with pytest.raises(UserError, match="unknown protocol 'loso-mine-prnt'; did you mean 'loso-mine"):
        assigned("loso-mine-prnt", videos)
    with pytest.raises(UserError, match="has only print"):
        assigned("loso-mine", own_set(3, 0, 2, ["print"]))
    with pytest.raises(UserError, match="two PAI species that are both 'loso-mine-a-b'"):
        assigned("loso-mine", own_set(3, 0, 2, ["a b", "a/b", "c"]))


def test_two_datasets_and_species_that_make_one_name_are_refused() -> None:
    def of(dataset: str, *species: str) -> list[Video]:
        return [
            video(dataset, f"{split}{number}", split, label, copy, pai)
            for split in ("train", "test")
            for number in range(3)
            for label, copy, pai in ((1, 0, ""), *((0, copy, pai) for copy, pai in enumerate(species)))
        ]

    with pytest.raises(UserError, match="can mean several"):
        assigned("loso-a-b-c", [*of("a", "b-c", "d"), *of("a-b", "c", "d")])
    # A dataset's name goes before a species.
    assert set(assigned("loso-a-b", [*of("a", "b", "d"), *of("a-b", "c", "d")])) == {"loso-a-b-c", "loso-a-b-d"}


def test_rendered_and_official_sets_have_folds_and_species_too() -> None:
    videos = population("synth-", M=(4, 0, 4))
    assert list(assigned("kfold-M-4", videos)) == [f"kfold-M-4_{fold}" for fold in range(1, 5)]
    for protocol in choose_protocols(Evaluation(protocols=("kfold-M-4",)), videos):
        assert np.all(assign(protocol, videos, 0.3, 0).test < len(videos))
