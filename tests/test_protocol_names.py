"""Every named protocol on the official lists: numbers of videos as in the literature, and nobody on both sides."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.datasets.layout import BONA_FIDE_NAME, Tree
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.msu_mfsd import _CLIENTS
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.protocols.assignment import PARTS, Assignment, assign, check
from fas_jax.protocols.names import WITHIN, choose_protocols, fold_group, named, used_preset
from fas_jax.protocols.presets import PRESETS, Protocol
from fas_jax.reporting.folds import fold_figures, fold_table
from fas_jax.reporting.report import write_report


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
    rules = layout.rules(_Lists(Path(), {}, ()))
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
    found = named(kind, preset, "OCIM")
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
    assignment = assign(named("OCI_to_M", "ssdg2020", "OCIM")[0], official(), 0.2, 0)
    broken = Assignment(assignment.protocol, assignment.train, assignment.validation[1:], assignment.test)
    with pytest.raises(UserError, match="validation videos must be the test videos"):
        check(broken, official())


def test_names_choose_protocols() -> None:
    def names(*wanted: str, preset: str = "strict") -> list[str]:
        return [each.name for each in choose_protocols(Evaluation(preset=preset, protocols=wanted), "OCIM")]

    assert names() == ["OCI_to_M", "OMI_to_C", "OCM_to_I", "ICM_to_O"]
    assert names("limited-source") == ["MI_to_C", "MI_to_O"]
    assert names("intra-O-3") == [f"intra-O-3_{k}" for k in range(1, 7)]
    assert len(names("intra-O")) == 14
    assert names("intra-O-1", "intra-M") == ["intra-O-1", "intra-M"]
    assert names("C_to_M", "OC_to_I") == ["C_to_M", "OC_to_I"]
    own = choose_protocols(Evaluation(protocols=("ours+O_to_theirs",)), ["ours", "O", "theirs"])
    assert (own[0].sources, own[0].target) == (("ours", "O"), "theirs")
    assert used_preset(Evaluation(protocols=("intra-M",))) == "official"
    assert fold_group("intra-O-4_6") == "intra-O-4"
    assert fold_group("intra-O-1") is None
    with pytest.raises(UserError, match="run them apart"):
        names("intra-M", "C_to_M")
    with pytest.raises(UserError, match="twice"):
        names("limited-source", "MI_to_C")
    with pytest.raises(UserError, match="did you mean 'intra-O-3'"):
        names("intra-O3")
    with pytest.raises(UserError, match="needs dataset 'X'"):
        names("OX_to_M")
    with pytest.raises(UserError, match="needs dataset 'M'"):
        choose_protocols(Evaluation(protocols=("intra-M",)), "OC")
    with pytest.raises(UserError, match="within one dataset"):
        names(preset="official")


PAI = ("print", "bonafide")


def fold_scores(shift: dict[int, float]) -> ScoreTable:
    """One model on the folds of OULU's third protocol; `shift` moves a fold's attacks over its threshold."""
    tables = []
    rng = np.random.default_rng(0)
    for fold, share in shift.items():
        for role, split in ((VALIDATION, "dev"), (TEST, "test")):
            videos = [
                Video(f"{split}/{i}.avi", "O", f"{split}{i % 10}", split, i % 2, PAI[i % 2], "x", "", "")
                for i in range(40)
            ]
            attacks = np.arange(40) % 2 == 0
            scores = np.where(attacks, 0.2, 0.8) + 0.01 * rng.random(40)
            if role == TEST:
                scores[np.flatnonzero(attacks)[: round(share * 20)]] = 0.9
            tables.append(ScoreTable.from_videos(f"intra-O-3_{fold}", 0, role, "gru", videos, scores))
    return ScoreTable.concatenate(tables)


def test_mean_and_deviation_over_folds_in_the_report(tmp_path: Path) -> None:
    shares = dict(zip(range(1, 7), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    scores = fold_scores(shares)
    results = evaluate(scores)
    mean, std = fold_figures(results)["intra-O-3", "gru"]["hter"]
    # HTER is half the share of attacks accepted; the sample deviation of 0, 0.05, ..., 0.25 is sqrt(3.5) 0.05.
    assert mean == pytest.approx(0.125)
    assert std == pytest.approx(0.05 * 3.5**0.5)
    provenance = {"preset": "official", "datasets": [{"dataset": "O", "synthetic": False, "complete": False}]}
    write_report(tmp_path, results, scores, provenance)
    text = (tmp_path / "results.md").read_text()
    assert "12.50 ± 9.35" in text
    assert "Results within one dataset" in text
    assert "only partly there" in text
    # Five folds are not the protocol.
    five = fold_table(evaluate(fold_scores(dict.fromkeys(range(1, 6), 0.0))), {})
    assert five is not None
    assert set(five.rows[0][2:]) == {"undefined"}


def test_reports_tell_what_chose_on_the_target(tmp_path: Path) -> None:
    videos = [Video(f"{i}.avi", "M", str(i), "test", i % 2, PAI[i % 2], "x", "", "") for i in range(20)]
    values = np.linspace(0, 1, 20)
    scores = ScoreTable.concatenate(
        [ScoreTable.from_videos("OCI_to_M", 0, role, "gru", videos, values) for role in (VALIDATION, TEST)]
    )
    provenance = {"preset": "flip2023", "datasets": [{"dataset": "M", "synthetic": False, "complete": True}]}
    write_report(tmp_path, evaluate(scores), scores, provenance)
    text = (tmp_path / "results.md").read_text()
    assert "chosen on the target's own test videos" in text
    assert "CelebA-Spoof" in text
    assert "MTCNN" in text
