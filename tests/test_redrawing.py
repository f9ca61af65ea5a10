"""Thresholds chosen anew on redrawn subjects, against the rules themselves on videos that are really repeated."""

import time

import numpy as np
import pytest

from fas_jax.base.record import Video
from fas_jax.evaluation import intervals, redrawing
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.redrawing import SourceVideos
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.evaluation.thresholds import RULES, choose

WRITTEN = ("pooled", "balanced", "apcer:0.2", "apcer:0.01", "cost:10,1", "cost:1,3", "fixed:0.4")
SPECIES = ("bonafide", "bonafide", "print", "print", "replay", "cut")


def sources(scale, subjects=(7, 4), places=2):
    """Two datasets; scores are probabilities where `scale` is set, and tie by rounding."""
    generator = np.random.default_rng([int(10 * scale), *subjects, places])
    videos = [
        Video(f"{subject}/{number}", dataset, f"s{subject}", "dev", int(number < 2), kind, kind, "", "")
        for dataset, count in zip("OC", subjects, strict=True)
        for subject in range(count)
        for number, kind in enumerate(SPECIES)
    ]
    logits = generator.normal([scale * (2 * video.label - 1) for video in videos], 1.0)
    values = np.round(1 / (1 + np.exp(-logits)), places) if scale else np.round(logits, 1)
    return ScoreTable.from_videos("p", 0, "validation", "m", videos, values)


def whose(rows):
    keys = list(zip(rows.dataset.tolist(), rows.subject.tolist(), strict=True))
    names = sorted(set(keys))
    return np.array([names.index(key) for key in keys]), np.array([dataset for dataset, _ in names])


def plainly(rule, rows, subjects, draws):
    found = []
    species = np.asarray(rows.pai)
    for row in draws:
        again = np.repeat(np.arange(len(rows)), row[subjects])
        columns = (np.asarray(each)[again] for each in (rows.score, rows.label, np.asarray(rows.dataset), species))
        try:
            found.append(choose(rule, *columns).value)
        except MetricError:
            found.append(np.nan)
    return np.array(found)


@pytest.mark.parametrize("rule", WRITTEN)
@pytest.mark.parametrize("scale", [0.0, 0.7, 3.0, 9.0])
def test_thresholds_are_those_of_the_rule_on_repeated_videos(rule, scale, monkeypatch):
    assert {each.partition(":")[0] for each in WRITTEN} == set(RULES)
    rows = sources(scale)
    subjects, strata = whose(rows)
    stratified = redrawing.draw_within(strata, 16, seed=1)
    # Those of a part of the subjects, of which a resample may lack a dataset or all.
    loose = np.random.default_rng(2).multinomial(2, np.full(len(strata), 1 / len(strata)), size=8)
    draws = np.concatenate([stratified, loose, np.zeros((1, len(strata)), int)])
    monkeypatch.setattr(redrawing, "_CELLS", 7 * len(rows))
    found = redrawing.redrawn_thresholds(rule, SourceVideos.of(rows, subjects), draws)
    np.testing.assert_allclose(found, plainly(rule, rows, subjects, draws), rtol=1e-12, atol=0)


def test_one_class_has_no_threshold():
    rows = sources(1.0)
    rows = rows.rows(rows.label == 1)
    subjects, strata = whose(rows)
    draws = redrawing.draw_within(strata, 5, seed=0)
    for rule in WRITTEN[:-1]:
        assert np.isnan(redrawing.redrawn_thresholds(rule, SourceVideos.of(rows, subjects), draws)).all()


def test_strata_keep_their_size_and_equal_subjects_their_draws():
    strata = np.array(["O"] * 5 + ["C"] * 3 + ["I"])
    draws = redrawing.draw_within(strata, 50, seed=0)
    for name, count in (("O", 5), ("C", 3), ("I", 1)):
        assert (draws[:, strata == name].sum(1) == count).all()
    assert len(np.unique(draws, axis=0)) > 30


def test_seeds_are_redrawn_so_that_their_mean_varies_as_it_does():
    values = np.array([0.1, 0.4, 0.25])
    weights = redrawing.draw_seeds(3, 40_000, seed=0)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert np.std(weights @ values) == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=0.02)
    assert (redrawing.draw_seeds(1, 4, seed=0) == 1).all()


def test_error_rates_of_resamples_with_thresholds_of_their_own(monkeypatch):
    rows = sources(0.7)
    subjects, strata = whose(rows)
    draws = redrawing.draw_within(strata, 30, seed=3)
    taus = np.random.default_rng(0).random(30)
    taus[4] = np.nan
    monkeypatch.setattr(redrawing, "_CELLS", 50)
    found = redrawing.hter_at(taus, rows.score, rows.label, subjects, draws)
    for row, tau, hter in zip(draws, taus, found, strict=True):
        wanted = intervals.resampled_hter(rows.score >= tau, rows.label, subjects, row[None].astype(np.int64))[0]
        assert hter == pytest.approx(wanted) or (np.isnan(tau) and np.isnan(hter))


def test_a_thousand_resamples_of_two_thousand_videos_stay_quick():
    rows = sources(1.0, subjects=(200, 133), places=9)
    subjects, strata = whose(rows)
    draws = redrawing.draw_within(strata, 1000, seed=0)
    start = time.process_time()
    redrawing.redrawn_thresholds("pooled", SourceVideos.of(rows, subjects), draws)
    assert time.process_time() - start < 5
