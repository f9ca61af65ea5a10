"""Which videos train, validate and test under a protocol, checked for leaks. Imports no JAX.

Only keys of videos (dataset, subject, path) and the seed decide where a video goes: not the order of the list, and
nothing of the target.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import BONA_FIDE, Video
from fas_jax.base.settings import Evaluation
from fas_jax.base.text_column import TextColumn
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.conditions import hold_out_condition
from fas_jax.protocols.cuts import CLASS_NAMES, draw, hold_out
from fas_jax.protocols.names import choose_protocols
from fas_jax.protocols.origins import Origins
from fas_jax.protocols.presets import Choice, Protocol, find_preset
from fas_jax.protocols.subjects import number_people

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Assignment:
    """Indices into the list of videos that was assigned; each in the order of the videos' keys."""

    protocol: Protocol
    """Its title says what sources lack, where that was accepted."""
    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    test: Int[np.ndarray, " k"]
    """Empty for a protocol without a target, and only there."""


def assign_all(
    settings: Evaluation, seeds: Sequence[int], videos: Sequence[Video], origins: Origins | None = None
) -> tuple[tuple[int, Assignment], ...]:
    """Seed and assignment for every protocol of the settings and every seed, protocol by protocol.

    It uses only what is known about the videos before they are decoded, so that an impossible protocol is refused
    before that work; called again with the prepared videos it gives the same result.

    Args:
        settings: Protocols, and how videos are divided.
        seeds: Of the validation cuts; every one is checked.
        videos: Of all datasets at hand, those that failed to prepare included, in any order.
        origins: Of these videos; where given, copies are searched for.

    Raises:
        UserError: As `choose_protocols` and `assign`, or no seed.
    """
    if not seeds:
        raise UserError("seeds is empty; name at least one")
    table = VideoTable.of(videos)
    return tuple(
        (
            seed,
            assign(
                protocol,
                table,
                settings.validation_fraction,
                seed,
                shared=settings.shared_subjects,
                allow_partial=settings.allow_partial_sources,
                origins=origins,
                validation_by=settings.validation_by,
            ),
        )
        for protocol in choose_protocols(settings, table)
        for seed in seeds
    )


def assign(
    protocol: Protocol,
    videos: Sequence[Video],
    validation_fraction: float,
    seed: int,
    *,
    shared: Sequence[str] = (),
    allow_partial: bool = False,
    origins: Origins | None = None,
    validation_by: Literal["subject", "device", "session"] = "subject",
) -> Assignment:
    """Divides the videos among training, validation and test, and checks the result.

    Args:
        protocol: Who is source and who is target.
        videos: Of all datasets together, in any order; those of other datasets and splits stay out.
        validation_fraction: Share of each source's subjects that a preset without official validation cuts
            out, rounded, at least one, and leaving at least one.
        seed: Of that cut.
        shared: Datasets that share their subjects; see `Evaluation.shared_subjects`.
        allow_partial: Accepts sources that lack a class in a part; see `Evaluation.allow_partial_sources`.
        origins: Of the videos, where copies are to be found.
        validation_by: See `Evaluation.validation_by`.

    Raises:
        UserError: A part without one of the classes, too few subjects, rendered and real videos together, or
            a fault that `check` finds.
    """
    if not 0 < validation_fraction < 1:
        raise UserError(f"evaluation.validation_fraction must lie between 0 and 1, not {validation_fraction}")
    preset = find_preset(protocol.preset)
    table = VideoTable.of(videos)
    exact = protocol.find_datasets(table.dataset.present())

    def taken(choices: Iterable[Choice]) -> np.ndarray:
        held = np.zeros(len(table), bool)
        for choice in choices:
            held |= replace(choice, dataset=exact[choice.dataset]).holds(table)
        return table.order[held[table.order]]

    def whole(datasets: Iterable[str], splits: tuple[str, ...]) -> list[Choice]:
        return [Choice(dataset, splits) for dataset in datasets]

    train = taken(protocol.train or whole(protocol.sources, preset.train))
    test = taken(protocol.test or whole([protocol.target] if protocol.target else (), preset.test))
    test = _without(table, test, preset.left_out)
    official = protocol.validation or (preset.validation and not protocol.train)
    if validation_by != "subject" and (preset.on_target or official):
        raise UserError(
            f"protocol {protocol.display}: its validation videos are those that the preset {preset.name} names, so "
            f"that evaluation.validation_by = {validation_by} has no effect; set it to subject, or take another preset"
        )
    if preset.on_target:
        validation = test
    elif official:
        validation = taken(protocol.validation or whole(protocol.sources, preset.validation))
    else:
        apart = hold_out(table, train, validation_fraction, seed, shared, allow_partial)
        held = apart
        if validation_by != "subject":
            held = hold_out_condition(table, train, apart, validation_by, validation_fraction, seed)
        train, validation = train[~(apart | held)], train[apart & held]
    assignment = Assignment(protocol, train, validation, test)
    check(assignment, table, shared=shared, allow_partial=allow_partial, origins=origins)
    if gaps := _gaps(assignment, table, exact):
        title = f"{protocol.display} ({'; '.join(f'{part} without {gap}' for part, gap in gaps)})"
        assignment = replace(assignment, protocol=replace(protocol, display=title))
    return assignment


