"""The table of the gate's refusals: counts by species, and a run's training videos alone."""

import dataclasses

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.pixels.gate.checks import CheckedClip, ClipCheck
from fas_jax.pixels.gate.settings import Gate
from fas_jax.studies import gate_table as study
from fas_jax.studies.gate_table import Judged, gate_table


def video(number: int, pai: str, dataset: str = "M", split: str = "train") -> Video:
    label = int(pai == "bonafide")
    return Video(f"{pai}/{number}.mov", dataset, str(number), split, label, pai, pai, "", "")


def clip(*failed: str) -> CheckedClip:
    checks = tuple(ClipCheck(name, 0.0, 1.0, 2, 2 * (name in failed)) for name in ("face", "darkness", "size"))
    return CheckedClip(2, 0 if failed else 2, 0.5, checks)


def test_refusals_and_what_was_not_decoded_count_as_non_responses() -> None:
    found = [Judged(video(number, "bonafide"), clip()) for number in range(3)]
    found += [Judged(video(3, "bonafide"), clip("darkness")), Judged(video(0, "print"), None)]
    found += [Judged(video(1, "print"), clip("darkness", "face")), Judged(video(2, "print"), clip("face"))]
    found += [Judged(video(0, "print", "O"), clip()), Judged(video(0, "replay", "O"), clip())]
    rows = {(row[0], row[1]): row[2:] for row in gate_table(found).grid.rows}
    assert list(rows) == [
        ("M", "bona fide"), ("M", "print"), ("O", "print"), ("O", "replay"),
        ("all", "bona fide"), ("all", "print"), ("all", "replay"),
    ]  # fmt: skip
    assert rows["M", "bona fide"] == ["4", "0", "1", "25.0 [0.6, 80.6]", "darkness 1"]
    assert rows["M", "print"][:3] == ["3", "1", "2"]
    assert rows["M", "print"][3].startswith("100.0 [")
    assert rows["M", "print"][4] == "face 2, darkness 1"
    assert rows["all", "print"][:3] == ["4", "1", "2"]
    assert rows["all", "print"][3].startswith("75.0 [")
    assert rows["O", "replay"] == ["1", "0", "0", "0.0 [0.0, 97.5]", "—"]
    alone = gate_table(found[:2]).grid.rows
    assert [row[0] for row in alone] == ["M"]


def test_videos_are_of_training_splits_and_spread_over_each_species(monkeypatch, tmp_path) -> None:
    videos = [video(number, pai) for pai in ("bonafide", "print") for number in range(10)]
    chosen = study._chosen(videos, 3)
    assert [each.path for each in chosen if each.pai == "print"] == ["print/0.mov", "print/5.mov", "print/9.mov"]
    assert len(study._chosen(videos, 0)) == 20
    # Of a run's own videos, those of the training split are asked for.
    asked: list[str] = []
    others = [dataclasses.replace(videos[0], split=split) for split in ("train", "dev", "test")]
    monkeypatch.setattr(study, "read_run", lambda run: None)
    monkeypatch.setattr(study, "read_inputs", lambda run: None)
    monkeypatch.setattr(
        study, "listed", lambda *options: asked.extend(each.split for each in others if options[-1](each)) or []
    )
    with pytest.raises(UserError):
        study.tabulate(tmp_path, Gate(), cache=tmp_path)
    assert asked == ["train"]


def test_a_run_without_training_splits_is_refused(monkeypatch, tmp_path) -> None:
    from fas_jax.experiment.configuration import Experiment

    monkeypatch.setattr(study, "read_run", lambda run: Experiment())
    monkeypatch.setattr(study, "read_inputs", lambda run: {})
    monkeypatch.setattr(study, "stored_cache", lambda inputs: tmp_path)
    monkeypatch.setattr(study, "list_videos", lambda experiment: [])
    with pytest.raises(UserError, match=r"no video of .* is of an official training split"):
        study.tabulate(tmp_path, Gate())
