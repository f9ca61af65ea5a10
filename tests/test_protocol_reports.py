"""What reports say of protocols: folds' mean and deviation, and what was chosen on the target."""

from pathlib import Path

import numpy as np
import pytest

from fas_jax.base.record import Video
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.reporting.folds import fold_figures, fold_table
from fas_jax.reporting.naming import Models
from fas_jax.reporting.report import write_report

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


def test_mean_and_deviation_over_folds_in_the_report(tmp_path: Path, no_pictures: None) -> None:
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
    five = fold_table(evaluate(fold_scores(dict.fromkeys(range(1, 6), 0.0))), Models(("gru",)))
    assert five is not None
    assert set(five.rows[0][2:]) == {"undefined"}


def test_reports_tell_what_chose_on_the_target(tmp_path: Path, no_pictures: None) -> None:
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
