"""Scores from which little follows: the figures come with a sentence that says so, in the report as well."""

import dataclasses

import numpy as np
import pytest

from fas_jax.evaluation.evaluate import evaluate
from fas_jax.reporting.report import evaluate_scores
from tests.test_evaluation import changed, table


def notes_of(scores, rule="pooled"):
    (figures,) = evaluate(scores, rule).figures
    return figures.notes


@pytest.mark.parametrize("role", ["validation", "test"])
def test_scores_that_are_all_equal(role, tmp_path, no_pictures):
    scores = changed(table(), np.asarray(table().role) == role, score=0.5)
    count, what = (66, "that set the threshold") if role == "validation" else (48, "of the test videos")
    said = f"all {count} scores {what} are equal (0.5): they tell no classes apart"
    assert said in notes_of(scores)
    assert (said in notes_of(scores, "fixed:0.5")) == (role == "test")
    assert not any("are equal" in note for note in notes_of(table()))
    # No interval is made up where nothing varies, and nothing fails on the way to the page.
    scores.write_csv(tmp_path / "scores.csv")
    evaluate_scores(tmp_path / "scores.csv", tmp_path / "report")
    assert said in (tmp_path / "report" / "report.md").read_text()
    assert said in (tmp_path / "report" / "report.html").read_text()


def test_a_source_with_one_class():
    scores = table()
    lone = scores.rows(~np.asarray((scores.dataset == "C") & (scores.label == 0)))
    (said,) = evaluate(lone).warnings
    assert said.startswith("OC_to_M: source C has no attack among the validation videos")
    (balanced,) = evaluate(lone, "balanced").figures
    assert np.isnan(balanced.values["threshold"])
    assert any("domain 'C': there is no attack" in note for note in balanced.notes)


def test_a_source_with_three_subjects():
    scores = table()
    few = scores.rows(~np.asarray(scores.role == "validation") | scores.subject.isin(("s0", "s1", "s2")))
    warnings = evaluate(few).warnings
    assert [text.split(" among")[0] for text in warnings] == [
        f"OC_to_M: source {name} has 3 subjects" for name in ("C", "O")
    ]
    assert evaluate(scores.rows(np.asarray(scores.subject != "s4"))).warnings == ()


def test_a_promise_that_no_threshold_keeps_and_one_that_too_few_attacks_make():
    scores = table()
    highest = (scores.role == "validation") & (scores.pai == "print")
    hopeless = dataclasses.replace(scores, score=np.where(np.asarray(highest), scores.score.max() + 1, scores.score))
    notes = notes_of(hopeless, "apcer:0.1")
    said = "no threshold keeps APCER at 10 % or less on the sources and accepts a bona fide video of theirs"
    assert any(note.startswith(said) for note in notes)
    (figures,) = evaluate(hopeless, "apcer:0.1").figures
    assert figures.values["bpcer"] == 1
    assert any("too few attacks to promise an APCER of 10 %: 22 of cut, 11 of print" in note for note in notes)
    assert not any("promise" in note or "no threshold" in note for note in notes_of(scores, "apcer:0.5"))
    nameless = changed(scores, np.asarray((scores.role == "validation") & (scores.label == 0)), pai="")
    assert any("the APCER promised is of all attacks together" in note for note in notes_of(nameless, "apcer:0.5"))
