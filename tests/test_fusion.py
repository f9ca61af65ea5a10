"""From scores of frames to the score of a clip, on the host and in exported programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.methods.fusion import fuse, traced_fuse
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
