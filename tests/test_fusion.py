"""From scores of frames to the score of a clip, on the host and in exported programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.methods.fusion import fuse, fuse_logits, running_logit, traced_fuse, traced_fuse_logits
from tests.backbone_cases import uniform

FUSIONS = ["mean", "last", "median", "minimum"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_sees_real_frames_only(fusion):
    probabilities = np.array([[0.2, 0.8, 0.6, 0.9], [0.5, 0.1, 0.2, 0.3]], np.float32)
    mask = np.array([[True, True, True, False], [True, False, False, False]])
    expected = {"mean": [1.6 / 3, 0.5], "last": [0.6, 0.5], "median": [0.6, 0.5], "minimum": [0.2, 0.5]}
    np.testing.assert_allclose(fuse(probabilities, mask, fusion), expected[fusion], rtol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_clip_without_frames_or_with_a_frame_without_score_has_no_score(fusion):
    values = uniform(fusion, (3, 2), 0, 1)
    values[1, 0] = values[2, 1] = np.nan
    mask = np.array([[False, False], [True, True], [True, False]])
    found = fuse(values, mask, fusion)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False])
    assert found[2] == values[2, 0]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_programs_fuse_as_the_evaluation_does(fusion):
    mask = np.arange(4) < np.array([1, 2, 3, 4])[:, None]
    values = uniform(fusion, (4, 4), 0, 1)
    traced = jax.jit(lambda values, mask: traced_fuse(values, mask, fusion))
    found = traced(jnp.asarray(values), jnp.asarray(mask))
    np.testing.assert_allclose(found, fuse(values, mask, fusion), rtol=1e-6)
    assert np.isnan(traced(jnp.asarray(values), jnp.zeros((4, 4), bool))).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_programs_know_the_logits_of_scores_that_are_rounded_to_one(fusion):
    mask = np.arange(4) < np.array([1, 2, 3, 4])[:, None]
    logits = uniform(fusion, (4, 4), -45, 45)
    traced = jax.jit(lambda values, mask: traced_fuse_logits(values, mask, fusion))
    found = traced(jnp.asarray(logits), jnp.asarray(mask))
    np.testing.assert_allclose(found, fuse_logits(logits, mask, fusion), rtol=1e-5, atol=1e-4)
    assert np.isnan(traced(jnp.asarray(logits), jnp.zeros((4, 4), bool))).all()


@pytest.mark.parametrize("fusion", [fusion for fusion in FUSIONS if fusion != "median"])
def test_logits_are_carried_from_frame_to_frame(fusion):
    """Also those of scores that are rounded to 1, and over so many frames that a sum would lose digits."""
    for logits in (uniform(fusion, (4, 5), -45, 45), uniform(fusion, (1, 3000), 18, 20)):
        carried = np.zeros((2, len(logits)), np.float32)
        step = jax.jit(lambda count, carried, logit: running_logit(count, carried, logit, fusion))
        for number in range(logits.shape[1]):
            count = np.full(len(logits), number + 1, np.float32)
            carried, found = step(count, carried, jnp.asarray(logits[:, number], jnp.float32))
            if number in (0, 4, 2999):
                wanted = fuse_logits(logits[:, : number + 1], np.ones((len(logits), number + 1), bool), fusion)
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_clips_logit_is_that_of_its_score(fusion):
    mask = np.arange(5) < np.array([1, 2, 3, 4, 5])[:, None]
    logits = uniform(fusion, (5, 5), -6, 6)
    score = fuse(1 / (1 + np.exp(-logits.astype(np.float64))), mask, fusion)
    np.testing.assert_allclose(fuse_logits(logits, mask, fusion), np.log(score / (1 - score)), rtol=1e-9)


def test_a_logit_is_finite_where_the_score_is_rounded_to_one():
    logits, mask = np.array([[50.0, 60.0, 70.0, 80.0], [-50.0, -60.0, np.inf, -np.inf]]), np.ones((2, 4), bool)
    assert (fuse(1 / (1 + np.exp(-logits)), mask, "mean")[0]) == 1
    # The mean of 1 - P is that of exp(-z), nearly.
    expected = -np.log(np.mean(np.exp(-logits[0])))
    np.testing.assert_allclose(fuse_logits(logits, mask, "mean"), [expected, np.log(1 / 3)], rtol=1e-12)
    np.testing.assert_allclose(fuse_logits(logits, mask, "median")[0], -np.log(np.mean(np.exp([-60.0, -70.0]))))
    assert fuse_logits(logits, mask, "minimum").tolist() == [50, -np.inf]
    assert fuse_logits(np.full((1, 4), np.inf), mask[:1], "mean").tolist() == [np.inf]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_clip_without_a_score_has_no_logit(fusion):
    logits = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, np.nan]])
    found = fuse_logits(logits, np.array([[False, False], [True, True], [True, False]]), fusion)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 3.0])
