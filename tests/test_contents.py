"""Files count by their contents: what was swapped or edited is noticed, what was only touched is not read twice."""

import dataclasses
import os
from pathlib import Path

import pytest

from fas_jax.base import contents
from fas_jax.base.contents import FileState
from fas_jax.base.record import RenditionInfo
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets import preparation, shards
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.datasets.prepared import Prepared
from tests.trees import msu_mfsd, replay_attack

SETTINGS = Preparation(videos_per_shard=4, workers=1, allow_partial=True)
WHOLE = {"whole": Rendition(size=16)}
FACES = {**WHOLE, "face": Rendition(size=16, crop="annotation", no_face="skip")}


def test_a_file_is_read_only_where_its_size_or_times_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    hashed = contents.sha256_file
    monkeypatch.setattr(contents, "sha256_file", lambda path: read.append(path) or hashed(path))
    (tmp_path / "a").write_bytes(b"one")
    first = FileState.of(tmp_path, "a")
    assert (first.size, first.sha256) == (3, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed")
    assert first.now(tmp_path, "a") is first
    assert len(read) == 1
    os.utime(tmp_path / "a", ns=(1, 1))
    touched = first.now(tmp_path, "a")
    assert (touched.sha256, touched.modified_ns, len(read)) == (first.sha256, 1, 2)
    # Other bytes of the same size, with the time set back: the file system still knows that it was changed.
    (tmp_path / "a").write_bytes(b"two")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert touched.now(tmp_path, "a").sha256 != first.sha256


def test_what_is_no_file_of_the_folder_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    nothing = FileState(-1, 0, 0, "")
    for name in ("link", "dangling", "pipe", ".", "absent"):
        assert FileState.of(root, name) == nothing.now(root, name) == nothing
    (root / "absent").write_bytes(b"")
    assert nothing.now(root, "absent") != nothing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """16 videos of 5 frames, 8 a split, in two shards each, with a face annotation each."""
    root = msu_mfsd(tmp_path / "root", frames=5)
    for video in scan(root).videos:
        path, _ = scan(root).layout.annotation(video.path.rsplit(".", 1)[0])
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("0, 16, 8, 40, 32, 0, 0, 0, 0\n")
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all videos that are decoded from now on."""
    found: list[str] = []
    decode = shards.decode_videos

    def noted(root, paths, *others):
        yield from decode(root, (found.append(path) or path for path in paths), *others)

    monkeypatch.setattr(shards, "decode_videos", noted)
    return found


def test_two_files_of_one_size_swapped_in_place_give_new_clips(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    first, second = (video.path for video in scan(root).videos[:2])
    # To the byte as large as each other, and of the same time.
    size = max((root / name).stat().st_size for name in (first, second))
    for name in (first, second):
        (root / name).write_bytes((root / name).read_bytes().ljust(size, b"\0"))
        os.utime(root / name, ns=(10**18, 10**18))
    before = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    old = by_path(before)
    decoded.clear()
    (root / first).rename(root / "aside")
    (root / second).rename(root / first)
    (root / "aside").rename(root / second)
    after = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    # The one shard that holds both is made again.
    assert {first, second} <= set(decoded)
    assert len(decoded) == 4
    new = by_path(after)
    assert (new[first], new[second]) == (old[second], old[first])
    assert after.fingerprint != before.fingerprint


def by_path(prepared: Prepared) -> dict[str, RenditionInfo]:
    return {video.path: info.renditions["whole"] for shard in prepared.shards for video, info in prepared.clips(shard)}


def test_touching_prepares_nothing_again_and_hashes_once(
    root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_dataset(root, tmp_path / "out", SETTINGS, FACES)
    decoded.clear()
    for path in root.rglob("*"):
        os.utime(path)
    read: list[Path] = []
    hashed = contents.sha256_file
    monkeypatch.setattr(contents, "sha256_file", lambda path: read.append(path) or hashed(path))
    assert prepare_dataset(root, tmp_path / "out", SETTINGS, FACES) == prepared
    assert (decoded, len(read)) == ([], 32)
    assert prepare_dataset(root, tmp_path / "out", SETTINGS, FACES) == prepared
    assert (decoded, len(read)) == ([], 32)


def test_an_edited_annotation_counts_where_it_is_used(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    whole, faces = (prepare_dataset(root, tmp_path / str(len(each)), SETTINGS, each) for each in (WHOLE, FACES))
    decoded.clear()
    source = scan(root).sources[scan(root).videos[0].path]
    path = root / source.annotation
    before = path.stat()
    path.write_text(path.read_text().replace("16", "18"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert prepare_dataset(root, tmp_path / "1", SETTINGS, WHOLE) == whole
    assert decoded == []
    assert prepare_dataset(root, tmp_path / "2", SETTINGS, FACES).fingerprint != faces.fingerprint
    assert len(decoded) == 4


def test_an_edited_protocol_list_counts(tmp_path: Path, decoded: list[str]) -> None:
    root = replay_attack(tmp_path / "replay", frames=2)
    before = by_path(prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)).keys()
    decoded.clear()
    (listed,) = root.glob("protocols/attack-grandtest-allsupports-train.txt")
    *kept, dropped = listed.read_text().splitlines()
    listed.write_text("\n".join(kept))
    after = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    assert before - by_path(after).keys() == {dropped}
    # The shards of the other splits are kept.
    assert set(decoded) <= {video.path for video in scan(root).videos if video.split == "train"}


@pytest.mark.parametrize("part", ["opencv", "ffmpeg", "record", "machine"])
def test_another_decoder_prepares_again(
    part: str, root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    decoded.clear()
    now = shards.versions()
    assert "avcodec" in now["ffmpeg"]
    monkeypatch.setattr(shards, "versions", lambda: now | {part: "another"})
    again = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    assert len(decoded) == 16
    assert (again.versions[part], first.versions[part]) == ("another", now[part])


def test_versions_are_those_of_whoever_made_the_shards(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run with another NumPy makes one shard again and keeps the others."""
    installed = shards.installed
    monkeypatch.setattr(shards, "installed", lambda *names: installed(*names) | {"numpy": "1"})
    first = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    assert first.versions["numpy"] == "1"
    assert {"fas-jax", "opencv", "ffmpeg", "numpy"} <= first.versions.keys()
    monkeypatch.setattr(shards, "installed", lambda *names: installed(*names) | {"numpy": "2"})
    assert prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE) == first
    first.path(first.shards[0]).unlink()
    mended = prepare_dataset(root, tmp_path / "out", SETTINGS, WHOLE)
    assert mended.versions["numpy"] == "1, 2"
    # Who made it is no part of what it is.
    assert mended.fingerprint == first.fingerprint