def check(
    assignment: Assignment,
    videos: Sequence[Video],
    *,
    shared: Sequence[str] = (),
    allow_partial: bool = False,
    origins: Origins | None = None,
) -> None:
    """Raises `UserError` unless the parts are disjoint and complete.

    No video, no copy of one (where `origins` are known) and no subject is on two sides, training and validation hold
    videos of the sources only, test holds videos of the target only, every part has both classes, and, unless
    `allow_partial`, has them of every source. A protocol without a target has no test videos. A preset that is marked
    as validating on the target must do just that: its validation videos are its test videos, and its training videos
    are disjoint from both.
    """
    table = VideoTable.of(videos)
    protocol = assignment.protocol
    exact = protocol.find_datasets(table.dataset.present())
    on_target = find_preset(protocol.preset).on_target
    if on_target and not np.array_equal(assignment.validation, assignment.test):
        raise UserError(f"preset {protocol.preset}: validation videos must be the test videos")
    where = f"protocol {protocol.display} ({protocol.preset})"
    sides = {part: getattr(assignment, part) for part in PARTS if not (on_target and part == "validation")}
    for part, rows in sides.items():
        allowed = ([protocol.target] if protocol.target else []) if part == "test" else protocol.sources
        strange = ~table.dataset[rows].isin({exact[name] for name in allowed})
        if strange.any():
            raise UserError(f"{where}: {_named(table, rows[strange][0])} is no video for {part}")
        numbers, first = np.unique(table.number[rows], return_index=True)
        if len(numbers) < len(rows):
            again = np.setdiff1d(np.arange(len(rows)), first)[0]
            raise UserError(f"{where}: {_named(table, rows[again])} is in {part} and again in {part}")
    _refuse_leaks(where, table, sides, shared, origins or Origins())
    for part, rows in sides.items():
        for label, name in CLASS_NAMES.items():
            if not (table.label[rows] == label).any() and (part != "test" or protocol.target):
                raise UserError(f"{where}: no {name} video in {part} (of {len(rows)} videos)")
    if not allow_partial and (gaps := _gaps(assignment, table, exact)):
        raise UserError(
            f"{where}: {'; '.join(f'{part} has no {gap}' for part, gap in gaps)}; give such videos, take the source "
            "out of the protocol's name, or accept it by evaluation.allow_partial_sources, and the title says so"
        )


def describe(assignment: Assignment, videos: Sequence[Video]) -> dict[str, Any]:
    """Videos by part, dataset and class, and subjects by part and dataset, JSON-able, for reports."""
    table = VideoTable.of(videos)
    person = number_people(table)
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
                "subjects": len(np.unique(person[mine])),
            }
    return found


