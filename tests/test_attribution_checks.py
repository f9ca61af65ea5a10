"""Sanity checks of maps: by hand, and that they hold for a detector whose reasons are known."""

import numpy as np
import pytest

from fas_jax.studies.attribution_checks import (
    CELLS,
    cell_means,
    deletion_curve,
    hit_rate,
    most_important_first,
    rank_correlation,
    separation,
)

SIDE = 2 * CELLS


def maps(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(2, SIDE, SIDE)).astype(np.float32)


def test_cells_are_squares_row_by_row() -> None:
    found, own = cell_means(maps()), maps()
    assert found.shape == (2, CELLS**2)
    assert found[1, CELLS + 3] == pytest.approx(own[1, 2:4, 6:8].mean())


def test_rank_correlation() -> None:
    own = maps()
    assert rank_correlation(own, np.exp(own)) > 0.99
    assert rank_correlation(own, -own) < -0.99
    assert abs(rank_correlation(own, maps(1))) < 0.15
    assert np.isnan(rank_correlation(own, 0 * own))


def test_deleting_what_a_detector_reads_takes_its_logit_away_first() -> None:
    """The logit is the sum of the upper left quarter: a true map, a random one, and one that is the wrong way round."""
    frames = np.random.default_rng(0).integers(0, 100, (2, SIDE, SIDE, 3)).astype(np.uint8)
    frames[:, : SIDE // 2, : SIDE // 2] += 100

    def logit(own: np.ndarray) -> float:
        return float(own[:, : SIDE // 2, : SIDE // 2].mean())

    true = np.zeros((2, SIDE, SIDE), np.float32)
    true[:, : SIDE // 2, : SIDE // 2] = 1
    curves = [deletion_curve(logit, frames, most_important_first(each)) for each in (true, maps(), -true)]
    assert all(curve[0] == pytest.approx(logit(frames)) for curve in curves)
    assert len({round(float(curve[-1]), 6) for curve in curves}) == 1
    assert curves[0].mean() < curves[1].mean() < curves[2].mean()
    # A quarter of the squares is gone after two of eight steps.
    assert curves[0][2] == pytest.approx(curves[0][-1])
    assert curves[2][6] == pytest.approx(curves[2][0])


def test_hits_and_separation() -> None:
    mask = np.zeros((2, SIDE, SIDE), bool)
    mask[:, :4] = True
    inside, chance = mask.astype(np.float32), maps()
    assert hit_rate(inside, mask, 0.1) == 1
    assert hit_rate(-inside, mask, 0.5) == 0
    assert hit_rate(chance, mask, 0.2) == pytest.approx(mask.mean(), abs=0.1)
    assert separation(inside, mask) == pytest.approx(1)
    assert separation(-inside, mask) == pytest.approx(0)
    assert separation(0 * chance, mask) == pytest.approx(0.5)
    assert np.isnan(separation(chance, np.ones_like(mask)))
