"""Calibration on the sources: fits beside brute force, measures beside their definitions, and what is not fitted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.logits import sigmoid
from fas_jax.evaluation import calibration
from fas_jax.evaluation.calibration import ISOTONIC, KINDS, RAW, TEMPERATURE
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.metrics import MetricError
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.reporting import calibration_tables, markdown_report
from fas_jax.reporting.naming import Models
from fas_jax.reporting.page import Extras, write_page
from tests.test_scores import table, videos

pairs = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=1, max_size=9)


def arrays(rows):
    return np.array([value for value, _ in rows], float), np.array([label for _, label in rows])


@given(pairs)
def test_isotonic_regression_is_the_min_max_of_means(rows):
    """Robertson's formula over the distinct logits: the largest, over starts, of the smallest, over ends, mean."""
    logits, labels = arrays(rows)
    found = calibration.fit_isotonic(logits, labels)
    knots = np.unique(logits)
    for at, knot in enumerate(knots):
        means = [
            min(labels[(logits >= start) & (logits <= end)].mean() for end in knots[at:]) for start in knots[: at + 1]
        ]
        assert found.shares[at] == pytest.approx(max(means))
        assert sigmoid(found(np.array([knot])))[0] == pytest.approx(max(means), abs=1e-7)
    assert (np.diff(found(np.linspace(-6, 6, 50))) >= 0).all()


@given(pairs)
def test_the_temperature_has_the_lowest_log_loss(rows):
    logits, labels = arrays(rows)

    def loss(inverse):
        return np.mean(np.logaddexp(0, np.where(labels == 1, -1, 1) * inverse * logits))

    try:
        found = 1 / calibration.fit_temperature(logits, labels)
    except MetricError:
        # Steeper is never worse.
        steps = np.array([loss(inverse) for inverse in (0, 0.5, 1, 5, 50)])
        assert (np.diff(steps) <= 1e-12).all()
        return
    assert loss(found) <= min(loss(each) for each in np.concatenate([[0], np.geomspace(1e-3, 1e3, 400)])) + 1e-12


def test_a_known_temperature_is_found_again():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, 40000)
    labels = (generator.uniform(size=40000) < sigmoid(logits)).astype(int)
    assert calibration.fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.03)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 1)), min_size=1, max_size=40))
def test_measures_are_those_of_their_definitions(rows):
    logits, labels = arrays(rows)
    p = 1 / (1 + np.exp(-logits))
    found = calibration.quality(logits, labels)
    assert found.brier == pytest.approx(sum((a - b) ** 2 for a, b in zip(p, labels, strict=True)) / len(p))
    right = np.where(labels == 1, p, 1 - p)
    assert found.log_loss == pytest.approx(-np.log(right).mean(), abs=1e-9)
    gap = 0.0
    for number in range(15):
        own = [(a, b) for a, b in zip(p, labels, strict=True) if min(int(a * 15), 14) == number]
        gap += abs(sum(b - a for a, b in own)) / len(p)
    assert found.ece == pytest.approx(gap, abs=1e-9)
    assert sum(count for *_, count in found.bins) == len(p)


def scored(role, logits, **changed):
    """Rows of alternating attacks and bona fide with these logits."""
    logits = np.array(logits, float)
    return table(np.zeros(len(logits)), role=role).scored_by("gru", sigmoid(logits), logits=logits)


OVERLAP = [-2.0, 1.0, -1.0, 2.0, 0.5, -0.5, -3.0, 3.0]
TARGET = [-6.0, 3.0, 4.0, 8.0, 0.2, -5.0, -9.0, 3.5]


def test_a_calibration_is_fitted_on_sources_and_judged_on_the_target():
    found = evaluate(ScoreTable.concatenate([scored("validation", OVERLAP), scored("test", TARGET)])).calibrations[0]
    labels, logits = np.arange(8) % 2, np.array(TARGET)
    assert found.temperature == calibration.fit_temperature(np.array(OVERLAP), labels)
    assert found.quality[RAW] == calibration.quality(logits, labels)
    assert found.quality[TEMPERATURE] == calibration.quality(logits / found.temperature, labels)
    isotonic = calibration.fit_isotonic(np.array(OVERLAP), labels)
    assert found.quality[ISOTONIC] == calibration.quality(isotonic(logits), labels)
    assert found.quality.keys() == set(KINDS)
    assert not found.notes


