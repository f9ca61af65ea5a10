"""One person or one recording under two names is found, wherever the names are."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.manifest import read_manifest
from fas_jax.protocols import origins
from fas_jax.protocols.assignment import assign, assign_all
from fas_jax.protocols.cuts import subject_folds
from fas_jax.protocols.origins import Origins, find_origins
from fas_jax.protocols.presets import leave_one_out, make_protocol
from fas_jax.protocols.subjects import home_datasets, number_people
from tests.populations import population, video


@pytest.mark.parametrize("other", ["s1", "S1", " S1", "S1  ", "\u017f1"])
def test_case_and_blanks_make_no_other_subject(other: str) -> None:
    """`S1` trains and `s1` is tested in one dataset."""
    videos = [
        *(video("A", who, "train", label) for who in ("S1", "S2") for label in (0, 1)),
        *(video("A", who, "test", label) for who in (other, "S3") for label in (0, 1)),
        *population(C=(0, 0, 2)),
    ]
    with pytest.raises(UserError, match=r"subject .* of A is in train( \(as S1 of A\))? and in validation"):
        assign(make_protocol("dle2023", "A", "C"), videos, 0.5, 0)
    apart = [dataclasses.replace(each, subject="S4") if each.split == "test" else each for each in videos]
    assign(make_protocol("dle2023", "A", "C"), apart, 0.5, 0)


SPELLINGS = ["s 1", "S  1", " s 1 ", "s1", "S1", "2"]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(SPELLINGS)), min_size=1))
def test_people_are_numbered_by_folded_name(people: list[tuple[str, str]]) -> None:
    table = VideoTable.of(video(dataset, who, "train", 1) for dataset, who in people)
    for shared, known in ((), lambda dataset: dataset), (("A=B",), lambda dataset: "A"):
        folded = [(known(dataset), who.strip().lower().replace("  ", " ")) for dataset, who in people]
        pairs = {*zip(folded, number_people(table, shared).tolist(), strict=True)}
        assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def test_spellings_of_one_subject_go_to_one_side() -> None:
    videos = [
        *(
            video("A", who, "train", label)
            for number in range(6)
            for who in (f"s{number}", f"S{number}")
            for label in (0, 1)
        ),
        *population(C=(0, 0, 2)),
    ]
    for seed in range(4):
        found = assign(make_protocol("strict", "A", "C"), videos, 0.34, seed)
        assert {videos[row].subject.lower() for row in found.train}.isdisjoint(
            videos[row].subject.lower() for row in found.validation
        )
        # The draw takes the spelling that comes first, and so the same people as if there were no other.
        alone = [each for each in videos if each.subject[0] != "s"]
        again = assign(make_protocol("strict", "A", "C"), alone, 0.34, seed)
        assert {videos[row].subject.upper() for row in found.validation} == {
            alone[row].subject for row in again.validation
        }


def test_datasets_that_share_people() -> None:
    videos = population(A=(6, 0, 2), B=(6, 0, 2), C=(0, 0, 2))
    settings = Evaluation(protocols=("A+B_to_C",), shared_subjects=("A=B",), validation_fraction=0.34)

    def subjects(settings: Evaluation) -> list[set[str]]:
        ((_, found),) = assign_all(settings, (0,), videos)
        return [{videos[row].subject for row in part} for part in (found.train, found.validation)]

    train, validation = subjects(settings)
    assert train.isdisjoint(validation)
    assert len(validation) == 2
    assert not set.isdisjoint(*subjects(dataclasses.replace(settings, shared_subjects=())))
    folds = subject_folds(videos, np.arange(len(videos)), 3, 0, shared=("A=B",))
    for who in {each.subject for each in videos if each.dataset != "C"}:
        mine = [fold for fold, each in zip(folds, videos, strict=True) if each.subject == who and each.dataset != "C"]
        assert len({*mine}) == 1
    # As a source and the target they leak.
    for shared in (("A=B",), ("C=B", "A=C")):
        with pytest.raises(UserError, match=r"subject test0 of B is in validation \(as test0 of A\) and in test"):
            assign(make_protocol("dle2023", "A", "B"), videos, 0.3, 0, shared=shared)
    assign(make_protocol("dle2023", "A", "B"), videos, 0.3, 0, shared=("A=C",))


def test_homes_are_joined_over_entries_and_find_rendered_ones() -> None:
    assert home_datasets(("C=B", "A=C"), "ABCD") == {"A": "A", "B": "A", "C": "A", "D": "D"}
    assert home_datasets(("O=x",), ["synth-O", "synth-x"]) == {"synth-O": "synth-O", "synth-x": "synth-O"}


def listings(root: Path, train: str = "", test: str = "") -> list[Listing]:
    """Two manifests, as datasets train and test, of which the second may list files of the first."""
    root.mkdir(parents=True, exist_ok=True)
    header = "video,label,subject,split\n"
    for number in range(12):
        (root / f"{number}.mp4").write_bytes(bytes([number]) * (10 + number))
    labels = ("bonafide", "attack")
    rows = [f"{number}.mp4,{labels[number % 2]},s{number // 2}" for number in range(12)]
    (root / "train.csv").write_text(header + "".join(f"{row},train\n" for row in rows[:8]) + train)
    (root / "test.csv").write_text(header + "".join(f"{row},test\n" for row in rows[8:]) + test)
    return [each for name in ("train.csv", "test.csv") for each in read_manifest(root / name)]


def refuse(found: list[Listing]) -> None:
    settings = Evaluation(protocols=("train_to_test",), validation_fraction=0.3)
    assign_all(settings, (0,), [each for listing in found for each in listing.videos], find_origins(found))


def test_two_manifests_that_list_the_same_files(tmp_path: Path) -> None:
    refuse(listings(tmp_path / "apart"))
    same = "".join(f"{number}.mp4,{'attack' if number % 2 else 'bonafide'},t{number},test\n" for number in range(8))
    with pytest.raises(UserError, match=r"train \d.mp4, in (train|validation), and test \d.mp4, in test, are the same"):
        refuse(listings(tmp_path / "same", test=same))


@pytest.mark.parametrize("kind", ["copy", "link", "hard link"])
def test_a_copy_or_a_link_under_another_name(tmp_path: Path, kind: str) -> None:
    listings(tmp_path)
    if kind == "copy":
        (tmp_path / "copy.mp4").write_bytes((tmp_path / "3.mp4").read_bytes())
    elif kind == "link":
        (tmp_path / "copy.mp4").symlink_to("3.mp4")
    else:
        (tmp_path / "copy.mp4").hardlink_to(tmp_path / "3.mp4")
    with pytest.raises(UserError, match=r"train 3.mp4, in .*, and test copy.mp4, in test"):
        refuse(listings(tmp_path, test="copy.mp4,attack,t,test\n"))
    # As many bytes and others: not a copy.
    (tmp_path / "copy.mp4").unlink()
    (tmp_path / "copy.mp4").write_bytes(b"x" * (tmp_path / "3.mp4").stat().st_size)
    refuse(listings(tmp_path, test="copy.mp4,attack,t,test\n"))


def test_folders_of_frames_that_share_a_frame(tmp_path: Path) -> None:
    for folder, names in (("a", (1, 2, 3)), ("b", (4, 5))):
        (tmp_path / folder).mkdir()
        for number in names:
            (tmp_path / folder / f"{number}.png").write_bytes(bytes([number]))
    listings(tmp_path)
    one = "a,attack,x,train\n"
    refuse(listings(tmp_path, one, "b,attack,y,test\n"))
    with pytest.raises(UserError, match=r"train a, in .*, and test a/\{2,3\}.png, in test"):
        refuse(listings(tmp_path, one, '"a/{2,3}.png",attack,y,test\n'))
    # A copy of the whole folder.
    for number, name in ((1, 4), (2, 5), (3, 6)):
        (tmp_path / "b" / f"{name}.png").write_bytes(bytes([number]))
    with pytest.raises(UserError, match=r"train a, in .*, and test b, in test"):
        refuse(listings(tmp_path, one, "b,attack,y,test\n"))


def test_only_videos_of_one_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(origins, "sha256_file", lambda path: read.append(path.name) or "hash")
    found = find_origins(listings(tmp_path))
    assert not any(found.contents)
    assert len({*found.files}) == 12
    (tmp_path / "x.mp4").write_bytes(bytes(10))
    found = find_origins(listings(tmp_path, test="x.mp4,attack,t,test\n0.mp4,bonafide,u,test\n"))
    # 0.mp4 is in both manifests and read once.
    assert sorted(read) == ["0.mp4", "x.mp4"]
    assert [name for name, content in zip(found.files, found.contents, strict=True) if content] == [
        str(tmp_path / name) for name in ("0.mp4", "0.mp4", "x.mp4")
    ]


def test_unreadable_files_and_unknown_contents_are_no_copies(tmp_path: Path) -> None:
    found = listings(tmp_path)
    (tmp_path / "3.mp4").unlink()
    (tmp_path / "x.mp4").write_bytes(bytes(13))
    assert not any(find_origins(found).contents)
    videos = population(O=(3, 0, 1), M=(3, 0, 1))
    (protocol,) = leave_one_out("strict", "M", "OM")
    assign(protocol, videos, 0.3, 0, origins=Origins(contents=[""] * len(videos)))
    with pytest.raises(ValueError, match="origins of 1 videos"):
        assign(protocol, videos, 0.3, 0, origins=Origins(files=["a"]))


def test_contents_tell_copies_in_any_order_of_the_videos() -> None:
    videos = population(O=(3, 0, 1), M=(3, 0, 1))
    known = {(each.dataset, each.path): str(number) for number, each in enumerate(videos)}
    (protocol,) = leave_one_out("strict", "M", "OM")

    def contents(order: list[Video]) -> Origins:
        return Origins(contents=[known[each.dataset, each.path] for each in order])

    assign(protocol, videos, 0.3, 0, origins=contents(videos))
    known["M", "test/test0_1_0.avi"] = known["O", "train/train2_0_1.avi"]
    for order in (videos, videos[::-1]):
        with pytest.raises(UserError, match=r"O train/train2_0_1.avi, in \w+, and M test/test0_1_0.avi, in test"):
            assign(protocol, order, 0.3, 0, origins=contents(order))
