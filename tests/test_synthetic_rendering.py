"""Rendered trees as files: what decodes, what is equal, and what happens when something goes wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.files import sha256_file
from fas_jax.base.settings import Synthesis
from fas_jax.datasets.layouts import scan
from fas_jax.synthetic import MARKER, Workers, render_dataset, rendering
from fas_jax.synthetic.encoding import Encoding, write_video
from fas_jax.synthetic.plan import LETTERS, frame_count, frame_size, official_videos, planned_videos
from fas_jax.synthetic.recording import record
from fas_jax.synthetic.rendering import render_video
from tests import background
from tests.background import ended

# Whole runs and many processes: too long for the default suite.
pytestmark = pytest.mark.slow

TINY = Synthesis(subjects=3, videos_per_subject=4, frames=6, scale=0.1, workers=2)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    return {layout: render_dataset(layout, root / layout, TINY) for layout in LETTERS}


def hashes(root):
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in sorted(root.rglob("*")) if path.is_file()}


def decoded(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        read, frame = capture.read()
        if not read:
            return np.stack(frames), capture
        frames.append(frame[..., ::-1])


@pytest.mark.parametrize("layout", LETTERS)
def test_opencv_decodes_every_video_as_planned(trees, layout):
    for video in planned_videos(layout, TINY):
        frames, capture = decoded(trees[layout] / video.path)
        width, height = frame_size(video, TINY.scale)
        assert frames.shape == (frame_count(video, TINY), height, width, 3)
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(frames)
        assert capture.get(cv2.CAP_PROP_FPS) == video.fps
        rendered = np.stack(list(record(video, TINY, None).frames))
        assert np.abs(frames.astype(int) - rendered).mean() < 12, video.path


@pytest.mark.parametrize("layout", LETTERS)
def test_the_reader_takes_the_tree_for_what_it_is(trees, layout):
    listing = scan(trees[layout])
    assert listing.dataset == f"synth-{LETTERS[layout]}"
    assert not listing.unknown
    assert not listing.missing
    planned = {video.path: video for video in planned_videos(layout, TINY)}
    assert {video.path for video in listing.videos} == set(planned)
    for video in listing.videos:
        wanted = planned[video.path]
        assert (video.split, video.label, video.pai) == (wanted.split, int(wanted.bona_fide), wanted.pai)
        assert video.pai_fine == wanted.fine
    marker = json.loads((trees[layout] / MARKER).read_text())
    assert marker["complete"]
    assert "nothing about real attacks" in marker["note"]


def test_the_same_settings_give_the_same_bits_with_any_number_of_workers(trees, tmp_path):
    again = render_dataset("msu_mfsd", tmp_path / "again", Synthesis(**{**vars(TINY), "workers": 1}))
    assert hashes(again) == hashes(trees["msu_mfsd"])
    other = render_dataset("msu_mfsd", tmp_path / "other", Synthesis(**{**vars(TINY), "seed": 1}))
    videos = {video.path for video in planned_videos("msu_mfsd", TINY)}
    same = {path for path, digest in hashes(other).items() if hashes(again).get(path) == digest}
    assert not same & videos


def test_processes_go_on_from_one_dataset_to_the_next(trees, tmp_path):
    with Workers(2) as workers:
        pools = []
        for layout in ("msu_mfsd", "casia_fasd"):
            root = render_dataset(layout, tmp_path / layout, TINY, workers)
            assert hashes(root) == hashes(trees[layout])
            pools.append(workers.pool(1))
        assert pools[0] is pools[1]
        assert workers.pool(2) is pools[0]
    assert not pools[0].active


def test_after_a_failure_other_processes_render_the_next_dataset(tmp_path):
    """A video whose conditions cannot be had stops those that wait, too."""
    unknown = "no such camera"

    def conditions(video):
        if video is planned[-1]:
            raise UserError(unknown)

    planned = planned_videos("msu_mfsd", TINY)
    tree = rendering._Tree("test", "msu_mfsd", planned, {}, conditions, {})
    with Workers(1) as workers:
        pool = workers.pool(1)
        with pytest.raises(UserError, match=unknown):
            rendering._render(tmp_path / "broken", tree, TINY, (), workers)
        assert not pool.active
        render_dataset("casia_fasd", tmp_path / "next", TINY, workers)
    assert len([*(tmp_path / "broken").rglob("*.m*")]) < len(planned) - 1


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_files_carry_neither_time_nor_version(tmp_path, codec):
    frames = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
    paths = [tmp_path / f"{name}.{'mov' if codec == 'mjpeg' else 'avi'}" for name in "ab"]
    for path in paths:
        write_video(path, iter(frames), 25, Encoding(codec, 2.0))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"Lavf" not in paths[0].read_bytes()


def test_upside_down_videos_carry_a_tag_that_turns_them_back(tmp_path):
    """MSU-MFSD's Android bona fide videos of six clients; only those."""
    settings = Synthesis(frames=3, scale=0.1)
    for client, upside_down in ((3, True), (2, False)):
        name = f"real_client{client:03d}_android"
        video = next(video for video in official_videos("msu_mfsd") if name in video.path)
        render_video(tmp_path, video, settings, ())
        frames = np.stack(list(record(video, settings, None).frames))
        seen, _ = decoded(tmp_path / video.path)
        assert np.abs(seen.astype(int) - frames).mean() < 12
        raw = cv2.VideoCapture(str(tmp_path / video.path))
        raw.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        _, stored = raw.read()
        stored = stored[::-1, ::-1, ::-1] if upside_down else stored[..., ::-1]
        assert np.abs(stored.astype(int) - frames[0]).mean() < 12


