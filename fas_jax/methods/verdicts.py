"""Verdicts over the scores of experts: a decision tree, and three simpler or larger models to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fas_jax.base.declarations import what
from fas_jax.methods.base import Desk, Detector, Failed, Job
from fas_jax.methods.verdict_settings import VerdictSettings

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from fas_jax.methods.data import Clips


@dataclass(frozen=True)
class Verdict(VerdictSettings):
    """A stack over the scores of experts, with a model for each combination of experts."""

    @classmethod
    def fit(cls, jobs: Sequence[Job], clips: Clips, desk: Desk) -> Sequence[Detector | Failed]:
        """See `Method.fit`."""
        from fas_jax.methods.verdict_fitting import fit_verdict

        return [fit_verdict(job, clips) for job in jobs]

    def rebuild(self, params: Any, about: Mapping[str, Any]) -> Detector:
        """See `Method.rebuild`."""
        from fas_jax.methods.verdict_fitting import VerdictDetector, check_params

        check_params(self, params, about)
        return VerdictDetector(self, params, dict(about))


@dataclass(frozen=True)
class Tree(Verdict):
    """A shallow decision tree that rises in every expert's score; within a leaf the experts' mean logit decides."""

    kind = "tree"

    depth: int = what(3, at_least=1, at_most=8)
    """Largest number of comparisons on the way to a leaf."""
    leaf: float = what(0.05, above=0, at_most=0.5)
    """Smallest share of the training weight in a leaf."""

    @property
    def ranks(self) -> Mapping[str, int]:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import RANKS

        return RANKS

    def fit_model(
        self,
        logits: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, " n"],
        seed: int,
    ) -> dict[str, np.ndarray]:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import fit_tree

        return fit_tree(logits, labels, weights, self.depth, self.leaf, seed)

    def model_logits(self, params: Mapping[str, Any], logits: Any, mean: Any, xp: Any) -> Any:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import leaf_logits

        return leaf_logits(params, logits, mean, xp)

    def model_rules(self, params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import rules

        return rules(params, names)

    def model_path(
        self, params: Mapping[str, np.ndarray], names: Sequence[str], logits: Float[np.ndarray, " d"]
    ) -> list[str]:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import path

        return [*path(params, names, logits), "within the leaf, the experts' mean logit orders the clips"]


@dataclass(frozen=True)
class MeanStack(Verdict):
    """The mean of the logits of the experts that have a score."""

    kind = "mean-stack"

    @property
    def ranks(self) -> Mapping[str, int]:
        """See `VerdictSettings`."""
        return {"experts": 0}

    def fit_model(
        self,
        logits: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, " n"],
        seed: int,
    ) -> dict[str, np.ndarray]:
        """See `VerdictSettings`; there is nothing to fit."""
        import numpy as np

        return {"experts": np.asarray(logits.shape[1], np.float64)}

    def model_logits(self, params: Mapping[str, Any], logits: Any, mean: Any, xp: Any) -> Any:
        """See `VerdictSettings`."""
        return mean

    def model_rules(self, params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
        """See `VerdictSettings`."""
        return [f"the mean of the logits of {', '.join(names)}"]


@dataclass(frozen=True)
class LogisticStack(Verdict):
    """A logistic regression on the experts' logits."""

    kind = "logistic-stack"

    c: float = what(1.0, above=0)
    """Inverse strength of the L2 penalty on the weights: scikit-learn's C."""

    @property
    def ranks(self) -> Mapping[str, int]:
        """See `VerdictSettings`."""
        return {"weights": 1, "bias": 0}

    def fit_model(
        self,
        logits: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, " n"],
        seed: int,
    ) -> dict[str, np.ndarray]:
        """See `VerdictSettings`."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        scale = np.maximum(logits.std(0), 1e-6)
        model = LogisticRegression(C=self.c, max_iter=1000).fit(logits / scale, labels, sample_weight=weights)
        return {"weights": model.coef_[0] / scale, "bias": np.asarray(model.intercept_[0])}

    def model_logits(self, params: Mapping[str, Any], logits: Any, mean: Any, xp: Any) -> Any:
        """See `VerdictSettings`."""
        # Row by row, so that a clip's score does not depend on the others beside it.
        return (logits * params["weights"][None]).sum(1) + params["bias"]

    def model_rules(self, params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
        """See `VerdictSettings`."""
        terms = [f"{weight:+.3g} x {name}" for weight, name in zip(params["weights"], names, strict=True)]
        return [f"logit = {' '.join(terms)} {float(params['bias']):+.3g}, of the experts' logits"]


@dataclass(frozen=True)
class BoostedStack(Verdict):
    """Gradient-boosted trees on the experts' logits."""

    kind = "boosted-stack"

    trees: int = what(50, at_least=1)
    """Boosted trees."""
    leaves: int = what(4, at_least=2)
    """Largest number of leaves of a tree."""
    learning_rate: float = what(0.1, above=0)
    """Factor on the values of every tree."""

    @property
    def ranks(self) -> Mapping[str, int]:
        """See `VerdictSettings`."""
        from fas_jax.models.boosted_trees import RANKS

        return RANKS

    def fit_model(
        self,
        logits: Float[np.ndarray, "n d"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, " n"],
        seed: int,
    ) -> dict[str, np.ndarray]:
        """See `VerdictSettings`."""
        from threadpoolctl import threadpool_limits

        from fas_jax.models.boosted_trees import fit_trees

        # One thread: that is faster for a few numbers, and many times so on a busy machine.
        with threadpool_limits(1, "openmp"):
            return fit_trees(logits, labels, self.trees, self.leaves, self.learning_rate, seed, weights)

    def model_logits(self, params: Mapping[str, Any], logits: Any, mean: Any, xp: Any) -> Any:
        """See `VerdictSettings`."""
        from fas_jax.models.decision_tree import walk

        leaves = walk(params, logits, xp)
        return xp.take_along_axis(params["value"], leaves, axis=1).sum(0) + params["base"]

    def model_rules(self, params: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
        """See `VerdictSettings`."""
        return [f"the sum of {len(params['feature'])} boosted trees over {', '.join(names)}"]
