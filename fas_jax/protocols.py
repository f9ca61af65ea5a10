"""Who is trained on, who sets the threshold, and who is tested: named, and checked for leaks. Imports no JAX.

A preset is data; `assign` turns a preset and a protocol into three sets of videos, and `check` proves of them
what every honest figure needs. Only keys of videos (dataset, subject, path) and the seed decide where a video
goes: not the order of the list, and nothing of the target.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from fas_jax.datasets.record import ATTACK, BONA_FIDE, Video
from fas_jax.errors import UserError, unknown_name

PARTS = ("train", "validation", "test")
_CLASS_NAMES = {BONA_FIDE: "bona fide", ATTACK: "attack"}
_SYNTHETIC = "synth-"
# The order in which the paper's Table I writes the sources of each target.
_PAPER_ORDER = {"M": "OCI", "C": "OMI", "I": "OCM", "O": "ICM"}


@dataclass(frozen=True)
class Preset:
    """Which official splits take which part."""

    name: str
    summary: str
    """One sentence for reports."""
    train: tuple[str, ...]
    """Official splits of the sources that are trained on."""
    validation: tuple[str, ...]
    """Official splits of the sources that choose the model and set the threshold; empty: a share of the
    subjects of `train` is cut out, within each source dataset."""
    test: tuple[str, ...]
    """Official splits of the target that give the final figures."""
    on_target: bool = False
    """Whether the target's own test videos choose the model and set the threshold, as in the published work; the
    figures are then no estimate of an unknown target's."""
    left_out: int = 0
    """Videos of each class of the target that are tested by nobody."""
    caveats: tuple[str, ...] = ()
    """What every report of it has to say: how it differs from what was published under this name."""


_CROPS = "the published work crops faces by MTCNN; here frames are as the run's preparation says"
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="strict",
            summary="Sources: all official training and development videos, a validation part cut out by "
            "subject within each dataset. Target: the official test set.",
            train=("train", "dev"),
            validation=(),
            test=("test",),
        ),
        Preset(
            name="dle2023",
            summary="Sources: training sets to train on, test sets for early stopping and the threshold (as "
            "the scripts of Muhammad et al. 2023 do). Target: the official test set.",
            train=("train",),
            validation=("test",),
            test=("test",),
        ),
        Preset(
            name="ssdg-honest",
            summary="Sources: training and test sets together (without development sets), a validation part cut out "
            "by subject within each dataset. Target: training and test set together.",
            train=("train", "test"),
            validation=(),
            test=("train", "test"),
        ),
        Preset(
            name="ssdg2020",
            summary="Sources: training and test sets together. Target: training and test set together, which also "
            "choose the model and set the threshold (as Jia et al., CVPR 2020, do).",
            train=("train", "test"),
            validation=("train", "test"),
            test=("train", "test"),
            on_target=True,
            caveats=(
                _CROPS,
                "it trains on frame 6 and scores the mean of frames 6 and 6 + n/2 of a video; here the run's frames",
                "its threshold lies on a grid of 1e-4; here it is exact",
            ),
        ),
        Preset(
            name="flip2023",
            summary="As ssdg2020, without ten videos of each class of the target (as Srivatsan et al., ICCV 2023, do).",
            train=("train", "test"),
            validation=("train", "test"),
            test=("train", "test"),
            on_target=True,
            left_out=10,
            caveats=(
                "the published work also trains on CelebA-Spoof (40,000 + 40,000 images), which is not used here",
                _CROPS,
                "it scores two frames a video; here the run's own frames",
                "which ten videos of a class are left out is drawn here, not taken from its lists",
            ),
        ),
        Preset(
            name="safas2023",
            summary="Sources: all videos. Target: all videos, which also choose the model and set the threshold (as "
            "Sun et al., CVPR 2023, do).",
            train=("train", "dev", "test"),
            validation=("train", "dev", "test"),
            test=("train", "dev", "test"),
            on_target=True,
            caveats=(
                "the published work scores one random frame and crop, and keeps the best of many evaluations by AUC "
                "minus HTER; here the run's own frames, once",
            ),
        ),
        Preset(
            name="official",
            summary="Within one dataset: its own training, development and test videos; where it has no development "
            "set, a validation part is cut out of the training set by subject.",
            train=("train",),
            validation=("dev",),
            test=("test",),
        ),
    )
}
OFFICIAL = "official"


