"""The four datasets in full: trees of the official size whose files are all one tiny video, and broken copies."""

import csv
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layout import check_whole
from fas_jax.datasets.layouts import LAYOUTS, scan
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.datasets.prepared import Prepared
from fas_jax.pixels.selection import kept_indices
from tests.trees import moving_frames, msu_mfsd, write_video

SMALL = Preparation(videos_per_shard=64, workers=2)
RENDITIONS = {"whole": Rendition(size=16)}
TOTALS = {"oulu_npu": 4950, "replay_attack": 1200, "msu_mfsd": 280, "casia_fasd": 600}


def official_paths(layout: str, protocols: Path) -> list[str]:
    """Paths of all videos as the official lists write them, Replay-Attack's enrolment included."""
    if layout == "oulu_npu":
        lists = (protocols / "oulu_npu/lists").glob("Protocol_[1234]*/*/for_*.lst")
        return sorted({f"{line.split()[0]}.avi" for path in lists for line in path.read_text().splitlines() if line})
    if layout == "casia_fasd":
        faces = protocols / "casia_fasd/face-locations"
        return [path.relative_to(faces).with_suffix(".avi").as_posix() for path in faces.glob("*/*/*.face")]
    if layout == "replay_attack":
        with (protocols / "replay_attack/all_files.csv").open(newline="") as file:
            return [f"{row['path']}.mov" for row in csv.DictReader(file)]
    names = [protocols / f"msu_mfsd/folds/msu_mfsd_mod_{kind}vids.txt" for kind in ("real", "attack")]
    lines = [line.strip() for path in names for line in path.read_text().splitlines() if line.strip()]
    return [f"scene01/{line.removeprefix('./')}" for line in lines]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = moving_frames(3, shape=(16, 16, 3))
    return write_video(tmp_path_factory.mktemp("one") / "video.avi", frames, codec="mjpeg")


@pytest.fixture
def full(video: Path, shared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a whole copy of a dataset."""

    def make(layout: str) -> Path:
        root = tmp_path / layout
        for path in official_paths(layout, shared / "data/protocols"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(video, root / path)
        if layout == "msu_mfsd":
            for name in ("train_sub_list.txt", "test_sub_list.txt"):
                (root / name).write_bytes((shared / "data/protocols/msu_mfsd/folds" / name).read_bytes())
        return root

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_copy_is_whole(full: Callable[[str], Path], layout: str) -> None:
    listing = scan(full(layout))
    assert len(listing.videos) == TOTALS[layout]
    assert (listing.absent, listing.missing, listing.unknown, listing.complete) == ((), (), (), True)
    assert listing.counts == LAYOUTS[layout].official
    # The names by rule are the official ones.
    assert {path.path.lower().rsplit(".", 1)[0] for path in listing.videos} == LAYOUTS[layout].names()
    check_whole(listing, allow_partial=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_misnamed_and_moved_files_are_named(full: Callable[[str], Path], layout: str) -> None:
    root = full(layout)
    videos = scan(root).videos
    gone, misnamed = videos[3].path, videos[10].path
    (root / gone).unlink()
    (root / misnamed).rename(root / Path(misnamed).with_name(f"copy of {Path(misnamed).name}"))
    listing = scan(root)
    assert len(listing.videos) == TOTALS[layout] - 2
    with pytest.raises(UserError) as caught:
        check_whole(listing, allow_partial=False)
    text = str(caught.value)
    for path in (gone, misnamed):
        assert path.lower().rsplit(".", 1)[0] in text
        row = next(video for video in videos if video.path == path)
        assert f"{row.split} {row.pai_fine}: " in text
    assert f"copy of {Path(misnamed).name}" in text
    assert "--allow-partial" in text
    check_whole(listing, allow_partial=True)


@pytest.mark.parametrize(
    ("layout", "path", "target"),
    [
        ("oulu_npu", "Train_files/1_1_01_1.avi", "Test_files/1_1_01_1.avi"),
        ("replay_attack", "train/real/client001_session01_webcam_authenticate_adverse_1.mov", "devel/real/{}"),
    ],
)
def test_a_file_in_another_split_is_found(full: Callable[[str], Path], layout: str, path: str, target: str) -> None:
    root = full(layout)
    target = target.format(Path(path).name)
    (root / path).rename(root / target)
    with pytest.raises(UserError, match=f"in another place or not in the folder's lists: {target}"):
        check_whole(scan(root), allow_partial=False)


def test_casia_files_moved_between_splits(full: Callable[[str], Path]) -> None:
    root = full("casia_fasd")
    (root / "test_release/30").rename(root / "train_release/30")
    with pytest.raises(UserError, match=r"test cut: 87 of 90 videos.*not there \(12\): test_release/30/1,.*train_rel"):
        check_whole(scan(root), allow_partial=False)


def test_msu_clients_moved_between_lists(full: Callable[[str], Path]) -> None:
    root = full("msu_mfsd")
    train, test = root / "train_sub_list.txt", root / "test_sub_list.txt"
    assert b"\r\n" in train.read_bytes()
    assert not train.read_bytes().endswith(b"\n")
    lines = train.read_bytes().split(b"\r\n")
    train.write_bytes(b"\r\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"train bonafide: 28 of 30 videos"):
        check_whole(scan(root), allow_partial=False)
    test.write_bytes(test.read_bytes() + b"\r\n" + lines[0])
    with pytest.raises(UserError, match=r"test_sub_list\.txt names client 02, who is officially in the train set"):
        scan(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_doubled_file(full: Callable[[str], Path], layout: str, video: Path) -> None:
    root = full(layout)
    first = scan(root).videos[0].path
    os.link(video, root / f"{first}.bak.avi")
    listing = scan(root)
    assert listing.unknown == (f"{first}.bak.avi",)
    check_whole(listing, allow_partial=False)
    folder, name = (root / first).parent, Path(first)
    os.link(video, folder / f"{name.stem.upper()}{name.suffix.swapcase()}")
    with pytest.raises(UserError, match="same video twice"):
        scan(root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_upper_case_checkout(full: Callable[[str], Path], layout: str) -> None:
    root = full(layout)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.rename(path.with_name(path.name.upper()))
    listing = scan(root)
    assert listing.complete
    check_whole(listing, allow_partial=False)


def test_oulu_protocol_files_without_the_last_newline(full: Callable[[str], Path], shared: Path) -> None:
    root = full("oulu_npu")
    lists = {"train": "train", "dev": "dev", "test": "eval"}
    for name in ("Protocol_1", "Protocol_2", *(f"Protocol_{p}_{k}" for p in (3, 4) for k in range(1, 7))):
        folder, fold = name[:10], name[10:]
        for split, title in (("train", "Train"), ("dev", "Dev"), ("test", "Test")):
            lines = []
            for kind in ("real", "attack"):
                text = (shared / f"data/protocols/oulu_npu/lists/{name}/{lists[split]}/for_{kind}.lst").read_text()
                for line in text.splitlines():
                    if line.strip():
                        stem = line.split()[0].split("/")[1]
                        replay = split == "test" and stem[-1] in "45"
                        lines.append(f"{'+1' if kind == 'real' else '-2' if replay else '-1'},{stem}")
            path = root / f"Protocols/{folder}/{title}{fold}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes("\r\n".join(lines).encode())
    assert len(list(root.glob("Protocols/*/*.txt"))) == 42
    listing = scan(root)
    assert listing.complete
    # A line lost at the end of every list that has the video.
    for path in root.glob("Protocols/*/*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.endswith("6_3_55_5")]
        path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"not in the folder's lists: Test_files/6_3_55_5\.avi"):
        check_whole(scan(root), allow_partial=False)


def test_a_partial_copy_needs_leave_and_stays_marked(full: Callable[[str], Path], tmp_path: Path) -> None:
    root = full("msu_mfsd")
    whole = prepare_dataset(root, tmp_path / "whole", SMALL, RENDITIONS)
    assert (whole.complete, sum(whole.splits.values())) == (True, 280)
    table = json.loads((tmp_path / "whole/preparation.json").read_text())
    assert table["found"] == table["official"]
    gone = "scene01/real/real_client001_laptop_SD_scene01.mov"
    (root / gone).unlink()
    with pytest.raises(UserError, match=gone.lower()[:-4]):
        prepare_dataset(root, tmp_path / "part", SMALL, RENDITIONS)
    assert not (tmp_path / "part").exists()
    part = prepare_dataset(root, tmp_path / "part", dataclasses.replace(SMALL, allow_partial=True), RENDITIONS)
    assert (part.complete, sum(part.splits.values())) == (False, 279)
    assert not Prepared.open(tmp_path / "part").complete


def test_a_rendered_tree_is_held_to_its_plan(tmp_path: Path) -> None:
    root = msu_mfsd(tmp_path / "root", frames=2)
    counts = {split: {"bonafide": 2, "print": 2, "ipad": 2, "iphone": 2} for split in ("train", "test")}
    (root / "SYNTHETIC.json").write_text(json.dumps({"dataset": "synth-M", "videos": counts}))
    check_whole(scan(root), allow_partial=False)
    (root / "scene01/real/real_client001_laptop_SD_scene01.mov").unlink()
    with pytest.raises(UserError, match="test bonafide: 1 of 2 videos"):
        check_whole(scan(root), allow_partial=False)


def test_the_length_tells_the_label_only_without_the_cap() -> None:
    """Replay-Attack: 375 frames of every bona fide video, 230 to 240 of every attack."""

    def auc(most: int) -> float:
        bona_fide = [len(kept_indices(375, 30, "last", most))]
        attacks = [len(kept_indices(count, 30, "last", most)) for count in range(230, 241)]
        pairs = [(b > a) + (b == a) / 2 for b in bona_fide for a in attacks]
        return sum(pairs) / len(pairs)

    assert auc(0) == 1.0
    assert auc(Rendition().max_frames) == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_preparing_a_whole_copy(full: Callable[[str], Path], layout: str, tmp_path: Path) -> None:
    prepared = prepare_dataset(full(layout), tmp_path / "out", SMALL, RENDITIONS)
    assert prepared.complete
    official = LAYOUTS[layout].official
    assert prepared.splits == {split: sum(official[split].values()) for split in official}
