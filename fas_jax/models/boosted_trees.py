"""Gradient-boosted trees, fitted by scikit-learn, kept as arrays and evaluated here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

RANKS = {"feature": 2, "threshold": 2, "left": 2, "right": 2, "value": 2, "base": 0}
"""Ranks of the arrays, by name: trees by nodes, of which the first is the root."""


def fit_trees(
    inputs: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    trees: int,
    leaves: int,
    learning_rate: float,
    seed: int,
    weights: Float[np.ndarray, " n"] | None = None,
) -> dict[str, np.ndarray]:
    """Boosted trees for labels 0 and 1, as arrays of `RANKS`; all inputs are finite. Clips may have weights.

    A leaf is its own child on both sides, so that all paths can be walked for as many steps as the deepest tree has.
    """
    # Here, because importing it takes a second, and scoring does without.
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=learning_rate, max_iter=trees, max_leaf_nodes=leaves, early_stopping=False, random_state=seed
    ).fit(inputs, labels, sample_weight=weights)
    grown = [each[0].nodes for each in model._predictors]
    width = max(map(len, grown))

    def gathered(name: str, dtype: Any, leaf: Any = None) -> np.ndarray:
        found = np.zeros((len(grown), width), dtype)
        for row, nodes in enumerate(grown):
            values = nodes[name].astype(dtype)
            found[row, : len(nodes)] = np.where(nodes["is_leaf"], leaf(len(nodes)), values) if leaf else values
        return found

    return {
        "feature": gathered("feature_idx", np.int32, lambda count: 0),
        "threshold": gathered("num_threshold", np.float64, lambda count: 0.0),
        "left": gathered("left", np.int32, np.arange),
        "right": gathered("right", np.int32, np.arange),
        "value": gathered("value", np.float64),
        "base": np.asarray(np.ravel(model._baseline_prediction)[0], np.float64),
    }


def tree_logits(params: Mapping[str, np.ndarray], inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Logits of label 1: the base and the values of the leaves that the inputs lead to, tree by tree."""
    rows = np.arange(len(inputs))
    found = np.full(len(inputs), float(params["base"]))
    names = ("feature", "threshold", "left", "right", "value")
    for feature, threshold, left, right, value in zip(*(params[name] for name in names), strict=True):
        node = np.zeros(len(inputs), np.int32)
        while True:
            below = inputs[rows, feature[node]] <= threshold[node]
            following = np.where(below, left[node], right[node])
            if np.array_equal(following, node):
                break
            node = following
        found += value[node]
    return found
