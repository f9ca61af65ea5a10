"""LSTM, BiLSTM and GRU on frozen features: the base models of Muhammad et al. (IPTA 2023).

Defaults are the paper's, and its authors' code where the paper is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fas_jax.base.declarations import how, what
from fas_jax.methods.base import Variants, vary
from fas_jax.methods.heads import FeatureHead

if TYPE_CHECKING:
    from fas_jax.models.architecture import Architecture


@dataclass(frozen=True)
class RecurrentSearch:
    """What a search draws for a recurrent model."""

    hidden: tuple[int, ...] = how((16, 64, 256), at_least=1)
    """Hidden units, one of these; each is a program of its own, so a short list."""
    initialisation: tuple[Literal["he", "orthogonal", "glorot"], ...] = how(("he", "orthogonal", "glorot"))
    """Of the recurrent weights, one of these."""
    learning_rate: tuple[float, float] = how((1e-5, 1e-2), above=0)
    """From and to; drawn evenly on a logarithmic scale, as are the other ranges."""
    weight_decay: tuple[float, float] = how((1e-4, 1.0), above=0)
    """From and to; decoupled."""
    balance: tuple[Literal["none", "sampling", "weights", "both"], ...] = how(("none", "weights"))
    """Of the classes, one of these."""


@dataclass(frozen=True)
class Recurrent(FeatureHead):
    """What the three recurrent models share."""

    side_by_side: ClassVar[tuple[str, ...]] = (*FeatureHead.side_by_side, "initialisation")
    cell: ClassVar[Literal["lstm", "bilstm", "gru"]]

    hidden: int = what(20, at_least=1)
    """Hidden units, in each direction."""
    initialisation: Literal["he", "orthogonal", "glorot"] = what("he")
    """Of the recurrent weights."""
    search: RecurrentSearch = how(RecurrentSearch)
    """What fas-jax search draws."""

    def architecture(self, width: int) -> Architecture:
        """See `HeadSettings.architecture`."""
        from fas_jax.models.recurrent import RecurrentClassifier

        return RecurrentClassifier(self.cell, width, self.hidden, self.initialisation)

    def variants(self) -> Variants:
        """See `Method.variants`."""
        return vary(self.search)


@dataclass(frozen=True)
class Lstm(Recurrent):
    """An LSTM over the features of a clip's frames."""

    kind = "lstm"
    cell = "lstm"

    hidden: int = what(1000, at_least=1)
    """Hidden units."""
    initialisation: Literal["he", "orthogonal", "glorot"] = what("orthogonal")
    """Of the recurrent weights; the authors' code leaves its layer's default."""


@dataclass(frozen=True)
class BiLstm(Recurrent):
    """Two LSTMs over the features of a clip's frames, one from each end."""

    kind = "bilstm"
    cell = "bilstm"

    hidden: int = what(500, at_least=1)
    """Hidden units, in each direction."""


@dataclass(frozen=True)
class Gru(Recurrent):
    """A gated recurrent unit over the features of a clip's frames."""

    kind = "gru"
    cell = "gru"
