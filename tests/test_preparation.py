import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import count
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fas_jax.base.errors import UserError
from fas_jax.base.record import ClipInfo, RenditionInfo, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets import preparation, shards
from fas_jax.datasets.builder import RecordCodec, from_record
from fas_jax.datasets.casia_fasd.casia_fasd_dataset_builder import Builder
from fas_jax.datasets.layouts import LAYOUTS, scan
from fas_jax.datasets.loading import shard_frames
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.pixels.decoding import IN_FLIGHT, Undecoded, decode_videos
from fas_jax.pixels.pictures import unpack_frame
from tests.trees import MAKERS, decoded, moving_frames, msu_mfsd, write_video

SMALL = Preparation(videos_per_shard=3, workers=2, allow_partial=True)
RENDITIONS = {"whole": Rendition(size=32)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 videos of MSU-MFSD's layout."""
    return msu_mfsd(tmp_path_factory.mktemp("msu"))


@pytest.fixture(scope="module")
def whole(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """What an unbroken run makes of `tree`."""
    return prepare_dataset(tree, tmp_path_factory.mktemp("whole"), SMALL, RENDITIONS)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the notes of the videos' times."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("made/")}


@pytest.mark.parametrize("layout", MAKERS)
def test_every_layout_from_files_to_tfds(tmp_path: Path, layout: str) -> None:
    root = MAKERS[layout](tmp_path / "root")
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    listing = scan(root)
    assert (prepared.dataset, prepared.layout) == (LAYOUTS[layout].letter, layout)
    assert (prepared.synthetic, prepared.complete, prepared.failures) == (False, False, ())
    assert sum(prepared.splits.values()) == len(listing.videos)
    stored = []
    for split, clips in prepared.splits.items():
        source = prepared.builder().as_data_source(split)
        assert len(source) == clips
        stored += [from_record(source[index]) for index in range(clips)]
    assert [video for video, _, _ in stored] == list(listing.videos)
    for video, info, frames in stored:
        expected_info, _, expected_frames = decoded(root / video.path, RENDITIONS["whole"])
        assert info == expected_info
        np.testing.assert_array_equal([unpack_frame(frame) for frame in frames["whole"]], expected_frames)
    assert [clip for shard in prepared.shards for clip in prepared.clips(shard)] == [entry[:2] for entry in stored]
    assert Prepared.open(tmp_path / "out") == prepared
    prepared.verify()


@pytest.mark.parametrize("layout", MAKERS)
def test_tfds_own_writer_stores_the_same(tmp_path: Path, layout: str) -> None:
    """The builder package alone, as a TFDS user would run it."""
    root = MAKERS[layout](tmp_path / "root", frames=5)
    module = __import__(f"fas_jax.datasets.{layout}.{layout}_dataset_builder", fromlist=["Builder"])
    builder = module.Builder(data_dir=tmp_path / "tfds", settings=SMALL, renditions=RENDITIONS)
    assert builder.name == layout
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=root))
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    assert set(builder.info.splits) == set(prepared.splits)
    for split in prepared.splits:
        theirs = {clip[0].path: clip for clip in map(from_record, builder.as_data_source(split))}
        ours = {clip[0].path: clip for clip in map(from_record, prepared.builder().as_data_source(split))}
        assert theirs == ours


def test_tfds_builders_with_other_settings_have_other_folders(tmp_path: Path) -> None:
    """One data_dir, two sets of settings: the second must not be given the first one's records."""
    root = MAKERS["casia_fasd"](tmp_path / "root", frames=3)
    config = tfds.download.DownloadConfig(manual_dir=root)
    folders, sides = set(), []
    for size in (32, 16):
        builder = Builder(data_dir=tmp_path / "tfds", settings=SMALL, renditions={"near": Rendition(size=size)})
        builder.download_and_prepare(download_config=config)
        folders.add(builder.data_dir)
        _, _, frames = from_record(builder.as_data_source("test")[0])
        sides.append(unpack_frame(frames["near"][0]).shape[0])
    assert (len(folders), sides) == (2, [32, 16])
    # How the work is done makes no other folder.
    again = Builder(
        data_dir=tmp_path / "tfds",
        settings=dataclasses.replace(SMALL, workers=1, allow_failures=1),
        renditions={"near": Rendition(size=16)},
    )
    assert again.data_dir in folders


