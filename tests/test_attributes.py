"""Breakdowns by attributes: groups, the worst one, and the gap with an interval for all pairs at once."""

import numpy as np
import pytest

from fas_jax.evaluation import gaps
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.gaps import find_gaps
from fas_jax.evaluation.intervals import zero_error_bound
from fas_jax.reporting import breakdown_tables
from fas_jax.reporting.naming import Models
from tests.test_evaluation import table

ABOUT = {"protocol": "p", "model": "m", "dimension": "attr.skin"}


def described(**attributes):
    """The usual table; each attribute gives a group to a test video by subject and number."""
    scores = table()
    known = {name: {} for name in attributes}
    for video in dict.fromkeys(scores.select(role="test").video.tolist()):
        subject, number = video.removesuffix(".avi").split("/")
        for name, group in attributes.items():
            if value := group(int(subject), int(number)):
                known[name][video] = value
    return scores.with_attributes({"M": known})


def test_groups_and_the_worst_one_against_counting():
    def skin(subject, number):
        return "" if number == 5 or subject + number == 1 else "light" if number % 2 else "dark"

    scores = described(skin=skin)
    results = evaluate(scores)
    (figures,) = results.figures
    test = scores.select(role="test")
    accepted, groups = test.score >= figures.values["threshold"], np.asarray(test.attribute("skin"))
    found = {each.value: each for each in results.groups if each.dimension == "attr.skin"}
    assert found.keys() == {"", "dark", "light"}
    rates = {}
    for value, each in found.items():
        mine = groups == value
        rates[value] = accepted[mine & (test.label == 0)].mean(), 1 - accepted[mine & (test.label == 1)].mean()
        assert each.far == pytest.approx(rates[value][0])
        assert each.far_interval.low <= each.far <= each.far_interval.high
        assert each.attacks == np.sum(mine & (test.label == 0))
    by_rate = {each.rate: each for each in results.gaps}
    assert by_rate.keys() == {"far", "frr", "hter"}
    for at, rate in enumerate(("far", "frr")):
        # Those whose attribute is not given are no group, however bad they are.
        one, other = (rates[value][at] for value in ("dark", "light"))
        assert by_rate[rate].difference == pytest.approx(abs(one - other))
        assert by_rate[rate].worst == ("dark" if one >= other else "light")
    assert by_rate["hter"].difference == pytest.approx(abs(sum(rates["dark"]) - sum(rates["light"])) / 2)
    assert by_rate["hter"].interval.low < by_rate["hter"].difference < by_rate["hter"].interval.high


def test_small_groups_have_no_figure_and_say_why():
    scores = described(skin=lambda subject, number: ("one", "two", "rest")[min(subject, 2)], rig=lambda *_: "same")
    results = evaluate(scores)
    models = Models.of(results, {})
    found = {each.value: each for each in results.groups if each.dimension == "attr.skin"}
    assert np.isnan([found["one"].far, found["one"].far_interval.low]).all()
    assert found["one"].far_reason == "1 subject, fewer than 5"
    assert not np.isnan(found["rest"].far)
    grid = breakdown_tables.group_table(results, "OC_to_M", "gru", "attr.skin")
    assert grid.header[0] == "skin"
    assert grid.rows[0][:3] == ["one", "n/a: 1 subject, fewer than 5", "n/a: 1 subject, fewer than 5"]
    text = breakdown_tables.breakdown_part(results, models)
    assert "| skin | FAR | — | — | n/a: fewer than two groups with 5 subjects |" in text
    assert "| rig | HTER | — | — | n/a: fewer than two groups with 5 subjects |" in text


def test_an_attribute_of_one_class_has_the_rate_of_that_class_alone():
    scores = described(printer=lambda subject, number: "" if number < 2 else "AB"[number % 2])
    assert {each.rate for each in evaluate(scores).gaps} == {"far"}


def simulated(generator, groups, subjects=14, rate=0.3):
    """No group is worse than another; each subject is in one of them, and errs by its own rate."""
    whose = np.repeat(np.arange(groups * subjects), 4)
    own = np.clip(generator.normal(rate, 0.15, groups * subjects), 0, 1)
    wrong = generator.random(len(whose)) < own[whose]
    return wrong, np.zeros(len(whose), np.int64), [f"s{each}" for each in whose], [str(each % groups) for each in whose]


def test_gaps_between_equal_groups_are_covered_though_the_extremes_are_picked():
    generator = np.random.default_rng(0)
    covered = sum(find_gaps(*simulated(generator, groups=6), ABOUT)[0].interval.low <= 0 for _ in range(60))
    assert covered >= 54


def test_a_real_gap_is_found_and_groups_without_errors_keep_a_width(monkeypatch):
    generator = np.random.default_rng(1)
    wrong, labels, subjects, groups = simulated(generator, groups=3)
    ill = np.array(groups) == "2"
    (gap,) = find_gaps(np.where(ill, generator.random(len(wrong)) < 0.8, wrong), labels, subjects, groups, ABOUT)
    assert (gap.worst, gap.rate) == ("2", "far")
    assert gap.interval.low > 0.1
    (gap,) = find_gaps(ill, labels, subjects, groups, ABOUT)
    assert gap.difference == 1
    assert gap.interval.low == pytest.approx(1 - 2 * zero_error_bound(14))
    assert gap.interval.high == 1
    monkeypatch.setattr(gaps, "FEWEST_IN_GROUP", 15)
    (gap,) = find_gaps(wrong, labels, subjects, groups, ABOUT)
    assert np.isnan(gap.difference)
    assert gap.reason