@dataclass(frozen=True)
class Choice:
    """Some videos of one dataset."""

    dataset: str
    """Without the `synth-` of rendered ones."""
    splits: tuple[str, ...]
    sessions: tuple[str, ...] = ()
    """Empty: all, as for the others."""
    devices: tuple[str, ...] = ()
    species: tuple[str, ...] = ()
    """Fine PAI species of the attacks; bona fide videos are taken in any case."""

    def holds(self, video: Video) -> bool:
        """Whether the video is one of them."""
        return (
            base_name(video.dataset) == self.dataset
            and video.split in self.splits
            and (not self.sessions or video.session in self.sessions)
            and (not self.devices or video.device in self.devices)
            and (not self.species or video.label == BONA_FIDE or video.pai_fine in self.species)
        )


@dataclass(frozen=True)
class Protocol:
    """Train on some datasets, test on another."""

    name: str
    """For files and options: OCI_to_M."""
    display: str
    """For people: O&C&I to M."""
    preset: str
    sources: tuple[str, ...]
    """Datasets without the `synth-` of rendered ones."""
    target: str
    train: tuple[Choice, ...] = ()
    """What is trained on; empty: the preset's splits of the sources."""
    validation: tuple[Choice, ...] = ()
    """Empty, where `train` is not: cut out of it by subject."""
    test: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """Indices into the list of videos that was assigned; each in the order of the videos' keys."""

    protocol: Protocol
    train: Int64[np.ndarray, " n"]
    validation: Int64[np.ndarray, " m"]
    test: Int64[np.ndarray, " k"]


def leave_one_out(preset: str, targets: Iterable[str], available: Iterable[str]) -> tuple[Protocol, ...]:
    """One protocol for each target, trained on all the other available datasets.

    Args:
        preset: name in `PRESETS`.
        targets: datasets to leave out in turn, with or without `synth-`.
        available: datasets at hand.

    Raises:
        UserError: an unknown preset, a target that is not at hand or named twice, no source, or rendered and
            real datasets together.
    """
    if _preset(preset).name == OFFICIAL:
        raise UserError("the preset 'official' is for protocols within one dataset; name one in evaluation.protocols")
    at_hand = _one_kind(available)
    protocols: list[Protocol] = []
    for target in map(base_name, targets):
        if target not in at_hand:
            raise UserError(
                f"target {target!r} is not among the datasets at hand "
                f"({', '.join(sorted(at_hand)) or 'none'}); give its folder in [data], or take it from "
                "evaluation.targets"
            )
        sources = sorted(at_hand - {target}, key=lambda name: _place(name, target))
        if not sources:
            raise UserError(f"nothing is left to train on when {target!r} is left out; give more datasets in [data]")
        if target in (protocol.target for protocol in protocols):
            raise UserError(f"evaluation.targets names {target!r} twice")
        protocols.append(make_protocol(preset, sources, target))
    if not protocols:
        raise UserError("evaluation.targets is empty; name at least one dataset")
    return tuple(protocols)


def make_protocol(preset: str, sources: Iterable[str], target: str) -> Protocol:
    """The protocol that trains on `sources`, in this order, and tests on `target`."""
    sources = tuple(map(base_name, sources))
    target = base_name(target)
    if target in sources:
        raise UserError(f"dataset {target!r} is both a source and the target")
    if len(set(sources)) < len(sources) or not sources:
        raise UserError(f"the sources must be at least one dataset, each named once, not {list(sources)}")
    joint = "" if all(len(name) == 1 for name in sources) else "+"
    return Protocol(
        name=f"{joint.join(sources)}_to_{target}",
        display=f"{'&'.join(sources)} to {target}",
        preset=_preset(preset).name,
        sources=sources,
        target=target,
    )


def base_name(dataset: str) -> str:
    """`O` for both `O` and `synth-O`."""
    return dataset.removeprefix(_SYNTHETIC)


def is_synthetic(dataset: str) -> bool:
    """Whether the dataset's name says that its videos are rendered."""
    return dataset.startswith(_SYNTHETIC)


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
    preset = _preset(protocol.preset)
    order = sorted(range(len(videos)), key=lambda index: _key(videos[index]))
    order = [index for index in order if base_name(videos[index].dataset) in (*protocol.sources, protocol.target)]
    _one_kind(videos[index].dataset for index in order)
    _has_all_datasets(protocol, (videos[index].dataset for index in order))

    def taken(choices: Iterable[Choice]) -> list[int]:
        choices = tuple(choices)
        return [i for i in order if any(choice.holds(videos[i]) for choice in choices)]

    def whole(datasets: Iterable[str], splits: tuple[str, ...]) -> list[Choice]:
        return [Choice(dataset, splits) for dataset in datasets]

    train = taken(protocol.train or whole(protocol.sources, preset.train))
    test = taken(protocol.test or whole([protocol.target], preset.test))
    test = _without(videos, test, preset.left_out)
    if preset.on_target:
        validation = list(test)
    elif protocol.validation or (preset.validation and not protocol.train):
        validation = taken(protocol.validation or whole(protocol.sources, preset.validation))
    else:
        held_out = _validation_subjects([videos[index] for index in train], validation_fraction, seed)
        validation = [index for index in train if _subject(videos[index]) in held_out]
        train = [index for index in train if _subject(videos[index]) not in held_out]
    assignment = Assignment(protocol, *(np.array(part, np.int64) for part in (train, validation, test)))
    check(assignment, videos)
    return assignment