def _refuse_leaks(
    where: str, table: VideoTable, sides: Mapping[str, np.ndarray], shared: Sequence[str], origins: Origins
) -> None:
    """Raises `UserError` where two sides share a video, a subject or a copy of a recording."""

    def again(one: int, other: int, part: str, later: str) -> str:
        return f"{_named(table, other)} is in {part} and again in {later}"

    def same_subject(one: int, other: int, part: str, later: str) -> str:
        names = [f"{table.subject[row]} of {table.dataset[row]}" for row in (one, other)]
        alias = "" if names[0] == names[1] else f" (as {names[0]})"
        return f"subject {names[1]} is in {part}{alias} and in {later}; subjects must be apart"

    def copy(one: int, other: int, part: str, later: str) -> str:
        names = [_named(table, row) for row in (one, other)]
        return f"{names[0]}, in {part}, and {names[1]}, in {later}, are the same recording; take one of them out"

    ways: list[tuple[np.ndarray, Callable[[int, int, str, str], str]]] = [
        (table.number, again),
        (number_people(table, shared), same_subject),
        (_numbered(origins.files, len(table)), copy),
        (_numbered(origins.contents, len(table)), copy),
    ]
    for numbers, sentence in ways:
        # For each number, a row of an earlier side that has it, and that side.
        earlier = np.full(numbers.max(initial=0) + 1, -1, np.int64)
        side_of = np.zeros(len(table), np.int8)
        for side, (part, rows) in enumerate(sides.items()):
            known = rows[numbers[rows] >= 0]
            met = np.flatnonzero(earlier[numbers[known]] >= 0)
            if len(met):
                row = known[met[0]]
                one = earlier[numbers[row]]
                raise UserError(f"{where}: {sentence(one, row, list(sides)[side_of[one]], part)}")
            earlier[numbers[known]], side_of[known] = known, side


def _numbered(texts: Sequence[str], count: int) -> Int[np.ndarray, " n"]:
    """A number for each text, the same where it is, -1 where it is empty; -1 for all where there are none."""
    if not len(texts):
        return np.full(count, -1, np.int64)
    if len(texts) != count:
        raise ValueError(f"origins of {len(texts)} videos were given for {count}")
    column = TextColumn.of(texts)
    return np.where(column == "", -1, column.codes.astype(np.int64))


def _gaps(assignment: Assignment, table: VideoTable, exact: Mapping[str, str]) -> list[tuple[str, str]]:
    """What each source lacks: the part, and `B`, or the class `bona fide of B`."""
    gaps = []
    parts = PARTS[:1] if find_preset(assignment.protocol.preset).on_target else PARTS[:2]
    for source in assignment.protocol.sources:
        for part in parts:
            rows = getattr(assignment, part)
            labels = set(table.label[rows[table.dataset[rows] == exact[source]]].tolist())
            absent = [name for label, name in CLASS_NAMES.items() if label not in labels]
            if len(absent) == len(CLASS_NAMES):
                gaps.append((part, f"video of {source}"))
            elif absent:
                gaps.append((part, f"{absent[0]} video of {source}"))
    return gaps


def _named(table: VideoTable, row: int | np.integer) -> str:
    return f"{table.dataset[row]} {table.path[row]}"


def _without(videos: VideoTable, rows: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
    """Leaves out `count` videos of each class; which ones depends on no other video."""
    if count == 0:
        return rows
    dropped: list[int] = []
    for label, name in CLASS_NAMES.items():
        mine = rows[videos.label[rows] == label].tolist()
        if len(mine) <= count:
            raise UserError(f"{len(mine)} {name} videos are too few to leave {count} out, as the preset does")
        dropped += nsmallest(count, mine, key=lambda row: draw(0, videos.dataset[row], videos.path[row]))
    return rows[~np.isin(rows, dropped)]
