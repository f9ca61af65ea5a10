"""Names and protocol files of the rendered datasets, against rules and, where they are there, the official lists."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.layouts import annotation, protocol_files
from fas_jax.synthetic.plan import LETTERS, SUBJECTS, frame_count, frame_size, official_videos, planned_videos

OFFICIAL = Path(__file__).parents[2] / "shared" / "data" / "protocols"
needs_lists = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official lists are not here")
QUICK = Synthesis(subjects=12, videos_per_subject=5, frames=64, scale=0.25)


def lines(path):
    return path.read_text().splitlines()


def stem(path):
    return path.rsplit(".", 1)[0]


@pytest.mark.parametrize(
    ("layout", "counts"),
    [
        ("oulu_npu", {"train": (360, 1440), "dev": (270, 1080), "test": (360, 1440)}),
        ("casia_fasd", {"train": (60, 180), "test": (90, 270)}),
        ("replay_attack", {"train": (60, 300), "dev": (60, 300), "test": (80, 400)}),
        ("msu_mfsd", {"train": (30, 90), "test": (40, 120)}),
    ],
)
def test_settings_of_zero_give_the_official_counts_and_subjects_are_disjoint(layout, counts):
    videos = planned_videos(layout, Synthesis())
    assert set(videos) == set(official_videos(layout))
    assert len({video.path for video in videos}) == len(videos)
    found = Counter((video.split, video.bona_fide) for video in videos)
    assert found == {
        (split, bona): n for split, pair in counts.items() for bona, n in zip((True, False), pair, strict=True)
    }
    if layout != "casia_fasd":  # its numbers start again in the test set
        ids = [subject for split in SUBJECTS[layout].values() for subject in split]
        assert len(ids) == len(set(ids))


@needs_lists
def test_replay_attack_names_and_protocols_equal_the_official_lists():
    videos = official_videos("replay_attack")
    table = [row.split(",") for row in lines(OFFICIAL / "replay_attack" / "all_files.csv")[1:]]
    assert {stem(video.path) for video in videos} == {row[0] for row in table if row[-1] != "enroll"}
    files = protocol_files("replay_attack", videos)
    for name in ("train", "devel", "test"):
        real = {stem(line) for line in files[f"protocols/real-{name}.txt"].splitlines()}
        for protocol in ("grandtest", "print", "mobile", "highdef", "photo", "video", "digitalphoto", "smalltest"):
            lists = OFFICIAL / "replay_attack" / "lists"
            official = {line.split()[0] for line in lines(lists / f"{protocol}-{name}-attack.txt")}
            ours = files[f"protocols/attack-{protocol}-allsupports-{name}.txt"].splitlines()
            assert {stem(line) for line in ours} == official, (protocol, name)
            if protocol != "smalltest":
                assert real == {line.split()[0] for line in lines(lists / f"{protocol}-{name}-real.txt")}
    sets = {(int(row[1]), row[2]) for row in table}
    assert files["protocols/clients.txt"].splitlines() == [f"{client} {name}" for client, name in sorted(sets)]


@needs_lists
def test_oulu_protocols_equal_the_official_lists():
    files = protocol_files("oulu_npu", official_videos("oulu_npu"))
    assert len(files) == 42
    lists = OFFICIAL / "oulu_npu" / "lists"
    sets = {"Train": "train", "Dev": "dev", "Test": "eval"}
    for number in (1, 2, 3, 4):
        for fold in range(1, 7) if number > 2 else (0,):
            for name, folder in sets.items():
                suffix = f"_{fold}" if fold else ""
                ours = set(files[f"Protocols/Protocol_{number}/{name}{suffix}.txt"].splitlines())
                official = set()
                place = lists / f"Protocol_{number}{suffix}" / folder
                for line in lines(place / "for_real.lst"):
                    official.add(f"+1,{line.split()[0].split('/')[1]}")
                for line in lines(place / "for_attack.lst"):
                    path, _, species = line.split()
                    label = -2 if name == "Test" and species.startswith("video_replay") else -1
                    official.add(f"{label},{path.split('/')[1]}")
                assert ours == official, (number, fold, name)


@needs_lists
def test_msu_names_and_lists_equal_the_official_ones_byte_for_byte():
    videos = official_videos("msu_mfsd")
    folds = OFFICIAL / "msu_mfsd" / "folds"
    for name, bona_fide in (("realvids", True), ("attackvids", False)):
        official = {f"scene01/{line[2:]}" for line in lines(folds / f"msu_mfsd_mod_{name}.txt")}
        assert {video.path for video in videos if video.bona_fide == bona_fide} == official
    for path, text in protocol_files("msu_mfsd", videos).items():
        assert text.encode() == (folds / path).read_bytes()


@needs_lists
def test_casia_names_equal_the_official_ones():
    place = OFFICIAL / "casia_fasd" / "face-locations"
    official = {stem(path.relative_to(place).as_posix()) for path in place.rglob("*.face")}
    assert {stem(video.path) for video in official_videos("casia_fasd")} == official


@pytest.mark.parametrize("layout", LETTERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_choice_keeps_every_split_class_and_species_and_hides_the_class_from_the_device(layout, seed):
    settings = Synthesis(subjects=12, videos_per_subject=5, frames=64, scale=0.25, seed=seed)
    videos = planned_videos(layout, settings)
    assert len(videos) == 60
    assert {video.split for video in videos} == set(SUBJECTS[layout])
    official = {video.path: video for video in official_videos(layout)}
    assert all(official[video.path] == video for video in videos)
    for split, ids in SUBJECTS[layout].items():
        mine = {video.subject for video in videos if video.split == split}
        assert mine == set(ids[: len(mine)])
        for subject in mine:
            classes = {video.bona_fide for video in videos if (video.split, video.subject) == (split, subject)}
            assert classes == {True, False}
        assert {video.pai for video in videos if video.split == split} == {v.pai for v in official.values()}
    sizes = {(video.width, video.height) for video in videos}
    for size in sizes:
        mine = [video for video in videos if (video.width, video.height) == size]
        share = sum(video.bona_fide for video in mine) / len(mine)
        assert abs(share - 0.4) < 0.1, (size, share)


@pytest.mark.parametrize("layout", LETTERS)
def test_lengths_do_not_tell_the_class(layout):
    for settings in (Synthesis(), Synthesis(frames=64)):
        videos = official_videos(layout)
        lengths = np.array([frame_count(video, settings) for video in videos])
        bona_fide = np.array([video.bona_fide for video in videos])
        first, second = lengths[bona_fide], lengths[~bona_fide]
        error = np.sqrt(first.var() / len(first) + second.var() / len(second))
        assert abs(first.mean() - second.mean()) < 4 * error
        assert len(set(lengths.tolist())) > 20


def test_the_short_side_is_not_scaled_below_what_print_dots_need():
    for layout in LETTERS:
        for video in planned_videos(layout, QUICK):
            width, height = frame_size(video, 0.25)
            assert min(width, height) >= 240
            assert width % 2 == height % 2 == 0
            assert (width > height) == (video.width > video.height)
            assert frame_size(video, 1.0) == (video.width, video.height)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"subjects": 1}, "subjects"),
        ({"subjects": 99}, "subjects"),
        ({"subjects": 4, "videos_per_subject": 1}, "videos_per_subject"),
        ({"videos_per_subject": 91}, "videos_per_subject"),
        ({"frames": -1}, "frames"),
        ({"scale": 0.0}, "scale"),
        ({"scale": 1.5}, "scale"),
        ({"workers": -1}, "workers"),
    ],
)
def test_settings_that_cannot_be_met_are_named(changes, word):
    with pytest.raises(UserError, match=word):
        planned_videos("oulu_npu", Synthesis(**changes))


def test_a_mistyped_layout_is_an_error():
    with pytest.raises(UserError, match="did you mean 'oulu_npu'"):
        planned_videos("oulu_mpu", QUICK)


def test_annotations_have_the_official_formats():
    boxes = np.array([[10.4, 20.0, 30.0, 41.0]], np.float32)
    eyes = np.array([[[15.0, 30.0], [35.0, 31.0]]], np.float32)

    def of(layout):
        return annotation(official_videos(layout)[0], boxes, eyes)

    assert of("oulu_npu") == ("Train_files/1_1_01_1.txt", "0,15,30,35,31\n")
    path, text = of("replay_attack")
    assert path.startswith("face-locations/train/real/client001")
    assert text == "0 10 20 30 41\n"
    assert of("msu_mfsd")[1] == "0, 10, 20, 40, 61, 15, 30, 35, 31\n"
    assert of("casia_fasd") is None
