"""Which videos train, validate and test under a protocol, checked for leaks. Imports no JAX.

Only keys of videos (dataset, subject, path) and the seed decide where a video goes: not the order of the list, and
nothing of the target.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, BONA_FIDE, Video
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.presets import Choice, Protocol, base_name, find_preset, one_kind

PARTS = ("train", "validation", "test")
_CLASS_NAMES = {BONA_FIDE: "bona fide", ATTACK: "attack"}
_CLASSES = (frozenset[int](), frozenset({ATTACK}), frozenset({BONA_FIDE}), frozenset({ATTACK, BONA_FIDE}))


@dataclass(frozen=True)
class Assignment:
    """Indices into the list of videos that was assigned; each in the order of the videos' keys."""

    protocol: Protocol
    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    test: Int[np.ndarray, " k"]


@dataclass(frozen=True, slots=True)
class _Person:
    """A subject of a dataset, and what there is of them."""

    dataset: str
    subject: str
    classes: frozenset[int]
    videos: int


def assign(protocol: Protocol, videos: Sequence[Video], validation_fraction: float, seed: int) -> Assignment:
    """Divides the videos among training, validation and test, and checks the result.

    Args:
        protocol: who is source and who is target.
        videos: of all datasets together, in any order; those of other datasets and splits stay out.
        validation_fraction: share of each source's subjects that a preset without official validation cuts
            out, rounded, at least one, and leaving at least one.
        seed: of that cut.

    Raises:
        UserError: a part without one of the classes, too few subjects, rendered and real videos together, or
            a leak that `check` finds.
    """
    if not 0 < validation_fraction < 1:
        raise UserError(f"evaluation.validation_fraction must lie between 0 and 1, not {validation_fraction}")
    preset = find_preset(protocol.preset)
    table = VideoTable.of(videos)
    asked = (*protocol.sources, protocol.target)
    present = one_kind(name for name in table.dataset.present() if base_name(name) in asked)
    for name in asked:
        if name not in present:
            raise UserError(f"protocol {protocol.display}: there are no videos of dataset {name!r}")

    def taken(choices: Iterable[Choice]) -> np.ndarray:
        held = np.any([choice.holds(table) for choice in choices], axis=0)
        return table.order[held[table.order]]

    def whole(datasets: Iterable[str], splits: tuple[str, ...]) -> list[Choice]:
        return [Choice(dataset, splits) for dataset in datasets]

    train = taken(protocol.train or whole(protocol.sources, preset.train))
    test = taken(protocol.test or whole([protocol.target], preset.test))
    test = _without(table, test, preset.left_out)
    if preset.on_target:
        validation = test
    elif protocol.validation or (preset.validation and not protocol.train):
        validation = taken(protocol.validation or whole(protocol.sources, preset.validation))
    else:
        apart = np.isin(table.person[train], _held_out(table, train, validation_fraction, seed))
        train, validation = train[~apart], train[apart]
    assignment = Assignment(protocol, train, validation, test)
    check(assignment, table)
    return assignment


def check(assignment: Assignment, videos: Sequence[Video]) -> None:
    """Proves that the parts are apart; raises `UserError` otherwise.

    No video and no subject is on two sides, training and validation hold videos of the sources only, test
    holds videos of the target only, every part has both classes, and rendered and real videos are not mixed.
    A preset that is marked as validating on the target is held to just that: its validation videos are its test
    videos, and training is apart from both.
    """
    table = VideoTable.of(videos)
    protocol = assignment.protocol
    on_target = find_preset(protocol.preset).on_target
    if on_target and not np.array_equal(assignment.validation, assignment.test):
        raise UserError(f"preset {protocol.preset}: validation videos must be the test videos")
    where = f"protocol {protocol.display} ({protocol.preset})"
    # The part in which each video and each person was seen, by number.
    side_of_video = np.full(table.number.max(initial=0) + 1, -1, np.int8)
    side_of_person = np.full(table.person.max(initial=0) + 1, -1, np.int8)
    for side, part in enumerate(PARTS):
        if on_target and part == "validation":
            continue
        rows = getattr(assignment, part)
        allowed = (protocol.target,) if part == "test" else protocol.sources
        datasets = table.dataset[rows]
        strange = ~datasets.isin([name for name in datasets.present() if base_name(name) in allowed])
        numbers, people = table.number[rows], table.person[rows]
        twice = np.ones(len(rows), bool)
        twice[np.unique(numbers, return_index=True)[1]] = False
        seen, known = side_of_video[numbers], side_of_person[people]
        wrong = np.flatnonzero(strange | twice | (seen >= 0) | (known >= 0))
        if len(wrong):
            first = wrong[0]
            video = table[rows[first]]
            name = f"{video.dataset} {video.path}"
            if strange[first]:
                raise UserError(f"{where}: {name} is no video for {part}")
            if twice[first] or seen[first] >= 0:
                earlier = part if twice[first] else PARTS[seen[first]]
                raise UserError(f"{where}: {name} is in {earlier} and again in {part}")
            raise UserError(
                f"{where}: subject {video.subject} of {video.dataset} is in {PARTS[known[first]]} and in {part}; "
                "subjects must be apart"
            )
        side_of_video[numbers], side_of_person[people] = side, side
        for label, name in _CLASS_NAMES.items():
            if not (table.label[rows] == label).any():
                raise UserError(f"{where}: no {name} video in {part} (of {len(rows)} videos)")
    one_kind(name for part in PARTS for name in table.dataset[getattr(assignment, part)].present())


