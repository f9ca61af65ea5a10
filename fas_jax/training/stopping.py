"""Early stopping of many runs at once. Imports no JAX."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from fas_jax.base.settings import Training


class Validated(NamedTuple):
    """What a validation found of every run."""

    train_loss: Float[np.ndarray, " r"]
    """Of the epoch before."""
    loss: Float[np.ndarray, " r"]
    right: Int[np.ndarray, "2 r"]
    """Rightly classified attacks and bona fide clips."""
    clips: Int[np.ndarray, "2 r"]
    """All validation clips of the two classes."""
    weights: Int[np.ndarray, "2 r"]
    """The weight of a clip of each class, a whole number, so that equal accuracies are equal."""

    def counted(self, clips: Int[np.ndarray, "2 r"]) -> Int64[np.ndarray, " r"]:
        """The summed weights of so many clips of the two classes."""
        return np.sum(clips * self.weights.astype(np.int64), axis=0)


class Progress(NamedTuple):
    """Where every run stands; arrays only, so that it is part of the checkpoint. Changed in place."""

    active: Bool[np.ndarray, " r"]
    failed: Int[np.ndarray, " r"]
    """The epoch at which the loss was found not to be finite; 0 where it always was."""
    best_loss: Float[np.ndarray, " r"]
    """Of the best validation, if the loss is monitored."""
    best_right: Int[np.ndarray, "2 r"]
    """Rightly classified clips of each class at the best validation, if the accuracy is monitored; -1 before it."""
    best_epoch: Int[np.ndarray, " r"]
    counter: Int[np.ndarray, " 1"]
    """Validations so far."""
    log: Float[np.ndarray, "k 4 r"]
    """Epoch, training loss, validation loss and accuracy of every validation."""

    @staticmethod
    def start(runs: int, settings: Training) -> "Progress":
        """Before the first epoch."""
        validations = -(-settings.max_epochs // settings.validate_every)
        return Progress(
            active=np.ones(runs, bool),
            failed=np.zeros(runs, np.int32),
            best_loss=np.full(runs, np.inf, np.float32),
            best_right=np.full((2, runs), -1, np.int32),
            best_epoch=np.zeros(runs, np.int32),
            counter=np.zeros(1, np.int32),
            log=np.full((validations, 4, runs), np.nan, np.float32),
        )

    def first(self, runs: int) -> "Progress":
        """Of the first runs alone."""
        return Progress._make(leaf if name == "counter" else leaf[..., :runs] for name, leaf in self._asdict().items())

    @property
    def validations(self) -> int:
        """How many validations there have been."""
        return int(self.counter[0])

    def update(self, epoch: int, found: Validated, settings: Training) -> Bool[np.ndarray, " r"]:
        """Notes a validation; returns which runs are better than ever before.

        A run whose loss is not finite ends here and is marked. Values of runs that have ended are ignored.
        """
        right = found.counted(found.right)
        if settings.monitor == "accuracy":
            better = right > found.counted(self.best_right)
        else:
            better = found.loss < self.best_loss
        broken = self.active & ~np.isfinite(found.train_loss + found.loss)
        better &= self.active & ~broken
        accuracy = right / found.counted(found.clips)
        row = np.stack([np.full_like(found.loss, epoch), found.train_loss, found.loss, accuracy])
        self.log[self.validations] = np.where(self.active, row, np.nan)
        self.best_loss[better] = found.loss[better]
        self.best_right[:, better] = found.right[:, better]
        self.best_epoch[better] = epoch
        self.failed[broken] = epoch
        self.active[:] &= ~broken & (epoch - self.best_epoch < settings.patience) & (epoch < settings.max_epochs)
        self.counter[0] += 1
        return better

    def live(self, multiple: int, worth: int) -> Int[np.ndarray, " k"]:
        """The rows to go on with: all that are active, and as many others as it takes for a good number.

        The number is the number of runs halved as often as the active ones allow, so that the program is compiled
        anew only a few times, as long as at least `worth` runs leave; and a multiple of the devices that share the
        runs. It depends on `active` alone: a training that goes on after a stop chooses the same.
        """
        count, active = len(self.active), int(self.active.sum())
        width = count
        while -(-width // 2) >= max(active, 1) and width // 2 >= worth:
            width = -(-width // 2)
        width = min(count, -(-width // multiple) * multiple)
        order = np.argsort(~self.active, kind="stable")
        return np.sort(order[:width])

    def earliest_end(self, settings: Training) -> int:
        """The epoch before which not all runs will have ended."""
        patient = np.max(self.best_epoch[self.active], initial=0) + settings.patience
        return int(min(settings.max_epochs, patient)) if self.active.any() else int(np.nanmax(self.log[:, 0]))

    def history(self) -> dict[str, np.ndarray]:
        """The log by name; see `Fit.history`."""
        log = self.log[: self.validations]
        return {
            "epoch": np.nanmax(log[:, 0], axis=1),
            "train_loss": log[:, 1],
            "validation_loss": log[:, 2],
            "validation_accuracy": log[:, 3],
        }


def describe_failures(names: Sequence[str], failed: Int[np.ndarray, " r"]) -> str:
    """Which runs' losses were no longer finite, in one line; empty if none."""
    broken = [f"{name} (epoch {epoch})" for name, epoch in zip(names, failed.tolist(), strict=True) if epoch]
    if not broken:
        return ""
    return f"the loss is no longer finite in {', '.join(broken)}; lower training.learning_rate"
