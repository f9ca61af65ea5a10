"""What a method can read of a clip."""

from typing import Literal, NamedTuple


class Input(NamedTuple):
    """Something that a method reads of a clip."""

    kind: Literal["features", "frames", "facts", "scores", "clip-scores"]
    """`features`: a sequence of vectors of a rendition's frames; `frames`: these frames themselves; `facts`: what
    decoding found (`ClipInfo`); `scores`: what another method makes of the clip's frames; `clip-scores`: what it makes
    of the clip as a whole, or why it has no score."""
    name: str
    """The rendition, or the other method. Facts are those of a rendition."""

    @property
    def of_method(self) -> bool:
        """Whether another method makes it, and `name` is that method's."""
        return self.kind in ("scores", "clip-scores")
