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
    """Clips among which a sampler does not distinguish, but for a fixed share of rendered ones."""

    name: str
    rows: Int[np.ndarray, " n"]
    rendered: Int[np.ndarray, " m"] = np.zeros(0, np.int32)
    """Further clips, of rendered domains that join the training."""
    taken: int = 0
    """How many of a step's clips are of these."""


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
            turns = np.arange(self.share + 1) * pool.taken // self.share
            rendered = np.diff(turns) > 0  # spread evenly, so that equal parts of a batch have the same share
            found[~rendered, number] = self._drawn(pool.rows, step, self.share - pool.taken, [11, number])
            found[rendered, number] = self._drawn(pool.rendered, step, pool.taken, [14, number])
        return found.reshape(-1)

    def _drawn(self, rows: Int[np.ndarray, " n"], step: int, count: int, key: list[int]) -> Int[np.ndarray, " k"]:
        """The step's `count` of these clips."""
        found = np.empty(count, np.int32)
        if not count:
            return found
        rounds, within = np.divmod(np.arange(step * count, (step + 1) * count), len(rows))
        for each in np.unique(rounds).tolist():
            order = np.random.default_rng([self.seed, *key, each]).permutation(len(rows))
            own = rounds == each
            found[own] = rows[order[within[own]]]
        return found


def rendered_clips(share: int, rendered_share: float) -> int:
    """How many of `share` clips are rendered: the nearest whole number."""
    return round(share * rendered_share)


def make_sampler(
    balanced: Balanced,
    share: int,
    rows: Int[np.ndarray, " n"],
    videos: VideoTable,
    seed: int,
    name: str,
    rendered: Int[np.ndarray, " m"] | None = None,
    rendered_share: float = 0.0,
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
        rendered: Clips of rendered domains that join these. Where datasets are balanced they count as datasets.
        rendered_share: Their share of every class, or of a step where classes are not balanced.

    Raises:
        UserError: A class is missing, in a dataset where datasets are balanced, or has fewer clips than a step draws.
    """
    if rendered is None or not len(rendered):
        rendered, rendered_share = np.zeros(0, np.int32), 0.0
    if balanced == "none":
        pools, share = [Pool("training", rows)], 2 * share
        added = [Pool("rendered training", rendered)]
    elif balanced == "domain":
        pools, added = _pools(balanced, np.concatenate([rows, rendered]), videos), []
    else:
        pools, added = (_pools(balanced, part, videos) for part in (rows, rendered))
    taken = rendered_clips(share, rendered_share) if added else 0
    for pool in [*pools, *(added if taken else ())]:
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
        if len(pool.rows) < share - taken:
            subjects = len(videos.subject[pool.rows].present())
            raise UserError(
                f"{name}: a step draws {share - taken} {pool.name} clips, and there are {len(pool.rows)} of {subjects} "
                f"subject{'s' if subjects > 1 else ''}; set per_class to "
                f"{min(len(each.rows) for each in pools) // (2 if balanced == 'none' else 1)} or less"
            )
    if taken:
        pools = [Pool(*pool[:2], other.rows, taken) for pool, other in zip(pools, added, strict=True)]
    return Sampler(tuple(pools), share, seed)


def _pools(balanced: Balanced, rows: Int[np.ndarray, " n"], videos: VideoTable) -> list[Pool]:
    labels, datasets = videos.label[rows], np.asarray(videos.dataset[rows])
    domains: Sequence[str] = sorted(set(datasets.tolist())) if balanced == "domain" else [""]
    return [
        Pool(f"{word} {domain}".strip(), rows[(labels == label) & ((datasets == domain) | (not domain))])
        for domain in domains
        for label, word in _CLASSES
    ]
