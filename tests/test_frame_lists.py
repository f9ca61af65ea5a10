"""Frame lists of other projects as they have them, with the frames where they lie."""

import json
from pathlib import Path

import pytest

from fas_jax.base.errors import UserError
from fas_jax.datasets.frame_lists import convert_lists
from fas_jax.datasets.manifest import read_manifest


def touch(root: Path, *names: str) -> None:
    """Files that are images by their names; a manifest does not open them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def clips(manifest: Path) -> dict[str, list[str]]:
    """File names of the frames of each clip, by label and subject; all of them are chosen."""
    (listing,) = read_manifest(manifest)
    assert all(source.chosen for source in listing.sources.values())
    found: dict[str, list[str]] = {}
    for video in listing.videos:
        names = [Path(name).stem for name in listing.sources[video.path].frames]
        found.setdefault(f"{video.split} {video.label} {video.subject}", []).append(" ".join(names))
    return found


def write_list(path: Path, lines: list[str]) -> Path:
    path.write_text("\r\n".join(lines))
    return path


SSDG = {
    "train": {"real/client3_a": (1, [6]), "fake/client3_b": (0, [20, 6])},
    "test": {"fake/client4_c": (0, [6, 20, 34])},
}


@pytest.fixture
def ssdg(tmp_path: Path) -> dict[str, list[Path]]:
    """SSDG's lists with the absolute paths of their author's machine, and the crops below `crops`."""
    lists = {}
    for split, videos in SSDG.items():
        rows = []
        for video, (label, frames) in videos.items():
            names = [f"crops/{video}/{frame}.png" for frame in frames]
            touch(tmp_path, *names, f"crops/{video}/99.png")
            rows += [{"photo_path": f"/data/ssdg/{name}", "photo_label": label} for name in names]
        lists[split] = [tmp_path / f"{split}_label.json"]
        lists[split][0].write_text(json.dumps(rows))
    return lists


def test_ssdg_with_absolute_paths(ssdg: dict[str, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "ssdg.csv"
    with pytest.raises(UserError, match=r"3 frames are not below .*without data/ssdg before it: see strip"):
        convert_lists(ssdg, out, r"client(\d+)")
    assert not out.exists()
    assert convert_lists(ssdg, out, r"client(\d+)", strip="/data/ssdg") == 3
    expected = {"train 1 3": ["6"], "train 0 3": ["6 20"], "test 0 4": ["6 20 34"]}
    assert clips(out) == expected
    assert convert_lists(ssdg, tmp_path / "again.csv", r"client(\d+)", "crops", "data/ssdg/crops/") == 3
    assert clips(tmp_path / "again.csv") == expected
    for options, match in (
        ({"subject": r"user(\d+)"}, "subject .* finds nothing in 'crops/real/client3_a'"),
        ({"subject": r"user(\d+)|client"}, "finds nothing"),
        ({"subject": "("}, "not a regular expression"),
        ({"strip": "/data/other"}, "does not begin with /data/other"),
        ({"strip": "/data/ssdg/crops/real/client3_a/6.png"}, "empty path"),
        ({"prefix": "crops"}, "without crops before it"),
        ({"prefix": "else/where", "strip": "data/ssdg/crops"}, "write the manifest above the frames"),
    ):
        with pytest.raises(UserError, match=match):
            convert_lists(ssdg, out, **{"subject": r"client(\d+)", "strip": "/data/ssdg", **options})


def test_ssdg_lists_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "train_label.json"
    path.write_text(json.dumps([{"photo_path": "a/1.png", "photo_label": "live"}]))
    with pytest.raises(UserError, match="photo_label must be 1"):
        convert_lists({"train": [path]}, tmp_path / "x.csv", "x")
    path.write_text("[1]")
    with pytest.raises(UserError, match="not a list of objects"):
        convert_lists({"train": [path]}, tmp_path / "x.csv", "x")


FLIP = {
    "casia_fake_train": {
        "casia/train/fake/": ["4_6_frame0.png", "4_6_frame1.png", "10_8_frame0.png"],
        "clips": ["4_6_frame0 4_6_frame1", "10_8_frame0"],
    },
    "wmca_real_train": {
        "wmca/train/real/": [f"{day}.01.18_035_01_000_0_01_0{k}.jpg" for day in (30, 31) for k in (1, 0)],
        "clips": [" ".join(f"{day}.01.18_035_01_000_0_01_0{k}" for k in (0, 1)) for day in (30, 31)],
    },
    "cefa_fake_train": {
        "cefa/train/fake/": ["3_499_3_2_2_00.jpg", "3_499_3_2_2_09.jpg", "1_200_3_1_4_00.jpg"],
        "clips": ["3_499_3_2_2_00 3_499_3_2_2_09", "1_200_3_1_4_00"],
    },
    "surf_fake_train": {
        "surf/train/fake/": [
            "Training_fake_part_CLKJ_CS0110_06_enm_b.rssdk_color_91.jpg",
            "Training_fake_part_CLKJ_CS0110_06_enm_b.rssdk_color_101.jpg",
            "Val_0002_002497-color.jpg",
            "Val_0002_002498-color.jpg",
        ],
        "clips": [
            "Training_fake_part_CLKJ_CS0110_06_enm_b.rssdk_color_91 "
            "Training_fake_part_CLKJ_CS0110_06_enm_b.rssdk_color_101",
            "Val_0002_002497-color",
            "Val_0002_002498-color",
        ],
    },
    "celeb_real_train": {
        "celeb/real/": ["160_live_753159.jpg", "160_live_367853.jpg"],
        "clips": ["160_live_753159", "160_live_367853"],
    },
}


@pytest.mark.parametrize("name", FLIP)
def test_flip_a_video_a_name_and_a_picture_a_clip(name: str, tmp_path: Path) -> None:
    (folder, names), (_, expected) = FLIP[name].items()
    touch(tmp_path, *(f"frame/{folder}{each}" for each in names))
    file = write_list(tmp_path / f"{name}.txt", [folder + each for each in names])
    out = tmp_path / "flip.csv"
    assert convert_lists({"train": [file]}, out, "/([^/]+)/(?:real|fake)/", prefix="frame") == len(expected)
    (found,) = clips(out).values()
    assert sorted(found) == sorted(expected)


def test_frames_whose_video_cannot_be_told(tmp_path: Path) -> None:
    names = ["a/real/s1-take2-0001.png", "a/real/s1-take2-0002.png", "a/real/s2-take1-0001.png"]
    touch(tmp_path, *names, "a/real/1,2.png")
    file, out = write_list(tmp_path / "a_real_train.txt", names), tmp_path / "a.csv"
    with pytest.raises(UserError, match="lies in a folder of many videos"):
        convert_lists({"train": [file]}, out, r"s(\d)")
    assert convert_lists({"train": [file]}, out, r"/s(\d)-", video=r"(s\d-take\d)-") == 2
    assert clips(out) == {"train 1 1": ["s1-take2-0001 s1-take2-0002"], "train 1 2": ["s2-take1-0001"]}
    with pytest.raises(UserError, match=r"video 'x' finds nothing in 'a/real/s1-take2-0001\.png'"):
        convert_lists({"train": [file]}, out, r"s(\d)", video="x")
    with pytest.raises(UserError, match="',' has another meaning"):
        convert_lists({"train": [write_list(file, ["a/real/1,2.png"])]}, out, "a")
    with pytest.raises(UserError, match="neither JSON nor named"):
        convert_lists({"train": [write_list(tmp_path / "list.txt", names)]}, out, "a")
    with pytest.raises(UserError, match="name no frame"):
        convert_lists({"train": [write_list(file, [])]}, out, "a")
    other = write_list(tmp_path / "a_fake_train.txt", names)
    with pytest.raises(UserError, match="is attack in train, and bonafide in train in another list"):
        convert_lists({"train": [write_list(file, names), other]}, out, "a", video="(s.-take.)")


def test_lists_that_failed(shared: Path, tmp_path: Path) -> None:
    """Copies of FLIP's lists: 12 pictures were two clips, and 24 frames of 8 videos four."""
    for name, videos, subject in (
        ("celeb", 12, r"/(\d+)_(?:live|spoof)"),
        ("wmca", 8, r"/(\d\d\.\d\d\.\d\d_\d+)_"),
        ("cefa", 8, r"/(\d_\d+)_"),
    ):
        lists = {
            split: sorted((shared / "cases/flip-wcs/txt").glob(f"{name}_*_{split}.txt")) for split in ("train", "test")
        }
        (tmp_path / name).mkdir()
        for folder in (shared / "cases/flip-wcs/frame").iterdir():
            touch(tmp_path / name, *(path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.jpg")))
        out = tmp_path / name / "flip.csv"
        assert convert_lists(lists, out, subject) == videos
        assert sum(map(len, clips(out).values())) == videos
