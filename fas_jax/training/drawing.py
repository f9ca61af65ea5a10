"""Which clips a step of a network on frames sees: a pure function of seed and step. Imports no JAX.

A *pool* is the clips of one kind that a sampler draws from: a class, a class of one dataset, or all. Every pool is
gone through in a random order that is drawn anew when it ends, so that its clips are seen equally often; nothing has
to be remembered to know what the next step sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, BONA_FIDE
from fas_jax.base.video_table import VideoTable

Balanced: TypeAlias = Literal["class", "domain", "none"]
"""What a batch holds as many clips of: the classes, the classes of every dataset, or nothing."""
_CLASSES = ((BONA_FIDE, "bona fide"), (ATTACK, "attack"))


class Pool(NamedTuple):
    """Clips among which a sampler does not distinguish."""

    name: str
    rows: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Sampler:
    """Draws the clips of every step."""

    pools: tuple[Pool, ...]
    share: int
    """Clips of a step from each pool."""
    seed: int

    @property
    def size(self) -> int:
        """Clips of a step."""
        return self.share * len(self.pools)

    def draw(self, step: int) -> Int[np.ndarray, " b"]:
        """The clips of a step, which counts from 0; pools take turns, so that equal parts of a batch are balanced."""
        found = np.empty((self.share, len(self.pools)), np.int32)
        for number, pool in enumerate(self.pools):
            places = np.arange(step * self.share, (step + 1) * self.share)
            rounds, within = np.divmod(places, len(pool.rows))
            for each in np.unique(rounds).tolist():
                order = np.random.default_rng([self.seed, 11, number, each]).permutation(len(pool.rows))
                own = rounds == each
                found[own, number] = pool.rows[order[within[own]]]
        return found.reshape(-1)


def make_sampler(
    balanced: Balanced, share: int, rows: Int[np.ndarray, " n"], videos: VideoTable, seed: int, name: str
) -> Sampler:
    """A sampler of some clips.

    Args:
        balanced: What a batch holds as many clips of.
        share: Bona fide clips of a step, and as many attacks, of each dataset where datasets are balanced. Where
            nothing is, a step has twice as many of all.
        rows: The clips that may be drawn.
        videos: What the rows point into.
        seed: Of the order.
        name: What is trained, for errors.

    Raises:
        UserError: A class is missing, in a dataset where datasets are balanced, or has fewer clips than a step draws.
    """
    if balanced == "none":
        pools, share = [Pool("training", rows)], 2 * share
    else:
        pools = _pools(balanced, rows, videos)
    for pool in pools:
        if not len(pool.rows):
            raise UserError(
                f"{name}: there is no {pool.name} clip to train on; "
                + (
                    'add some, leave the dataset out, or set balanced = "class"'
                    if balanced == "domain"
                    else "add some, or choose other sources"
                )
            )
    for pool in pools:
        if len(pool.rows) < share:
            subjects = len(videos.subject[pool.rows].present())
            raise UserError(
                f"{name}: a step draws {share} {pool.name} clips, and there are {len(pool.rows)} of {subjects} "
                f"subject{'s' if subjects > 1 else ''}; set per_class to "
                f"{min(len(each.rows) for each in pools) // (2 if balanced == 'none' else 1)} or less"
            )
    return Sampler(tuple(pools), share, seed)


def _pools(balanced: Balanced, rows: Int[np.ndarray, " n"], videos: VideoTable) -> list[Pool]:
    labels, datasets = videos.label[rows], np.asarray(videos.dataset[rows])
    domains: Sequence[str] = sorted(set(datasets.tolist())) if balanced == "domain" else [""]
    return [
        Pool(f"{word} {domain}".strip(), rows[(labels == label) & ((datasets == domain) | (not domain))])
        for domain in domains
        for label, word in _CLASSES
    ]
