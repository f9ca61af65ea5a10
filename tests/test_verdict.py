"""Verdicts over experts: monotone, answering for whoever has a score, blind to who has one."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.evaluation.metrics import auc
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.methods.base import Desk, Explained, Failed, Job
from fas_jax.methods.verdict_fitting import balanced_weights
from fas_jax.methods.verdict_settings import VERDICTS
from fas_jax.methods.verdicts import BoostedStack, LogisticStack, MeanStack, Tree
from fas_jax.models.decision_tree import fit_tree, leaf_logits, path, rules
from tests.verdict_cases import NAMES, batch_of, drawn, made_clips, made_task

KINDS = (Tree, MeanStack, LogisticStack, BoostedStack)
FEW = {Tree: {"depth": 1, "leaf": 0.3}, MeanStack: {}, LogisticStack: {}, BoostedStack: {"trees": 5}}
EVERY = pytest.mark.parametrize("kind", KINDS)


def fitted(kind, logits, labels, **settings):
    method = kind(over=NAMES[: logits.shape[1]], **settings)
    half = len(labels) * 3 // 4
    task = made_task(np.arange(half), np.arange(half, len(labels)))
    (found,) = kind.fit([Job(method, task)], made_clips(logits, labels), Desk("verdict", Execution()))
    return found


@settings(max_examples=20)
@given(seed=st.integers(0, 999), experts=st.integers(1, 4), depth=st.integers(1, 5))
def test_a_tree_never_falls_where_an_expert_rises(seed, experts, depth):
    """Also where the classes are the wrong way round for an expert, which a tree without constraints would learn."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(80, experts)).astype(np.float32)
    labels = (inputs @ rng.normal(size=experts) + rng.normal(size=80) > 0).astype(int)
    labels[:2] = 0, 1
    tree = fit_tree(inputs, labels, rng.uniform(0.5, 1, 80), depth, 0.02, seed)
    low = rng.normal(size=(200, experts)) * 2
    high = low + rng.uniform(0, 2, low.shape) * (rng.uniform(size=low.shape) < 0.5)
    before, after = (leaf_logits(tree, each, each.mean(1)) for each in (low, high))
    assert (after >= before - 1e-12).all()


def test_a_tree_leads_each_clip_where_scikit_learn_does():
    logits, labels = drawn(300, 3, missing=0)
    inputs, weights = logits.astype(np.float32), np.random.default_rng(1).uniform(0.5, 1, 300)
    tree = fit_tree(inputs, labels, weights, 3, 0.05, 0)
    theirs = DecisionTreeClassifier(
        criterion="entropy", max_depth=3, min_weight_fraction_leaf=0.05, monotonic_cst=[1, 1, 1], random_state=0
    ).fit(inputs, labels, sample_weight=weights)
    shares = theirs.predict_proba(inputs)[:, 1]
    found = leaf_logits(tree, inputs, np.zeros(300))
    # One value for each share, in the same order.
    order = np.argsort(shares, kind="stable")
    assert (np.diff(found[order])[np.diff(shares[order]) > 0] > 0).all()
    assert (np.diff(found[order])[np.diff(shares[order]) == 0] == 0).all()
    assert len(np.unique(found)) > 3


def test_the_mean_logit_orders_clips_within_a_leaf():
    logits, labels = drawn(300, 2, missing=0)
    tree = fit_tree(logits, labels, np.ones(300), 1, 0.05, 0)
    found = leaf_logits(tree, logits, logits.mean(1))
    assert len(np.unique(found)) == 300
    middle = np.sort(np.unique(leaf_logits(tree, logits, 0 * labels)))
    assert len(middle) == 2
    for leaf in (found < middle.mean(), found > middle.mean()):
        order = np.argsort(logits.mean(1)[leaf])
        assert (np.diff(found[leaf][order]) > 0).all()


def test_rules_and_paths_say_what_the_arrays_hold():
    """A golden tree: one expert decides, at a logit of 0."""
    inputs = np.array([[-2.0, 0], [-1, 0], [1, 0], [2, 0]])
    tree = fit_tree(inputs, np.array([0, 0, 1, 1]), np.ones(4), 2, 0.1, 0)
    assert rules(tree, ["a", "b"]) == [
        "a at most 0.5: 0% bona fide (50% of the training weight)",
        "a above 0.5: 100% bona fide (50% of the training weight)",
    ]
    said = path(tree, ["a", "b"], np.array([1.0, 0]))
    assert said[0] == "a 0.731 is above 0.5"
    assert "100% are bona fide" in said[1]


@EVERY
def test_every_subset_of_experts_gives_an_answer(kind):
    detector = fitted(kind, *drawn(), **({"trees": 5} if kind is BoostedStack else {}))
    for subset in itertools.product([False, True], repeat=4):
        logits = np.where(subset, [[1.0, 2, 0.5, 1.5]], np.nan)
        found = detector.score(batch_of(detector.method, logits))
        assert np.isfinite(found.clip[0]) == any(subset)
        if not any(subset):
            assert found.reason[0].startswith("no expert has a score (a: too dark; b: too dark")
            assert np.isnan(found.logit[0])
    told = detector.about["patterns"]
    assert len(told) == 15
    assert all(0 <= each["error"] < 0.5 and 0 <= each["validation_error"] < 0.5 for each in told.values())


