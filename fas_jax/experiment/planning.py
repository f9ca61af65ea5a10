"""Who trains, validates and is tested, for every protocol and seed of an experiment."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import UserError
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.methods.data import WHOLE, Task
from fas_jax.protocols.assignment import PARTS, Assignment, assign_all
from fas_jax.protocols.cuts import subject_folds
from fas_jax.protocols.presets import SYNTHETIC, Protocol, find_preset

TRAINING_DOMAIN: Final = "training-domain"
LEFT_OUT: Final = "leave-one-source-out"
ORACLE: Final = "oracle"
"""With the two above it, the values of `evaluation.selection`."""


@dataclass(frozen=True)
class Plan:
    """One protocol with one seed."""

    protocol: Protocol
    seed: int
    assignment: Assignment
    """Indices into the corpus's videos."""
    rendered: Int[np.ndarray, " k"] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Videos of rendered domains beside the assignment's: some methods train on them as well."""

    @property
    def name(self) -> str:
        """For people, and for files."""
        return f"{self.protocol.name} seed {self.seed}"


def plan(experiment: Experiment, videos: VideoTable) -> tuple[Plan, ...]:
    """Who trains, validates and is tested, for every protocol and seed."""
    joining = videos.dataset.isin(joining_datasets(experiment, videos.dataset.present()))
    others = np.flatnonzero(~joining).astype(np.int32)
    assigned = assign_all(experiment.evaluation, experiment.seeds, videos[others])
    rendered = np.flatnonzero(joining & (videos.split == "train")).astype(np.int32)
    return tuple(
        Plan(assignment.protocol, seed, _within(assignment, others), rendered) for seed, assignment in assigned
    )


def joining_datasets(experiment: Experiment, at_hand: Collection[str]) -> set[str]:
    """The datasets of [rendered.NAME] that only join the training on others.

    None are where there are no others; and a protocol that names a rendered dataset, as synth-NAME_to_M does, makes it
    a source like any other.
    """
    asked = {part for name in experiment.evaluation.protocols for part in re.split(r"\+|_to_|^intra-", name)}
    joining = {SYNTHETIC + name for name in experiment.rendered} - asked
    return joining if {*at_hand} - joining else set()


def _within(assignment: Assignment, numbers: Int[np.ndarray, " n"]) -> Assignment:
    """The assignment of a part of a list, whose numbers in the list are given, as one of the list."""
    parts = {part: numbers[getattr(assignment, part)] for part in PARTS}
    return replace(assignment, **parts)


def cross_source_plans(plans: Sequence[Plan], videos: VideoTable) -> list[tuple[int, Plan]]:
    """For every plan with several sources and each of these, a plan that leaves it out and tests on its videos.

    The detectors of these plans say how scores move when a dataset is unseen, without reading the target.

    Returns:
        Pairs of the plan's number among `plans` and the plan that leaves a source out.

    Raises:
        UserError: Without a source, what is left lacks a class to train or validate on.
    """
    found = []
    for number, each in enumerate(plans):
        if find_preset(each.protocol.preset).on_target:
            continue
        train, validation = each.assignment.train, each.assignment.validation
        sources = list(dict.fromkeys(np.asarray(videos.dataset[train]).tolist()))
        for source in sources if len(sources) > 1 else ():
            inner = f"{each.protocol.name} without {source}"
            parts, left_out = [], []
            for part, name in ((train, "train"), (validation, "validate")):
                outside = np.asarray(videos.dataset[part]) != source
                kept = part[outside]
                if len(set(videos.label[kept].tolist())) < 2:
                    raise UserError(
                        f"protocol {inner}: what is left to {name} on lacks bona fide videos or attacks, so that no "
                        'source can be left out; set evaluation.threshold_from = "validation" and evaluation.selection '
                        '= "training-domain"'
                    )
                parts.append(kept)
                left_out.append(part[~outside])
            train_of, validation_of = parts
            own = np.sort(np.concatenate(left_out))
            protocol = replace(each.protocol, name=inner, display=inner, target=source)
            inner_of = Assignment(protocol, train_of, validation_of, own)
            found.append((number, Plan(protocol, each.seed, inner_of, each.rendered)))
    return found


def source_videos(plans: Sequence[Plan]) -> Int[np.ndarray, " k"]:
    """Those that any plan trains or validates on, and no others, rising."""
    parts = [part for each in plans for part in (each.assignment.train, each.assignment.validation, each.rendered)]
    return np.unique(np.concatenate(parts))


def tasks_of(
    plans: Sequence[Plan],
    clips: CorpusClips,
    folds: int = 0,
    shared: Sequence[str] = (),
    setting: str = "folds.count",
    unseen: Sequence[tuple[int, Plan]] = (),
) -> list[list[Task]]:
    """For each plan its tasks: the whole one, then one for each of the folds that is left out.

    Where `unseen` leaves sources of a plan out, its folds are these sources: a task then trains and validates on the
    other sources alone.

    Args:
        plans: At least one.
        clips: Of `source_videos`, at least; the tasks' rows point into them.
        folds: How many subject-disjoint folds of the training clips; 0 makes none.
        shared: As `Evaluation.shared_subjects`.
        setting: That `folds` came from, for errors.
        unseen: From `cross_source_plans`.
    """
    found = []
    for number, each in enumerate(plans):
        train = clips.find(each.assignment.train)
        validation = clips.find(each.assignment.validation)
        rendered = clips.find(each.rendered)
        whole = Task(number, each.name, each.protocol.name, each.seed, WHOLE, train, validation, validation, rendered)
        tasks = [whole]
        sources = [inner for own, inner in unseen if own == number]
        if folds and sources:
            for inner in sources:
                own_train, own_validation = (
                    clips.find(part) for part in (inner.assignment.train, inner.assignment.validation)
                )
                held = np.setdiff1d(train, own_train).astype(train.dtype)
                part = f"without {inner.protocol.target}"
                apart = replace(whole, name=inner.name, part=part, held=held)
                tasks.append(replace(apart, train=own_train, validation=own_validation))
        elif folds:
            fold_of = subject_folds(clips.videos, train, folds, each.seed, setting, shared)
            for fold in range(folds):
                name, part = f"{each.name} without fold {fold}", f"fold {fold + 1}/{folds}"
                held = fold_of == fold
                tasks.append(replace(whole, name=name, part=part, train=train[~held], held=train[held]))
        found.append(tasks)
    return found