def test_prepared_data_of_an_earlier_version_are_told(whole: Prepared, tmp_path: Path) -> None:
    table = json.loads((whole.directory / "preparation.json").read_text())
    del table["renditions"]
    table["settings"] |= {"segment": 30, "faces": "whole"}
    (tmp_path / "preparation.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"was written by another version .*prepare again"):
        Prepared.open(tmp_path)


@pytest.mark.slow
def test_the_script_takes_one_rendition_from_options_or_several_from_a_file(tmp_path: Path) -> None:
    root, place = MAKERS["casia_fasd"](tmp_path / "root", frames=3), Path(__file__).parents[1]

    def script(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "scripts/prepare.py", str(root), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(place)}
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)

    done = script("--out", tmp_path / "one", "--size", 16, "--allow-partial", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert Prepared.open(tmp_path / "one").renditions.keys() == {"whole"}
    assert Prepared.open(tmp_path / "one").rendition("whole")["size"] == 16
    tables = "[renditions.near]\nsize = 16\n[renditions.far]\nsize = 8\nsegment = 2\n"
    (tmp_path / "two.toml").write_text(f"[preparation]\nallow_partial = true\nworkers = 1\n{tables}")
    done = script("--out", tmp_path / "two", "--config", tmp_path / "two.toml")
    assert done.returncode == 0, done.stderr
    assert "rendition far: 16 clips, 0 without it" in done.stdout
    assert Prepared.open(tmp_path / "two").renditions.keys() == {"near", "far"}
    refused = script("--out", tmp_path / "two", "--config", tmp_path / "two.toml", "--size", 8)
    assert refused.returncode == 2
    assert "either in" in refused.stderr


def test_another_number_of_workers_gives_the_same_bits(tree: Path, whole: Prepared, tmp_path: Path) -> None:
    prepare_dataset(tree, tmp_path, dataclasses.replace(SMALL, workers=1), RENDITIONS)
    assert contents(tmp_path) == contents(whole.directory)


def test_another_place_gives_the_same_fingerprint(tree: Path, whole: Prepared, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    assert prepare_dataset(tmp_path / "copy", tmp_path / "out", SMALL, RENDITIONS).fingerprint == whole.fingerprint


SCRIPT = """
import sys
from pathlib import Path
with Path(sys.argv[3]).open("a") as file:
    file.write("run ")
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.preparation import prepare_dataset
settings = Preparation(videos_per_shard=3, workers=1, allow_partial=True)
prepare_dataset(Path(sys.argv[1]), Path(sys.argv[2]), settings, {"whole": Rendition(size=32)})
"""


@pytest.mark.slow
@pytest.mark.parametrize("shards_before", [1, 3])
def test_killed_and_started_again_gives_the_same_bits(
    tree: Path, whole: Prepared, tmp_path: Path, shards_before: int
) -> None:
    # No `if __name__ == "__main__"`: workers must not run the main script again.
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(tmp_path / "script.py"), str(tree), str(out), str(tmp_path / "runs")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while len(list(out.glob("clips/msu*.json"))) < shards_before:
            assert process.poll() is None
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "runs").read_text() == "run "
    with pytest.raises(UserError, match="not a finished prepared dataset"):
        Prepared.open(out)
    done = {path: path.stat().st_mtime_ns for path in out.glob("msu*.array_record-*")}
    left = out / ".tmp-left.array_record-00000-of-00001"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    prepare_dataset(tree, out, SMALL, RENDITIONS)
    assert contents(out) == contents(whole.directory)
    kept = [path for path, changed in done.items() if path.stat().st_mtime_ns == changed]
    assert len(kept) >= shards_before


def test_a_corrected_identity_does_not_meet_old_records(tree: Path, whole: Prepared, tmp_path: Path) -> None:
    """The same files with another subject, as after a manifest was corrected: other records and fingerprint."""
    out = tmp_path / "out"
    listing = scan(tree)
    first = prepare_listing(listing, out, SMALL, RENDITIONS)
    videos = (dataclasses.replace(listing.videos[0], subject="corrected"), *listing.videos[1:])
    second = prepare_listing(dataclasses.replace(listing, videos=videos), out, SMALL, RENDITIONS)
    assert second.fingerprint != first.fingerprint
    assert "corrected" in {video.subject for shard in second.shards for video, _ in second.clips(shard)}


def test_a_finished_dataset_is_not_made_again(tree: Path, whole: Prepared) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*.*")}
    assert prepare_dataset(tree, whole.directory, dataclasses.replace(SMALL, workers=1), RENDITIONS) == whole
    assert before == {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*.*")}


def test_damage_is_noticed_and_mended(tree: Path, whole: Prepared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole.directory, out)
    path = out / whole.shards[1].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"00001-of-00003 is damaged"):
        Prepared.open(out).verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="bytes instead of"):
        Prepared.open(out)
    prepare_dataset(tree, out, SMALL, RENDITIONS)
    assert contents(out) == contents(whole.directory)
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        Prepared.open(out)
    table = json.loads((whole.directory / "preparation.json").read_text())
    table["complete"] = True
    (out / "preparation.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match="was changed after it was written"):
        Prepared.open(out)
    outside = dataclasses.replace(whole.shards[0], name="../outside")
    with pytest.raises(UserError, match=r"'\.\./outside' leads out of"):
        whole.path(outside)
    with pytest.raises(UserError, match=r"'\.\./outside' leads out of"):
        whole.clips(outside)
    (out / "clips" / f"{whole.shards[0].name}.json").write_text("{}")
    with pytest.raises(UserError, match="missing or damaged"):
        dataclasses.replace(whole, directory=out).clips(whole.shards[0])


def test_other_settings_or_data_in_the_same_folder(tree: Path, whole: Prepared, tmp_path: Path) -> None:
    other = {"whole": Rendition(size=32, position="first", max_frames=3), "far": Rendition(size=16)}
    with pytest.raises(UserError, match=r"position is 'last' there and 'first' now") as told:
        prepare_dataset(tree, whole.directory, SMALL, other)
    assert "renditions.whole.max_frames is 7 there and 3 now" in str(told.value)
    assert "renditions.far.size is 'not set' there and 16 now" in str(told.value)
    casia = MAKERS["casia_fasd"](tmp_path / "casia", frames=2)
    with pytest.raises(UserError, match="dataset is 'M' there and 'C' now"):
        prepare_dataset(casia, whole.directory, SMALL, RENDITIONS)


def test_raw_records_hold_the_same_pixels_and_never_mix_with_others(
    tree: Path, whole: Prepared, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SMALL, records="raw")
    with pytest.raises(UserError, match="records is 'png' there and 'raw' now"):
        prepare_dataset(tree, whole.directory, settings, RENDITIONS)
    raw = prepare_dataset(tree, tmp_path / "raw", settings, RENDITIONS)
    assert raw.fingerprint != whole.fingerprint
    assert Prepared.open(raw.directory).settings.records == "raw"
    # A header of a few bytes and the pixels, as they are.
    assert len(from_record(raw.builder().as_data_source("train")[0])[2]["whole"][0]) - 32 * 32 * 3 in range(20)
    for mine, other in zip(raw.shards, whole.shards, strict=True):
        assert raw.clips(mine) == whole.clips(other)
        pairs = zip(shard_frames(raw, mine, 5, "whole"), shard_frames(whole, other, 5, "whole"), strict=True)
        for ours, theirs in pairs:
            assert ours.valid == theirs.valid
            np.testing.assert_array_equal(ours.frames, theirs.frames)


def test_failures_are_counted_reported_and_allowed(tmp_path: Path) -> None:
    root = msu_mfsd(tmp_path / "root")
    bad = "scene01/attack/attack_client001_laptop_SD_ipad_video_scene01.mov"
    linked = "scene01/attack/attack_client001_laptop_SD_iphone_video_scene01.mov"
    (root / bad).write_bytes(b"")
    shutil.move(root / linked, tmp_path / "elsewhere.mov")
    (root / linked).symlink_to(tmp_path / "elsewhere.mov")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=rf"2 videos failed and 0 may: {bad}: empty file.*failures\.json"):
        prepare_dataset(root, out, SMALL, RENDITIONS)
    report = json.loads((out / "failures.json").read_text())
    assert [(row["video"]["path"], row["reason"]) for row in report] == [
        (bad, "empty file (0 bytes)"),
        (linked, "a link that leads out of the dataset's folder"),
    ]
    with pytest.raises(UserError, match="not a finished"):
        Prepared.open(out)
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.array_record-*")}
    prepared = prepare_dataset(root, out, dataclasses.replace(SMALL, allow_failures=2), RENDITIONS)
    assert written == {path: path.stat().st_mtime_ns for path in out.glob("*.array_record-*")}
    assert [failure.video.path for failure in prepared.failures] == [bad, linked]
    assert sum(prepared.splits.values()) == 14
    assert not {bad, linked} & {video.path for shard in prepared.shards for video, _ in prepared.clips(shard)}
    with pytest.raises(UserError, match="2 videos failed and 1 may"):
        prepare_dataset(root, out, dataclasses.replace(SMALL, allow_failures=1), RENDITIONS)
    # Mended videos are taken up, by making their shard again and no other.
    write_video(root / bad, moving_frames(40))
    prepared = prepare_dataset(root, out, dataclasses.replace(SMALL, allow_failures=1), RENDITIONS)
    assert [failure.video.path for failure in prepared.failures] == [linked]
    changed = [path for path, time_ in written.items() if path.stat().st_mtime_ns != time_]
    assert len(changed) == 1