def test_the_program_scores_every_subset_as_numpy_does():
    """Of the other kinds, tests/test_detectors.py."""
    detector = fitted(Tree, *drawn(experts=3))
    logits, _ = drawn(200, experts=3, seed=5, missing=0.5)
    wanted = detector.score(batch_of(detector.method, logits))
    data = dict(zip(detector.method.inputs(), logits.T, strict=True))
    score, _, logit = jax.jit(detector.apply())(detector.params, data, {})
    np.testing.assert_allclose(score, wanted.clip, atol=1e-5)
    np.testing.assert_allclose(logit, wanted.logit, atol=1e-4)


@EVERY
def test_who_has_a_score_says_nothing_of_the_class(kind):
    """Scores are noise, and an expert is mostly silent on attacks: no verdict may learn that."""
    rng = np.random.default_rng(3)
    labels = (np.arange(1200) % 2).astype(int)
    logits = rng.normal(size=(1200, 2))
    logits[rng.uniform(size=1200) < np.where(labels == 0, 0.8, 0.1), 0] = np.nan
    detector = fitted(kind, logits, labels, **FEW[kind])
    # Who has a score tells the class; the balanced mean of the verdict within each pattern must not.
    assert auc(np.isnan(logits[:, 0]) * -1.0, labels) > 0.8
    clip, silent = detector.score(batch_of(detector.method, logits)).clip, np.isnan(logits[:, 0])
    assert abs(clip[silent].mean() - clip[~silent].mean()) < 0.08


def test_classes_weigh_the_same_within_each_pattern():
    patterns = np.array([3, 3, 3, 3, 1, 1, 2, 0])
    labels = np.array([0, 0, 0, 1, 1, 0, 1, 0])
    weights = balanced_weights(patterns, labels)
    for pattern in (1, 3):
        own = [weights[(patterns == pattern) & (labels == label)].sum() for label in (0, 1)]
        assert own[0] == pytest.approx(own[1])
        assert own[0] > 0
    assert weights[6] == weights[7] == 0


def test_a_combination_that_no_clip_has_falls_back_on_the_better_part_and_says_so():
    logits, labels = drawn(200, 2, missing=0)
    logits[::4, 0], logits[1::4, 0] = np.nan, np.nan
    logits[2::4, 1], logits[3::4, 1] = np.nan, np.nan
    detector = fitted(Tree, logits, labels)
    told = detector.about["patterns"]
    assert told["3"]["by"] == min((1, 2), key=lambda each: told[str(each)]["error"])
    batch = batch_of(detector.method, [[2.0, 2.0]])
    assert np.isfinite(detector.score(batch).clip[0])
    assert "no training clip of both classes has scores of a, b together" in detector.explain(batch)[0]["because"][0]
    assert any(line.endswith("decides") for line in detector.rules())


def test_an_expert_without_training_scores_is_left_out_and_named():
    logits, labels = drawn(200, 3)
    logits[:, 1] = np.nan
    detector = fitted(Tree, logits, labels)
    assert detector.about["without"] == {"b": "too dark"}
    batch = batch_of(detector.method, [[1.0, -9.0, 1.0], [np.nan, 4.0, np.nan]])
    with_b, alone = detector.score(batch).clip
    assert with_b == detector.score(batch_of(detector.method, [[1.0, 9.0, 1.0]])).clip[0]
    assert np.isnan(alone)
    assert detector.explain(batch)[0]["because"][0] == "b takes no part: too dark"
    assert isinstance(detector, Explained)
    assert isinstance(fitted(Tree, np.full((40, 2), np.nan), np.arange(40) % 2), Failed)


def test_the_settings_name_any_list_of_experts():
    assert Tree().experts == VERDICTS["paper"] == ("patches", "quality", "recurrent")
    assert Tree(verdict="all").experts == (*VERDICTS["paper"], "motion")
    assert Tree(verdict="all", over=("x", "y")).experts == ("x", "y")
    for over in (("x", "x"), tuple("abcdefg")):
        with pytest.raises(UserError, match="at most 6 methods, each once"):
            Tree(over=over).check("verdict")


def test_no_expert_of_a_verdict_by_source_reads_scores_that_have_seen_the_source():
    def settings_of(over, by, **evaluation):
        stack = {"kind": "lstm-stack", "over": ["gru"]}
        methods = {"gru": {"kind": "gru"}, "meta": stack, "mean": {"kind": "mean-feature"}}
        tables = {"methods": {**methods, "verdict": {"kind": "tree", "over": over, "folds_by": by}}}
        return experiment_from_dict({**tables, "evaluation": evaluation}, "a test")

    with pytest.raises(UserError, match="meta reads scores of detectors that have"):
        settings_of(["gru", "meta"], "source").check()
    settings_of(["gru", "mean"], "source").check()
    settings_of(["gru", "meta"], "subject").check()
    settings_of(["gru", "meta"], "source", selection="leave-one-source-out").check()
