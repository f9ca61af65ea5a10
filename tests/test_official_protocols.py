"""Protocols on the official lists: numbers of videos as in the literature, and nobody on both sides."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.layout import BONA_FIDE_NAME, Tree
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.msu_mfsd import _CLIENTS
from fas_jax.protocols.assignment import PARTS, Assignment, assign, check
from fas_jax.protocols.cuts import subject_folds
from fas_jax.protocols.names import named
from fas_jax.protocols.official import WITHIN
from fas_jax.protocols.presets import PRESETS, Protocol, leave_one_out


@lru_cache
def official() -> tuple[Video, ...]:
    """All videos of the four datasets, from the layouts' own rules."""
    videos = []
    for layout in LAYOUTS.values():
        for name in sorted(layout.names()):
            videos.append(_video(layout.letter, name))
    return tuple(videos)


class _Lists(Tree):
    def find(self, path: str) -> str:
        return path

    def lines(self, path: str) -> list[str]:
        return [f"{client:02d}" for client in _CLIENTS[path.split("_")[0]]]


def _video(letter: str, name: str) -> Video:
    layout = next(each for each in LAYOUTS.values() if each.letter == letter)
    rules = layout.rules(_Lists(Path(), (), ()))
    found = [rules.describe(f"{name}{suffix}") for suffix in (".avi", ".mov", ".mp4")]
    identity = next(each for each in found if each)
    return Video(path=name, dataset=letter, label=int(identity.pai == BONA_FIDE_NAME), **vars(identity))


def sizes(protocol: Protocol, part: str, videos: Sequence[Video]) -> tuple[int, int]:
    """Bona fide and attack videos."""
    labels = Counter(videos[int(i)].label for i in getattr(assign(protocol, videos, 0.2, 0), part))
    return labels[1], labels[0]


@pytest.mark.parametrize(
    ("name", "train", "dev", "test"),
    [
        ("intra-O-1", (240, 960), (180, 720), (120, 480)),
        ("intra-O-2", (360, 720), (270, 540), (360, 720)),
        *((f"intra-O-3_{k}", (300, 1200), (225, 900), (60, 240)) for k in range(1, 7)),
        *((f"intra-O-4_{k}", (200, 400), (150, 300), (20, 40)) for k in range(1, 7)),
        ("intra-I", (60, 300), (60, 300), (80, 400)),
    ],
)
def test_intra_dataset_counts(name: str, train: tuple[int, int], dev: tuple[int, int], test: tuple[int, int]) -> None:
    videos = official()
    assert [sizes(WITHIN[name], part, videos) for part in PARTS] == [train, dev, test]


def test_intra_dataset_counts_without_a_development_set() -> None:
    videos = official()
    for name, learn, test in (("intra-M", (30, 90), (40, 120)), ("intra-C", (60, 180), (90, 270))):
        parts = [sizes(WITHIN[name], part, videos) for part in PARTS]
        assert tuple(np.add(parts[0], parts[1])) == learn
        assert parts[1][0] > 0
        assert parts[2] == test
    assert sizes(WITHIN["intra-C-HR"], "test", videos) == (30, 90)
    assert sizes(WITHIN["intra-C-warped"], "test", videos) == (90, 90)


def keys(assignment: Assignment, part: str) -> set[str]:
    return {official()[int(i)].path for i in getattr(assignment, part)}


def test_oulu_protocols_are_the_official_lists(shared: Path) -> None:
    lists = shared / "data/protocols/oulu_npu/lists"
    for name in ("1", "2", *(f"{p}_{k}" for p in (3, 4) for k in range(1, 7))):
        assignment = assign(WITHIN[f"intra-O-{name}"], official(), 0.2, 0)
        for part, folder in (("train", "train"), ("validation", "dev"), ("test", "eval")):
            files = (lists / f"Protocol_{name}" / folder).glob("for_*.lst")
            lines = {
                line.split()[0].lower() for path in files for line in path.read_text().splitlines() if line.strip()
            }
            assert keys(assignment, part) == lines


@pytest.mark.parametrize("kind", ["grandtest", "print", "mobile", "highdef", "photo", "video", "digitalphoto"])
def test_replay_attack_protocols_are_the_official_lists(shared: Path, kind: str) -> None:
    name = "intra-I" if kind == "grandtest" else f"intra-I-{kind}"
    assignment = assign(WITHIN[name], official(), 0.2, 0)
    for part, folder in (("train", "train"), ("validation", "devel"), ("test", "test")):
        lines = set()
        for label in ("real", "attack"):
            text = (shared / f"data/protocols/replay_attack/lists/{kind}-{folder}-{label}.txt").read_text()
            lines |= {line.split()[0].lower() for line in text.splitlines() if line.strip()}
        assert keys(assignment, part) == lines