def subject_folds(
    videos: Sequence[Video], indices: Int[np.ndarray, " n"], folds: int, seed: int, setting: str = "stacking.folds"
) -> Int[np.ndarray, " n"]:
    """A fold number, 0 to folds - 1, for each of `indices`; the videos of a subject share one.

    Every dataset's subjects are spread over all folds as evenly as they go, and both classes over as many
    folds as their subjects allow. Like `assign`, it does not depend on the order of the videos. Errors name the
    `setting` that `folds` came from.

    Raises:
        UserError: fewer subjects than folds, or a class of which only one fold could have subjects, so that
            nothing is left of it to train on for that fold.
    """
    if folds < 2:
        raise UserError(f"{setting} must be at least 2, not {folds}")
    table = VideoTable.of(videos)
    people = _people(table, indices)
    if len(people) < folds:
        raise UserError(f"{setting} is {folds}, but there are only {len(people)} subjects; ask for fewer")

    def turn(number: int) -> tuple[Any, ...]:
        # Subjects with both classes come first: each of them can complete a fold alone.
        person = people[number]
        return -len(person.classes), -max(person.classes), person.dataset, _draw(seed, person.dataset, person.subject)

    inside: list[frozenset[int]] = [frozenset()] * folds
    spread: Counter[tuple[Any, ...]] = Counter()
    sizes = [0] * folds
    fold_of = np.zeros(table.person.max(initial=0) + 1, np.int32)
    for number in sorted(people, key=turn):
        person = people[number]

        def cost(fold: int, person: _Person = person) -> tuple[int, ...]:
            after = inside[fold] | person.classes
            gain = 0 if after == inside[fold] else 2 if len(after) == 2 else 1
            alike, ours = spread[fold, person.dataset, person.classes], spread[fold, person.dataset]
            return -gain, alike, ours, sizes[fold], fold

        fold = min(range(folds), key=cost)
        fold_of[number] = fold
        inside[fold] |= person.classes
        spread[fold, person.dataset, person.classes] += 1
        spread[fold, person.dataset] += 1
        sizes[fold] += person.videos
    for label, name in _CLASS_NAMES.items():
        if sum(label in members for members in inside) < 2:
            raise UserError(f"folds need {name} videos of at least 2 subjects, or none is left to train on")
    return fold_of[table.person[indices]]


def describe(assignment: Assignment, videos: Sequence[Video]) -> dict[str, Any]:
    """Videos by part, dataset and class, and subjects by part and dataset, JSON-able, for reports."""
    table = VideoTable.of(videos)
    found: dict[str, Any] = {"protocol": assignment.protocol.name, "preset": assignment.protocol.preset}
    for part in PARTS:
        rows = getattr(assignment, part)
        datasets = table.dataset[rows]
        found[part] = {}
        for dataset in sorted(datasets.present()):
            mine = rows[datasets == dataset]
            bona_fide = int((table.label[mine] == BONA_FIDE).sum())
            found[part][dataset] = {
                "bona_fide": bona_fide,
                "attacks": len(mine) - bona_fide,
                "subjects": len(np.unique(table.person[mine])),
            }
    return found


def _people(videos: VideoTable, rows: Int[np.ndarray, " n"]) -> dict[int, _Person]:
    """Everybody in these rows, by `VideoTable.person`."""
    numbers, first, whose, counts = np.unique(
        videos.person[rows], return_index=True, return_inverse=True, return_counts=True
    )
    attacks, bona_fide = (
        np.bincount(whose[videos.label[rows] == label], minlength=len(numbers)) > 0 for label in (ATTACK, BONA_FIDE)
    )
    own = zip(numbers.tolist(), rows[first].tolist(), (attacks + 2 * bona_fide).tolist(), counts.tolist(), strict=True)
    return {
        number: _Person(videos.dataset[row], videos.subject[row], _CLASSES[classes], count)
        for number, row, classes, count in own
    }


def _held_out(videos: VideoTable, rows: Int[np.ndarray, " n"], fraction: float, seed: int) -> Int[np.ndarray, " s"]:
    """People to hold out of each dataset, by number, with both classes on both sides."""
    people = _people(videos, rows)
    chosen: list[int] = []
    for dataset in sorted({person.dataset for person in people.values()}):
        mine = {number: person for number, person in people.items() if person.dataset == dataset}
        chosen += _cut(dataset, mine, fraction, seed)
    return np.array(chosen)


def _cut(dataset: str, people: dict[int, _Person], fraction: float, seed: int) -> set[int]:
    order = sorted(people, key=lambda number: _draw(seed, dataset, people[number].subject))
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
        raise UserError(
            f"dataset {dataset}: {len(order)} subjects for training cannot be cut into a training "
            "and a validation part that both hold bona fide and attack videos; add subjects, or choose "
            "another preset"
        )
    for number in order:
        kind = people[number].classes
        if len(held_out) < wanted and number not in held_out and complete(left - Counter([kind])):
            held_out.add(number)
            left -= Counter([kind])
    return held_out


def _without(videos: VideoTable, rows: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
    """Leaves out some videos of each class, the same ones whatever else is there."""
    if count == 0:
        return rows
    dropped: list[int] = []
    for label, name in _CLASS_NAMES.items():
        mine = rows[videos.label[rows] == label].tolist()
        if len(mine) <= count:
            raise UserError(f"{len(mine)} {name} videos are too few to leave {count} out, as the preset does")
        dropped += nsmallest(count, mine, key=lambda row: _draw(0, videos.dataset[row], videos.path[row]))
    return rows[~np.isin(rows, dropped)]


def _draw(seed: int, dataset: str, name: str) -> bytes:
    """A pseudo-random key that depends on nothing but the seed and who the subject, or which the video, is."""
    return hashlib.sha256(f"{seed}\0{dataset}\0{name}".encode(errors="surrogatepass")).digest()
