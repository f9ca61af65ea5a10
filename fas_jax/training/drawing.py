"""Which clips a step of a network on frames sees: a pure function of seed and step. Imports no JAX.

A *pool* is the clips of one kind that a sampler draws from: a class, a class of one dataset, or all. Every pool is
gone through in a random order that is drawn anew when it ends, so that its clips are seen equally often; nothing has
to be remembered to know what the next step sees. Where rare species are to be seen more often, every so many steps the
attacks of a pool are drawn species by species instead, so that each of them is seen equally often in these steps.
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
    species: tuple[Int[np.ndarray, " _"], ...] = ()
    """The same clips by PAI species, of which there are at least two, where some steps draw these in turn."""
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
    rare_every: int = 0
    """Every so many steps, pools with species give as many clips of each, in turn; 0 never."""

    @property
    def size(self) -> int:
        """Clips of a step."""
        return self.share * len(self.pools)

    def draw(self, step: int) -> Int[np.ndarray, " b"]:
        """The clips of a step, which counts from 0; pools take turns, so that equal parts of a batch are balanced."""
        found = np.empty((self.share, len(self.pools)), np.int32)
        # The steps before this one in which species take turns; each kind of step goes on where its last one ended.
        turns = step // self.rare_every if self.rare_every else 0
        is_turn = self.rare_every and step % self.rare_every == self.rare_every - 1
        for number, pool in enumerate(self.pools):
            turns_of = np.arange(self.share + 1) * pool.taken // self.share
            rendered = np.diff(turns_of) > 0  # spread evenly, so that equal parts of a batch have the same share
            own = self.share - pool.taken
            if not pool.species:
                drawn = self._drawn(pool.rows, _places(step, own), 11, number)
            elif not is_turn:
                drawn = self._drawn(pool.rows, _places(step - turns, own), 11, number)
            else:
                drawn = np.empty(own, np.int32)
                within, which = np.divmod(_places(turns, own), len(pool.species))
                for each, rows in enumerate(pool.species):
                    drawn[which == each] = self._drawn(rows, within[which == each], 11, number, each)
            found[~rendered, number] = drawn
            found[rendered, number] = self._drawn(pool.rendered, _places(step, pool.taken), 14, number)
        return found.reshape(-1)

    def _drawn(
        self, rows: Int[np.ndarray, " n"], places: Int[np.ndarray, " k"], kind: int, pool: int, *name: int
    ) -> Int[np.ndarray, " k"]:
        """What lies at these places of the endless line of random orders of some clips."""
        found = np.empty(len(places), np.int32)
        if not len(places):
            return found
        rounds, within = np.divmod(places, len(rows))
        for each in np.unique(rounds).tolist():
            order = np.random.default_rng([self.seed, kind, pool, each, *name]).permutation(len(rows))
            own = rounds == each
            found[own] = rows[order[within[own]]]
        return found


def rendered_clips(share: int, rendered_share: float) -> int:
    """How many of `share` clips are rendered: the nearest whole number."""
    return round(share * rendered_share)


def _places(step: int, count: int) -> Int[np.ndarray, " count"]:
    return np.arange(step * count, (step + 1) * count)


def make_sampler(
    balanced: Balanced,
    share: int,
    rows: Int[np.ndarray, " n"],
    videos: VideoTable,
    seed: int,
    name: str,
    rare_every: int = 0,
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
        rare_every: Every so many steps, the attacks of a pool are as many of each PAI species, in turn: the k-th step,
            the 2k-th, and so on. A species with few clips then gives the same one several times. 0 never.
        rendered: Clips of rendered domains that join these. Where datasets are balanced they count as datasets.
        rendered_share: Their share of every class, or of a step where classes are not balanced.

    Raises:
        UserError: A class is missing, in a dataset where datasets are balanced, or has fewer clips than a step draws;
            or nothing is balanced and `rare_every` is set.
    """
    if balanced == "none" and rare_every:
        raise UserError(f'{name}: rare_every draws attacks by species; set balanced = "class" or "domain" with it')
    if rendered is None or not len(rendered):
        rendered, rendered_share = np.zeros(0, np.int32), 0.0
    if balanced == "none":
        every = videos.label[np.concatenate([rows, rendered]) if rendered_share else rows]
        if len(rows) and (lacking := [word for label, word in _CLASSES if not (every == label).any()]):
            raise UserError(f"{name}: there is no {lacking[0]} clip to train on; add some, or choose other sources")
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
    if rare_every:
        pools = [pool._replace(species=_species(pool.rows, videos)) for pool in pools]
    if taken:
        pools = [pool._replace(rendered=own.rows, taken=taken) for pool, own in zip(pools, added, strict=True)]
    return Sampler(tuple(pools), share, seed, rare_every)


def _species(rows: Int[np.ndarray, " n"], videos: VideoTable) -> tuple[Int[np.ndarray, " _"], ...]:
    """Clips by PAI species, in the order of the species' names; none where they are all of one, as bona fide ones."""
    names = np.asarray(videos.pai[rows])
    found = [rows[names == name] for name in sorted(set(names.tolist()))]
    return tuple(found) if len(found) > 1 else ()


def _pools(balanced: Balanced, rows: Int[np.ndarray, " n"], videos: VideoTable) -> list[Pool]:
    labels, datasets = videos.label[rows], np.asarray(videos.dataset[rows])
    domains: Sequence[str] = sorted(set(datasets.tolist())) if balanced == "domain" else [""]
    return [
        Pool(f"{word} {domain}".strip(), rows[(labels == label) & ((datasets == domain) | (not domain))])
        for domain in domains
        for label, word in _CLASSES
    ]
