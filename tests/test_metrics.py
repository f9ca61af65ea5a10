"""Golden values of metrics.md, a brute-force oracle, scikit-learn, and the errors."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from fas_jax.base.errors import UserError
from fas_jax.evaluation import metrics

GOLDEN = [
    # attacks, bona fide, EER threshold, FAR, FRR, min-HTER threshold; +inf stands for "above all scores".
    ([0, 0.1, 0.2], [0.8, 0.9, 1], 0.5, 0, 0, 0.5),
    ([0.1, 0.2, 0.3, 0.6], [0.4, 0.5, 0.7, 0.8], 0.45, 0.25, 0.25, 0.35),
    ([0.1, 0.4, 0.5, 0.5, 0.9], [0.3, 0.5, 0.8], 0.45, 0.6, 1 / 3, 0.2),
    # Other packages read the next two as 0.5 with FAR 1 and FRR 0. Both candidates are equally far from an
    # equal error rate; ours is the highest of them and so rejects what it cannot tell apart.
    ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], np.inf, 0, 1, np.inf),
    ([0.8, 0.9, 1], [0, 0.1, 0.2], 0.5, 1, 1, np.inf),
]


def joined(attacks, bona_fide):
    scores = np.array([*attacks, *bona_fide], float)
    labels = np.array([0] * len(attacks) + [1] * len(bona_fide))
    return scores, labels


@pytest.mark.parametrize(("attacks", "bona_fide", "eer", "far", "frr", "min_hter"), GOLDEN)
def test_golden_values(attacks, bona_fide, eer, far, frr, min_hter):
    scores, labels = joined(attacks, bona_fide)
    for found, wanted in (
        (metrics.eer_threshold(scores, labels), eer),
        (metrics.min_hter_threshold(scores, labels), min_hter),
    ):
        if np.isinf(wanted):
            assert found > scores.max()
            assert np.isfinite(found)
        else:
            assert found == pytest.approx(wanted, abs=1e-12)
    rates = metrics.rates(scores, labels, metrics.eer_threshold(scores, labels))
    assert rates.far == pytest.approx(far)
    assert rates.frr == pytest.approx(frr)


def test_saturated_scores_are_separable():
    scores, labels = joined(np.linspace(0.99991, 0.99993, 50), np.linspace(0.99997, 0.99999, 50))
    rates = metrics.rates(scores, labels, metrics.eer_threshold(scores, labels))
    assert (rates.far, rates.frr) == (0, 0)


def test_neighbouring_floats_are_separable():
    low = 0.5
    for low, high in ((0.5, np.nextafter(0.5, 1)), (0.0, 5e-324), (-1.7e308, 1.7e308)):
        scores, labels = joined([low], [high])
        rates = metrics.rates(scores, labels, metrics.eer_threshold(scores, labels))
        assert (rates.far, rates.frr) == (0, 0)


# A coarse grid makes ties the rule; shares in it are exact.
grid = st.integers(0, 12).map(lambda step: step / 16)
score_sets = st.tuples(st.lists(grid, min_size=1, max_size=14), st.lists(grid, min_size=1, max_size=14))


def brute_force(attacks, bona_fide):
    """(threshold, FAR, FRR) of every candidate, by counting, with exact fractions."""
    distinct = sorted({*attacks, *bona_fide})
    candidates = [distinct[0] - 1]
    candidates += [(low + high) / 2 for low, high in itertools.pairwise(distinct)]
    candidates += [distinct[-1] + 1]
    for threshold in candidates:
        yield (
            threshold,
            Fraction(sum(score >= threshold for score in attacks), len(attacks)),
            Fraction(sum(score < threshold for score in bona_fide), len(bona_fide)),
        )


@given(score_sets)
def test_thresholds_against_brute_force(sets):
    attacks, bona_fide = sets
    scores, labels = joined(attacks, bona_fide)
    points = list(brute_force(attacks, bona_fide))
    for find, cost in (
        (metrics.eer_threshold, lambda point: abs(point[1] - point[2])),
        (metrics.min_hter_threshold, lambda point: point[1] + point[2]),
    ):
        best = min(map(cost, points))
        threshold, far, frr = max(point for point in points if cost(point) == best)
        found = find(scores, labels)
        rates = metrics.rates(scores, labels, found)
        assert (rates.far, rates.frr) == (float(far), float(frr))
        assert rates.hter == pytest.approx(float(far + frr) / 2)
        if distinct_inside(threshold, scores):
            assert found == threshold


def distinct_inside(threshold, scores):
    return scores.min() < threshold < scores.max()


@given(score_sets, st.integers(0, 2**32 - 1))
def test_order_and_rising_maps_change_no_rate(sets, seed):
    scores, labels = joined(*sets)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert metrics.eer_threshold(scores[order], labels[order]) == metrics.eer_threshold(scores, labels)
    curve, mapped = metrics.curve(scores, labels), metrics.curve(scores * 4 - 1, labels)
    np.testing.assert_array_equal(mapped.accepted_attacks, curve.accepted_attacks)
    np.testing.assert_array_equal(mapped.rejected_bona_fide, curve.rejected_bona_fide)


@given(score_sets)
def test_curve_holds_what_its_thresholds_give(sets):
    scores, labels = joined(*sets)
    curve = metrics.curve(scores, labels)
    assert np.all(np.diff(curve.thresholds) > 0)
    assert len(curve.thresholds) == len(set(scores.tolist())) + 1
    for threshold, far, frr in zip(curve.thresholds, curve.far, curve.frr, strict=True):
        rates = metrics.rates(scores, labels, threshold)
        assert (rates.far, rates.frr) == (far, frr)


@given(score_sets)
def test_auc_against_pairs_and_scikit_learn(sets):
    attacks, bona_fide = sets
    scores, labels = joined(attacks, bona_fide)
    won = sum(Fraction((b > a) * 2 + (b == a), 2) for a in attacks for b in bona_fide)
    found = metrics.auc(scores, labels)
    assert found == float(won / (len(attacks) * len(bona_fide)))
    assert found == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.auc(-scores, labels) == pytest.approx(1 - found, abs=1e-12)


def test_roc_against_scikit_learn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    scores = np.round(generator.normal(labels, 1.0), 1)
    far, tpr = metrics.roc(scores, labels)
    expected_far, expected_tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(far, expected_far, atol=1e-15)
    np.testing.assert_allclose(tpr, expected_tpr, atol=1e-15)


species_sets = st.tuples(
    st.lists(st.tuples(grid, st.sampled_from(["print", "replay", "cut"])), min_size=1, max_size=14),
    st.lists(grid, min_size=1, max_size=14),
)


@given(species_sets, st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0]), st.booleans())
def test_bpcer_at_apcer_against_brute_force(sets, limit, pooled):
    attacks, bona_fide = sets
    values, names = zip(*attacks, strict=True)
    scores, labels = joined(values, bona_fide)
    species = np.array(["any"] * len(names) if pooled else list(names) + [""] * len(bona_fide))

    def apcer(threshold):
        return max(
            Fraction(
                sum(v >= threshold for v, n in attacks if pooled or n == name),
                sum(1 for v, n in attacks if pooled or n == name),
            )
            for name in set(names)
        )

    wanted = min(
        frr for threshold, _, frr in brute_force(values, bona_fide) if apcer(threshold) <= Fraction(str(limit))
    )
    bpcer, threshold = metrics.bpcer_at_apcer(scores, labels, limit, None if pooled else species)
    assert bpcer == float(wanted)
    assert apcer(threshold) <= Fraction(str(limit))
    if pooled:
        assert metrics.tpr_at_fpr(scores, labels, limit) == 1 - bpcer


def test_apcer_is_the_worst_species_and_never_pooled():
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.9, 0.4])
    labels = np.array([0, 0, 0, 0, 1, 1])
    species = np.array(["print", "print", "print", "replay", "bonafide", "bonafide"])
    rates = metrics.rates(scores, labels, 0.5, species)
    assert rates.apcer_by_species == {"print": 0, "replay": 1}
    assert (rates.apcer, rates.far, rates.bpcer, rates.acer, rates.hter) == (1, 0.25, 0.5, 0.75, 0.375)
    unknown = metrics.rates(scores, labels, 0.5)
    assert np.isnan(unknown.apcer)
    assert np.isnan(unknown.acer)
    assert unknown.hter == 0.375


def test_balanced_threshold_weighs_domains_alike():
    generator = np.random.default_rng(1)
    sizes = {"large": (900, 900, 0.0), "small": (30, 30, 2.0)}
    parts = [
        (generator.normal(shift + label, 0.5, size), np.full(size, label), np.full(size, name))
        for name, (negatives, positives, shift) in sizes.items()
        for label, size in ((0, negatives), (1, positives))
    ]
    scores, labels, domains = (np.concatenate(column) for column in zip(*parts, strict=True))

    def gap(threshold):
        rates = [metrics.rates(scores[domains == name], labels[domains == name], threshold) for name in sizes]
        return abs(np.mean([rate.far for rate in rates]) - np.mean([rate.frr for rate in rates]))

    balanced = metrics.balanced_eer_threshold(scores, labels, domains)
    assert gap(balanced) == pytest.approx(min(map(gap, metrics.curve(scores, labels).thresholds)), abs=1e-12)
    pooled = metrics.eer_threshold(scores, labels)
    assert pooled < balanced
    one = np.full(len(scores), "one")
    assert metrics.balanced_eer_threshold(scores, labels, one) == pooled
    keep = (domains == "large") | (labels == 1)
    with pytest.raises(metrics.MetricError, match=r"domain 'small'.*no attack"):
        metrics.balanced_eer_threshold(scores[keep], labels[keep], domains[keep])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "no scores"),
        ([0.5, 0.6], [1, 1], "no attack"),
        ([0.5, 0.6], [0, 0], "no bona fide"),
        ([0.5, np.nan], [0, 1], "1 of 2 scores are NaN.*index 1"),
        ([np.inf, 0.5], [0, 1], "infinite"),
        ([0.5, 0.6], [0, 2], "labels must be 1"),
        ([0.5, 0.6], [-1, 1], "labels must be 1"),
        ([0.5], [0, 1], "1 scores, but labels"),
        ([[0.5, 0.6]], [0, 1], "one axis"),
    ],
)
@pytest.mark.parametrize(
    "figure",
    [
        metrics.eer_threshold,
        metrics.min_hter_threshold,
        metrics.auc,
        metrics.roc,
        metrics.tpr_at_fpr,
        lambda scores, labels: metrics.rates(scores, labels, 0.5),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_scores_are_errors_that_say_which(figure, scores, labels, message):
    with pytest.raises(metrics.MetricError, match=message) as caught:
        figure(np.array(scores), np.array(labels))
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_species_and_limits_are_errors():
    scores, labels = joined([0.1, 0.2], [0.8])
    with pytest.raises(metrics.MetricError, match="1 attacks have no PAI species"):
        metrics.rates(scores, labels, 0.5, np.array(["print", "", ""]))
    with pytest.raises(metrics.MetricError, match="PAI species of shape"):
        metrics.rates(scores, labels, 0.5, np.array(["print"]))
    with pytest.raises(metrics.MetricError, match="limit"):
        metrics.bpcer_at_apcer(scores, labels, 10)
