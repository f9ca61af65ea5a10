"""Properties of the whole chain, from features to figures: what may change a score, and what may not."""

import jax
import numpy as np
import pytest

from fas_jax.evaluation.evaluate import evaluate
from fas_jax.experiment import planning, scoring
from fas_jax.experiment.corpus import Corpus
from tests import stores
from tests.make_golden_methods import EXPERIMENT, METHODS, as_table, read
from tests.synthetic_stores import make_stores


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return stores.outcome(EXPERIMENT, make_stores(folder / "stores"), folder / "run")


def again(folder, **changes):
    return stores.outcome(EXPERIMENT, make_stores(folder / "stores", **changes), folder / "run")


def of_target(found, target):
    """What belongs to the protocols with this target: the numbers of their plans, and their scores."""
    numbers = [number for number, each in enumerate(found.plans) if each.protocol.name.endswith(f"_to_{target}")]
    assert len(numbers) == len(EXPERIMENT.seeds)
    return numbers, found.scores.select(protocol=found.plans[numbers[0]].protocol.name)


def assert_same_detectors(one, other, numbers):
    for name in METHODS:
        for number in numbers:
            ours, theirs = (each.fitted.detectors[name][number] for each in (one, other))
            for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.slow
@pytest.mark.optimised
def test_no_score_has_moved(plain):
    """Every score of every default method is that of the golden file, which an earlier architecture wrote."""
    found, golden = as_table(plain.scores), read()
    assert found.keys() == golden.keys()
    assert len(golden) > 100
    for key, scores in golden.items():
        assert found[key] == pytest.approx(scores, abs=1e-5)
    spread = np.std([[scores[name] for name in METHODS if name != "metadata"] for scores in golden.values()], axis=0)
    assert (spread > 0.05).all()


@pytest.mark.slow
def test_what_selects_cannot_see_the_targets_labels(plain, tmp_path):
    """With the target's labels drawn anew: the same models, scores and thresholds to the bit; other final figures."""
    other = again(tmp_path, scramble="M")
    numbers, scores = of_target(plain, "M")
    _, others = of_target(other, "M")
    assert_same_detectors(plain, other, numbers)
    assert as_table(scores) == as_table(others)
    one, two = evaluate(scores), evaluate(others)
    assert [each.values["threshold"] for each in one.figures] == [each.values["threshold"] for each in two.figures]
    for a, b in zip(one.figures, two.figures, strict=True):
        # The metadata of the made-up videos are all the same, so that their AUC is 0.5 for any labels.
        assert (a.values["auc"] != b.values["auc"]) == (a.model != "metadata")
    # The counterpart, without which the above could pass by reading nothing: there, the same dataset is a source.
    numbers, _ = of_target(plain, "C")
    with pytest.raises(AssertionError):
        assert_same_detectors(plain, other, numbers)


def test_the_order_of_the_files_changes_nothing(plain, tmp_path):
    """Videos in another order in every store: the same folds, models and scores, to the bit."""
    other = again(tmp_path, order=5)
    assert_same_detectors(plain, other, range(len(plain.plans)))
    assert as_table(plain.scores) == as_table(other.scores)


def test_the_order_of_the_test_files_changes_no_bit(plain, tmp_path):
    """The same models, scoring the target's videos in another order and with others beside them."""
    shuffled = Corpus.of({"whole": make_stores(tmp_path / "stores", order=3)})
    found = scoring.score(EXPERIMENT, planning.plan(EXPERIMENT, shuffled.videos), shuffled, plain.fitted)
    assert as_table(plain.scores) == as_table(found)
