"""Heat maps of tiles: each tile's score, drawn over the part of the frame that the tiles cover."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fas_jax.reporting.figures import new_figure

_COLUMNS = 3
_COLOURS = "RdBu"


@dataclass(frozen=True)
class TileMap:
    """The tiles of one frame and their scores."""

    title: str
    tiles: UInt8[np.ndarray, "k s s 3"]
    """RGB."""
    corners: Sequence[tuple[int, int]]
    """Top and left of each tile in the frame, in pixels."""
    scores: Float[np.ndarray, " k"]
    """P(bona fide) of each tile; NaN where no network read it."""

    def picture(self) -> tuple[UInt8[np.ndarray, "h w 3"], int, int]:
        """The smallest part of the frame that holds all tiles, grey where there is none, and its top and left."""
        side = self.tiles.shape[1]
        top, left = (min(corner[axis] for corner in self.corners) for axis in (0, 1))
        height, width = (max(c[axis] for c in self.corners) + side - at for axis, at in ((0, top), (1, left)))
        found = np.full((height, width, 3), 127, np.uint8)
        for tile, (row, column) in zip(self.tiles, self.corners, strict=True):
            found[row - top : row - top + side, column - left : column - left + side] = tile
        return found, top, left


def tile_figure(maps: Sequence[TileMap]) -> Figure:
    """At least one map: the frame, and over each tile a frame and a veil from red, an attack, to blue, bona fide."""
    rows = -(-len(maps) // _COLUMNS)
    figure = new_figure(3.2 * _COLUMNS, 3.4 * rows)
    axes = np.ravel(figure.subplots(rows, _COLUMNS, squeeze=False))
    colours = ScalarMappable(Normalize(0, 1), _COLOURS)
    for axis, each in zip(axes, maps, strict=False):
        picture, top, left = each.picture()
        height, width = picture.shape[:2]
        axis.imshow(picture, extent=(left, left + width, top + height, top))
        side = each.tiles.shape[1]
        for (row, column), score in zip(each.corners, each.scores.tolist(), strict=True):
            if np.isnan(score):
                continue
            colour = colours.cmap(score)
            axis.add_patch(Rectangle((column, row), side, side, facecolor=(*colour[:3], 0.4), edgecolor=colour))
        axis.set_title(textwrap.fill(each.title, 40), fontsize=7)
        axis.tick_params(labelsize=6)
    for axis in axes[len(maps) :]:
        axis.axis("off")
    bar = figure.colorbar(colours, ax=list(axes), shrink=0.6)
    bar.set_label("P(bona fide) of a tile")
    return figure