def check(assignment: Assignment, videos: Sequence[Video]) -> None:
    """Proves that the parts are apart; raises `UserError` otherwise.

    No video and no subject is on two sides, training and validation hold videos of the sources only, test
    holds videos of the target only, every part has both classes, and rendered and real videos are not mixed.
    A preset that is marked as validating on the target is held to just that: its validation videos are its test
    videos, and training is apart from both.
    """
    protocol = assignment.protocol
    on_target = _preset(protocol.preset).on_target
    if on_target and assignment.validation.tolist() != assignment.test.tolist():
        raise UserError(f"preset {protocol.preset}: validation videos must be the test videos")
    where = f"protocol {protocol.display} ({protocol.preset})"
    side_of_video: dict[tuple[str, str], str] = {}
    side_of_subject: dict[tuple[str, str], str] = {}
    for part in PARTS if not on_target else ("train", "test"):
        members = [videos[index] for index in getattr(assignment, part)]
        allowed = (protocol.target,) if part == "test" else protocol.sources
        for video in members:
            if base_name(video.dataset) not in allowed:
                raise UserError(f"{where}: {video.dataset} {video.path} is no video for {part}")
            if _key(video) in side_of_video:
                earlier = side_of_video[_key(video)]
                raise UserError(f"{where}: {video.dataset} {video.path} is in {earlier} and again in {part}")
            side_of_video[_key(video)] = part
            if side_of_subject.setdefault(_subject(video), part) != part:
                raise UserError(
                    f"{where}: subject {video.subject} of {video.dataset} is in "
                    f"{side_of_subject[_subject(video)]} and in {part}; subjects must be apart"
                )
        for label, name in _CLASS_NAMES.items():
            if not any(video.label == label for video in members):
                raise UserError(f"{where}: no {name} video in {part} (of {len(members)} videos)")
    _one_kind(videos[index].dataset for part in PARTS for index in getattr(assignment, part))


def subject_folds(
    videos: Sequence[Video], indices: Int64[np.ndarray, " n"], folds: int, seed: int, setting: str = "stacking.folds"
) -> Int64[np.ndarray, " n"]:
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
    by_subject: dict[tuple[str, str], list[Video]] = defaultdict(list)
    for index in indices:
        by_subject[_subject(videos[index])].append(videos[index])
    if len(by_subject) < folds:
        raise UserError(f"{setting} is {folds}, but there are only {len(by_subject)} subjects; ask for fewer")
    classes = {subject: frozenset(video.label for video in mine) for subject, mine in by_subject.items()}

    # Subjects with both classes come first: each of them can complete a fold alone.
    order = sorted(by_subject, key=lambda who: (-len(classes[who]), -max(classes[who]), who[0], _draw(seed, *who)))
    inside: list[set[int]] = [set() for _ in range(folds)]
    spread: Counter[tuple[Any, ...]] = Counter()
    sizes = [0] * folds
    fold_of: dict[tuple[str, str], int] = {}
    for who in order:

        def cost(fold: int, who: tuple[str, str] = who) -> tuple[int, ...]:
            after = inside[fold] | classes[who]
            gain = 0 if after == inside[fold] else 2 if len(after) == 2 else 1
            return -gain, spread[fold, who[0], classes[who]], spread[fold, who[0]], sizes[fold], fold

        fold = min(range(folds), key=cost)
        fold_of[who] = fold
        inside[fold] |= classes[who]
        spread[fold, who[0], classes[who]] += 1
        spread[fold, who[0]] += 1
        sizes[fold] += len(by_subject[who])
    for label, name in _CLASS_NAMES.items():
        if sum(label in members for members in inside) < 2:
            raise UserError(f"folds need {name} videos of at least 2 subjects, or none is left to train on")
    return np.array([fold_of[_subject(videos[index])] for index in indices], np.int64)


