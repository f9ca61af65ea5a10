"""Subjects divided among folds, or between training and validation. Imports no JAX.

Only keys of videos (dataset, subject, path) and the seed decide who goes where, not the order of the list.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, BONA_FIDE, Video
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.subjects import home_datasets, number_people

CLASS_NAMES = {BONA_FIDE: "bona fide", ATTACK: "attack"}
_CLASSES = (frozenset[int](), frozenset({ATTACK}), frozenset({BONA_FIDE}), frozenset({ATTACK, BONA_FIDE}))


@dataclass(frozen=True, slots=True)
class _Person:
    """A subject, and what its videos hold."""

    dataset: str
    """The first of the datasets that share the subject."""
    subject: str
    """The first of its spellings."""
    classes: frozenset[int]
    videos: int


def subject_folds(
    videos: Sequence[Video],
    indices: Int[np.ndarray, " n"],
    folds: int,
    seed: int,
    setting: str = "folds.count",
    shared: Sequence[str] = (),
) -> Int[np.ndarray, " n"]:
    """A fold number, 0 to folds - 1, for each of `indices`; the videos of a subject share one.

    Every dataset's subjects are spread over all folds as evenly as they go, and both classes over as many
    folds as their subjects allow. Like `assign`, it does not depend on the order of the videos. Errors name the
    `setting` that `folds` came from. `shared` are datasets that share their subjects (`evaluation.shared_subjects`).

    Raises:
        UserError: There are fewer subjects than folds, or all videos of a class would lie in one fold, which leaves
            none to train on for that fold.
    """
    if folds < 2:
        raise UserError(f"{setting} must be at least 2, not {folds}")
    table = VideoTable.of(videos)
    person = number_people(table, shared)
    people = _people(table, indices, person, shared)
    if len(people) < folds:
        raise UserError(f"{setting} is {folds}, but there are only {len(people)} subjects; ask for fewer")

    def turn(number: int) -> tuple[Any, ...]:
        # Subjects with both classes come first: each of them can complete a fold alone.
        who = people[number]
        return -len(who.classes), -max(who.classes), who.dataset, draw(seed, who.dataset, who.subject)

    inside: list[frozenset[int]] = [frozenset()] * folds
    spread: Counter[tuple[Any, ...]] = Counter()
    sizes = [0] * folds
    fold_of = np.zeros(person.max(initial=0) + 1, np.int32)
    for number in sorted(people, key=turn):
        who = people[number]

        def cost(fold: int, who: _Person = who) -> tuple[int, ...]:
            after = inside[fold] | who.classes
            gain = 0 if after == inside[fold] else 2 if len(after) == 2 else 1
            alike, ours = spread[fold, who.dataset, who.classes], spread[fold, who.dataset]
            return -gain, alike, ours, sizes[fold], fold

        fold = min(range(folds), key=cost)
        fold_of[number] = fold
        inside[fold] |= who.classes
        spread[fold, who.dataset, who.classes] += 1
        spread[fold, who.dataset] += 1
        sizes[fold] += who.videos
    for label, name in CLASS_NAMES.items():
        if sum(label in members for members in inside) < 2:
            raise UserError(f"folds need {name} videos of at least 2 subjects, or none is left to train on")
    return fold_of[person[indices]]


def hold_out(
    videos: VideoTable,
    rows: Int[np.ndarray, " n"],
    fraction: float,
    seed: int,
    shared: Sequence[str] = (),
    allow_partial: bool = False,
) -> Bool[np.ndarray, " n"]:
    """Which of the rows to hold out: those of a share of each dataset's subjects, with both classes on both sides.

    Args:
        videos: Of all datasets.
        rows: To cut into two parts.
        fraction: Share of the subjects, rounded, at least one, and leaving at least one.
        seed: Of the draw.
        shared: Datasets that share their subjects (`evaluation.shared_subjects`); they are cut as one.
        allow_partial: Holds out nobody of a dataset that cannot be cut, instead of raising.

    Raises:
        UserError: Too few subjects of a class.
    """
    person = number_people(videos, shared)
    people = _people(videos, rows, person, shared)
    chosen: list[int] = []
    for dataset in sorted({who.dataset for who in people.values()}):
        mine = {number: who for number, who in people.items() if who.dataset == dataset}
        held_out = _cut(dataset, mine, fraction, seed)
        if not held_out and not allow_partial:
            raise UserError(
                f"dataset {dataset}: {len(mine)} subjects for training cannot be cut into a training "
                "and a validation part that both hold bona fide and attack videos; add subjects, or choose "
                "another preset"
            )
        chosen += held_out
    return np.isin(person[rows], np.array(chosen, person.dtype))


def _people(
    videos: VideoTable, rows: Int[np.ndarray, " n"], person: Int32[np.ndarray, " all"], shared: Sequence[str]
) -> dict[int, _Person]:
    """The subjects of these rows, by number."""
    homes = home_datasets(shared, videos.dataset.present())
    numbers, first, whose, counts = np.unique(person[rows], return_index=True, return_inverse=True, return_counts=True)
    attacks, bona_fide = (
        np.bincount(whose[videos.label[rows] == label], minlength=len(numbers)) > 0 for label in (ATTACK, BONA_FIDE)
    )
    spellings: dict[int, str] = {}
    texts = videos.subject.texts
    for pair in np.unique(person[rows].astype(np.int64) * len(texts) + videos.subject.codes[rows]).tolist():
        number, name = pair // len(texts), texts[pair % len(texts)]
        spellings[number] = min(name, spellings.get(number, name))
    own = zip(numbers.tolist(), rows[first].tolist(), (attacks + 2 * bona_fide).tolist(), counts.tolist(), strict=True)
    return {
        number: _Person(homes[videos.dataset[row]], spellings[number], _CLASSES[classes], count)
        for number, row, classes, count in own
    }


def _cut(dataset: str, people: dict[int, _Person], fraction: float, seed: int) -> set[int]:
    """The subjects to hold out, by number; empty where no cut leaves both classes on both sides."""
    order = sorted(people, key=lambda number: draw(seed, dataset, people[number].subject))
    wanted = min(max(1, round(fraction * len(order))), len(order) - 1)

    def first(*classes: int) -> list[int]:
        return [number for number in order if people[number].classes == {*classes}][:1]

    def complete(kinds: Iterable[frozenset[int]]) -> bool:
        return frozenset().union(*kinds) == {BONA_FIDE, ATTACK}

    # One subject with both classes, or else one of each class: where neither leaves both classes to train on,
    # no other cut does.
    for start in (first(BONA_FIDE, ATTACK), first(BONA_FIDE) + first(ATTACK)):
        held_out = set(start)
        left = Counter(people[number].classes for number in order if number not in held_out)
        if complete(people[number].classes for number in start) and complete(left):
            break
    else:
        return set()
    for number in order:
        kind = people[number].classes
        if len(held_out) < wanted and number not in held_out and complete(left - Counter([kind])):
            held_out.add(number)
            left -= Counter([kind])
    return held_out


def draw(seed: int, dataset: str, name: str) -> bytes:
    """A pseudo-random key that depends on the seed, the dataset, and the name of the subject or video alone."""
    return hashlib.sha256(f"{seed}\0{dataset}\0{name}".encode(errors="surrogatepass")).digest()
