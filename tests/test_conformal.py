"""Three answers by conformal prediction: bands beside their definition, coverage, and that they only take away."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.evaluation import conformal
from fas_jax.evaluation.conformal import Band, fit_band, held_out_coverage, needed_clips, three_answers
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.intervals import binomial_interval
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.scores import CROSS_SOURCE, TEST, VALIDATION, ScoreTable
from fas_jax.reporting.answers import TITLE, alpha_of, answers_section
from fas_jax.reporting.naming import Models

alphas = st.sampled_from([0.01, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.9])
# Few values, so that there are ties.
sources = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), max_size=30)
GRID = np.array([-1, 0, 0.5, 1, 2, 3, 3.5, 4, 5, 6, 7.0])


def band_of(rows, alpha):
    return fit_band(np.array([s for s, _ in rows], float), np.array([label for _, label in rows], int), alpha)


@given(sources, alphas)
def test_a_class_is_possible_if_its_p_value_exceeds_alpha(rows, alpha):
    """The definition: the share of clips, the new one among them, that are at least as strange as the new one."""
    bona_fide, attack = band_of(rows, alpha).possible(GRID)
    for label, inside, strangeness in ((1, bona_fide, -1), (0, attack, 1)):
        own = [strangeness * s for s, known in rows if known == label]
        for score, found in zip(GRID, inside, strict=True):
            as_strange = sum(each >= strangeness * score for each in own) + 1
            assert found == (as_strange / (len(own) + 1) > alpha)


@given(sources, alphas, alphas, st.floats(-1, 7))
def test_bands_only_take_away_and_shrink_with_the_error_rate(rows, one, other, threshold):
    tight, wide = band_of(rows, max(one, other)), band_of(rows, min(one, other))
    scores = np.append(GRID, [np.nan, threshold])
    for band in (tight, wide):
        accepted, rejected = band.accepts(scores, threshold), band.rejects(scores)
        assert not accepted[np.isnan(scores)].any()
        assert not rejected[np.isnan(scores)].any()
        assert (scores[accepted] >= threshold).all()
        assert not (accepted & rejected).any()
        answers = [band.answer(score, threshold) for score in scores]
        assert [each == "bona fide" for each in answers] == accepted.tolist()
        assert [each == "attack" for each in answers] == rejected.tolist()
        assert [bool(band.reason(each, threshold)) for each in scores] == [each == "uncertain" for each in answers]
        assert not band.accepts(scores, math.nan).any()
    for small, large in zip(tight.possible(GRID), wide.possible(GRID), strict=True):
        assert (small <= large).all()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.3, 0.5, 0.51, 0.99])
def test_needed_clips_are_the_fewest_that_give_a_bound(alpha):
    needed = needed_clips(alpha)
    # The smallest n with alpha (n + 1) >= 1, where alpha is the decimal that was meant.
    assert needed == math.ceil(1 / Fraction(str(alpha))) - 1
    for count, bounded in ((needed, True), (needed - 1, False)):
        band = fit_band(np.arange(max(0, count), dtype=float), np.zeros(max(0, count), int), alpha)
        assert math.isfinite(band.attack_to) == (bounded and count > 0)


def test_too_few_clips_make_everything_possible_and_say_so():
    rows = [(float(i), 1) for i in range(20)] + [(float(i), 0) for i in range(18)]
    band = band_of(rows, 0.05)
    assert band.attack_to == math.inf
    assert not band.accepts(np.linspace(-99, 99, 50), -100.0).any()
    assert "5 % need 19 source clips of each class; there are 18 attacks (so that no clip can be accepted)" in (
        band.shortage
    )
    assert not band_of([*rows, (0.0, 0)], 0.05).shortage
    nothing = band_of([], 0.05)
    assert "0 bona fide clips" in nothing.shortage
    assert nothing.answer(0.5, 0.1) == "uncertain"


@pytest.mark.parametrize(("count", "alpha"), [(39, 0.1), (19, 0.05), (30, 0.1)])
def test_marginal_coverage_on_exchangeable_draws(count, alpha):
    """Over new draws of source and clip: the exact value for continuous scores, and at least what is promised."""
    rng = np.random.default_rng([7, count])
    times, covered = 3000, np.zeros(2, int)
    for _ in range(times):
        scores, labels = rng.normal(size=2 * count + 2), np.arange(2 * count + 2) % 2
        band = fit_band(scores[:-2], labels[:-2], alpha)
        attack, bona_fide = scores[-2:]
        covered += [band.possible(np.array([bona_fide]))[0][0], band.possible(np.array([attack]))[1][0]]
    exact = 1 - Fraction(math.floor(Fraction(str(alpha)) * (count + 1)), count + 1)
    assert exact >= 1 - Fraction(str(alpha))
    for each in covered.tolist():
        interval = binomial_interval(each, times)
        assert interval.low <= exact <= interval.high


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_binomial_interval_is_that_of_its_definition(successes, more):
    trials = successes + more
    found = binomial_interval(successes, trials)
    if not trials:
        assert math.isnan(found.low)
        return

    def tail(p, ks):
        return sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in ks)

    if successes:
        assert tail(found.low, range(successes, trials + 1)) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.low == 0
    if more:
        assert tail(found.high, range(successes + 1)) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.high == 1


def rows_of(role, count, rng, dataset="M", shift=0.0, of_subject=4, **changed):
    """Clips of subjects, half of them bona fide; those of a subject are a little alike."""
    videos = [
        Video(f"{i}.avi", dataset, f"s{i // of_subject}", "", i % 2, ("print", "bonafide")[i % 2], "x", "", "")
        for i in range(count)
    ]
    own = rng.normal(0, 0.3, count // of_subject + 1)[np.arange(count) // of_subject]
    scores = rng.normal(2.0 * (np.arange(count) % 2), 1.0) + own + shift
    return ScoreTable.from_videos("OCI_to_M", 0, role, "gru", videos, scores, **changed)


def test_held_out_coverage_is_that_of_bands_of_the_other_subjects():
    held = rows_of(VALIDATION, 44, np.random.default_rng(1))
    found = held_out_coverage(held, 0.2)
    counts = {1: [0, 0], 0: [0, 0]}
    for row in range(44):
        others = held.subject != held.subject[row]
        label, score = int(held.label[row]), float(held.score[row])
        own = np.sort(held.score[others & (held.label == label)])
        rank = math.floor(Fraction("0.2") * (len(own) + 1))
        inside = score >= own[rank - 1] if label else score <= own[-rank]
        counts[label] = [counts[label][0] + inside, counts[label][1] + 1]
    assert {label: [found[name].covered, found[name].clips] for label, name in ((1, "bona fide"), (0, "attack"))} == (
        counts
    )


def test_coverage_holds_for_exchangeable_subjects_and_falls_under_shift():
    rng = np.random.default_rng(3)
    validation = rows_of(VALIDATION, 800, rng)
    for name, each in held_out_coverage(validation, 0.1).items():
        assert each.interval.high >= 0.9, name
    for shift, holds in ((0.0, True), (-2.0, False)):
        test = rows_of(TEST, 800, rng, "O", shift)
        (found,) = three_answers(ScoreTable.concatenate([validation, test]), "pooled", alpha=0.1)
        assert (found.target["bona fide"].interval.high >= 0.9) == holds
        assert found.band == fit_band(validation.score, validation.label, 0.1)


def test_rates_with_three_answers_by_hand():
    """A band from 20 clips of each class at 10 %: bona fide from 11 on, attacks up to 9; the threshold is fixed."""
    held = [(float(i), 1) for i in range(10, 30)] + [(float(i), 0) for i in range(-9, 11)]
    test = [(12.0, 1), (10.5, 1), (9.5, 1), (3.0, 1), (12.0, 0), (9.5, 0), (2.0, 0), (None, 0), (None, 1)]
    tables = []
    for role, rows in ((VALIDATION, held), (TEST, test)):
        videos = [
            Video(f"{i}", role, f"{i}", "", label, ("replay", "bonafide")[label], "x", "", "")
            for i, (_, label) in enumerate(rows)
        ]
        scores = np.array([np.nan if score is None else score for score, _ in rows])
        reasons = ["" if score is not None else "no face" for score, _ in rows]
        tables.append(ScoreTable.from_videos("p", 0, role, "gru", videos, scores, reasons))
    table = ScoreTable.concatenate(tables)
    (found,) = three_answers(table, "fixed:10", alpha=0.1)
    assert (found.band.bona_fide_from, found.band.attack_to) == (11.0, 9.0)
    assert found.uncertain == {"bona fide": 0.5, "attack": pytest.approx(1 / 3)}
    assert (found.target["bona fide"].covered, found.target["bona fide"].clips) == (1, 4)
    assert (found.target["attack"].covered, found.target["attack"].clips) == (1, 3)
    assert (found.apcer, found.bpcer) == (0.25, 0.8)
    (two,) = evaluate(table, "fixed:10").figures
    assert found.bpcer >= two.values["bpcer_rejecting"]
    nothing = dataclasses.replace(found.band, bona_fide_from=-math.inf)
    assert Band.from_json(json.loads(json.dumps(nothing.to_json())), "here") == nothing


def test_the_target_moves_no_band_and_the_role_that_sets_the_threshold_does():
    rng = np.random.default_rng(5)
    tables = [rows_of(VALIDATION, 60, rng), rows_of(CROSS_SOURCE, 60, rng, shift=3.0)]
    key = ("OCI_to_M", 0, "gru")
    alone = conformal.bands(ScoreTable.concatenate(tables), 0.1)
    with_test = conformal.bands(ScoreTable.concatenate([*tables, rows_of(TEST, 60, rng, "O")]), 0.1)
    assert alone == with_test
    left_out = conformal.bands(ScoreTable.concatenate(tables), 0.1, CROSS_SOURCE)[key]
    assert left_out == fit_band(tables[1].score, tables[1].label, 0.1)
    assert left_out != alone[key]


def test_the_section_of_a_report_tells_coverage_and_shortage():
    rng = np.random.default_rng(6)
    for count, short in ((200, False), (24, True)):
        table = ScoreTable.concatenate([rows_of(VALIDATION, count, rng), rows_of(TEST, 80, rng, "O")])
        results = evaluate(table)
        section = answers_section(table, results, Models.of(results, {}), 0.05)
        assert section is not None
        assert section.title == TITLE
        assert ("need 19 source clips of each class; there are 12 bona fide clips" in section.text) == short
        (row,) = section.grid.rows
        cells = dict(zip(section.grid.header, row, strict=True))
        (found,) = three_answers(table, "pooled", alpha=0.05)
        if short:
            assert cells["source coverage, bona fide"] == "n/a"
            assert cells["uncertain, attack"] == "100.00"
            assert cells["APCER"] == "0.00"
            assert cells["BPCER"] == "100.00"
        else:
            share = found.source["bona fide"].share
            assert cells["source coverage, bona fide"].startswith(f"{100 * share:.2f} [")
            assert cells["APCER"] == f"{100 * found.apcer:.2f}"
    assert alpha_of({}) == conformal.ALPHA
    assert alpha_of({"experiment": {"evaluation": {"alpha": 0.2}}}) == 0.2


@pytest.mark.parametrize("wrong", [[np.nan], [np.inf]])
def test_scores_that_are_not_finite_and_rates_out_of_range_are_refused(wrong):
    with pytest.raises(MetricError, match="1 of 1 scores are not finite"):
        fit_band(np.array(wrong), np.array([1]))
    for alpha in (0.0, 1.0, -0.1):
        with pytest.raises(MetricError, match="between 0 and 1"):
            fit_band(np.zeros(3), np.ones(3, int), alpha)
    with pytest.raises(MetricError, match="must be numbers"):
        Band(0.1, math.nan, 0.0, 5, 5)
    for content in ({}, None, {"alpha": "x"}, {**Band(0.1, 0.0, 1.0, 9, 9).to_json(), "alpha": 2}):
        with pytest.raises(UserError, match="here holds no band"):
            Band.from_json(content, "here")
