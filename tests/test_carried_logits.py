"""Logits that are carried from frame to frame are those of whole clips, also of scores that are rounded to 0 or 1."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.functions import logits_by
from tests.made_up import make_bundle
from tests.test_live import CASES, CAUSAL
from tests.tiny_backbone import TINY_FEATURES

NAMES = ("gru", "minimum", "last", "mean-feature")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place: Path = tmp_path_factory.mktemp("bundle") / "bundle"
    methods = {name: CASES[name] for name in NAMES}
    return make_bundle(place, methods, renditions={"whole": CAUSAL}, features=TINY_FEATURES)


@pytest.mark.parametrize("name", NAMES)
def test_steps_know_the_logits_of_whole_clips(bundle: Bundle, name: str) -> None:
    """A verdict over experts reads them, in a session as in an export."""
    detector = bundle.detectors[name]
    (item,), made = detector.method.inputs(), jax.tree.map(lambda leaf: 60 * jnp.asarray(leaf), detector.params)
    features = np.random.default_rng(0).normal(size=(1, 5, bundle.backbone.dimension)).astype(np.float32)
    steps, whole = detector.steps(), detector.apply()
    carry, logits = steps.start, []
    for number in range(5):
        carry, score, own, logit = steps.step(made, carry, {item: features[:, number]})
        found = whole(made, {item: features[:, : number + 1]}, {item: np.ones((1, number + 1), bool)})
        np.testing.assert_allclose(score, found[0], atol=1e-5)
        logits += [float(logits_by(score, own, logit)[0])]
        np.testing.assert_allclose(logits[-1], logits_by(*found)[0], rtol=1e-4, atol=1e-3)
    # Beyond what can be told from a score: the nearest to 1 is 16.6.
    assert name == "mean-feature" or max(map(abs, logits)) > 20