def test_an_interrupted_tree_is_completed_and_the_rest_is_left_alone(trees, tmp_path):
    root = tmp_path / "tree"
    shutil.copytree(trees["casia_fasd"], root)
    whole = hashes(root)
    videos = [video.path for video in planned_videos("casia_fasd", TINY)]
    for path in videos[:2]:
        (root / path).unlink()
    marker = json.loads((root / MARKER).read_text())
    (root / MARKER).write_text(json.dumps(marker | {"complete": False}))
    left = root / "train_release" / ".tmp-killed.avi"
    left.write_bytes(b"half a video")
    os.utime(left, (0, 0))
    kept = {path: (root / path).stat().st_mtime_ns for path in videos[2:]}
    render_dataset("casia_fasd", root, TINY)
    assert hashes(root) == whole
    assert kept == {path: (root / path).stat().st_mtime_ns for path in videos[2:]}


def test_two_processes_at_once_render_every_video_once(trees, tmp_path):
    """The second neither deletes the first one's temporary files nor renders anything itself."""
    root = tmp_path / "tree"
    program = (
        "import sys\nfrom pathlib import Path\nfrom fas_jax.base.settings import Synthesis\n"
        "from fas_jax.synthetic import render_dataset\n"
        f"render_dataset('casia_fasd', Path(sys.argv[1]), {TINY!r})"
    )
    processes = [background.start("-c", program, root) for _ in range(2)]
    told = [ended(process)[1] for process in processes]
    assert sum("rendering tree" in errors for errors in told) == 1
    assert sum("waiting for process" in errors for errors in told) == 1
    assert hashes(root) == hashes(trees["casia_fasd"])


def test_a_marker_that_another_process_is_writing_is_nothing_strange(tmp_path, monkeypatch):
    """At first only its temporary file is there; then it appears while the folder is looked through."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / ".tmp-marker.json").write_text("{")
    assert not rendering._is_complete(root, {})
    marker = {"dataset": "synth-C", "renderer": 2, "settings": {}, "complete": True}

    def appears(path):
        (root / ".tmp-marker.json").unlink(missing_ok=True)
        (root / MARKER).write_text(json.dumps(marker))
        return False

    monkeypatch.setattr(rendering, "_is_ours", appears)
    assert rendering._is_complete(root, marker)


@pytest.mark.parametrize(("change", "word"), [({"seed": 5}, "seed was 0, is 5"), ({"frames": 9}, "frames was 6")])
def test_a_tree_of_other_settings_is_refused(trees, change, word):
    with pytest.raises(UserError, match=word):
        render_dataset("oulu_npu", trees["oulu_npu"], Synthesis(**{**vars(TINY), **change}))
    with pytest.raises(UserError, match="dataset was 'synth-O'"):
        render_dataset("casia_fasd", trees["oulu_npu"], TINY)


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="no rendered dataset"):
        render_dataset("oulu_npu", tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        render_dataset("oulu_npu", tmp_path / "file" / "tree", TINY)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from fas_jax.base.errors import UserError
from fas_jax.synthetic.encoding import Encoding, write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
frames = np.random.default_rng(0).integers(0, 255, (40, 96, 96, 3), dtype=np.uint8)
try:
    write_video(Path(sys.argv[1]), iter(frames), 25, Encoding(sys.argv[2], 4.0))
except UserError as error:
    print(error)
print("jax" in sys.modules)
"""


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "avi"), ("libx264", "mp4"), ("mjpeg", "mov")])
def test_a_full_disk_leaves_nothing_behind(tmp_path, codec, suffix):
    """A limit on the size of files stands in for the full disk; a fresh process also shows that JAX stays out."""
    target = tmp_path / f"video.{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target), codec],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert f"cannot write {target}" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
    assert not list(tmp_path.iterdir())


def test_the_script_renders_the_layouts_that_are_asked_for(tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "synthesize.py"
    options = [
        "--subjects",
        "3",
        "--videos-per-subject",
        "2",
        "--frames",
        "2",
        "--scale",
        "0.1",
        "--layouts",
        "msu_mfsd",
    ]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), *options],
        capture_output=True,
        text=True,
        cwd=script.parents[1],
        env={"PYTHONPATH": str(script.parents[1]), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["msu_mfsd"]
    assert len(list(tmp_path.rglob("*.mov")) + list(tmp_path.rglob("*.mp4"))) == 6
