"""Fitting of all methods of an experiment: each behind those whose scores it reads, and only what is not there yet.

Fitting reads the inputs of the videos that it trains and validates on, and no others.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Bool

from fas_jax.base.declarations import key
from fas_jax.base.files import fingerprint, plain_name, read_json, write_json
from fas_jax.evaluation.scores import CROSS_SOURCE
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.planning import LEFT_OUT, TRAINING_DOMAIN, Plan, cross_source_plans, source_videos, tasks_of
from fas_jax.features.frame_scores import FrameScores
from fas_jax.methods.base import Desk, Detector, Failed, Job, Method, identity
from fas_jax.methods.data import WHOLE, Task
from fas_jax.methods.registry import below, in_order, read_by_others, score_inputs
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
    read = read_by_others(experiment.methods)
    tasks = _tasks(experiment, plans, corpus, clips)
    data = detector_data(experiment, plans, corpus)
    found: dict[str, Sequence[Detector | Failed]] = {}
    scores: dict[str, FrameScores] = {}
    failed: dict[str, set[int]] = {}
    for name in in_order(experiment.methods):
        if only is not None and name not in only:
            continue
        method = experiment.methods[name]
        desk = Desk(name, experiment.training, folder, fingerprint(corpus.fingerprints), part=only is not None)
        own = clips.with_scores(scores)
        lost = {number for item in score_inputs(method) for number in failed[item.name]}
        store = DetectorStore(folder, name, method, data[name], method.files())
        fitter = _Fitter(method, store, plans, tasks, own, desk, lost)
        found[name], folds = fitter.fit(folds=name in read, choose=choose, before=found)
        failed[name] = {number for number, each in enumerate(found[name]) if isinstance(each, Failed)}
        if name in read:
            scores[name], broken = fitter.out_of_fold(found[name], folds)
            failed[name] |= broken
    return Fitted({name: found[name] for name in experiment.methods if name in found})


def join_out_of_fold(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: Path,
    name: str,
    parts: Sequence[tuple[Path, Sequence[Plan]]],
) -> None:
    """Makes the file of a method's out-of-fold scores from those that fittings of some plans each have left.

    Args:
        experiment: Settings.
        plans: All plans.
        corpus: All datasets.
        folder: In which `fit_methods` will look for the file.
        name: Of a method that others read.
        parts: In the order of `plans`: a folder in which `fit_methods` has fitted plans, and these plans.
    """
    clips = corpus.open(source_videos(plans))
    method = experiment.methods[name]
    mask = frame_mask(method, clips)
    tasks = _tasks(experiment, plans, corpus, clips)
    path, number, failed = out_of_fold_file(folder, name), 0, []
    joined = FrameScores.in_file(path, len(plans), mask)
    for place, own in parts:
        theirs = corpus.open(source_videos(own))
        scores = FrameScores(out_of_fold_file(place, name), len(own), frame_mask(method, theirs))
        lost = read_json(scores.place.with_suffix(".json"))["failed"]  # type: ignore[union-attr]
        for inner, each in enumerate(own):
            videos = source_videos([each])
            joined.put(number, clips.find(videos), scores.of_task(inner, theirs.find(videos)))
            failed += [number] if inner in lost else []
            number += 1
    key_of_all = _out_of_fold_key(method, fingerprint(corpus.fingerprints), tasks)
    about = {"key": key_of_all, "failed": failed, "shape": [*mask.shape, len(plans)]}
    write_json(path.with_suffix(".json"), about)


def out_of_fold_file(folder: Path, name: str) -> Path:
    """Where a method's out-of-fold scores are kept."""
    return folder / "out-of-fold" / f"{plain_name(name)}.f32"


def _tasks(
    experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, clips: CorpusClips
) -> Sequence[Sequence[Task]]:
    """By plan, the whole one and those of the folds, if any method's scores are read."""
    read = bool(read_by_others(experiment.methods))
    by_source = read and experiment.evaluation.selection == LEFT_OUT
    return tasks_of(
        plans,
        clips,
        experiment.folds.count if read else 0,
        experiment.evaluation.shared_subjects,
        unseen=cross_source_plans(plans, corpus.videos) if by_source else (),
    )


def _out_of_fold_key(method: Method, data: str, tasks: Sequence[Sequence[Task]]) -> str:
    parts = [[task.name, task.held.tolist()] for own in tasks for task in own]
    return fingerprint([identity(method), data, parts])


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


def frame_mask(method: Method, clips: CorpusClips) -> Bool[np.ndarray, "n t"]:
    """Where a method that scores frames does so."""
    return np.logical_and.reduce([clips.mask(item) for item in method.inputs() if item.kind != "facts"])


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
    tasks: Sequence[Sequence[Task]]
    """By plan, the whole one first."""
    clips: CorpusClips
    desk: Desk
    lost: set[int]
    """Plans for which a method whose scores this one reads has failed."""

    def fit(
        self, folds: bool, choose: Choose | None, before: Mapping[str, Sequence[Detector | Failed]]
    ) -> tuple[Sequence[Detector | Failed], dict[str, Detector | Failed]]:
        """A detector for each plan and, with `folds`, those that leave a fold out, by the task's name."""
        folds = folds and not self._scored()
        if all(self.store.holds(each.name) for each in self.plans):
            whole: Sequence[Detector | Failed] = [self.store.load(each.name) for each in self.plans]
            # A stack was added to a finished run: only the folds are missing.
            parts = [task for own in self.tasks for task in own if folds and task.part != WHOLE]
            return whole, self._fit(parts, dataclasses.replace(self.desk, name=f"{self.desk.name}-folds"))
        wanted = [task for own in self.tasks for task in own if folds or task.part == WHOLE]
        found = self._fit(wanted, self.desk)
        whole = [found[own[0].name] for own in self.tasks]
        if choose:
            whole = choose(self.desk.name, Fitted({**before, self.desk.name: whole}))
        if devices.is_first():
            for each, detector in zip(self.plans, whole, strict=True):
                self.store.save(each.name, detector)
        devices.wait_for_all(f"detectors of {self.desk.name}")
        return whole, found

    def _fit(self, tasks: Sequence[Task], desk: Desk) -> dict[str, Detector | Failed]:
        found: dict[str, Detector | Failed] = {
            task.name: Failed("the fitting of a method whose scores it reads failed")
            for task in tasks
            if task.number in self.lost
        }
        jobs = [Job(self.method, task) for task in tasks if task.name not in found]
        if jobs:
            fitted = self.method.fit(jobs, self.clips, desk)
            found |= {job.task.name: each for job, each in zip(jobs, fitted, strict=True)}
        return found

    def out_of_fold(
        self, whole: Sequence[Detector | Failed], folds: Mapping[str, Detector | Failed]
    ) -> tuple[FrameScores, set[int]]:
        """Scores of training clips by detectors that have not seen them, and of validation clips by the whole ones.

        Returns:
            The scores, and the plans of which some are missing because a fitting failed.
        """
        mask = frame_mask(self.method, self.clips)
        path = self._path
        if self._scored():
            return FrameScores(path, len(self.plans), mask), set(read_json(path.with_suffix(".json"))["failed"])
        # Every process needs the scores; the first one's are kept.
        place = path.with_suffix(f".process-{jax.process_index()}")
        scores = FrameScores.in_file(place, len(self.plans), mask)
        detectors = {own[0].name: each for own, each in zip(self.tasks, whole, strict=True)} | dict(folds)
        every = [task for own in self.tasks for task in own]
        broken = {task.number for task in every if isinstance(detectors[task.name], Failed)}
        good = [task for task in every if task.number not in broken]
        fitted = [detector for task in good if not isinstance(detector := detectors[task.name], Failed)]
        rows, numbers = [task.held for task in good], [task.number for task in good]
        found = type(self.method).score_all(fitted, self.clips, rows, numbers, self.desk)
        for task, own_scores in zip(good, found, strict=True):
            assert own_scores.frame is not None  # in_order refuses methods without scores of frames
            scores.put(task.number, task.held, np.asarray(own_scores.frame, np.float32))
        if devices.is_first():
            place.replace(path)
            about = {"key": self._key, "failed": sorted(broken), "shape": [*mask.shape, len(self.plans)]}
            write_json(path.with_suffix(".json"), about)
            place = path
        devices.wait_for_all(f"out-of-fold scores of {self.desk.name}")
        return dataclasses.replace(scores, place=place), broken

    @property
    def _path(self) -> Path:
        assert self.desk.folder is not None
        return out_of_fold_file(self.desk.folder, self.desk.name)

    @property
    def _key(self) -> str:
        return _out_of_fold_key(self.method, self.desk.data, self.tasks)

    def _scored(self) -> bool:
        about = self._path.with_suffix(".json")
        return about.exists() and self._path.exists() and read_json(about)["key"] == self._key
