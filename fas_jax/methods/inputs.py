"""What a method can read of a clip."""

from typing import Literal, NamedTuple


class Input(NamedTuple):
    """Something that a method reads of a clip."""

    kind: Literal["features", "frames", "facts", "scores"]
    """`features`: a sequence of vectors of a rendition's frames; `frames`: these frames themselves; `facts`: what
    decoding found (`ClipInfo`); `scores`: what another method makes of the clip."""
    name: str
    """The rendition, or the other method. Facts are those of a rendition."""
