"""The study of a verdict: paired tests whose answers are known, and a cascade's decisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fas_jax.base.record import Video
from fas_jax.evaluation.metrics import rates
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.evaluation.thresholds import thresholds
from fas_jax.studies.verdict import page
from fas_jax.studies.verdict.cascade import decide, stage_thresholds, stages
from fas_jax.studies.verdict.helping import (
    POOLED,
    areas_of,
    best_on_sources,
    error_correlations,
    errors_of,
    paired_tests,
)
from fas_jax.studies.verdict.variants import availability_shares


def table(strengths, protocols=("A_to_B",), subjects=20, missing=()):
    """Scores of models of these strengths, of subjects with two videos of each class."""
    parts = []
    for number, protocol in enumerate(protocols):
        for role, dataset in ((VALIDATION, "A"), (TEST, f"B{number}")):
            videos = [
                Video(
                    f"{row}", dataset, f"s{row // 4}", "test", row % 2, "bonafide" if row % 2 else "print", "", "", ""
                )
                for row in range(4 * subjects)
            ]
            labels = np.arange(4 * subjects) % 2
            for place, (model, strength) in enumerate(strengths.items()):
                rng = np.random.default_rng([number, place, len(role)])
                scores = 1 / (1 + np.exp(-(strength * (2 * labels - 1) + rng.normal(size=len(labels)))))
                why = None
                if model in missing:
                    scores[:8] = np.nan
                    why = ["dark"] * 8 + [""] * (len(labels) - 8)
                parts.append(ScoreTable.from_videos(protocol, 0, role, model, videos, scores, why))
    return ScoreTable.concatenate(parts)


def test_errors_add_up_to_hter_and_a_video_without_a_score_is_rejected():
    scores = table({"a": 1.0, "b": 1.0}, missing=("b",))
    for model in ("a", "b"):
        test = scores.select(model=model, role=TEST)
        tau = thresholds(scores, "pooled")["A_to_B", 0, model].value
        wanted = rates(np.where(np.isnan(test.score), -1.0, test.score), test.label, tau).hter
        assert errors_of(scores, model, "pooled", VALIDATION)["A_to_B"].hter == pytest.approx(wanted)


def test_areas_are_those_of_the_videos_with_a_score():
    scores = table({"a": 1.0, "b": 1.0}, ("A_to_B", "A_to_C"), missing=("b",))
    for model in ("a", "b"):
        found = areas_of(scores, model)
        assert list(found) == ["A_to_B", "A_to_C"]
        for protocol, area in found.items():
            test = scores.select(model=model, role=TEST, protocol=protocol)
            known = ~np.isnan(test.score)
            assert known.sum() == (80 if model == "a" else 72)
            assert area == pytest.approx(roc_auc_score(test.label[known], test.score[known]))
    assert np.isnan(areas_of(scores.rows(scores.label == 1), "a")["A_to_B"])


def test_the_table_of_models_ends_with_means_over_protocols():
    scores = table({"a": 1.0, "b": 1.5}, ("A_to_B", "A_to_C"))
    errors = {name: errors_of(scores, name, "pooled", VALIDATION) for name in ("a", "b")}
    areas = {name: areas_of(scores, name) for name in errors}
    rows = page.model_table(errors, areas, {name: {} for name in errors}).grid.rows
    assert [row[:2] for row in rows] == [[p, n] for p in ("A to B", "A to C", POOLED) for n in ("a", "b")]
    assert float(rows[4][2]) == pytest.approx(100 * np.mean([each.hter for each in errors["a"].values()]), abs=0.006)
    assert float(rows[4][3]) == pytest.approx(100 * np.mean(list(areas["a"].values())), abs=0.006)


def test_the_best_expert_is_chosen_on_the_sources():
    """On the target another one is far better."""
    scores = table({"a": 2.0, "b": 0.5})
    swapped = [scores.select(role=VALIDATION)]
    for model, other in (("a", "b"), ("b", "a")):
        rows = scores.select(model=other, role=TEST)
        swapped.append(rows.scored_by(model, rows.score))
    scores = ScoreTable.concatenate(swapped)
    assert best_on_sources(scores, ("a", "b"), "pooled", VALIDATION) == {"A_to_B": "a"}


def test_an_expert_without_scores_is_never_the_best_and_has_no_errors_to_correlate():
    scores = table({"a": 2.0, "b": 0.5})
    silent = [
        rows.scored_by("silent", np.full(len(rows), np.nan), ["its training failed"] * len(rows))
        for rows in (scores.select(model="a", role=role) for role in (VALIDATION, TEST))
    ]
    one_class = []
    for role in (VALIDATION, TEST):
        rows = scores.select(model="a", role=role)
        values = np.where(rows.label == 1, rows.score, np.nan)
        one_class.append(rows.scored_by("half", values, ["" if each else "dark" for each in rows.label.tolist()]))
    scores = ScoreTable.concatenate([scores, *silent, *one_class])
    assert best_on_sources(scores, ("silent", "half", "b", "a"), "pooled", VALIDATION) == {"A_to_B": "a"}
    assert best_on_sources(scores, ("silent", "half"), "pooled", VALIDATION) == {}
    errors = [errors_of(scores, name, "pooled", VALIDATION) for name in ("a", "silent")]
    assert np.isnan(errors[1]["A_to_B"].hter)
    assert np.isnan(error_correlations(errors)[0, 1])


def test_a_difference_is_found_where_there_is_one_and_pooling_takes_all_protocols():
    scores = table({"good": 3.0, "weak": 0.3, "twin": 3.0}, ("A_to_B", "A_to_C"))
    errors = {name: errors_of(scores, name, "pooled", VALIDATION) for name in ("good", "weak", "twin")}
    found = paired_tests(errors["good"], {"weak": errors["weak"], "itself": errors["good"]}, 0)
    assert [each.protocol for each in found] == ["A_to_B", "A_to_C", POOLED] * 2
    for each in found[:3]:
        assert each.difference < 0
        assert each.interval.high < 0
        assert each.corrected < 0.05
        assert 0 < each.smallest < abs(each.difference)
    pooled = found[2]
    assert pooled.difference == pytest.approx(np.mean([each.difference for each in found[:2]]))
    assert pooled.subjects == 40
    for each in found[3:]:
        assert each.difference == 0
        assert each.p == 1
        assert np.isnan(each.smallest)


def test_errors_of_equal_models_correlate_fully():
    scores = table({"a": 1.0, "b": 1.0})
    errors = [errors_of(scores, name, "pooled", VALIDATION) for name in ("a", "a", "b")]
    found = error_correlations(errors)
    assert found[0, 1] == pytest.approx(1)
    assert abs(found[0, 2]) < 0.5


@given(st.integers(0, 999), st.sampled_from([0.0, 0.02, 0.1, 0.3]))
def test_a_stage_errs_on_the_sources_no_more_than_its_risk_says(seed, risk):
    rng = np.random.default_rng(seed)
    labels = np.arange(100) % 2
    scores = 0.5 * labels + rng.normal(size=100)
    low, high = stage_thresholds(scores, labels, risk)
    if low < high:
        assert np.mean(scores[labels == 1] <= low) <= risk
        assert np.mean(scores[labels == 0] > high) <= risk
    assert np.isinf(stage_thresholds(scores, 0 * labels, risk)).all()


def test_a_cascade_asks_on_only_where_it_is_undecided():
    """A golden case: two sure clips, one that the second expert decides, one without any score."""
    logits = np.array([[3.0, -9.0], [-3.0, 9.0], [0.0, 1.0], [np.nan, np.nan]])
    first, second = stages(logits, [0, 1])
    assert np.isnan(first[:, 1]).all()
    np.testing.assert_array_equal(second, logits)
    accepted, asked = decide([first[:, 0], second[:, 1]], [(-2.0, 2.0)], 0.5)
    np.testing.assert_array_equal(accepted, [True, False, True, False])
    np.testing.assert_array_equal(asked, [1, 1, 2, 2])


def test_availability_alone_gives_the_shares_of_the_training_clips():
    patterns, labels = np.array([3, 3, 3, 1, 1]), np.array([1, 1, 0, 0, 0])
    found = availability_shares(patterns, labels, np.array([1, 3, 2]))
    np.testing.assert_allclose(found, [0, 2 / 3, 0.4])
