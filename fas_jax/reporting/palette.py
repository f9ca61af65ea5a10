"""Colours of models and classes, the same in every figure."""

from collections.abc import Sequence

# Okabe and Ito's palette first, which stays apart for colour-blind readers.
_COLOURS = (
    "#0072B2", "#009E73", "#E69F00", "#D55E00", "#000000", "#CC79A7", "#7F7F7F",
    "#56B4E9", "#8C6D31", "#6A3D9A", "#637939",
)  # fmt: skip
# Bona fide, attacks.
CLASSES = ("#0072B2", "#D55E00")


def style(name: str, names: Sequence[str]) -> tuple[str, bool]:
    """Colour of one of `names`, by its place among them, and whether it is dashed, as those are for which no colour is
    left."""
    place = list(names).index(name)
    return _COLOURS[place % len(_COLOURS)], place >= len(_COLOURS)
