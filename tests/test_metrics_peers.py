"""Real scores: our figures beside gradgpad's and pyeer's (see make_golden_scores.py), and why some differ."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fas_jax.evaluation import metrics

GOLDEN = Path(__file__).parent / "golden" / "gradgpad"
FIGURES = json.loads((GOLDEN / "figures.json").read_text())
SETS = [(case, subset) for case in FIGURES for subset in ("devel", "test")]


def load(case, subset):
    with gzip.open(GOLDEN / f"{case}-{subset}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    species = np.array([row["pai"] for row in rows])
    return np.array([float(row["score"]) for row in rows]), (species == "0").astype(int), species


@pytest.mark.parametrize(("case", "subset"), SETS)
def test_figures_with_one_definition_agree(case, subset):
    scores, labels, species = load(case, subset)
    theirs = FIGURES[case][subset]
    assert metrics.auc(scores, labels) == pytest.approx(theirs["pyeer"]["auc"], abs=1e-12)
    # No score equals this threshold, which lies between two, so that >= and > are the same.
    rates = metrics.rates(scores, labels, theirs["gradgpad"]["devel_eer_threshold"], species)
    for name in ("apcer", "bpcer", "acer"):
        assert getattr(rates, name) == pytest.approx(theirs["gradgpad"][name], abs=1e-12)


@pytest.mark.parametrize(("case", "subset"), SETS)
def test_equal_error_rates_agree_as_far_as_they_can(case, subset):
    scores, labels, _ = load(case, subset)
    ours = metrics.rates(scores, labels, metrics.eer_threshold(scores, labels))
    pyeer, gradgpad = FIGURES[case][subset]["pyeer"], FIGURES[case][subset]["gradgpad"]
    gap = abs(ours.far - ours.frr)
    # pyeer takes the better HTER of the two points on either side of the crossing, we take the smaller |FAR - FRR|.
    assert gap <= pyeer["eer_high"] - pyeer["eer_low"] + 1e-12
    if gap == pytest.approx(pyeer["eer_high"] - pyeer["eer_low"]):
        assert ours.hter == pytest.approx(pyeer["eer"], abs=1e-12)
    # gradgpad interpolates along the ROC, to a rate between ours and that of the next threshold.
    assert abs(ours.hter - gradgpad["eer"]) <= abs(ours.hter - pyeer["eer"]) + gap + 1e-9


def test_on_smooth_scores_all_three_agree():
    scores, labels, _ = load("auxiliary-casia", "test")
    threshold = metrics.eer_threshold(scores, labels)
    ours = metrics.rates(scores, labels, threshold)
    pyeer, gradgpad = (FIGURES["auxiliary-casia"]["test"][name] for name in ("pyeer", "gradgpad"))
    assert ours.hter == pytest.approx(pyeer["eer"]) == pytest.approx(gradgpad["eer"])
    # pyeer gives a score as threshold, we the middle between it and the one below: no score lies between them.
    assert np.sum((scores >= threshold) != (scores >= pyeer["eer_threshold"])) == 0


def test_where_gradgpad_differs_it_rounds_to_the_nearest_point_of_a_thinned_roc():
    # Scores of this system are saturated: of 475 only 55 are distinct, and the ROC has long edges.
    scores, labels, _ = load("quality-replay", "test")
    gradgpad = FIGURES["quality-replay"]["test"]["gradgpad"]
    assert len(np.unique(scores)) == 55
    threshold = gradgpad["devel_eer_threshold"]
    far, frr = np.mean(scores[labels == 0] >= threshold), np.mean(scores[labels == 1] < threshold)
    # Its own BPCER at that threshold is ours; half of FAR + FRR there is not its HTER.
    assert frr == pytest.approx(gradgpad["bpcer"])
    assert (
        metrics.rates(scores, labels, threshold).hter
        == pytest.approx((far + frr) / 2)
        == pytest.approx(0.3043, abs=1e-4)
    )
    assert gradgpad["hter"] == 0.5


@pytest.mark.parametrize(("case", "subset"), SETS)
@pytest.mark.parametrize("limit", [0.1, 0.05, 0.01])
def test_bpcer_at_apcer_keeps_the_limit_where_gradgpad_comes_near_it(case, subset, limit):
    scores, labels, species = load(case, subset)
    theirs = FIGURES[case][subset]["gradgpad"]["bpcer_at_apcer"][str(limit)]
    pooled, threshold = metrics.bpcer_at_apcer(scores, labels, limit)
    assert metrics.rates(scores, labels, threshold).far <= limit
    # It takes the point with FAR nearest to the limit, be it above; and it pools the species, which is no APCER.
    curve = metrics.curve(scores, labels)
    nearest = np.abs(curve.far - limit).min()
    allowed = curve.frr[np.isclose(np.abs(curve.far - limit), nearest)]
    near = curve.frr[np.abs(curve.far - limit) <= nearest + 0.01]
    assert near.min() - 1e-9 <= theirs <= near.max() + 1e-9
    assert allowed.min() <= pooled + 1e-12
    worst, _ = metrics.bpcer_at_apcer(scores, labels, limit, species)
    assert worst >= pooled
