"""Maps of what decides, drawn over the frames of clips."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from fas_jax.reporting.figures import new_figure

_FOR, _AGAINST = "YlOrRd", "Blues"
_STRONGEST = 0.75
"""Share of the colour where a map is largest, the rest being the frame."""


@dataclass(frozen=True)
class Overlay:
    """The frames of a clip with their maps."""

    title: str
    frames: UInt8[np.ndarray, "t h w 3"]
    """RGB."""
    maps: Float[np.ndarray, "t h w"]
    """What each pixel matters for the decision; negative where it speaks against it."""

    def strengths(self) -> Float[np.ndarray, "t h w"]:
        """The maps, smoothed by a 64th of the frame's width and divided by the clip's largest absolute value."""
        smooth = gaussian_filter(np.asarray(self.maps, np.float64), (0, *(self.maps.shape[2] / 64,) * 2))
        largest = np.abs(smooth).max(initial=0)
        return smooth / largest if largest > 0 else smooth


def overlay_figure(overlays: Sequence[Overlay]) -> Figure:
    """At least one clip, a row each: its frames, with red over what matters for the decision.

    What speaks against it is blue. Colours are relative to the largest value of a clip.
    """
    columns = max(len(each.frames) for each in overlays)
    figure = new_figure(max(4.5, 1.6 * columns), 2.1 * len(overlays))
    parts = figure.subfigures(len(overlays), 1, squeeze=False)[:, 0]
    for part, each in zip(parts, overlays, strict=True):
        part.suptitle(textwrap.fill(each.title, 28 * max(3, columns)).replace("$", r"\$"), fontsize=8)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for axis in axes:
            axis.axis("off")
        for axis, frame, strength in zip(axes, each.frames, each.strengths(), strict=False):
            axis.imshow(blended(frame, strength))
    return figure


def blended(frame: UInt8[np.ndarray, "h w 3"], strength: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A frame in grey under the colours of its map, from -1 to 1."""
    grey = np.repeat(frame.mean(-1, keepdims=True), 3, axis=-1)
    favourable, adverse = (_colours(name, np.abs(strength)) for name in (_FOR, _AGAINST))
    colour = np.where((strength >= 0)[..., None], favourable, adverse)
    share = (_STRONGEST * np.abs(strength))[..., None]
    return np.rint((1 - share) * grey + share * colour).astype(np.uint8)


def _colours(name: str, values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    found: np.ndarray = ScalarMappable(Normalize(0, 1), name).to_rgba(values, bytes=True)[..., :3].astype(np.float64)
    return found
