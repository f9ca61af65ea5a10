"""How thresholds follow from source scores, against brute force and by their promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.scores import CROSS_SOURCE, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import Rule, choose, thresholds
from fas_jax.reporting.naming import Models
from fas_jax.reporting.tables import promise_table
from tests.test_evaluation import rows, table

scored = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 0.9]), st.booleans()), min_size=2, max_size=24)


def arrays(drawn):
    scores = np.array([score for score, _ in drawn])
    labels = np.array([int(label) for _, label in drawn])
    return scores, labels, np.array(["A"] * len(labels))


@given(scored, st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_cost_is_the_smallest_of_any_threshold(drawn, accepted, rejected):
    scores, labels, domains = arrays(drawn)
    if len(set(labels.tolist())) < 2:
        return

    def cost(threshold):
        found = metrics.rates(scores, labels, threshold)
        return accepted * found.far + rejected * found.frr

    tau = choose(f"cost:{accepted!r},{rejected!r}", scores, labels, domains).value
    least = min(cost(value) for value in (0.0, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0))
    assert cost(tau) == pytest.approx(least)


@given(scored, st.sampled_from([0.05, 0.25, 0.5]))
def test_a_promised_apcer_is_kept_on_the_sources_by_the_lowest_threshold(drawn, rate):
    scores, labels, domains = arrays(drawn)
    if len(set(labels.tolist())) < 2:
        return
    species = np.array([("print", "replay")[i % 2] for i in range(len(labels))])
    tau = choose(f"apcer:{rate}", scores, labels, domains, species).value
    assert metrics.rates(scores, labels, tau, species).apcer <= rate
    lower = [
        value
        for value in (0.05, 0.15, 0.25, 0.4, 0.6, 0.8)
        if value < tau and np.sum((scores < tau) & (scores >= value))
    ]
    assert all(metrics.rates(scores, labels, value, species).apcer > rate for value in lower)


def test_a_fixed_threshold_needs_no_video():
    none = np.zeros(0)
    assert choose("fixed:0.5", none, none, none).value == 0.5


def test_in_an_empty_gap_the_threshold_is_the_middle_of_the_logits():
    scores, labels = np.array([0.01, 0.001, 0.9999, 0.99999]), np.array([0, 0, 1, 1])
    found = choose("pooled", scores, labels, np.array(["A"] * 4))
    low, high = np.log(0.01 / 0.99), np.log(0.9999 / 0.0001)
    assert np.log(found.value / (1 - found.value)) == pytest.approx((low + high) / 2)
    assert found.gap == (0.01, 0.9999)
    assert found.width == pytest.approx(high - low)


@pytest.mark.parametrize(
    "pair", [(0.0, 1.0), (0.0, 5e-324), (np.nextafter(1.0, 0), 1.0), (-3.0, 4.0), (0.5, 0.5000001)]
)
def test_a_gap_of_any_width_keeps_its_classes_apart(pair):
    found = choose("pooled", np.array(pair), np.array([0, 1]), np.array(["A", "A"]))
    assert pair[0] < found.value <= pair[1]
    assert np.isnan(found.width) == (pair[0] < 0)


def test_overlapping_classes_have_no_gap():
    found = choose("pooled", np.array([0.2, 0.6, 0.4, 0.8]), np.array([0, 0, 1, 1]), np.array(["A"] * 4))
    assert found.gap is None
    assert np.isnan(found.width)


@pytest.mark.parametrize(
    ("text", "message"),
    [("poled", "pooled"), ("apcer", "apcer:0.01"), ("apcer:2", "between 0 and 1"), ("cost:1", "cost:10,1"),
     ("cost:0,1", "above 0"), ("fixed:high", "fixed:0.5"), ("pooled:1", "must be written as pooled"),
     ("fixed:nan", "fixed:0.5")],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(text, message):
    with pytest.raises(UserError) as error:
        Rule.parse(text)
    assert message in str(error.value)


def cross_source(shift, **options):
    """Source videos as detectors score them that have not seen their dataset: moved by `shift`."""
    held = rows("validation", **options)
    return ScoreTable.concatenate(
        [ScoreTable(**{name: getattr(held, name) for name in vars(held)} | {"role": [CROSS_SOURCE] * len(held),
         "score": held.score - shift})]
    )  # fmt: skip


def test_scores_of_unseen_sources_set_the_threshold_where_asked():
    scores = ScoreTable.concatenate([table(), cross_source(0.7)])
    (honest,), (other,) = (evaluate(scores, set_by=role).figures for role in (VALIDATION, CROSS_SOURCE))
    assert other.values["threshold"] == pytest.approx(honest.values["threshold"] - 0.7)
    for figures in (honest, other):
        assert figures.values["hter_validation"] == honest.values["hter"]
        assert figures.values["hter_cross_source"] == other.values["hter"]
    found = thresholds(scores, "pooled", CROSS_SOURCE)
    assert found["OC_to_M", 0, "gru"].value == other.values["threshold"]


def test_without_such_scores_validation_sets_it_and_a_note_says_so():
    (figures,) = evaluate(table(), set_by=CROSS_SOURCE).figures
    assert figures.values["threshold"] == evaluate(table()).figures[0].values["threshold"]
    assert any("no source could be left out" in note for note in figures.notes)


def test_a_gap_is_noted():
    (figures,) = evaluate(table(strength=30.0)).figures
    assert any("lies in an empty gap between" in note for note in figures.notes)


def test_a_report_shows_what_was_promised_and_what_reached():
    scores = table()
    grid = promise_table(evaluate(scores, "apcer:0.2"), Models(("gru",)))
    assert grid is not None
    (row,) = grid.rows
    (figures,) = evaluate(scores, "apcer:0.2").figures
    # 3 / 0.2 is 15: there are 16 cuts, and 8 of either other species.
    assert figures.species_counts == {"cut": 16, "print": 8, "replay": 8}
    assert row[2] == "20.00"
    assert row[3:6] == [f"{100 * figures.apcer_by_species['cut']:.2f}", "n/a", "n/a"]
    (few,) = promise_table(evaluate(scores, "apcer:0.01"), Models(("gru",))).rows
    assert few[3:6] == ["n/a"] * 3
    assert promise_table(evaluate(scores), Models(("gru",))) is None