@pytest.mark.parametrize(
    ("validation", "sentence", "kinds"),
    [
        ([-2.0, 1.0, -1.0, 2.0], "separated perfectly (EER 0), so that there is no calibration left", {RAW}),
        ([0.7] * 4, "all scores of the source videos are equal", {RAW}),
        ([-1.0, 0.0, 0.0, 2.0], "no source video scores on the wrong side of 0.5", {RAW, ISOTONIC}),
    ],
)
def test_what_cannot_be_fitted_is_a_sentence_in_the_report(validation, sentence, kinds):
    scores = ScoreTable.concatenate([scored("validation", validation), scored("test", TARGET)])
    results = evaluate(scores)
    (found,) = results.calibrations
    assert found.quality.keys() == kinds
    assert np.isnan(found.temperature)
    provenance = {"preset": "strict", "datasets": [{"dataset": "M", "synthetic": False, "complete": True}]}
    models = Models.of(results, provenance)
    (row,) = calibration_tables.calibration_table(results, models).rows
    assert row.count("—") == 1 + 3 * (3 - len(kinds))
    page = write_page(results, scores, provenance, (), "not compared", Extras())
    text = markdown_report.full_report("", (), results, models, scores, provenance)
    for report in (page, text):
        assert sentence in report
    assert len(calibration_tables.diagrams(results, models)) == 1
    assert "Reliability, O&amp;C&amp;I to M" in page


def test_scores_that_are_no_probabilities_are_not_calibrated():
    for change in ([3.0, 0.5, 0.1, 0.2], [0.9, 0.5, 0.1, 0.2]):
        rows = scored("test", np.zeros(4))
        rows = rows.scored_by("gru", np.array(change), logits=np.zeros(4))
        (found,) = evaluate(ScoreTable.concatenate([scored("validation", OVERLAP), rows])).calibrations
        assert not found.quality
        assert "no probabilities" in found.notes[0] or "the column logit is not" in found.notes[0]


def test_certain_scores_have_finite_losses_and_are_told():
    logits = np.array([-np.inf, np.inf, 50.0, np.nan, -1.0, 1.0])
    scores = sigmoid(np.nan_to_num(logits, nan=np.inf))
    rows = table(np.zeros(6)).scored_by("gru", scores, logits=logits)
    assert calibration.logits_of(rows) == pytest.approx([-16.635532, 16.635532, 36, 16.635532, -1, 1], abs=1e-5)
    results = evaluate(ScoreTable.concatenate([scored("validation", OVERLAP), rows]))
    assert np.isfinite(results.calibrations[0].quality[RAW].log_loss)
    assert any("3 of 6 test scores are exactly 0 or 1 and have no finite logit" in n for n in results.figures[0].notes)


def test_zero_and_one_are_not_certain_among_scores_that_are_no_probabilities():
    rows = table(np.array([0.0, 1.0, -3.0, 7.0]))
    assert not calibration.peculiarities(rows)
    assert calibration.peculiarities(rows.rows(rows.score <= 1).rows(np.array([0, 1])))


def test_scores_that_are_all_equal_are_told():
    rows = ScoreTable.concatenate([scored("validation", OVERLAP), scored("test", [0.4] * 4)])
    notes = evaluate(rows).figures[0].notes
    assert any("all 4 test scores are equal (0.5987): they tell no videos apart" in note for note in notes)


def test_every_seed_has_its_own_calibration():
    parts = [
        ScoreTable.from_videos("OCI_to_M", seed, role, model, videos(8), sigmoid(scale * np.array(own)))
        for (seed, scale), model in itertools.product(((0, 1.0), (1, 2.0)), ("gru", "lstm"))
        for role, own in (("validation", OVERLAP), ("test", TARGET))
    ]
    found = evaluate(ScoreTable.concatenate(parts)).calibrations
    assert {(each.model, each.seed): round(each.temperature / found[0].temperature, 6) for each in found} == {
        ("gru", 0): 1, ("gru", 1): 2, ("lstm", 0): 1, ("lstm", 1): 2
    }  # fmt: skip
