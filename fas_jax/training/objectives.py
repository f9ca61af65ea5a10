"""What a network on frames is trained for: what is added to it, its loss, and the score of a frame."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Array, Float, Int, Num

from fas_jax.models.backbones.base import Precision
from fas_jax.models.trainable import Mode, Trainable


@dataclass(frozen=True)
class Objective(ABC):
    """A network with its loss. Hashable, because programs are compiled for it; a subclass is a frozen dataclass too."""

    views: ClassVar[int] = 1
    """Copies of a frame, each changed at random by itself, that a loss compares. Where there are several, the `frames`
    of a batch are [b v h w 3]."""

    network: Trainable
    precision: Precision = "float32"
    momentum: float = 0.1
    """Of running statistics; see `Mode`."""
    rematerialise: bool = False
    domains: int = field(default=1, kw_only=True)
    """Datasets among the training clips. The loop that fits a method sets it, and it is kept with what was trained."""

    def training(self, axis: str) -> Mode:
        """How the network is run in a step, on a batch that the devices of an axis share."""
        return Mode(True, self.precision, self.momentum, axis, self.rematerialise)

    @property
    def scoring(self) -> Mode:
        """How the network is run when it scores: no frame depends on another one."""
        return Mode(precision=self.precision)

    @abstractmethod
    def head(self, seed: int) -> dict[str, Any]:
        """Fresh parameters of all that is added to the network, as nested dictionaries of float32 arrays."""

    @abstractmethod
    def loss(
        self, params: Any, stats: Any, batch: Mapping[str, Array], key: Array, step: Int[Array, ""], axis: str
    ) -> tuple[Float[Array, ""], Any]:
        """A device's share of the loss, and the batch statistics as they run on.

        Args:
            params: `backbone`, and `head` as `self.head` makes it.
            stats: Running statistics of the network.
            batch: This device's share of what `FrameBatches` makes; for methods on sequences, `frames` [b t h w 3] with
                `mask` [b t]. `slots` are the places in the whole batch, and `domains` are 0 to `self.domains` - 1.
            key: The same on all devices; what is drawn for a clip is to depend on its slot, not on the device.
            step: The step's number, which counts from 0.
            axis: Of the devices that share the batch. The mean over them of what is returned is the loss of the whole
                batch, and statistics are the same on all of them. Losses that compare clips gather them over it.
        """

    def after(self, params: Any, step: Int[Array, ""]) -> Any:
        """The parameters with which the next step begins, from those that the optimiser made in this one."""
        return params

    @abstractmethod
    def log_odds(self, params: Any, stats: Any, frames: Num[Array, "b h w 3"]) -> Float[Array, " b"]:
        """Log odds of bona fide, float32; a frame's depend on no other frame."""
