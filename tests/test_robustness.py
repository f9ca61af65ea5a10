"""Robustness: what disturbs, that strength 0 does not, and verdicts and error rates worked out by hand."""

import csv
import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.ledger import Ledger
from fas_jax.methods.data import Batch, Scores
from fas_jax.pixels.crops import cut, render, resize
from fas_jax.pixels.detection import Face
from fas_jax.pixels.disturbances import AXES
from fas_jax.pixels.renditions import colour
from fas_jax.studies.robustness import measure as measuring
from fas_jax.studies.robustness.cases import Case, Clips, Judge, case_of_bundle, case_of_run
from fas_jax.studies.robustness.measure import Measured, chosen_axes, measure, score_at
from fas_jax.studies.robustness.page import grid_of, write_page
from tests.commands import DATA, done, refused
from tests.made_up import METHODS, make_detector
from tests.stores import clip_info

MOVES = [name for name, axis in AXES.items() if axis.moves]
FACE = Face((60.0, 40.0, 50.0, 60.0), (70.0, 60.0, 95.0, 62.0, 83.0, 74.0, 73.0, 88.0, 93.0, 90.0), 0.9)


def frames(count: int = 3, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (count, side, side, 3), np.uint8)


def image(height: int = 150, width: int = 200) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("name", AXES)
def test_strength_0_changes_nothing_and_more_strength_changes_more(name: str) -> None:
    axis = AXES[name]
    assert 0 in axis.strengths
    assert list(axis.strengths) == sorted(axis.strengths)
    clip = frames()
    assert axis.disturb(clip, 0.0, 5) is clip
    if axis.moves:
        assert axis.disturb(clip, 10.0, 5) is clip
        return
    blocks = np.kron(np.random.default_rng(3).integers(30, 200, (1, 6, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    errors = {s: np.abs(axis.disturb(blocks, s, 5).astype(float) - blocks).mean() for s in axis.strengths}
    for sign in (1, -1):
        own = [errors[s] for s in sorted(axis.strengths, key=abs) if s * sign >= 0]
        assert own == sorted(own)
    assert errors[axis.strengths[-1]] > 2
    found = axis.disturb(clip, axis.strengths[-1], 5)
    assert found.shape == clip.shape
    np.testing.assert_array_equal(found, axis.disturb(clip, axis.strengths[-1], 5))
    # A frame does not depend on those after it.
    np.testing.assert_array_equal(found[:2], axis.disturb(clip[:2], axis.strengths[-1], 5))
    assert len(axis.disturb(clip[:0], axis.strengths[-1], 5)) == 0


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("preset", ["", "ssdg", "safas", "bob", "iadg", "minivision-2.7", "whole"])
def test_a_crop_that_is_not_moved_is_the_renditions_own(name: str, preset: str) -> None:
    rendition = Rendition(preset=preset, **({} if preset else {"crop": "detector", "size": 40}))
    face = None if rendition.crop == "whole" else FACE
    frame = image(300, 400)
    own = render(frame, face, rendition)
    np.testing.assert_array_equal(own, render(frame, face, AXES[name].moved(rendition, 0.0)))
    assert not np.array_equal(own, render(frame, face, AXES[name].moved(rendition, 24.0)))


def test_a_box_moves_by_shares_of_its_longer_side_or_by_pixels() -> None:
    rendition = Rendition(crop="detector", size=40, margin=0.0)

    def moved(axis: str, strength: float) -> np.ndarray:
        return render(image(), FACE, AXES[axis].moved(rendition, strength))

    def own(box: tuple[float, float, float, float]) -> np.ndarray:
        return resize(cut(image(), box, 0.0), 40)

    np.testing.assert_array_equal(moved("shift-x", 10), own((66, 40, 50, 60)))
    np.testing.assert_array_equal(moved("shift-y", -20), own((60, 28, 50, 60)))
    np.testing.assert_array_equal(moved("pixels-x", -24), own((36, 40, 50, 60)))
    np.testing.assert_array_equal(moved("pixels-y", 12), own((60, 52, 50, 60)))
    np.testing.assert_array_equal(moved("crop-scale", 20), own((55, 34, 60, 72)))
    # The points go with the box: an aligned crop shows what lies there.
    face = AXES["crop-scale"].moved(rendition, 20).moved(FACE)
    assert face.points[:2] == pytest.approx((85 + 1.2 * (70 - 85), 70 + 1.2 * (60 - 70)))
    # Without a crop, the frame is the box.
    whole = render(image(), None, AXES["pixels-x"].moved(Rendition(size=150), 12.0))
    np.testing.assert_array_equal(whole, resize(np.concatenate([image()[:, 12:], image()[:, [-1] * 12]], 1), 150))


METHODS_HERE = {name: METHODS[name] for name in ("colour", "finetune")}
LABELS = np.array([1, 0, 1, 0, 1, 0])


@pytest.fixture
def case() -> Case:
    """Six videos of one to three frames, of which the last has none; two judges with other thresholds."""
    lengths = [3, 2, 1, 3, 2, 0]
    stored = [frames(length, seed=row) // (1 + row % 3) for row, length in enumerate(lengths)]
    infos = [
        clip_info(length, colour=colour(own) if length else ()) for length, own in zip(lengths, stored, strict=True)
    ]
    infos[5] = clip_info(0, reasons={"whole": "it was not to be read"})
    videos = VideoTable.of(
        Video(f"{row}.avi", "M", f"s{row}", "test", int(label), "print", "print", "", "")
        for row, label in enumerate(LABELS)
    )
    detectors = {name: make_detector(method) for name, method in METHODS_HERE.items()}
    everyone = np.arange(6, dtype=np.int32)
    return Case(
        name="made-up",
        experiment=Experiment(methods=METHODS_HERE),
        videos=videos,
        judges=[
            Judge("OCI_to_M", 0, everyone, {"colour": 0.5, "finetune": 0.5}),
            Judge("OCI_to_M", 1, everyone[:1], {"colour": np.nan, "finetune": 0.5}),
        ],
        fitted=Fitted({name: [detector] * 2 for name, detector in detectors.items()}),
        clips=Clips(infos, {"whole": np.arange(3) < np.array(lengths)[:, None]}, {"whole": stored.__getitem__}),
        moved=lambda renditions: pytest.fail("no crop is moved"),
        backbone=SimpleNamespace(dimension=1),  # type: ignore[arg-type]
        params={},
        features=Features(),
        renditions={"whole": Rendition(size=32, max_frames=3)},
    )


def scored(case: Case, name: str, strength: float) -> np.ndarray:
    """Each video by itself, its frames disturbed here."""
    found = np.full(6, np.nan)
    for row in range(5):
        own = AXES["light"].disturb(case.clips.frames["whole"](row), strength, row)
        (item,) = METHODS_HERE[name].inputs()
        made = dataclasses.replace(case.clips.infos[row].renditions["whole"], colour=colour(own))
        info = dataclasses.replace(case.clips.infos[row], renditions={"whole": made})
        data: Any = [info] if item.kind == "facts" else np.pad(own, ((0, 3 - len(own)), *((0, 0),) * 3))[None]
        mask = {} if item.kind == "facts" else {item: np.arange(3)[None] < len(own)}
        found[row] = case.fitted.detectors[name][0].score(Batch({item: data}, mask)).clip[0]  # type: ignore[union-attr]
    return found


def test_flips_and_error_rates_are_those_of_verdicts_worked_out_by_hand(case: Case) -> None:
    strengths = (-1.0, 0.0, 1.0)
    measured = measure(case, {"light": dataclasses.replace(AXES["light"], strengths=strengths)})
    assert len(measured) == 2 * 2 * 3
    for name in METHODS_HERE:
        start = scored(case, name, 0.0)
        for strength in strengths:
            (own,) = [each for each in measured if (each.model, each.seed, each.strength) == (name, 0, strength)]
            now = scored(case, name, strength)
            np.testing.assert_allclose(score_at(case, AXES["light"], strength)[name][0].clip, now, atol=1e-6)
            there = ~np.isnan(now)
            accepted, label = now[there] >= 0.5, LABELS[there]
            hter = (accepted[label == 0].mean() + (~accepted)[label == 1].mean()) / 2
            assert own.hter == pytest.approx(hter)
            assert own.flips == pytest.approx(np.mean((start[there] >= 0.5) != accepted) * there.sum() / 6)
            assert (own.videos, own.undecided) == (6, pytest.approx((~there).sum() / 6))
            if not strength:
                assert own.flips == 0
    # One video has one class, and one method no threshold.
    lone = [each for each in measured if each.seed == 1]
    assert all(np.isnan(each.hter) for each in lone)
    assert all(np.isnan(each.flips) == (each.model == "colour") for each in lone)


def test_a_lost_verdict_is_another_verdict(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {False: Scores(np.array([0.9, 0.1])), True: Scores(np.array([0.9, np.nan]), None, ["", "no face"])}
    judge, methods = Judge("p", 0, np.arange(2, dtype=np.int32), {"colour": 0.5}), {"colour": METHODS["colour"]}
    two = dataclasses.replace(case, judges=[judge], experiment=Experiment(methods=methods))
    monkeypatch.setattr(measuring, "score_at", lambda case, axis, strength: {"colour": [lost[bool(strength)]]})
    found = measure(two, {"blur": dataclasses.replace(AXES["blur"], strengths=(0.0, 1.0))})
    assert [(each.flips, each.undecided) for each in found] == [(0.0, 0.0), (0.5, 0.5)]
    # Of the others, all are bona fide.
    assert np.isnan(found[1].hter)


def test_a_mistyped_axis_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'shift-x'"):
        chosen_axes(["shiftx"])
    assert list(chosen_axes([])) == list(AXES)


def test_the_page_has_means_over_seeds_and_undefined_figures_are_not_hidden(tmp_path: Path) -> None:
    rows = [
        Measured("OCI_to_M", seed, model, "blur", strength, 8, flips, 0.0, hter)
        for seed, flips, hter in ((0, 0.25, 0.5), (1, 0.5, np.nan))
        for model in ("gru", "lstm")
        for strength in (0.0, 1.0)
    ]
    grid = grid_of(rows)
    assert [tuple(row[1:4]) for row in grid.rows][:2] == [
        ("gru", AXES["blur"].title, "0"),
        ("gru", AXES["blur"].title, "1"),
    ]
    assert {row[5] for row in grid.rows} == {"37.50"}
    text = write_page(tmp_path / "out", "it", rows, ["Rendered."])
    assert "> **Rendered.**" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"robustness.csv", "robustness.md", "robustness-OCI_to_M.png"} <= names
    read = list(csv.DictReader(io.StringIO((tmp_path / "out" / "robustness.csv").read_text())))
    assert len(read) == 4
    figures = {(row["model"], row["verdict flips"], row["HTER"]) for row in read}
    assert figures == {(model, "0.375", "nan") for model in ("gru", "lstm")}


TRAINED = """
[methods.mean]
kind = "mean-feature"
[methods.colour]
kind = "colour"
[methods.net]
kind = "finetune"
network = "resnet18"
weights = "random"
steps = 4
validate_every = 2
warm_up = 0
per_class = 3
"""


@pytest.mark.slow
def test_a_run_and_its_bundle_are_measured_and_strength_0_is_their_own(tiny_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(DATA.replace('["M", "I"]', '["M"]') + TRAINED)
    done("run", "--config", "tiny.toml", "--cache", tiny_cache, cwd=tmp_path)
    run, cache = tmp_path / "runs" / "tiny", tiny_cache
    before = Ledger(cache).before("M").readings
    case = case_of_run(run)
    assert Ledger(cache).before("M").readings == before + 1
    start = score_at(case, AXES["jpeg"], 0.0)
    stored = ScoreTable.read_csv(run / "scores.csv").select(role="test")
    for name in ("mean", "colour", "net"):
        own = stored.select(model=name)
        known = dict(zip(own.video, own.score.tolist(), strict=True))
        paths = [case.videos.path[row] for row in case.judges[0].rows]
        assert start[name][0].clip.tolist() == [known[path] for path in paths]
    # Videos that are decoded again have the same frames.
    again = case.moved({name: AXES["shift-x"].moved(each, 0.0) for name, each in case.renditions.items()})
    for name, read in again.frames.items():
        for row in range(len(case.videos)):
            np.testing.assert_array_equal(read(row), case.clips.frames[name](row))
    printed = done("robustness", "runs/tiny", "--axes", "pixels-x", "jpeg", cwd=tmp_path).stdout
    assert "Rendered videos" in printed
    table = list(csv.DictReader(io.StringIO((run / "robustness" / "robustness.csv").read_text())))
    assert {row["verdict flips"] for row in table if row["strength"] == "0"} == {"0.0"}
    bundle = run / "bundles" / "OCI_to_M"
    assert "--videos" in refused("robustness", bundle, cwd=tmp_path)
    (root,) = (cache / "synthetic").glob("*/msu_mfsd")
    of_bundle = case_of_bundle(bundle, root)
    found = score_at(of_bundle, AXES["jpeg"], 0.0)
    for name in ("mean", "colour", "net"):
        own = stored.select(model=name)
        known = dict(zip(own.video, own.score.tolist(), strict=True))
        for path, value in zip(of_bundle.videos.path, found[name][0].clip.tolist(), strict=True):
            assert value == pytest.approx(known[path], abs=1e-5)
