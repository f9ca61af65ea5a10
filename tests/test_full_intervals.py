"""Intervals that redraw the subjects of the sources, hence the threshold, the test subjects, and the seeds."""

import dataclasses

import numpy as np
import pytest

from fas_jax.evaluation import intervals, metrics, redrawing
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.intervals import Slack
from fas_jax.evaluation.redrawing import SourceVideos
from fas_jax.evaluation.scores import ScoreTable
from tests.test_evaluation import changed, rows, table

RESAMPLES = 200


def plain_resamples(scores):
    """HTER of each resample of one model and seed, by repeating the rows."""
    held, test = scores.select(role="validation"), scores.select(role="test")
    found = []
    for part, strata, seed in ((held, True, 1), (test, False, 0)):
        keys = list(zip(part.dataset.tolist(), part.subject.tolist(), strict=True))
        names = sorted(set(keys))
        whose = np.array([names.index(key) for key in keys])
        draws = (
            redrawing.draw_within(np.array([name[0] for name in names]), RESAMPLES, seed)
            if strata
            else intervals.draw_subjects(len(names), RESAMPLES, seed)
        )
        found.append((part.score, part.label, whose, draws))
    hter = []
    for source, target in zip(found[0][3], found[1][3], strict=True):
        again = np.repeat(np.arange(len(held)), source[found[0][2]])
        tau = metrics.eer_threshold(held.score[again], held.label[again])
        again = np.repeat(np.arange(len(test)), target[found[1][2]])
        hter.append(metrics.rates(test.score[again], test.label[again], tau).hter)
    return np.array(hter)


def test_intervals_are_those_of_resamples_that_are_really_made(monkeypatch):
    monkeypatch.setattr("fas_jax.evaluation.evaluate.RESAMPLES", RESAMPLES)
    scores = ScoreTable.concatenate([table(seed=seed) for seed in (4, 5)])
    results = evaluate(scores)
    by_seed = [plain_resamples(scores.select(seed=seed)) for seed in (4, 5)]
    for figures, values in zip(results.figures, by_seed, strict=True):
        wanted = intervals.percentile_interval(values)
        found = figures.full_hter_interval
        assert (found.low, found.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    weights = redrawing.draw_seeds(2, RESAMPLES, 2)
    wanted = intervals.percentile_interval(np.sum(weights * np.array(by_seed).T, axis=1))
    (summary,) = results.summaries
    assert summary.full_hter_interval.low == pytest.approx(wanted.low)
    assert summary.full_hter_interval.high == pytest.approx(wanted.high)
    narrow = summary.hter_interval.high - summary.hter_interval.low
    assert summary.full_hter_interval.high - summary.full_hter_interval.low > narrow


def test_differences_stay_paired():
    scores = ScoreTable.concatenate([table(model="one"), changed(table(model="one"), slice(None), model="twin")])
    for each in evaluate(scores).comparisons:
        assert (each.full_interval.low, each.full_interval.high, each.p, each.p_holm) == (0, 0, 1, 1)
        assert not each.clear
    scores = ScoreTable.concatenate([table(model="strong", strength=4), table(model="weak", strength=0)])
    found = {(each.model, each.other): each for each in evaluate(scores).comparisons}
    one, other = found["strong", "weak"], found["weak", "strong"]
    assert one.full_interval.low == pytest.approx(-other.full_interval.high)
    assert one.full_interval.low <= one.difference <= one.full_interval.high
    assert one.p == other.p == one.p_holm == 2 / 256
    assert one.clear
    assert other.clear


def test_p_values_are_corrected_for_all_pairs_of_all_protocols():
    parts = [
        table(model=model, strength=strength, protocol=protocol)
        for protocol in ("OC_to_M", "OC_to_N")
        for model, strength in (("a", 0.2), ("b", 1.5), ("c", 5.0))
    ]
    results = evaluate(ScoreTable.concatenate(parts))
    assert len(results.comparisons) == 12
    smallest = min(each.p for each in results.comparisons)
    assert min(each.p_holm for each in results.comparisons) == pytest.approx(6 * smallest)
    assert not any(each.clear for each in results.comparisons if each.p_holm >= 0.05)


def test_a_source_with_one_subject_of_a_class_gives_no_full_interval_and_says_so():
    scores = table()
    alone = (scores.dataset == "C") & (scores.label == 0)
    (figures,) = evaluate(changed(scores, alone, subject="s0")).figures
    assert np.isnan(figures.full_hter_interval.low)
    assert not np.isnan(figures.hter_interval.low)
    assert "no interval in which the threshold varies: it was set by 1 subject of attacks in C" in figures.notes
    # No video sets a fixed threshold, so that there is nothing to redraw.
    (figures,) = evaluate(changed(scores, alone, subject="s0"), "fixed:0.5").figures
    assert figures.full_hter_interval == figures.hter_interval


def test_where_the_target_has_no_interval_there_is_no_full_one():
    scores = changed(table(), np.asarray(table().role) == "test", subject="s0")
    (figures,) = evaluate(scores).figures
    assert np.isnan(figures.full_hter_interval.low)


def test_the_order_of_seeds_changes_nothing():
    parts = [ScoreTable.concatenate([rows(role, seed=seed) for role in ("validation", "test")]) for seed in (2, 7, 3)]
    one = evaluate(ScoreTable.concatenate(parts)).summaries[0]
    other = evaluate(ScoreTable.concatenate(parts[::-1])).summaries[0]
    assert one.full_hter_interval == other.full_hter_interval
    assert dataclasses.asdict(one).keys() == dataclasses.asdict(other).keys()


def test_full_intervals_cover_the_error_that_many_sources_give_and_others_do_not():
    """Few source subjects: the threshold is off by chance, of which an interval at that threshold knows nothing."""
    generator = np.random.default_rng(0)

    def draw(subjects):
        whose, labels = np.repeat(np.arange(subjects), 4), np.tile([1, 1, 0, 0], subjects)
        # A subject moves all of its scores, as skin and light do, and with them the threshold.
        moved = generator.normal(0, 1, subjects)[whose]
        return generator.normal(2.0 * labels + moved, 0.6), labels, whose

    scores, labels, _ = draw(40_000)
    # The target's scores lie higher, so that its error depends on where the threshold is.
    shift = 2.0
    truth = metrics.rates(scores + shift, labels, 1.0).hter
    covered = {"full": 0, "threshold kept": 0}
    rounds, resamples = 100, 300
    for number in range(rounds):
        source, kinds, owners = draw(10)
        scores, labels, whose = draw(60)
        scores = scores + shift
        names = np.array(["O"])
        videos = SourceVideos(
            *(each[np.argsort(source)] for each in (source, kinds, np.repeat(names, len(source)))),
            None,
            owners[np.argsort(source)],
        )
        taus = redrawing.redrawn_thresholds("pooled", videos, redrawing.draw_within(np.repeat(names, 10), resamples, 1))
        draws = intervals.draw_subjects(60, resamples, number)
        kept = intervals.resampled_hter(scores >= metrics.eer_threshold(source, kinds), labels, whose, draws)
        full = redrawing.hter_at(taus, scores, labels, whose, draws)
        for name, values in (("full", full), ("threshold kept", kept)):
            found = intervals.hter_interval(values, Slack(0, 0))
            covered[name] += found.low <= truth <= found.high
    assert covered["full"] >= 88
    assert covered["threshold kept"] < covered["full"] - 3
