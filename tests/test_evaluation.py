"""The chain from scores to results: what sets the threshold, what the target can change, what is undefined."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.evaluation import metrics
from fas_jax.evaluation.curves import roc_band
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.evaluation.results import DEFINITIONS
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.reporting.grid import Strong
from fas_jax.reporting.naming import Models
from fas_jax.reporting.tables import comparison_table, table_one

SPECIES = ("print", "replay", "cut")


def videos(dataset, subjects=8):
    return [
        Video(f"{s}/{k}.avi", dataset, f"s{s}", "test", int(k < 2), species(k), species(k), "phone", "1")
        for s in range(subjects)
        for k in range(6)
    ]


def species(number):
    return "bonafide" if number < 2 else SPECIES[number % 3]


def rows(role, model="gru", seed=0, protocol="OC_to_M", strength=1.5, noise=0):
    listed = videos("O", 5) + videos("C", 6) if role == "validation" else videos("M")
    generator = np.random.default_rng([seed, noise, len(listed), *model.encode()])
    values = generator.normal([strength * video.label for video in listed], 1.0)
    return ScoreTable.from_videos(protocol, seed, role, model, listed, values)


def table(**options):
    return ScoreTable.concatenate([rows("validation", **options), rows("test", **options)])


def changed(scores, mask, **columns):
    """The table with other values where the mask holds."""
    values = {name: np.asarray(getattr(scores, name)).astype(object) for name in columns}
    for name, value in columns.items():
        values[name][mask] = value
    return dataclasses.replace(scores, **{name: np.array(column.tolist()) for name, column in values.items()})


def test_figures_follow_from_their_definitions():
    scores = table()
    results = evaluate(scores)
    (figures,) = results.figures
    held, test = scores.select(role="validation"), scores.select(role="test")
    threshold = metrics.eer_threshold(held.score, held.label)
    accepted = test.score >= threshold
    far, frr = accepted[test.label == 0].mean(), (~accepted[test.label == 1]).mean()
    apcer = {name: accepted[test.pai == name].mean() for name in SPECIES}
    wanted = {
        "threshold": threshold,
        "far": far,
        "frr": frr,
        "bpcer": frr,
        "hter": (far + frr) / 2,
        "apcer": max(apcer.values()),
        "acer": (max(apcer.values()) + frr) / 2,
        "auc": roc_auc_score(test.label, test.score),
        "apnrr": 0,
        "bpnrr": 0,
        "hter_rejecting": (far + frr) / 2,
    }
    for name, value in wanted.items():
        assert figures.values[name] == pytest.approx(value), name
    assert figures.apcer_by_species == pytest.approx(apcer)
    own = metrics.rates(test.score, test.label, metrics.eer_threshold(test.score, test.label)).hter
    assert figures.values["oracle_eer"] == own
    assert figures.values["gap"] == figures.values["hter"] - own
    assert figures.values["oracle_min_hter"] <= min(own, figures.values["hter"])
    assert set(figures.values) == set(DEFINITIONS)
    undefined = {name for name, value in figures.values.items() if np.isnan(value)}
    assert undefined == {"threshold_gap", "hter_cross_source", "hter_shifted"}
    assert figures.values["hter_validation"] == figures.values["hter"]
    assert figures.counts == {
        "validation_bona_fide": 22,
        "validation_attacks": 44,
        "validation_subjects": 11,
        "validation_non_responses": 0,
        "test_bona_fide": 16,
        "test_attacks": 32,
        "test_subjects": 8,
        "test_non_responses": 0,
    }
    assert figures.hter_interval.low <= figures.values["hter"] <= figures.hter_interval.high
    assert figures.auc_interval.low <= figures.values["auc"] <= figures.auc_interval.high
    assert figures.notes == ()
    assert results.warnings == ()


def test_the_target_sets_no_threshold():
    scores = table()
    test = scores.role == "test"
    before = evaluate(scores).figures[0].values
    flipped = dataclasses.replace(
        scores,
        label=np.where(test, 1 - scores.label, scores.label),
        pai=np.where(test, np.where(scores.label == 1, "print", "bonafide"), scores.pai),
    )
    for other in (flipped, dataclasses.replace(scores, score=np.where(test, scores.score + 5, scores.score))):
        after = evaluate(other).figures[0].values
        for name in ("threshold", "validation_eer"):
            assert after[name] == before[name]
        assert after["hter"] != before["hter"]
    # And the other way round: validation changes neither the ranking on the target nor its oracle.
    moved = evaluate(dataclasses.replace(scores, score=np.where(test, scores.score, scores.score - 1))).figures[0]
    for name in ("auc", "oracle_eer", "oracle_threshold", "oracle_bpcer10", "oracle_tpr_at_fpr1"):
        assert moved.values[name] == before[name]
    assert moved.values["hter"] != before["hter"]


def test_the_order_of_rows_changes_nothing():
    scores = ScoreTable.concatenate([table(model="gru"), table(model="lstm"), table(model="gru", seed=1)])
    shuffled = scores.rows(np.random.default_rng(0).permutation(len(scores)))
    first, second = evaluate(scores), evaluate(shuffled)
    key = lambda each: (each.protocol, each.model, getattr(each, "seed", 0))  # noqa: E731
    for kind in ("figures", "summaries"):
        pairs = zip(sorted(getattr(first, kind), key=key), sorted(getattr(second, kind), key=key), strict=True)
        for one, other in pairs:
            assert json.dumps(dataclasses.asdict(one)) == json.dumps(dataclasses.asdict(other))


def test_non_responses_are_counted_and_rejected():
    scores = table()
    silent = np.flatnonzero(scores.role == "test")[[0, 2, 3, 4]]  # one bona fide and three attacks
    scores = changed(scores, silent, score=np.nan, reason="no frame")
    (figures,) = evaluate(scores).figures
    values = figures.values
    assert values["apnrr"] == pytest.approx(3 / 32)
    assert values["bpnrr"] == pytest.approx(1 / 16)
    assert figures.counts["test_non_responses"] == 4
    test = scores.select(role="test")
    accepted = np.nan_to_num(test.score, nan=-np.inf) >= values["threshold"]
    far, frr = accepted[test.label == 0].mean(), (~accepted[test.label == 1]).mean()
    assert values["hter_rejecting"] == pytest.approx((far + frr) / 2)
    assert values["bpcer_rejecting"] == pytest.approx(frr)
    assert values["far"] == pytest.approx(accepted[test.label == 0].sum() / 29)
    ranked = np.nan_to_num(test.score, nan=test.score[test.answered].min() - 1)
    assert values["auc_rejecting"] == pytest.approx(roc_auc_score(test.label, ranked))
    # In validation they set no threshold, and this is said.
    quiet = changed(table(), np.arange(2), score=np.nan, reason="no frame")
    assert "2 of 66 validation videos have no score" in evaluate(quiet).figures[0].notes[0]


def test_seeds_give_mean_and_sample_deviation():
    scores = ScoreTable.concatenate([table(seed=seed) for seed in (4, 5, 6)])
    results = evaluate(scores)
    (summary,) = results.summaries
    hter = [each.values["hter"] for each in results.figures]
    assert summary.seeds == results.seeds == (4, 5, 6)
    assert summary.mean["hter"] == pytest.approx(np.mean(hter))
    assert summary.std["hter"] == pytest.approx(np.std(hter, ddof=1))
    assert summary.hter_interval.low < summary.mean["hter"] < summary.hter_interval.high
    assert np.isnan(evaluate(table()).summaries[0].std["hter"])


def test_models_are_compared_in_pairs():
    scores = ScoreTable.concatenate([table(model="strong", strength=4), table(model="weak", strength=0)])
    scores = ScoreTable.concatenate([scores, changed(table(model="weak", strength=0), slice(None), model="twin")])
    results = evaluate(scores)
    found = {(each.model, each.other): each for each in results.comparisons}
    assert len(found) == 6
    better = found["strong", "weak"]
    hter = {each.model: each.mean["hter"] for each in results.summaries}
    assert better.difference == pytest.approx(hter["strong"] - hter["weak"])
    assert better.interval.high < 0
    assert found["weak", "strong"].interval.low == pytest.approx(-better.interval.high)
    # Models that decide alike differ by nothing, in every resample.
    assert found["weak", "twin"].interval.low == found["weak", "twin"].interval.high == 0


@pytest.mark.parametrize("alone", ["everybody", "bona fide", "attacks"])
def test_one_subject_of_a_class_gives_no_interval_and_nothing_is_better(alone):
    """A bootstrap of one subject has no width: it would call any difference sure."""
    scores = ScoreTable.concatenate([table(model="strong", strength=4), table(model="weak", strength=0)])
    whose = {"everybody": (0, 1), "bona fide": (1,), "attacks": (0,)}[alone]
    scores = changed(scores, (scores.role == "test") & np.isin(scores.label, whose), subject="s0")
    results = evaluate(scores)
    assert all(not np.isnan(each.mean["hter"]) for each in results.summaries)
    for each in results.summaries:
        assert np.isnan([each.hter_interval.low, each.hter_interval.high]).all()
        assert np.isnan([each.auc_interval.low, each.auc_interval.high]).all()
    for pair in results.comparisons:
        assert not np.isnan(pair.difference)
        assert np.isnan([pair.interval.low, pair.interval.high]).all()
    (said,) = [text for text in results.warnings if "no intervals" in text]
    named = {"everybody": "1 subject of bona fide videos and 1 subject of attacks"}
    assert named.get(alone, f"1 subject of {alone}") in said
    main = table_one(results, Models.of(results, {}), ())
    assert not any(isinstance(cell, Strong) or "[" in cell for row in main.rows for cell in row)
    strong = scores.select(role="test", model="strong")
    assert np.isnan(roc_band([strong]).low).all()
    assert np.isfinite(roc_band([table().select(role="test")]).low).all()
    compared = comparison_table(results, Models.of(results, {}))
    assert not any("nan" in cell for row in compared.rows for cell in row)


def test_one_subject_with_scores_is_noted():
    scores = changed(table(), slice(None), reason="")
    silent = (scores.role == "test") & (scores.label == 1) & (scores.subject != "s0")
    (figures,) = evaluate(changed(scores, silent, score=np.nan, reason="no face")).figures
    assert np.isnan(figures.hter_interval.low)
    assert any("1 subject of bona fide videos among the videos with a score" in note for note in figures.notes)


@pytest.mark.usefixtures("unchecked_types")
def test_balanced_threshold_is_an_option():
    scores = table()
    held = scores.select(role="validation")
    shifted = dataclasses.replace(scores, score=scores.score + 2 * (scores.dataset == "C"))
    held = shifted.select(role="validation")
    found = evaluate(shifted, "balanced")
    assert found.threshold_rule == "balanced"
    wanted = metrics.balanced_eer_threshold(held.score, held.label, held.dataset)
    assert found.figures[0].values["threshold"] == wanted
    assert evaluate(shifted).figures[0].values["threshold"] == metrics.eer_threshold(held.score, held.label)


def test_what_is_undefined_is_nan_null_and_noted():
    good, lost = table(), table(model="diverged")
    lost = changed(lost, slice(None), score=np.nan, reason="training diverged")
    results = evaluate(ScoreTable.concatenate([good, lost]))
    figures = results.figures[1]
    assert np.isnan(figures.values["hter"])
    assert np.isnan(figures.values["auc"])
    assert figures.values["apnrr"] == 1
    assert any("threshold undefined: there are no scores" in note for note in figures.notes)
    plain = results.to_json()
    assert plain["figures"][1]["values"]["hter"] is None
    assert plain["figures"][0]["values"]["hter"] == results.figures[0].values["hter"]
    json.dumps(plain, allow_nan=False)

    # Without validation rows there is no honest threshold; the ranking is still known.
    (only,) = evaluate(rows("test")).figures
    assert np.isnan(only.values["threshold"])
    assert np.isnan(only.values["hter"])
    assert only.values["auc"] > 0.5

    nameless = good.label == 0
    nameless = changed(good, nameless, pai="")
    (figures,) = evaluate(nameless).figures
    assert np.isnan(figures.values["apcer"])
    assert np.isnan(figures.values["oracle_bpcer20"])
    assert not np.isnan(figures.values["hter"])
    assert "32 test attacks have no PAI species" in figures.notes[0]


def test_a_missing_class_is_an_error_that_says_which():
    scores = table()
    no_attacks = scores.rows((scores.role == "validation") | (scores.label == 1))
    with pytest.raises(UserError, match="there is no attack among the 16 scores"):
        evaluate(no_attacks)
    with pytest.raises(UserError, match="nothing can be evaluated"):
        evaluate(ScoreTable.empty())
    no_threshold = scores.rows((scores.role == "test") | (scores.label == 0))
    (figures,) = evaluate(no_threshold).figures
    assert np.isnan(figures.values["hter"])
    assert "no bona fide presentation" in figures.notes[0]


def test_the_other_polarity_is_said_and_not_flipped():
    scores = table(strength=2)
    (figures,) = evaluate(dataclasses.replace(scores, score=-scores.score)).figures
    assert 0 < figures.values["auc"] < 0.2
    assert any("AUC below 0.5: attacks score higher" in note for note in figures.notes)
    chance = evaluate(table(strength=-0.2)).figures[0]
    assert chance.values["auc"] < 0.5
    assert any("it may be chance" in note for note in chance.notes)


def test_models_must_answer_for_the_same_videos():
    one, other = table(model="gru"), table(model="lstm")
    short = other.rows(np.arange(len(other) - 1))
    with pytest.raises(UserError, match=r"OC_to_M, test: 1 videos have a row of model gru .* M 7/5.avi"):
        evaluate(ScoreTable.concatenate([one, short]))
    with pytest.raises(
        UserError, match=r"1 videos have a row of model gru \(seed 0\) but none of model gru \(seed 1\)"
    ):
        evaluate(ScoreTable.concatenate([one, table(seed=1).rows(np.arange(len(one) - 1))]))
    # The validation cut depends on the seed.
    evaluate(ScoreTable.concatenate([one, table(seed=1).rows(np.arange(6, len(one)))]))


def test_leaks_are_warned_of():
    scores = table()
    leaky = changed(scores, np.arange(6), dataset="M")
    warnings = evaluate(leaky).warnings
    assert "6 videos are in both validation and test" in warnings[0]
    assert "1 subjects are in both" in warnings[1]
    nobody = changed(scores, slice(None), subject="")
    assert "intervals treat each video as one" in evaluate(nobody).warnings[0]