def test_a_shard_of_failures_only(tmp_path: Path) -> None:
    root = msu_mfsd(tmp_path / "root", frames=3)
    videos = [video for video in scan(root).videos if video.split == "train"]
    for video in videos[:3]:
        (root / video.path).write_bytes(b"")
    prepared = prepare_dataset(root, tmp_path / "out", dataclasses.replace(SMALL, allow_failures=3), RENDITIONS)
    assert [shard.clips for shard in prepared.shards if shard.split == "train"] == [0, 3, 2]
    source = prepared.builder().as_data_source("train")
    assert [from_record(source[index])[0] for index in range(len(source))] == videos[3:]


def test_nothing_left(tmp_path: Path) -> None:
    root = msu_mfsd(tmp_path / "root", frames=3)
    for path in (root / "scene01/real").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no bona fide video of .* decodes"):
        prepare_dataset(root, tmp_path / "out", dataclasses.replace(SMALL, allow_failures=9), RENDITIONS)
    for path in (root / "scene01/attack").glob("*client001*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no video of the split test decodes"):
        prepare_dataset(root, tmp_path / "out", dataclasses.replace(SMALL, allow_failures=99), RENDITIONS)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes seconds to decode."""
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    path = tmp_path_factory.mktemp("long") / "long.mov"
    write_video(path, [frame] * 12, codec="mjpeg")
    # The same packets again and again: encoding takes longer than decoding.
    import av

    with av.open(str(path)) as source, av.open(str(path.with_name("longer.mov")), "w") as target:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        stream = target.add_stream_from_template(source.streams.video[0])
        step = packets[1].pts - packets[0].pts
        for number in range(600):
            packet = av.Packet(bytes(packets[number % 12]))
            packet.stream, packet.time_base = stream, packets[0].time_base
            packet.pts = packet.dts = number * step
            packet.is_keyframe = True
            target.mux(packet)
    return path.with_name("longer.mov")


def test_a_hanging_worker_is_given_up_and_replaced(tree: Path, long_video: Path, tmp_path: Path) -> None:
    shutil.copy(long_video, tmp_path / "long.mov")
    good = scan(tree).videos[0].path
    (tmp_path / "good.mp4").write_bytes((tree / good).read_bytes())
    settings = dataclasses.replace(SMALL, workers=1, timeout=3.0)
    outcomes = list(decode_videos(tmp_path, ["good.mp4", "long.mov", "good.mp4"], settings, RENDITIONS))
    assert isinstance(outcomes[1], Undecoded)
    assert (outcomes[1].reason, outcomes[1].transient) == ("decoding did not end within 3 s", True)
    assert outcomes[0] == outcomes[2]
    assert not isinstance(outcomes[0], Undecoded)


def test_a_dying_worker_is_recorded_and_replaced(tree: Path, long_video: Path, tmp_path: Path) -> None:
    shutil.copy(long_video, tmp_path / "long.mov")
    good = scan(tree).videos[0].path
    (tmp_path / "good.mp4").write_bytes((tree / good).read_bytes())
    before = {child.pid for child in active_children()}
    settings = dataclasses.replace(SMALL, workers=1)
    outcomes = decode_videos(tmp_path, ["good.mp4", "long.mov", "good.mp4"], settings, RENDITIONS)
    first = next(outcomes)
    (worker,) = [child for child in active_children() if child.pid not in before]
    assert worker.pid is not None
    threading.Timer(0.3, os.kill, [worker.pid, signal.SIGKILL]).start()
    second, third = outcomes
    assert isinstance(second, Undecoded)
    assert second.transient
    assert "process died" in second.reason
    assert first == third


@pytest.mark.slow
def test_a_shard_with_a_hung_worker_is_tried_again(
    tree: Path, long_video: Path, whole: Prepared, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(tree, root)
    slow = root / "scene01/real/real_client001_laptop_SD_scene01.mov"
    normal = slow.read_bytes()
    shutil.copy(long_video, slow)
    with pytest.raises(UserError, match=r"did not end within 3 s"):
        prepare_dataset(root, tmp_path / "out", dataclasses.replace(SMALL, timeout=3.0), RENDITIONS)
    sidecars = [json.loads(path.read_text()) for path in (tmp_path / "out/clips").iterdir()]
    assert sum(sidecar["transient"] for sidecar in sidecars) == 1
    slow.write_bytes(normal)
    prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    assert contents(tmp_path / "out") == contents(whole.directory)


@pytest.mark.slow
def test_a_failure_of_the_machine_is_tried_again_and_one_of_the_file_is_kept(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after failures were allowed: with more time, the video is a clip like any other."""
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(tree, root)
    slow, broken = (f"scene01/real/real_client00{n}_laptop_SD_scene01.mov" for n in (1, 2))
    (root / broken).write_bytes(b"no video")
    asked: list[str] = []

    def hurried(root: Path, paths: Iterable[str], settings: Preparation, *rest: Any) -> Iterator[Any]:
        """As though the slow video took a minute."""
        listed = list(paths)
        asked.extend(listed)
        for path, outcome in zip(listed, decode_videos(root, listed, settings, *rest), strict=True):
            late = path == slow and settings.timeout < 60
            yield Undecoded(f"decoding did not end within {settings.timeout:g} s", transient=True) if late else outcome

    monkeypatch.setattr(shards, "decode_videos", hurried)
    short = dataclasses.replace(SMALL, allow_failures=2, timeout=30.0)
    first = prepare_dataset(root, out, short, RENDITIONS)
    assert {failure.video.path for failure in first.failures} == {slow, broken}
    # It fails as before: what is there stays, and only that video was tried.
    asked.clear()
    assert prepare_dataset(root, out, short, RENDITIONS) == first
    assert asked == [slow]
    assert "1 videos timed out, or their process died; trying them again" in caplog.text
    assert "changed" not in caplog.text
    longer = dataclasses.replace(short, timeout=90.0)
    second = prepare_dataset(root, out, longer, RENDITIONS)
    assert [failure.video.path for failure in second.failures] == [broken]
    asked.clear()
    assert prepare_dataset(root, out, longer, RENDITIONS) == second
    assert not asked
    assert prepare_dataset(root, tmp_path / "other", longer, RENDITIONS).fingerprint == second.fingerprint
    assert contents(tmp_path / "other") == contents(out)


