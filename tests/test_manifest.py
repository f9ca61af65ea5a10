import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Data, Evaluation, Features, Preparation
from fas_jax.datasets.builder import from_record
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.datasets.shards import plan_shards
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.stages import prepare
from fas_jax.pixels.pictures import unpack_frame
from fas_jax.protocols.assignment import assign
from fas_jax.protocols.names import choose_protocols
from tests.trees import moving_frames, msu_mfsd, write_video

SMALL = Preparation(workers=1)
RENDITIONS = {"whole": Rendition(segment=1, max_frames=0, size=32)}


def write_frames(folder: Path, names: list[str], seed: int = 0) -> list[np.ndarray]:
    """PNG files in this order; returns the RGB frames."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = moving_frames(len(names), seed, (32, 32, 3))
    for name, frame in zip(names, frames, strict=True):
        cv2.imwrite(str(folder / name), frame[..., ::-1])
    return frames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_video(tmp_path / "видео/影.avi", moving_frames(5), codec="mjpeg")
    write_video(tmp_path / "b.mov", moving_frames(5, 1), codec="mjpeg")
    write_frames(tmp_path / "folder", ["f10.png", "f9.png", "f100.png"])
    write_frames(tmp_path / "glob", ["x1_a2.png", "x1_a1.png", "x1_a3.png"], 3)
    write_frames(tmp_path / "other", ["0.png", "1.png", "2.png"], 4)
    return tmp_path


HEADER = "video,label,subject,split,pai,fps,x,y,w,h,session,frames\n"
GOOD = (
    "видео/影.avi,bonafide,anna,train,,,,,,,\n"
    "b.mov,attack,anna,train,print-a4,,1,2,30,40,lab\n"
    "folder,Bonafide,ben,dev,,12.5,,,,,\n"
    "glob/x1_*.png,attack,ben,dev,mask,,,,,,\n"
    '"other/{2,0}.png",attack,cem,test,,,,,,,\n'
    "other/1.png,bonafide,cem,test,,,,,,,\n"
)


def write(root: Path, text: str, name: str = "mine.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_manifest_of_all_kinds(root: Path, tmp_path: Path) -> None:
    (listing,) = read_manifest(write(root, HEADER + GOOD))
    assert (listing.dataset, listing.complete, listing.synthetic) == ("mine", True, False)
    assert listing.videos[1] == Video("видео/影.avi", "mine", "anna", "train", 1, "bonafide", "bonafide", "", "")
    first = listing.videos[0]
    assert (first.pai, first.pai_fine, first.session) == ("print", "print-a4", "lab")
    assert listing.sources["b.mov"].box == (1, 2, 30, 40)
    assert listing.sources["folder"].frames == ("folder/f9.png", "folder/f10.png", "folder/f100.png")
    assert listing.sources["glob/x1_*.png"].frames == tuple(f"glob/x1_a{k}.png" for k in (1, 2, 3))
    assert listing.sources["other/{2,0}.png"].frames == ("other/0.png", "other/2.png")
    prepared = prepare_listing(listing, tmp_path / "out", SMALL, RENDITIONS)
    assert (prepared.splits, prepared.complete) == ({"train": 2, "dev": 2, "test": 2}, True)
    source = prepared.builder().as_data_source("dev")
    clips = {clip[0].path: clip for clip in (from_record(source[i]) for i in range(2))}
    video, info, frames = clips["folder"]
    # A frame folder is a clip like any other; its frames come in the order of their numbers.
    expected = [cv2.imread(str(root / "folder" / name))[..., ::-1] for name in ("f9.png", "f10.png", "f100.png")]
    np.testing.assert_array_equal([unpack_frame(frame) for frame in frames["whole"]], expected)
    assert (info.frame_count, info.renditions["whole"].frame_indices, info.fps, info.codec) == (
        3,
        (0, 1, 2),
        12.5,
        "png",
    )
    assert video.pai_fine == "bonafide"
    assert clips["glob/x1_*.png"][0].pai == "mask"


def test_parquet_says_the_same(root: Path) -> None:
    (expected,) = read_manifest(write(root, HEADER + GOOD))
    rows = [dict(zip(HEADER.strip().split(","), line.split(","), strict=False)) for line in GOOD.splitlines()[:4]]
    texts, numbers = ("video", "label", "subject", "split", "pai", "session"), ("fps", "x", "y", "w", "h")
    columns = {name: [row[name] or None for row in rows] for name in texts}
    columns |= {name: [float(row[name]) if row[name] else None for row in rows] for name in numbers}
    pyarrow.parquet.write_table(pyarrow.table(columns), root / "mine.parquet")
    (found,) = read_manifest(root / "mine.parquet")
    assert found.videos == expected.videos[:4]
    assert found.sources == {video.path: expected.sources[video.path] for video in found.videos}


def test_all_errors_at_once_with_their_lines(root: Path) -> None:
    outside = root.parent / f"{root.name}-outside"
    write_frames(outside, ["1.png"])
    (root / "link").symlink_to(outside)
    (root / "link.png").symlink_to(outside / "1.png")
    write_frames(root / "twins", ["a1.png", "a1.jpg"])
    write_frames(root / "unnumbered", ["a.png", "b.png"])
    (root / "empty").mkdir()
    rows = {
        "nothing.mov,attack,s,train": "does not exist",
        "../b.mov,attack,s,train": "without '..'",
        "/etc/passwd,attack,s,train": "must be relative",
        "link.png,attack,s,train": "leads out",
        "link,attack,s,train": "leads out",
        "twins,attack,s,train": "same number",
        "unnumbered,attack,s,train": "no number",
        "empty,attack,s,train": "holds no PNG",
        "folder,real,s,train": "label 'real' is not bonafide or attack",
        "folder,attack,s,eval": "split 'eval'",
        "folder,attack,,train": "subject is empty",
        "folder,bonafide,s,train,print": "bona fide video has no PAI",
        "folder,attack,s,train,,fast": "fps 'fast' is not a number",
        "folder,attack,s,train,,,1,2": "must be given together",
        "folder,attack,s,train,,,1,2,0,5": "w '0' is out of range",
        "folder,attack,s,train,,,,,,,,every": "frames 'every' is not all or chosen",
        "folder,attack,s,train,,,,,,,,,too much": "more cells than columns",
        "other,attack,anna,train": "",
        "other/1.png,attack,anna,train": "is in line 19 already",
        "b.mov,attack,anna,test": "subject anna is in test, and by line 19 in train",
    }
    with pytest.raises(UserError) as caught:
        read_manifest(write(root, HEADER + "".join(f"{row}\n" for row in rows)))
    lines = str(caught.value).splitlines()
    assert f"has {len(rows) - 1} errors" in lines[0]
    for number, expected in enumerate(rows.values(), 2):
        found = [line for line in lines if line.strip().startswith(f"line {number}:")]
        assert ([expected in line for line in found] == [True]) if expected else not found


def test_bad_files_and_columns(root: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'video'"):
        read_manifest(write(root, "vidio,label,subject,split\n"))
    with pytest.raises(UserError, match="no column split"):
        read_manifest(write(root, "video,label,subject\n"))
    with pytest.raises(UserError, match="lists no video"):
        read_manifest(write(root, HEADER))
    with pytest.raises(UserError, match=r"gone\.csv is not a readable"):
        read_manifest(root / "gone.csv")
    (root / "no.parquet").write_text("text")
    with pytest.raises(UserError, match=r"no\.parquet is not a readable Parquet"):
        read_manifest(root / "no.parquet")
    for name in ("O", "synth-O", "a b"):
        with pytest.raises(UserError, match=f"line 2: dataset '{name}' must be"):
            read_manifest(write(root, f"video,label,subject,split,dataset\nb.mov,attack,s,train,{name}\n"))
    (root / "latin.csv").write_bytes("video,label,subject,split\nM\xfcller.avi,attack,s,train\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv is not a readable"):
        read_manifest(root / "latin.csv")


def test_frames_that_were_chosen_already_are_not_skipped_again(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One table holds videos and chosen frames, under one rendition."""
    write_frames(root / "chosen", [f"{25 * number}.png" for number in range(9)])
    write_video(root / "long.avi", moving_frames(9), codec="mjpeg")
    rows = "long.avi,attack,a,test,{0}\nfolder,attack,b,test,\nchosen,bonafide,c,test,{1}\n"
    renditions = {
        "whole": Rendition(segment=4, max_frames=4, size=8),
        "all": Rendition(segment=5, max_frames=0, size=8),
    }
    kept = {}
    for name, words in (("one", ("", "chosen")), ("two", ("all", "all"))):
        caplog.clear()
        (listing,) = read_manifest(
            write(root, "video,label,subject,split,frames\n" + rows.format(*words), f"{name}.csv")
        )
        prepared = prepare_listing(listing, tmp_path / name, SMALL, renditions)
        assert "of 1 videos that are images, such as folder, renditions keep one frame only" in caplog.text
        ((shard,),) = [prepared.shards]
        kept[name] = {
            video.path: [info.renditions[each].frame_indices for each in renditions]
            for video, info in prepared.clips(shard)
        }
    assert kept["two"] == {"long.avi": [(3, 7, 8), (4, 8)], "chosen": [(3, 7, 8), (4, 8)], "folder": [(2,), (2,)]}
    assert kept["one"] == kept["two"] | {"chosen": [(0, 3, 5, 8), tuple(range(9))]}
    sources = {"chosen": dataclasses.replace(listing.sources["chosen"], chosen=True)}
    other = dataclasses.replace(listing, sources={**listing.sources, **sources})
    assert plan_shards(listing, SMALL, renditions)[0].key != plan_shards(other, SMALL, renditions)[0].key


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16")])
def test_manifests_of_spreadsheets(root: Path, separator: str, encoding: str) -> None:
    text = f"{HEADER}b.mov,attack,s,train,,,12.5,1,2,30.5,40\n"
    (expected,) = read_manifest(write(root, text))
    name = f"{expected.dataset}.csv"
    (root / name).write_bytes(text.replace(",", separator).replace(".5", ",5").encode(encoding))
    (found,) = read_manifest(root / name)
    assert (found.videos, found.sources) == (expected.videos, expected.sources)


def test_a_file_whose_name_cannot_name_a_dataset_is_said_once(root: Path) -> None:
    rows = "b.mov,attack,s,train\nfolder,bonafide,t,train\n"
    with pytest.raises(UserError, match=r"the name of the file cannot name it: dataset 'my_set'.*Rename") as caught:
        read_manifest(write(root, f"video,label,subject,split\n{rows}", "my_set.csv"))
    assert "\n" not in str(caught.value)
    named = rows.replace("train", "train,mine")
    (found,) = read_manifest(write(root, f"video,label,subject,split,dataset\n{named}", "my_set.csv"))
    assert found.dataset == "mine"


def test_manifests_and_an_official_dataset_in_one_protocol(root: Path, tmp_path: Path) -> None:
    rows = "video,label,subject,split,dataset\n"
    for dataset, split in (("A", "train"), ("B", "train"), ("own-test", "test")):
        for subject in range(2):
            for label in ("bonafide", "attack"):
                name = f"{dataset}{subject}{label}.avi"
                write_video(root / name, moving_frames(2, subject), codec="mjpeg")
                rows += f"{name},{label},{subject},{split},{dataset}\n"
    manifest = write(root, rows, "all.csv")
    msu = msu_mfsd(tmp_path / "msu", frames=2)
    experiment = Experiment(
        cache=str(tmp_path / "cache"),
        data=Data(manifests=(str(manifest),), msu_mfsd=str(msu)),
        preparation=Preparation(workers=1, allow_partial=True),
        renditions={"whole": Rendition(size=16)},
        features=Features(weights="random"),
        evaluation=Evaluation(protocols=("A+M_to_own-test", "B_to_M"), validation_fraction=0.5),
    )
    prepared = prepare(experiment, {"msu_mfsd": msu})
    assert {each.dataset for each in prepared} == {"M", "A", "B", "own-test"}
    videos = [video for each in prepared for shard in each.shards for video, _ in each.clips(shard)]
    own, official = choose_protocols(experiment.evaluation, videos)
    assert (own.display, official.sources) == ("A&M to own-test", ("B",))
    # The two clients of this small copy cannot be cut into training and validation: two more.
    more = [Video(f"{s}{label}", "M", s, "train", label, "print", "print", "", "") for s in "xy" for label in (0, 1)]
    assignment = assign(own, videos + more, 0.5, 0)
    assert {(videos + more)[i].dataset for i in assignment.test} == {"own-test"}
    assert {(videos + more)[i].dataset for i in assignment.train} == {"A", "M"}


