"""A shallow, monotone decision tree: scikit-learn fits it, and this module evaluates it from arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fas_jax.base.logits import sigmoid

RANKS = {"feature": 1, "threshold": 1, "left": 1, "right": 1, "low": 1, "high": 1, "share": 1, "weight": 1}
"""Ranks of the arrays, by name: of nodes, of which the first is the root."""


def fit_tree(
    inputs: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
    depth: int,
    leaf: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Fits a tree for labels 0 and 1; its P(1) never falls when an input rises. Returns arrays of `RANKS`.

    A leaf is its own child on both sides. It holds a band of logits, `low` to `high`, about its share of label 1; the
    bands of leaves with different shares do not overlap.

    Args:
        inputs: Finite inputs of n clips, compared as float32.
        labels: 1 or 0.
        weights: Weights of the clips, at least 0.
        depth: Largest number of comparisons on the way to a leaf.
        leaf: Smallest share of the weights in a leaf.
        seed: Seed of the order in which equally good splits are tried.
    """
    # Here, because importing it takes a second, and scoring does without.
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(
        criterion="entropy",
        max_depth=depth,
        min_weight_fraction_leaf=leaf,
        monotonic_cst=[1] * inputs.shape[1],
        random_state=seed,
    ).fit(inputs.astype(np.float32), labels, sample_weight=weights)
    grown = model.tree_
    leaves = grown.children_left < 0
    own = np.arange(grown.node_count)
    share = grown.value[:, 0, list(model.classes_).index(1)]
    share = share / grown.value[:, 0].sum(1)
    # Away from 0 and 1 by half a clip, the same for all leaves, so that their order stays.
    logits = _logit(np.clip(share, 0.5 / (len(labels) + 1), 1 - 0.5 / (len(labels) + 1)))
    low, high = _bands(logits[leaves])
    return {
        "feature": np.where(leaves, 0, grown.feature).astype(np.int32),
        "threshold": np.where(leaves, 0, _down(grown.threshold)).astype(np.float32),
        "left": np.where(leaves, own, grown.children_left).astype(np.int32),
        "right": np.where(leaves, own, grown.children_right).astype(np.int32),
        "low": _scattered(low, leaves),
        "high": _scattered(high, leaves),
        "share": share,
        "weight": grown.weighted_n_node_samples / grown.weighted_n_node_samples[0],
    }


def leaf_logits(params: Mapping[str, Any], inputs: Any, order: Any, xp: Any = np) -> Any:
    """Logits [n] of label 1: inputs [n d] choose the leaf, and `order` [n] the place within the leaf's band.

    If `order` never falls when an input rises, neither do the logits. `xp` is numpy or jax.numpy.
    """
    node = walk({name: params[name][None] for name in WALKED}, inputs.astype(xp.float32), xp)[0]
    low, high = params["low"][node], params["high"][node]
    return low + (high - low) * (0.5 + 0.5 * order / (1 + xp.abs(order)))


WALKED = ("feature", "threshold", "left", "right")


def walk(trees: Mapping[str, Any], inputs: Any, xp: Any = np) -> Any:
    """The leaves [t n] to which t trees, as arrays [t m] of `WALKED`, lead inputs [n d]."""
    count, nodes = trees["feature"].shape
    tree, row = xp.arange(count)[:, None], xp.arange(len(inputs))[None]
    node = xp.zeros((count, len(inputs)), xp.int32)
    # No path of a binary tree is longer than half its nodes.
    for _ in range((nodes - 1) // 2):
        below = inputs[row, trees["feature"][tree, node]] <= trees["threshold"][tree, node]
        node = xp.where(below, trees["left"][tree, node], trees["right"][tree, node])
    return node


def rules(params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
    """One line of plain words for each leaf, those with the least share of label 1 first.

    Inputs are logits of P(bona fide), and are given as probabilities.
    """
    found: list[tuple[float, str]] = []

    def visit(node: int, bounds: dict[int, tuple[float, float]]) -> None:
        if params["left"][node] == node:
            said = [_between(names[each], *bounds[each]) for each in sorted(bounds)]
            share, weight = params["share"][node], params["weight"][node]
            text = f"{' and '.join(said) or 'always'}: {share:.0%} bona fide ({weight:.0%} of the training weight)"
            found.append((float(share), text))
            return
        feature, threshold = int(params["feature"][node]), float(params["threshold"][node])
        low, high = bounds.get(feature, (-np.inf, np.inf))
        visit(int(params["left"][node]), bounds | {feature: (low, min(high, threshold))})
        visit(int(params["right"][node]), bounds | {feature: (max(low, threshold), high)})

    visit(0, {})
    return [text for _, text in sorted(found, key=lambda each: each[0])]


def path(params: Mapping[str, np.ndarray], names: Sequence[str], inputs: Float[np.ndarray, " d"]) -> list[str]:
    """The comparisons that lead one clip to its leaf, and what the leaf says, as sentences."""
    node, found = 0, []
    while params["left"][node] != node:
        feature, threshold = int(params["feature"][node]), params["threshold"][node]
        below = bool(np.float32(inputs[feature]) <= threshold)
        relation = "is at most" if below else "is above"
        found.append(f"{names[feature]} {_p(inputs[feature])} {relation} {_p(threshold)}")
        node = int(params["left" if below else "right"][node])
    found.append(f"of the training clips in this leaf, {params['share'][node]:.0%} are bona fide (classes balanced)")
    return found


def _between(name: str, low: float, high: float) -> str:
    if np.isinf(low):
        return f"{name} at most {_p(high)}"
    return f"{name} above {_p(low)}" + ("" if np.isinf(high) else f" and at most {_p(high)}")


def _p(logit: Any) -> str:
    return f"{float(sigmoid(np.float64(logit))):.3g}"


def _bands(logits: Float[np.ndarray, " k"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """For each leaf the middle to the next lower and to the next higher logit; equal logits share a band."""
    distinct, back = np.unique(logits, return_inverse=True)
    middles = (distinct[1:] + distinct[:-1]) / 2
    half = np.diff(distinct)[[0, -1]] / 2 if len(distinct) > 1 else np.array([0.5, 0.5])
    edges = np.concatenate([[distinct[0] - half[0]], middles, [distinct[-1] + half[1]]])
    return edges[:-1][back], edges[1:][back]


def _scattered(values: Float[np.ndarray, " k"], places: np.ndarray) -> Float[np.ndarray, " m"]:
    found = np.zeros(len(places))
    found[places] = values
    return found


def _down(thresholds: Float[np.ndarray, " m"]) -> np.ndarray:
    """The largest float32 that is no larger: a float32 lies at or below it exactly if it does so of the original."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def _logit(shares: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    found: np.ndarray = np.log(shares) - np.log1p(-shares)
    return found