def test_a_bounded_number_of_videos_is_in_flight(tree: Path) -> None:
    path = scan(tree).videos[0].path
    taken = 0

    def endless() -> object:
        nonlocal taken
        for _ in count():
            taken += 1
            yield path

    outcomes = decode_videos(tree, endless(), SMALL, RENDITIONS)  # type: ignore[arg-type]
    for number in range(1, 20):
        next(outcomes)
        assert taken <= number + IN_FLIGHT * 2 + 1
    outcomes.close()


def test_workers_import_neither_jax_nor_tfds() -> None:
    code = (
        "import sys, fas_jax.pixels.decoding as d\n"
        "d._start()\n"
        "bad = {'jax', 'tensorflow_datasets', 'tensorflow', 'grain'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_settings_out_of_range(tree: Path, tmp_path: Path) -> None:
    for change in ({"videos_per_shard": 0}, {"workers": -1}, {"allow_failures": -1}, {"timeout": 0.0}):
        with pytest.raises(UserError, match=next(iter(change))):
            prepare_dataset(tree, tmp_path, dataclasses.replace(SMALL, **change), RENDITIONS)  # type: ignore[arg-type]
    for change in ({"segment": 0}, {"size": -1}, {"max_frames": -1}, {"margin": -0.1}):
        with pytest.raises(UserError, match=f"renditions.near: {next(iter(change))} must be at least"):
            prepare_dataset(tree, tmp_path, SMALL, RENDITIONS | {"near": Rendition(**change)})  # type: ignore[arg-type]
    for names in ({}, {"Near": Rendition()}, {"": Rendition()}, {"a/b": Rendition()}):
        with pytest.raises(UserError, match="renditions"):
            prepare_dataset(tree, tmp_path, SMALL, names)


def test_a_folder_in_use_is_waited_for_and_what_is_not_ours_is_left_alone(
    tree: Path, whole: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes at once: one decodes, and the other finds its work."""
    out = tmp_path / "out"
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(tmp_path / "script.py"), str(tree), str(out), str(tmp_path / "runs")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while not list(out.glob("clips/msu*.json")):
            assert process.poll() is None
            time.sleep(0.002)
        monkeypatch.setattr(preparation, "decode_shards", None)
        assert prepare_dataset(tree, out, SMALL, RENDITIONS) == dataclasses.replace(whole, directory=out)
        assert process.wait() == 0
    assert contents(out) == contents(whole.directory)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write into"):
        prepare_dataset(tree, tmp_path / "file", SMALL, RENDITIONS)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/failures.json").write_text("mine")
    with pytest.raises(UserError, match="own is not empty and holds no prepared dataset"):
        prepare_dataset(tree, tmp_path / "own", SMALL, RENDITIONS)
    assert contents(tmp_path / "own") == {"failures.json": b"mine"}


def test_a_full_disk_leaves_nothing_that_looks_whole(tree: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both fail in write()."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from fas_jax.base.rendition import Rendition\nfrom fas_jax.base.settings import Preparation\n"
        "from fas_jax.datasets.preparation import prepare_dataset\n"
        "from fas_jax.base.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    settings = Preparation(workers=1, allow_partial=True)\n"
        "    prepare_dataset(Path(sys.argv[1]), Path(sys.argv[2]), settings, {'whole': Rendition()})\n"
        "except UserError as error:\n"
        "    sys.exit(0 if 'cannot write' in str(error) else 1)\n"
        "sys.exit(1)"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(tree), str(out)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    assert not [path for path in out.rglob("*") if ".array_record" in path.name]


def test_a_rendered_dataset_stays_one(tmp_path: Path) -> None:
    root = MAKERS["casia_fasd"](tmp_path / "root", frames=2)
    (root / "SYNTHETIC.json").write_text('{"dataset": "synth-C"}')
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    assert (prepared.dataset, prepared.synthetic) == ("synth-C", True)
    assert {video.dataset for shard in prepared.shards for video, _ in prepared.clips(shard)} == {"synth-C"}


def test_records_survive_the_codec() -> None:
    video = Video("a/ß 影.avi", "O", "01", "dev", 1, "bonafide", "bonafide", "", "3")
    made = {"whole": RenditionInfo((3, 4), (0.5,) * 6), "near-2": RenditionInfo(no_face=1, reason="no face in frame 3")}
    info = ClipInfo(4, float(np.float32(29.97)), 7, 8, "h264", 9 << 40, 4, renditions=made)
    frames = {"whole": [bytes(range(256)), b"\0"], "near-2": []}
    codec = RecordCodec(made)
    assert codec.decode(codec.encode(video, info, frames)) == (video, info, frames)


@pytest.mark.slow
def test_above_one_gigabyte_in_one_split(tmp_path: Path) -> None:
    """TFDS's own writer crashes there without TensorFlow."""
    root = msu_mfsd(tmp_path / "root", frames=1, clients=((2, 3, 5, 6), (1,)))
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (700, 700, 3), np.uint8) for _ in range(26)]
    source = write_video(tmp_path / "noise.avi", noise, codec="rawvideo", pixels="bgr24")
    for video in scan(root).videos:
        if video.split == "train":
            shutil.copy(source, root / video.path)
    rendition = Rendition(segment=1, max_frames=0, size=700)
    settings = Preparation(videos_per_shard=8, allow_partial=True)
    prepared = prepare_dataset(root, tmp_path / "out", settings, {"whole": rendition})
    assert sum(shard.size for shard in prepared.shards if shard.split == "train") > 1 << 30
    data = prepared.builder().as_data_source("train")
    assert len(data) == 32
    video, info, frames = from_record(data[31])
    assert info.frame_count == 26
    expected = decoded(root / video.path, rendition)[2]
    np.testing.assert_array_equal(unpack_frame(frames["whole"][25]), expected[25])
