"""Who trains, validates and is tested, for every protocol and seed of an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import CorpusClips
from fas_jax.methods.data import WHOLE, Task
from fas_jax.protocols.assignment import Assignment, assign_all
from fas_jax.protocols.cuts import subject_folds
from fas_jax.protocols.presets import Protocol


@dataclass(frozen=True)
class Plan:
    """One protocol with one seed."""

    protocol: Protocol
    seed: int
    assignment: Assignment
    """Indices into the corpus's videos."""

    @property
    def name(self) -> str:
        """For people, and for files."""
        return f"{self.protocol.name} seed {self.seed}"


def plan(experiment: Experiment, videos: VideoTable) -> tuple[Plan, ...]:
    """Who trains, validates and is tested, for every protocol and seed."""
    assigned = assign_all(experiment.evaluation, experiment.seeds, videos)
    return tuple(Plan(assignment.protocol, seed, assignment) for seed, assignment in assigned)


def source_videos(plans: Sequence[Plan]) -> Int[np.ndarray, " k"]:
    """Those that any plan trains or validates on, and no others, rising."""
    parts = [part for each in plans for part in (each.assignment.train, each.assignment.validation)]
    return np.unique(np.concatenate(parts))


def tasks_of(
    plans: Sequence[Plan],
    clips: CorpusClips,
    folds: int = 0,
    shared: Sequence[str] = (),
    setting: str = "folds.count",
) -> list[list[Task]]:
    """For each plan its tasks: the whole one, then one for each of the folds that is left out.

    Args:
        plans: At least one.
        clips: Of `source_videos`, at least; the tasks' rows point into them.
        folds: How many subject-disjoint folds of the training clips; 0 makes none.
        shared: As `Evaluation.shared_subjects`.
        setting: That `folds` came from, for errors.
    """
    found = []
    for number, each in enumerate(plans):
        train = clips.find(each.assignment.train)
        validation = clips.find(each.assignment.validation)
        whole = Task(number, each.name, each.protocol.name, each.seed, WHOLE, train, validation, held=validation)
        tasks = [whole]
        if folds:
            fold_of = subject_folds(clips.videos, train, folds, each.seed, setting, shared)
            for fold in range(folds):
                name, part = f"{each.name} without fold {fold}", f"fold {fold + 1}/{folds}"
                held = fold_of == fold
                tasks.append(replace(whole, name=name, part=part, train=train[~held], held=train[held]))
        found.append(tasks)
    return found