def test_attributes_travel_beside_the_content_and_change_no_key(root: Path, tmp_path: Path) -> None:
    header = "video,label,subject,split,attr.Skin-type,attr.note\n"
    rows = ["folder,bonafide,ben,train,{},\n", "glob/x1_*.png,attack,ben,train,,\n", "b.mov,attack,anna,test,VI,\n"]
    place = tmp_path / "prepared"

    def prepared(skin: str | None):
        text = header + "".join(rows).format(skin)
        if skin is None:
            text = "\n".join(",".join(line.split(",")[:4]) for line in text.splitlines()) + "\n"
        (listing,) = read_manifest(write(root, text))
        return prepare_listing(listing, place, SMALL, RENDITIONS)

    first = prepared("II")
    assert first.attributes == {"Skin-type": {"folder": "II", "b.mov": "VI"}}
    states = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    second = prepared("III")
    assert second.attributes["Skin-type"]["folder"] == "III"
    assert second.fingerprint == first.fingerprint
    changed = {path.name for path, state in states.items() if path.stat().st_mtime_ns != state}
    assert changed <= {"attributes.json", *(path.name for path in states if "lock" in path.name)}
    # No attributes at all: those of a dataset that was prepared before there were any.
    assert prepared(None).fingerprint == first.fingerprint
    assert prepared(None).attributes == {}
    assert not (place / "attributes.json").exists()


@pytest.mark.parametrize(
    ("column", "message"), [("attr.", "names no attribute"), ("attr.a b", "'attr.a b'"), ("attr.é", "letters, digits")]
)
def test_names_of_attributes_are_checked(root: Path, column: str, message: str) -> None:
    path = write(root, f"video,label,subject,split,{column}\nb.mov,attack,a,train,x\n")
    with pytest.raises(UserError, match=message) as error:
        read_manifest(path)
    assert "mine.csv" in str(error.value)
    with pytest.raises(UserError, match="column twice"):
        read_manifest(write(root, "video,label,subject,split,attr.x,Attr.x\nb.mov,attack,a,train,x,y\n"))