def describe(assignment: Assignment, videos: Sequence[Video]) -> dict[str, Any]:
    """Videos by part, dataset and class, and subjects by part and dataset, JSON-able, for reports."""
    found: dict[str, Any] = {"protocol": assignment.protocol.name, "preset": assignment.protocol.preset}
    for part in PARTS:
        members = [videos[index] for index in getattr(assignment, part)]
        found[part] = {
            dataset: {
                "bona_fide": sum(video.label == BONA_FIDE for video in members if video.dataset == dataset),
                "attacks": sum(video.label == ATTACK for video in members if video.dataset == dataset),
                "subjects": len({video.subject for video in members if video.dataset == dataset}),
            }
            for dataset in sorted({video.dataset for video in members})
        }
    return found


def _without(videos: Sequence[Video], indices: list[int], number: int) -> list[int]:
    """Leaves out some videos of each class, the same ones whatever else is there."""
    if number == 0:
        return indices
    dropped: set[int] = set()
    for label, name in _CLASS_NAMES.items():
        mine = sorted((i for i in indices if videos[i].label == label), key=lambda i: _draw(0, *_key(videos[i])))
        if len(mine) <= number:
            raise UserError(f"{len(mine)} {name} videos are too few to leave {number} out, as the preset does")
        dropped |= set(mine[:number])
    return [index for index in indices if index not in dropped]


def _validation_subjects(videos: Sequence[Video], fraction: float, seed: int) -> set[tuple[str, str]]:
    """Subjects to hold out of each dataset, with both classes on both sides."""
    chosen: set[tuple[str, str]] = set()
    for dataset in sorted({video.dataset for video in videos}):
        classes: dict[tuple[str, str], set[int]] = defaultdict(set)
        for video in videos:
            if video.dataset == dataset:
                classes[_subject(video)].add(video.label)
        chosen |= _cut(dataset, classes, fraction, seed)
    return chosen


def _cut(dataset: str, classes: dict[tuple[str, str], set[int]], fraction: float, seed: int) -> set[tuple[str, str]]:
    order = sorted(classes, key=lambda who: _draw(seed, *who))
    wanted = min(max(1, round(fraction * len(order))), len(order) - 1)

    def complete(subjects: Iterable[tuple[str, str]]) -> bool:
        return set().union(*(classes[who] for who in subjects)) == {BONA_FIDE, ATTACK}

    def first(kind: set[int]) -> list[tuple[str, str]]:
        return [who for who in order if classes[who] == kind][:1]

    # One subject with both classes, or else one of each class: where neither leaves both classes to train on,
    # no other cut does.
    for start in (first({BONA_FIDE, ATTACK}), first({BONA_FIDE}) + first({ATTACK})):
        held_out = set(start)
        if complete(held_out) and complete(set(order) - held_out):
            break
    else:
        raise UserError(
            f"dataset {dataset}: {len(order)} subjects for training cannot be cut into a training "
            "and a validation part that both hold bona fide and attack videos; add subjects, or choose "
            "another preset"
        )
    for who in order:
        if len(held_out) < wanted and complete(set(order) - held_out - {who}):
            held_out.add(who)
    return held_out


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def _one_kind(datasets: Iterable[str]) -> set[str]:
    """The datasets' base names; an error if some are rendered and others are not."""
    names = set(datasets)
    rendered = {name for name in names if is_synthetic(name)}
    if rendered and rendered != names:
        raise UserError(
            f"rendered datasets ({', '.join(sorted(rendered))}) and real ones "
            f"({', '.join(sorted(names - rendered))}) cannot be mixed in one protocol"
        )
    return {base_name(name) for name in names}


def _has_all_datasets(protocol: Protocol, datasets: Iterable[str]) -> None:
    present = {base_name(name) for name in datasets}
    for name in (*protocol.sources, protocol.target):
        if name not in present:
            raise UserError(f"protocol {protocol.display}: there are no videos of dataset {name!r}")


def _place(source: str, target: str) -> tuple[int, str]:
    order = _PAPER_ORDER.get(target, "OCIM")
    return (order.index(source) if source in order else len(order)), source


def _key(video: Video) -> tuple[str, str]:
    return video.dataset, video.path


def _subject(video: Video) -> tuple[str, str]:
    return video.dataset, video.subject


def _draw(seed: int, dataset: str, subject: str) -> bytes:
    """A pseudo-random key that depends on nothing but the seed and who the subject is."""
    return hashlib.sha256(f"{seed}\0{dataset}\0{subject}".encode()).digest()
