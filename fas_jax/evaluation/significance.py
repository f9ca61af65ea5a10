"""Whether differences between models may be chance: sign-flip tests over subjects, corrected after Holm. NumPy only.

The interval of a difference and its p-value ask alike with other assumptions: the bootstrap takes the test subjects for
a sample, while the sign-flip test asks how often exchanging the two models' decisions on single subjects, all videos of
one together, gives as large a difference. It holds its level with few subjects, too, and cannot be significant with
fewer than six, whose p-value is at least 1/16. Thresholds and seeds are as they are.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

LEVEL = 0.05
# As many sign patterns are counted out; of more, as many are drawn.
FLIPS = 20_000
_CELLS = 1 << 21


def subject_errors(
    accepted: Bool[np.ndarray, " n"], labels: Int64[np.ndarray, " n"], subjects: Int64[np.ndarray, " n"], count: int
) -> Float64[np.ndarray, " s"]:
    """What each of `count` subjects contributes to HTER, which is the sum; NaN if a class is missing.

    `subjects` [n] holds the number of each video's subject.
    """
    total = np.zeros(count)
    for label in (0, 1):
        mine = labels == label
        wrong = mine & (accepted == (label == 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            total += np.bincount(subjects[wrong], minlength=count) / (2 * np.float64(mine.sum()))
    return total


def smallest_p(subjects: int) -> float:
    """The smallest p-value that `sign_flip_p` can give for so many subjects."""
    return min(1.0, 2.0 ** (1 - subjects)) if 2.0**subjects <= FLIPS else 1 / (FLIPS + 1)


def sign_flip_p(differences: Float64[np.ndarray, "c s"], seed: int) -> Float64[np.ndarray, " c"]:
    """Two-sided p-value of each of c sums over s subjects, if each subject's sign were as likely the other one.

    All sign patterns are counted where there are no more than `FLIPS`; else as many are drawn, the same for all sums,
    and the patterns at hand count as one of them, so that no p-value is 0. NaN for a difference that is undefined.
    """
    count = differences.shape[1]
    observed = np.abs(differences.sum(axis=1))
    # Sums of the same numbers in another order differ in their last bits.
    least = observed - 1e-12 * (1 + np.abs(differences).sum(axis=1))
    exact = 2.0**count <= FLIPS
    patterns = 2**count if exact else FLIPS
    generator = np.random.default_rng(seed)
    reached = np.zeros(len(differences))
    step = max(1, _CELLS // max(1, count))
    for first in range(0, patterns, step):
        numbers = np.arange(first, min(first + step, patterns))
        if exact:
            flipped = (numbers[:, None] >> np.arange(count)) & 1
        else:
            flipped = generator.integers(0, 2, (len(numbers), count), dtype=np.int8)
        sums = (1 - 2 * flipped.astype(np.float64)) @ differences.T
        reached += np.sum(np.abs(sums) >= least, axis=0)
    found = reached / patterns if exact else (reached + 1) / (patterns + 1)
    return np.where(np.isnan(observed), np.nan, found)


def holm(p_values: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    """p-values corrected for their number after Holm (1979), at most 1; those that are NaN are no part of the family.

    Rejecting what is below a level keeps the probability of any false rejection below that level, however the tests
    depend on each other.
    """
    corrected = np.full(len(p_values), np.nan)
    defined = np.flatnonzero(~np.isnan(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected
