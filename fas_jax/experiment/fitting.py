"""Fits all methods of an experiment, each after those that it reads scores of, and skips finished fittings.

Fitting reads the inputs of the videos that it trains and validates on, and no others.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fas_jax.base.declarations import key
from fas_jax.base.files import fingerprint
from fas_jax.evaluation.scores import CROSS_SOURCE
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.out_of_fold import Folds, Kept, OutOfFold, with_kept
from fas_jax.experiment.planning import TRAINING_DOMAIN, Plan, cross_source_plans, source_videos
from fas_jax.methods.base import Desk, Detector, Failed, Job, Method, identity
from fas_jax.methods.data import Task
from fas_jax.methods.registry import below, in_order, needed_inputs
from fas_jax.runtime import devices


@dataclass(frozen=True)
class Fitted:
    """The detectors of an experiment."""

    detectors: Mapping[str, Sequence[Detector | Failed]]
    """By method, one a plan."""

    def of_plan(self, number: int) -> dict[str, Detector | Failed]:
        """The detectors of one plan, by method."""
        return {name: each[number] for name, each in self.detectors.items()}


Choose: TypeAlias = Callable[[str, Fitted], Sequence[Detector | Failed]]
"""Takes a method's name and the detectors of this method and of those before it; gives the method's detectors."""


def fit_methods(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: Path,
    choose: Choose | None = None,
    only: Collection[str] | None = None,
) -> Fitted:
    """Fits every method for every plan; an interrupted fitting goes on, and what is finished is read.

    Args:
        experiment: Settings.
        plans: From `planning.plan`.
        corpus: All datasets.
        folder: The run's, for checkpoints and what is finished.
        choose: Gives the detectors that are kept, in place of those that validation chose (`selection.fit_selected`).
        only: The methods to fit, with all that they read, where other commands fit the rest.
    """
    clips = corpus.open(source_videos(plans))
    folds = Folds.of(experiment, plans, corpus, clips)
    data, inputs = detector_data(experiment, plans, corpus), fingerprint(corpus.fingerprints)
    found: dict[str, Sequence[Detector | Failed]] = {}
    kept: dict[str, Kept] = {}
    failed: dict[str, set[int]] = {}
    for name in in_order(experiment.methods):
        if only is not None and name not in only:
            continue
        method = experiment.methods[name]
        desk = Desk(name, experiment.training, folder, inputs, part=only is not None)
        own = with_kept(clips, kept, method)
        lost = {number for item in needed_inputs(method) for number in failed[item.name]}
        store = DetectorStore(folder, name, method, data[name], method.files())
        scores = OutOfFold(folder, name, method, folds, own, inputs)
        found[name], parts = _Fitter(method, store, plans, scores, desk, lost).fit(choose, found)
        kept[name] = scores.keep(found[name], parts, desk)
        failed[name] = {number for number, each in enumerate(found[name]) if isinstance(each, Failed)}
        failed[name] |= kept[name].broken
    return Fitted({name: found[name] for name in experiment.methods if name in found})


def fit_cross_source(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: Path,
    only: Collection[str] | None = None,
) -> None:
    """Fits every method once more for every source that is left out, where thresholds come from such detectors.

    Among the sources that are left, training-domain chooses, whatever `evaluation.selection` is: the source that is
    left out must not.
    """
    if experiment.evaluation.threshold_from != CROSS_SOURCE:
        return
    inner = cross_source_plans(plans, corpus.videos)
    if devices.is_first():
        alone = sum(not any(number == own for own, _ in inner) for number in range(len(plans)))
        print(
            f"thresholds from {CROSS_SOURCE}: {len(inner)} further fittings of every method beside {len(plans)}"
            + (f"; {alone} with one source fall back to validation" if alone else ""),
            flush=True,
        )
    if inner:
        own = [plan for _, plan in inner]
        fit_methods(within_sources(experiment), own, corpus, cross_source_folder(folder), only=only)


def cross_source_folder(folder: Path) -> Path:
    """Where a run keeps detectors that have not seen a source."""
    return folder / CROSS_SOURCE


def within_sources(experiment: Experiment) -> Experiment:
    """The settings with which such detectors are fitted."""
    evaluation = dataclasses.replace(experiment.evaluation, selection=TRAINING_DOMAIN)
    return dataclasses.replace(experiment, evaluation=evaluation)


def detector_data(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus) -> dict[str, dict[str, str]]:
    """Fingerprints, by method and plan, of what detectors are fitted on: inputs, and who trains and validates."""
    who = {each.name: [corpus.videos[part].fingerprint for part in _fitted_on(each)] for each in plans}
    found = {}
    for name in experiment.methods:
        lower = {each: identity(experiment.methods[each]) for each in below(experiment.methods, name)}
        common = [corpus.fingerprints, lower, key(experiment.folds) if lower else {}]
        if experiment.evaluation.selection != TRAINING_DOMAIN and (lower or experiment.methods[name].epochs):
            common.append(experiment.evaluation.selection)
        found[name] = {each.name: fingerprint([*common, *who[each.name]]) for each in plans}
    return found


def _fitted_on(plan: Plan) -> list[np.ndarray]:
    """The parts of the corpus that train and validate; rendered clips only where some join the training."""
    own = [plan.assignment.train, plan.assignment.validation]
    return [*own, plan.rendered] if len(plan.rendered) else own


@dataclass(frozen=True)
class _Fitter:
    """Fits one method for all plans."""

    method: Method
    store: DetectorStore
    plans: Sequence[Plan]
    scores: OutOfFold
    """Of this method; its clips have what the method reads."""
    desk: Desk
    lost: set[int]
    """Plans for which a method whose scores this one reads has failed."""

    def fit(
        self, choose: Choose | None, before: Mapping[str, Sequence[Detector | Failed]]
    ) -> tuple[Sequence[Detector | Failed], dict[str, Detector | Failed]]:
        """A detector for each plan and, by the task's name, those that leave out a fold whose scores are missing."""
        parts = self.scores.left()
        if all(self.store.holds(each.name) for each in self.plans):
            stored: Sequence[Detector | Failed] = [self.store.load(each.name) for each in self.plans]
            # A stack was added to a finished run: only the folds are missing.
            return stored, self._fit(parts, dataclasses.replace(self.desk, name=self.scores.program))
        whole = self.scores.folds.whole
        found = self._fit(sorted([*whole, *parts], key=lambda task: task.number), self.desk)
        detectors: Sequence[Detector | Failed] = [found[task.name] for task in whole]
        if choose:
            detectors = choose(self.desk.name, Fitted({**before, self.desk.name: detectors}))
        if devices.is_first():
            for each, detector in zip(self.plans, detectors, strict=True):
                self.store.save(each.name, detector)
        devices.wait_for_all(f"detectors of {self.desk.name}")
        return detectors, found

    def _fit(self, tasks: Sequence[Task], desk: Desk) -> dict[str, Detector | Failed]:
        found: dict[str, Detector | Failed] = {
            task.name: Failed("the fitting of a method whose scores it reads failed")
            for task in tasks
            if task.number in self.lost
        }
        jobs = [Job(self.method, task) for task in tasks if task.name not in found]
        if jobs:
            fitted = self.method.fit(jobs, self.scores.clips, desk)
            found |= {job.task.name: each for job, each in zip(jobs, fitted, strict=True)}
        return found
