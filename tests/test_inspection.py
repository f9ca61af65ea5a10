import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from fas_jax.base.record import Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import scan
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.studies.inspection import SAME, difference_hash, duplicates, write_inspection
from tests.trees import casia_fasd, read_video, write_video

SMALL = Preparation(workers=1, allow_partial=True, allow_failures=1)
RENDITIONS = {"whole": Rendition(size=64)}


def scene(seed: int) -> np.ndarray:
    """Smooth random shapes."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)


def test_hashes_survive_encoding_and_tell_scenes_apart() -> None:
    image = scene(0)
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    assert done
    again = cv2.resize(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), (224, 224))
    brighter = np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8)
    videos = [
        Video(f"{i}", "M", "1", split, 1, "", "", "", "") for i, split in enumerate(["train", "test", "dev", "test"])
    ]
    hashes = np.stack([difference_hash(each) for each in (image, again, brighter, scene(1))])
    found = {(pair.first.path, pair.second.path) for pair in duplicates(videos, hashes)}
    assert found == {("0", "1"), ("0", "2"), ("1", "2")}
    # In one split the same is no leak.
    assert duplicates([dataclasses.replace(video, split="test") for video in videos], hashes) == ()
    bits = [np.unpackbits(each.view(np.uint8)) for each in hashes]
    expected = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    np.testing.assert_array_equal(bits[0].reshape(16, 16), expected[:, 1:] > expected[:, :-1])
    assert (bits[0] != bits[3]).sum() > 4 * SAME


def test_one_page_with_everything(tmp_path: Path) -> None:
    root = casia_fasd(tmp_path / "root", frames=2)
    for number, video in enumerate(scan(root).videos):
        write_video(root / video.path, [scene(number)] * 3, codec="mpeg4")
    leak = root / "test_release/1/7.avi"
    write_video(leak, read_video(root / "train_release/1/3.avi"), codec="mjpeg")
    (root / "train_release/1/HR_4.avi").write_bytes(b"")
    shutil.copy(root / "train_release/1/1.avi", root / "train_release/1/<b>.avi")
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    pairs = write_inspection(prepared, tmp_path / "page.html")
    assert [(pair.first.path, pair.second.path) for pair in pairs] == [
        ("train_release/1/3.avi", "test_release/1/7.avi")
    ]
    text = (tmp_path / "page.html").read_text()
    for expected in ("empty file (0 bytes)", "Not the complete official set", "64 x 48", "Duplicates", "&lt;b&gt;.avi"):
        assert expected in text
    # Self-contained: nothing is fetched, no script runs.
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<script" not in text
    assert "url(" not in text
    assert text.count("data:image/jpeg;base64,") == 15
    assert re.search(
        r"<td[^>]*>train</td><td[^>]*>cut</td><td[^>]*>60</td><td[^>]*>2</td><td[^>]*>2</td><td[^>]*>1</td>", text
    )


def test_every_rendition_is_shown_and_what_lacks_it(tmp_path: Path) -> None:
    """One video has no face annotation: its whole frames are there, and the page says why it has no crop."""
    root = casia_fasd(tmp_path / "root", frames=4)
    (annotated, lacking, *others) = scan(root).videos
    for video in (annotated, *others):
        path = root / "face-locations" / Path(video.path).with_suffix(".face")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 8 8 24 24\n2 0 0 0 0\n")
    face = Rendition(segment=1, max_frames=0, size=32, crop="annotation")
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, {**RENDITIONS, "face": face})
    write_inspection(prepared, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    cells = [re.sub("<[^>]*>", "|", row) for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL)]
    rows = [[cell for cell in row.split("|") if cell] for row in cells]
    assert ["whole", "16", "0", "1", "1", "1", "0"] in rows
    assert ["face", "15", "1", "4", "4", "4", "0"] in rows
    assert ["face", lacking.split, lacking.pai_fine, lacking.path] in [row[:4] for row in rows]
    assert text.count("no face annotation belongs to it") == 2  # in the table, and below its strip
    assert "face: frames 0, 1, 2, 3" in text
    assert ["face: crop", "annotation"] in rows


def test_the_script(tmp_path: Path) -> None:
    prepare_dataset(casia_fasd(tmp_path / "root", frames=2), tmp_path / "out", SMALL, RENDITIONS)
    command = [sys.executable, "scripts/inspect_data.py", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]
    place = Path(__file__).parents[1]
    subprocess.run(command, check=True, cwd=place, env={"PYTHONPATH": str(place), "PATH": ""}, capture_output=True)
    assert "<h1>C</h1>" in (tmp_path / "page.html").read_text()


def test_no_clip_is_read_as_a_duplicate_of_nothing() -> None:
    assert duplicates([], np.zeros((0, 4), np.uint64)) == ()