# datasets.md: bona fide and attack videos that the published presets test on.
TARGETS = {
    "ssdg2020": {"C": (150, 450), "M": (70, 210), "I": (140, 700), "O": (720, 2880)},
    "ssdg-honest": {"C": (150, 450), "M": (70, 210), "I": (140, 700), "O": (720, 2880)},
    "flip2023": {"C": (140, 440), "M": (60, 200), "I": (130, 690), "O": (710, 2870)},
    "safas2023": {"C": (150, 450), "M": (70, 210), "I": (200, 1000), "O": (990, 3960)},
    "strict": {"C": (90, 270), "M": (40, 120), "I": (80, 400), "O": (360, 1440)},
    "dle2023": {"C": (90, 270), "M": (40, 120), "I": (80, 400), "O": (360, 1440)},
}
SOURCES = {
    "ssdg2020": {"C": 600, "M": 280, "I": 840, "O": 3600},
    "ssdg-honest": {"C": 600, "M": 280, "I": 840, "O": 3600},
    "flip2023": {"C": 600, "M": 280, "I": 840, "O": 3600},
    "safas2023": {"C": 600, "M": 280, "I": 1200, "O": 4950},
    "strict": {"C": 240, "M": 120, "I": 720, "O": 3150},
    "dle2023": {"C": 600, "M": 280, "I": 840, "O": 3600},
}


@pytest.mark.parametrize("preset", TARGETS)
@pytest.mark.parametrize("kind", ["leave-one-out", "limited-source", "single-source"])
def test_counts_across_datasets_and_nobody_on_both_sides(preset: str, kind: str) -> None:
    videos = official()
    found = named(kind, preset, videos)
    assert len(found) == {"leave-one-out": 4, "limited-source": 2, "single-source": 12}[kind]
    for protocol in found:
        assignment = assign(protocol, videos, 0.2, 0)
        parts = {part: [videos[int(i)] for i in getattr(assignment, part)] for part in PARTS}
        labels = Counter(video.label for video in parts["test"])
        assert (labels[1], labels[0]) == TARGETS[preset][protocol.target]
        assert {video.dataset for video in parts["test"]} == {protocol.target}
        learnt = parts["train"] + ([] if PRESETS[preset].on_target else parts["validation"])
        assert Counter(video.dataset for video in learnt) == {name: SOURCES[preset][name] for name in protocol.sources}
        people = {part: {(video.dataset, video.subject) for video in mine} for part, mine in parts.items()}
        assert not people["train"] & (people["validation"] | people["test"])
        # The marked presets, and no others, let the target choose.
        assert (people["validation"] & people["test"] != set()) == PRESETS[preset].on_target
        if PRESETS[preset].on_target:
            assert parts["validation"] == parts["test"]


def test_what_chooses_on_the_target_is_marked() -> None:
    assert {name for name, preset in PRESETS.items() if preset.on_target} == {"ssdg2020", "flip2023", "safas2023"}
    assert all(preset.caveats for preset in PRESETS.values() if preset.on_target)
    assignment = assign(named("OCI_to_M", "ssdg2020", official())[0], official(), 0.2, 0)
    broken = Assignment(assignment.protocol, assignment.train, assignment.validation[1:], assignment.test)
    with pytest.raises(UserError, match="validation videos must be the test videos"):
        check(broken, official())


# SHA-256 of who trains, validates and is tested, and of five folds of the training videos, as commit c49a7d6 had it: a
# change moves every figure that was ever reported.
GOLDEN = {
    "strict": "bdbcdd12103545b782a44f0b9da947015a808830b5ea718c6a9b898dcc5c83c1",
    "dle2023": "24747c380ebc2ba1fdafc4de7d05c7710dcf31c9907322020f6ad61c4323f12a",
    "flip2023": "402f79dbe53a3b26a3b9d8af5bbd44b57529bcb30e777c2fcae5fe274d4d9c3c",
    "official": "04242da693b033c7e5785665f54ea8682dc43397929573a006e590fd20a50793",
}


@pytest.mark.parametrize("preset", GOLDEN)
def test_assignments_stay_the_same_over_versions(preset: str) -> None:
    videos = VideoTable.of(official())
    lines: list[str] = []
    if preset == "official":
        for name, protocol in WITHIN.items():
            if "synth" not in name:
                found = assign(protocol, videos, 0.2, 0)
                lines += [f"{name} {part} {row}" for part in PARTS for row in getattr(found, part)]
    else:
        for protocol, seed in itertools.product(leave_one_out(preset, "MCIO", "OCIM"), range(3)):
            found = assign(protocol, videos, 0.2, seed)
            head = f"{protocol.name} {protocol.display} {protocol.sources} {seed}"
            lines += [f"{head} {part} {row}" for part in PARTS for row in getattr(found, part)]
            folds = subject_folds(videos, found.train, 5, seed)
            lines += [f"{protocol.name} {seed} fold {fold}" for fold in folds]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == GOLDEN[preset]
