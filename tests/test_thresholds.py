"""The comparison of source thresholds."""

import numpy as np
import pytest
from fas_jax.methods.baselines import fit_logistic

from fas_jax.evaluation import metrics
from fas_jax.studies import thresholds


def test_the_rules_see_no_target_label():
    domains = thresholds.made_up(0.4, 0)
    source, target = thresholds.join(domains[1:]), domains[0]
    honest = thresholds.compare(source, target, 0.2, 0)
    flipped = thresholds.Domains(target.inputs, 1 - target.labels, target.domains, target.subjects)
    turned = thresholds.compare(source, flipped, 0.2, 0)
    for rule in thresholds.RULES:
        # The same decisions of the same model: with all labels turned, every wrong one is right.
        assert honest[rule].hter == pytest.approx(1 - turned[rule].hter)


def test_cross_fitted_scores_are_of_models_that_have_not_seen_the_subject():
    """Against the definition, on subjects that are their own giveaway."""
    generator = np.random.default_rng(0)
    count = 60
    subjects = np.array([f"d/{i // 2}" for i in range(count)])
    inputs = np.repeat(np.eye(count // 2), 2, axis=0) * 10 + generator.normal(size=(count, 30))
    labels = np.repeat(generator.integers(0, 2, count // 2), 2)
    source = thresholds.Domains(inputs, labels, np.full(count, "d"), subjects)
    assert metrics.auc(fit_logistic(inputs, labels).scores(inputs), labels) == 1.0
    found = thresholds.compare(source, source, 0.2, 0)
    # Judged on its own training videos: far better than what the cross-fitted scores promised.
    assert found["pooled", "cross-fitted"].source_gap < -0.2


def test_balanced_rule_weighs_domains_alike():
    domains = thresholds.made_up(1.0, 3, sizes=(60, 5, 5, 20))
    outcome = thresholds.compare(thresholds.join(domains[:3]), domains[3], 0.3, 0)
    assert outcome["pooled", "held-out"].hter != outcome["balanced", "held-out"].hter
    table = thresholds.table([outcome, outcome])
    assert [row[0] for row in table.rows] == [" on ".join(rule) for rule in thresholds.RULES]
