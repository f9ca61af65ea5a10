"""Which clips a run sees in which order, and how much each class counts. Imports no JAX.

Everything is a pure function of the run's seed and the epoch, so that nothing of it has to be saved.

Imbalance (Stadelmann et al. 2018, sections 4 and 5) is met by drawing the classes equally often, by weighting their
losses, or by half of each on a logarithmic scale. In all three the expected loss weighs both classes the same; they
differ in how often a rare clip is seen and in how far one rare clip can throw a step.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int, Int32

Balance = Literal["none", "sampling", "weights", "both"]
# The exponent s with which class c is drawn in proportion to n_c^(1-s); what is left to equality, weights do.
_DRAWN: dict[Balance, float] = {"none": 0.0, "sampling": 1.0, "weights": 0.0, "both": 0.5}


def epoch_order(
    rows: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], seed: int, epoch: int, balance: Balance
) -> Int[np.ndarray, " m"]:
    """The rows of an epoch in the order in which they are seen; as many as there are, up to rounding.

    A class that is drawn less often than it has clips takes turns: over the epochs each clip comes up equally often.

    Args:
        rows: The run's clips.
        labels: Of these clips, 0 or 1, both present.
        seed: The run's.
        epoch: Counted from 0.
        balance: With `none` and `weights` every clip is seen once.
    """
    rng = np.random.default_rng([seed, epoch])
    if not _DRAWN[balance]:
        return rng.permutation(rows)
    counts = np.maximum(1, np.rint(len(rows) * _shares(labels, balance))).astype(int)
    taken = [_turn(rows[labels == label], seed, label, epoch, int(counts[label])) for label in (0, 1)]
    return rng.permutation(np.concatenate(taken))


def class_weights(labels: Int[np.ndarray, " n"], balance: Balance) -> Float32[np.ndarray, " 2"]:
    """What a clip of each class counts in the loss; one on average over the clips that `epoch_order` draws."""
    if balance == "none":
        return np.ones(2, np.float32)
    return (0.5 / _shares(labels, balance)).astype(np.float32)


def batched(
    rows: Sequence[Int[np.ndarray, " _"]], batch_size: int, parts: int, steps: int = 0
) -> Int32[np.ndarray, "parts r s b"]:
    """Each run's rows as s batches, each split over `parts` devices and padded with -1 to equal shapes.

    Args:
        rows: Of every run.
        batch_size: Of all devices together.
        parts: Devices.
        steps: At least so many batches; what no run needs is empty.
    """
    steps = max(steps, *(-(-len(row) // batch_size) for row in rows))
    share = -(-batch_size // parts)
    found = np.full((parts, len(rows), steps, share), -1, np.int32)
    for r, row in enumerate(rows):
        batches = np.full((steps, parts * share), -1, np.int32)
        whole = len(row) // batch_size
        batches[:whole, :batch_size] = row[: whole * batch_size].reshape(whole, batch_size)
        rest = row[whole * batch_size :]
        batches[whole : whole + 1, : len(rest)] = rest
        found[:, r] = batches.reshape(steps, parts, share).swapaxes(0, 1)
    return found


def frames_to_compute(
    order: Int[np.ndarray, "parts r s b"], lengths: Int[np.ndarray, " n"], longest: int, share: float = 1
) -> int:
    """How many frames a device's batch has at most, without padding; 0 if leaving padding out is not worth it.

    In eighths of what a batch can have, so that few programs are compiled: the number changes from epoch to epoch.

    Args:
        order: From `batched`.
        lengths: Real frames of every clip.
        longest: Frames of a padded clip.
        share: Of the batches that need no more.
    """
    counts = np.append(lengths, 0)[order].sum(-1)  # where there is no clip, -1 finds the zero
    frames = np.quantile(counts[counts > 0], share, method="higher") if counts.any() else 0
    whole = order.shape[-1] * longest
    eighth = -(-whole // 8)
    needed = -(-int(frames) // eighth) * eighth
    return needed if needed < whole else 0


def _shares(labels: Int[np.ndarray, " n"], balance: Balance) -> np.ndarray:
    powers = np.bincount(labels, minlength=2)[:2].astype(np.float64) ** (1 - _DRAWN[balance])
    return powers / powers.sum()


def _turn(rows: Int[np.ndarray, " n"], seed: int, label: int, epoch: int, count: int) -> Int[np.ndarray, " m"]:
    """Entries epoch * count to (epoch + 1) * count of an endless row of permutations of `rows`."""
    start, size = epoch * count, len(rows)
    rounds = range(start // size, -(-(start + count) // size))
    stream = np.concatenate([np.random.default_rng([seed, label, turn, 1]).permutation(rows) for turn in rounds])
    first = start - rounds[0] * size
    return stream[first : first + count]
