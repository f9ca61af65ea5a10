"""Colours of models and classes, the same in every figure."""

from collections.abc import Mapping, Sequence

# Okabe and Ito's palette, which stays apart for colour-blind readers. Baselines are dashed.
_KNOWN: Mapping[str, tuple[str, bool]] = {
    "lstm": ("#0072B2", False),
    "bilstm": ("#009E73", False),
    "gru": ("#E69F00", False),
    "meta": ("#D55E00", False),
    "mean-feature": ("#000000", True),
    "colour": ("#CC79A7", True),
    "metadata": ("#7F7F7F", True),
}
_OTHERS = ("#56B4E9", "#8C6D31", "#6A3D9A", "#637939", "#D55E00", "#009E73")
# Bona fide, attacks.
CLASSES = ("#0072B2", "#D55E00")


def style(name: str, names: Sequence[str]) -> tuple[str, bool]:
    """Colour of one of `names`, and whether it is dashed."""
    if name in _KNOWN:
        return _KNOWN[name]
    others = [each for each in names if each not in _KNOWN]
    return _OTHERS[others.index(name) % len(_OTHERS)], False
