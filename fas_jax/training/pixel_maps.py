"""Pixel-wise binary supervision: every cell of a feature map says bona fide or attack, and so does the whole map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from fas_jax.base.errors import UserError
from fas_jax.training.classification import dropped, mean_log_odds, smoothed
from fas_jax.training.objectives import Objective


@dataclass(frozen=True)
class PixelMaps(Objective):
    """A map of P(bona fide) from a cut network's feature map by a 1x1 convolution, and a linear classifier of the map.

    The loss is half the binary cross-entropy of all cells, whose label is the frame's, and half that of the classifier.
    """

    side: int = 14
    """Cells of the map in each direction, which the classifier has a weight for each of."""
    decided_by: Literal["map", "classifier"] = "map"
    """What scores a frame: the mean of its map, or the classifier."""
    dropout: float = 0.0
    """Share of the feature map's values that are set to zero in training."""
    smoothing: float = 0.0
    """Share of the label that is spread evenly over both classes."""

    def head(self, seed: int) -> dict[str, Any]:
        """Fresh weights of 1 / sqrt(inputs) spread, no bias."""
        rng = np.random.default_rng([seed, 13])

        def linear(inputs: int) -> dict[str, np.ndarray]:
            kernel = rng.normal(0, inputs**-0.5, (inputs, 1)).astype(np.float32)
            return {"kernel": kernel, "bias": np.zeros(1, np.float32)}

        return {"map": linear(self.network.dimension), "classifier": linear(self.side**2)}

    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """See `Objective.log_odds`."""
        features, _ = self.network.feature_map(params["backbone"], stats, frames, self.scoring)
        cells = _linear(features, params["head"]["map"])
        return mean_log_odds(cells) if self.decided_by == "map" else self._classified(params, cells)

    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """See `Objective.loss`: the mean over this device's share, which is as large as the others'."""
        features, stats = self.network.feature_map(params["backbone"], stats, batch["frames"], self.training(axis))
        flat = features.reshape(features.shape[0], -1)
        features = dropped(flat, self.dropout, batch["slots"], key).reshape(features.shape)
        cells = _linear(features, params["head"]["map"])
        labels = smoothed(batch["labels"].astype(jnp.float32), self.smoothing)
        return pixel_loss(cells, self._classified(params, cells), labels), stats

    def _classified(self, params: Any, cells: Float[Array, "b h w"]) -> Float[Array, " b"]:
        """Logits of the classifier, which reads the map's probabilities."""
        height, width = cells.shape[1:]
        if (height, width) != (self.side, self.side):
            raise UserError(
                f"frames of this rendition give a map of {height}x{width} cells, and map_side is {self.side}; set "
                f"map_side to {height}"
            )
        return _linear(jax.nn.sigmoid(cells).reshape(len(cells), -1), params["head"]["classifier"])


def pixel_loss(
    cells: Float[Array, "b h w"], classified: Float[Array, " b"], labels: Float[Array, " b"]
) -> Float[Array, ""]:
    """Half the mean binary cross-entropy of the cells' logits, half that of the classifier's; labels are 0 to 1."""
    wanted = jnp.broadcast_to(labels[:, None, None], cells.shape)
    of_cells = jnp.mean(optax.sigmoid_binary_cross_entropy(cells, wanted))
    return (of_cells + jnp.mean(optax.sigmoid_binary_cross_entropy(classified, labels))) / 2


def _linear(values: Float[Array, "*n d"], layer: Any) -> Float[Array, "*n"]:
    return jnp.dot(values, layer["kernel"][:, 0], precision="highest") + layer["bias"][0]
