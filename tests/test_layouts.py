import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.layouts import LAYOUTS, detect_layout, scan


def make(root: Path, paths: Iterable[str]) -> Path:
    """Empty files: reading names opens no video."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def by_path(listing: Listing) -> dict[str, Video]:
    return {video.path: video for video in listing.videos}


def test_oulu_npu_against_the_official_lists(tmp_path: Path, shared: Path) -> None:
    lists = shared / "data/protocols/oulu_npu/lists"
    species = {}
    for path in lists.glob("Protocol_[1234]*/*/for_*.lst"):
        for line in path.read_text().split("\n"):
            if line.strip():
                name, user, *kind = line.split()
                species[f"{name}.avi"] = (user, kind[0] if kind else "")
    assert len(species) == 4950
    make(tmp_path, species)
    listing = scan(tmp_path)
    assert listing.layout.name == "oulu_npu"
    assert (listing.dataset, listing.complete, listing.unknown, listing.missing) == ("O", True, (), ())
    names = {"": "bonafide", "print/1": "print-1", "print/2": "print-2"}
    names |= {"video_replay/1": "replay-1", "video_replay/2": "replay-2"}
    folders = {"train": "Train_files", "dev": "Dev_files", "test": "Test_files"}
    for video in listing.videos:
        user, kind = species[video.path]
        assert video.subject == user
        assert video.pai_fine == names[kind]
        assert video.pai == names[kind].split("-")[0]
        assert video.label == (kind == "")
        assert video.path.startswith(folders[video.split])
    assert by_path(listing)["Train_files/4_2_07_3.avi"].device == "phone-4"
    assert by_path(listing)["Train_files/4_2_07_3.avi"].session == "2"
    (tmp_path / "Dev_files/1_1_21_1.avi").unlink()
    assert not scan(tmp_path).complete


def test_replay_attack_against_the_official_list(tmp_path: Path, shared: Path) -> None:
    with (shared / "data/protocols/replay_attack/all_files.csv").open(newline="") as file:
        rows = {f"{row['path']}.mov": row for row in csv.DictReader(file)}
    make(tmp_path, rows)
    listing = scan(tmp_path)
    enrolment = {path for path, row in rows.items() if row["purpose"] == "enroll"}
    assert len(enrolment) == 100
    assert {video.path for video in listing.videos} == rows.keys() - enrolment
    assert (listing.dataset, listing.complete, listing.unknown) == ("I", True, ())
    for video in listing.videos:
        row = rows[video.path]
        assert int(video.subject) == int(row["client_id"])
        assert video.split == {"train": "train", "devel": "dev", "test": "test"}[row["set"]]
        assert video.label == (row["class"] == "real")
        assert video.session == row["light"]
        if row["class"] == "attack":
            fine = "print" if "_print_" in video.path else video.path.split("attack_")[1].split("_")[0]
            assert video.pai_fine.split("-")[0] == fine
            assert video.pai_fine == "print" or video.pai_fine.split("-")[1] == row["sample_type"]
    grandtest = shared / "data/protocols/replay_attack/lists"
    for folder, split in (("train", "train"), ("devel", "dev"), ("test", "test")):
        for kind, label in (("real", 1), ("attack", 0)):
            lines = (grandtest / f"grandtest-{folder}-{kind}.txt").read_text().splitlines()
            official = {line.split()[0] + ".mov" for line in lines if line.strip()}
            mine = {video.path for video in listing.videos if (video.split, video.label) == (split, label)}
            assert mine == official


def test_msu_mfsd_against_the_official_lists(tmp_path: Path, shared: Path) -> None:
    folds = shared / "data/protocols/msu_mfsd/folds"
    paths = [
        f"scene01/{line.strip().removeprefix('./')}"
        for name in ("attackvids", "realvids")
        for line in (folds / f"msu_mfsd_mod_{name}.txt").read_text().splitlines()
        if line.strip()
    ]
    assert len(paths) == 280
    make(tmp_path, paths)
    for name in ("train_sub_list.txt", "test_sub_list.txt"):
        (tmp_path / name).write_bytes((folds / name).read_bytes())
    listing = scan(tmp_path)
    assert (listing.dataset, listing.complete, listing.unknown) == ("M", True, ())
    train = {int(line) for line in (folds / "train_sub_list.txt").read_text().split()}
    for video in listing.videos:
        assert (video.split == "train") == (int(video.subject) in train)
        assert video.label == ("/real/" in video.path)
    video = by_path(listing)["scene01/attack/attack_client002_laptop_SD_iphone_video_scene01.mov"]
    assert (video.pai, video.pai_fine, video.device) == ("replay", "iphone", "laptop")


def test_casia_fasd_against_the_official_list(tmp_path: Path, shared: Path) -> None:
    faces = shared / "data/protocols/casia_fasd/face-locations"
    paths = [path.relative_to(faces).with_suffix(".avi").as_posix() for path in faces.glob("*/*/*.face")]
    assert len(paths) == 600
    listing = scan(make(tmp_path, paths))
    assert (listing.dataset, listing.complete, listing.unknown) == ("C", True, ())
    assert len({video.subject for video in listing.videos}) == 50
    folds = shared / "data/protocols/casia_fasd/folds"
    kinds = {"real": "bonafide", "cut_attack": "cut", "warped_attack": "warped", "video_attack": "replay"}
    for name, fine in kinds.items():
        for line in (folds / f"{name}.txt").read_text().splitlines():
            if line.strip():
                assert by_path(listing)[f"{line.split()[0]}.avi"].pai_fine == fine
    video = by_path(listing)["test_release/30/HR_4.avi"]
    assert (video.subject, video.split, video.session, video.label) == ("50", "test", "HR", 0)
    assert by_path(listing)["train_release/3/1.avi"].session == "odd"


CASIA = [f"{folder}_release/1/{number}.avi" for folder in ("train", "test") for number in (1, 3)]


def test_upper_case_copy(tmp_path: Path) -> None:
    listing = scan(make(tmp_path, [path.upper() for path in CASIA]))
    assert {video.path for video in listing.videos} == {path.upper() for path in CASIA}
    assert [(video.split, video.label) for video in listing.videos] == [
        ("train", 1),
        ("train", 0),
        ("test", 1),
        ("test", 0),
    ]


def test_other_videos_are_reported_and_not_used(tmp_path: Path) -> None:
    others = ["train_release/21/1.avi", "train_release/1/9.avi", "holiday.mp4", "train_release/1/1.mov"]
    listing = scan(make(tmp_path, [*CASIA, *others, "readme.txt"]))
    assert sorted(listing.unknown) == sorted(others)
    assert len(listing.videos) == 4


def test_links_to_folders_are_reported(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", ["1.avi"])
    root = make(tmp_path / "root", CASIA)
    (root / "train_release/2").symlink_to(outside)
    listing = scan(root)
    assert listing.unknown == ("train_release/2/ (a link to a folder, not followed)",)


def test_a_video_in_another_users_split_is_unknown(tmp_path: Path) -> None:
    root = make(tmp_path, ["Train_files/1_1_01_1.avi", "Train_files/1_1_01_2.avi", "Train_files/1_1_36_1.avi"])
    assert scan(root).unknown == ("Train_files/1_1_36_1.avi",)


def test_protocol_lists_choose_the_videos(tmp_path: Path) -> None:
    root = make(tmp_path, [f"Train_files/1_1_01_{kind}.avi" for kind in (1, 2, 3)])
    (root / "Protocols/Protocol_1").mkdir(parents=True)
    (root / "Protocols/Protocol_1/Train.txt").write_text("+1,1_1_01_1\n-1,1_1_01_2\n-1,1_1_01_5")
    listing = scan(root)
    assert [video.path for video in listing.videos] == ["Train_files/1_1_01_1.avi", "Train_files/1_1_01_2.avi"]
    assert listing.unknown == ("Train_files/1_1_01_3.avi",)
    assert listing.missing == ("train_files/1_1_01_5",)
    (root / "Protocols/Protocol_1/Train.txt").write_text("+1,1_1_01_2\n")
    with pytest.raises(UserError, match=r"Train\.txt: '\+1,1_1_01_2' is not a line"):
        scan(root)


def test_replay_lists_with_and_without_suffix(tmp_path: Path) -> None:
    stem = "client001_session01_webcam_authenticate_adverse_1"
    attack = "train/attack/hand/attack_print_client001_session01_highdef_photo_adverse"
    root = make(tmp_path, [f"train/real/{stem}.mov", f"{attack}.MOV", f"train/real/{stem[:-1]}2.mov"])
    (root / "protocols").mkdir()
    (root / "protocols/real-train.txt").write_text(f"train/real/{stem}.mov\r\n")
    (root / "protocols/attack-grandtest-allsupports-train.txt").write_text(f"{attack} 1")
    listing = scan(root)
    assert [video.label for video in listing.videos] == [0, 1]
    assert listing.unknown == (f"train/real/{stem[:-1]}2.mov",)
    assert listing.missing == ()


def msu(root: Path, train: bytes, test: bytes) -> Path:
    make(root, [f"scene01/real/real_client00{c}_laptop_SD_scene01.mov" for c in (1, 2)])
    make(root, [f"scene01/attack/attack_client00{c}_laptop_SD_printed_photo_scene01.mov" for c in (1, 2)])
    (root / "train_sub_list.txt").write_bytes(train)
    (root / "test_sub_list.txt").write_bytes(test)
    return root


def test_msu_lists(tmp_path: Path) -> None:
    listing = scan(msu(tmp_path / "good", b"02\r\n05", b"01\r\n13"))
    assert {(video.subject, video.split) for video in listing.videos} == {("002", "train"), ("001", "test")}
    with pytest.raises(UserError, match=r"client 02 is in both"):
        scan(msu(tmp_path / "both", b"02", b"02"))
    with pytest.raises(UserError, match=r"test_sub_list\.txt: 'x' is not a client"):
        scan(msu(tmp_path / "bad", b"02", b"x"))
    root = msu(tmp_path / "missing", b"02", b"01")
    (root / "test_sub_list.txt").unlink()
    with pytest.raises(UserError, match=r"no test_sub_list\.txt"):
        scan(root)


def test_the_same_video_twice(tmp_path: Path) -> None:
    root = make(tmp_path, [*CASIA, "train_release/1/1.AVI"])
    if len(list((root / "train_release/1").iterdir())) < 3:
        pytest.skip("this file system does not tell upper from lower case")
    with pytest.raises(UserError, match="same video twice"):
        scan(root)


def test_unknown_missing_and_mixed_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        detect_layout(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no known layout.*oulu_npu: train_files.*scene01"):
        scan(tmp_path / "empty")
    make(tmp_path / "mixed", [*CASIA, "scene01/x"])
    with pytest.raises(UserError, match="several layouts"):
        scan(tmp_path / "mixed")
    assert scan(tmp_path / "mixed", "casia_fasd").layout.letter == "C"
    with pytest.raises(UserError, match="did you mean 'casia_fasd'"):
        scan(tmp_path / "mixed", "casia_fast")


@pytest.mark.parametrize(("number", "absent"), [(1, "attack"), (3, "bona fide")])
def test_one_class_only(tmp_path: Path, number: int, absent: str) -> None:
    with pytest.raises(UserError, match=f"no {absent} video"):
        scan(make(tmp_path, [f"train_release/1/{number}.avi"]))


def test_rendered_trees_say_so(tmp_path: Path) -> None:
    make(tmp_path, CASIA)
    (tmp_path / "SYNTHETIC.json").write_text(json.dumps({"dataset": "synth-C"}))
    listing = scan(tmp_path)
    assert listing.synthetic
    assert {video.dataset for video in listing.videos} == {"synth-C"}
    (tmp_path / "SYNTHETIC.json").write_text(json.dumps({"dataset": "synth-O"}))
    with pytest.raises(UserError, match=r"SYNTHETIC\.json names the dataset 'synth-O'"):
        scan(tmp_path)


def test_official_totals() -> None:
    totals = {
        layout.letter: {split: (counts["bonafide"], sum(counts.values())) for split, counts in layout.official.items()}
        for layout in LAYOUTS.values()
    }
    assert totals == {
        "O": {"train": (360, 1800), "dev": (270, 1350), "test": (360, 1800)},
        "C": {"train": (60, 240), "test": (90, 360)},
        "I": {"train": (60, 360), "dev": (60, 360), "test": (80, 480)},
        "M": {"train": (30, 120), "test": (40, 160)},
    }