def test_a_rendition_that_no_video_has_is_an_error_and_one_that_some_lack_is_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [root / source.annotation for source in scan(root).sources.values()]
    paths[0].write_text("0, 0, 0, 0, 0, 0, 0, 0, 0\n")
    prepared = prepare_dataset(root, tmp_path / "some", SETTINGS, FACES)
    assert "M: 1 of 16 clips lack the rendition face" in caplog.text
    assert [reason for _, _, reason in prepared.not_made()] == ["no face in any of its 1 frames"]
    assert sum(prepared.splits.values()) == 16
    for path in paths:
        path.write_text("0, 0, 0, 0, 0, 0, 0, 0, 0\n")
    with pytest.raises(preparation.UserError, match="rendition face can be made of none of the 16 videos of M"):
        prepare_dataset(root, tmp_path / "none", SETTINGS, FACES)
    # Where nothing else is made of them, the videos are failures.
    with pytest.raises(preparation.UserError, match="16 videos failed"):
        prepare_dataset(root, tmp_path / "alone", SETTINGS, {"face": FACES["face"]})


def test_the_videos_of_a_layouts_list_count_only_where_they_are_used(root: Path) -> None:
    """MSU-MFSD's list of turned videos is asked for by rotation = list alone."""
    source = scan(root).sources[scan(root).videos[0].path]
    turned = dataclasses.replace(source, upside_down=not source.upside_down)
    for rotation in ("tag", "list"):
        settings = dataclasses.replace(SETTINGS, rotation=rotation)
        used = [shards.used_source(each, settings, WHOLE) for each in (source, turned)]
        assert (used[0] == used[1]) == (rotation == "tag")
