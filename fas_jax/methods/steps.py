"""Detectors that score a clip frame by frame, while it comes. Imports no JAX."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from fas_jax.methods.inputs import Input


class Steps(NamedTuple):
    """A detector as a function from frame to frame."""

    start: Any
    """What it remembers before the first frame of a clip: a tree of arrays, of the same shapes ever after."""
    step: Callable[[Any, Any, Mapping[Input, Any]], tuple[Any, Any, Any, Any]]
    """Pure: from the detector's parameters, what it remembers, and by input what there is of the next frame ([1 ...],
    as in a batch without its axis of frames) to what it remembers then, the score [1] of the clip up to this frame, the
    frame's own score [1], None where it has none, and the clip's logit [1], None where it is known from the score
    alone. Scores and logits are those that `Detector.apply` gives such a clip."""


@runtime_checkable
class Causal(Protocol):
    """A detector whose score of a clip can be carried from frame to frame."""

    def steps(self) -> Steps | None:
        """Its steps; None where its settings make it read the whole clip at once."""
