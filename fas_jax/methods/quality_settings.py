"""What the fitting of a classifier of measures of image quality needs to know of the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fas_jax.base.declarations import how, what
from fas_jax.base.errors import UserError
from fas_jax.methods.base import Method, Variants, vary
from fas_jax.methods.inputs import Input

CLASSIFIERS = ("logistic", "species", "trees")


@dataclass(frozen=True)
class QualitySearch:
    """What a search draws."""

    c: tuple[float, float] = how((1e-4, 1e1), above=0)
    """From and to; drawn evenly on a logarithmic scale."""
    classifier: tuple[str, ...] = how(CLASSIFIERS)
    """One of these."""


@dataclass(frozen=True)
class QualitySettings(Method):
    """Measures of image quality, averaged over a clip's frames and standardised, into one of three classifiers."""

    measures = True

    classifier: Literal["chosen", "logistic", "species", "trees"] = what("chosen")
    """logistic: one logistic regression. species: one for each PAI species against bona fide, of which the least sure
    of bona fide decides (Wen et al. do so with support vector machines). trees: gradient-boosted trees. chosen: the one
    with the highest AUC on sources that it has not seen, averaged over the sources; with one source, on the validation
    clips."""
    c: float = what(0.01, above=0)
    """scikit-learn's C of the regressions: how little large weights cost."""
    trees: int = what(100, at_least=1)
    """Boosted trees."""
    leaves: int = what(8, at_least=2)
    """Most leaves of a tree."""
    learning_rate: float = what(0.1, above=0)
    """What a tree counts for."""
    renditions: tuple[str, ...] = what(("native",))
    """Renditions with native pixels (size = 0) whose measures it reads side by side, such as one of the whole frame and
    one of the face."""
    search: QualitySearch = how(QualitySearch)
    """What fas-jax search draws."""

    def inputs(self) -> Sequence[Input]:
        """The measures of its renditions."""
        return tuple(Input("features", name) for name in self.renditions)

    def check(self, name: str) -> None:
        """Refuses a method that reads nothing, or a rendition twice."""
        if not self.renditions or len(set(self.renditions)) < len(self.renditions):
            raise UserError(f"methods.{name}.renditions must name each rendition once, and at least one")

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)
