"""The independent parts of an experiment, for job arrays: one method under one protocol with one seed.

A task's folder, `tasks/METHOD/PLAN` in the run's, is a run folder in small, so that no two tasks write into one file.
`collecting.collect` puts them together.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, plain_name, read_json, write_json
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.fitting import cross_source_folder, fit_cross_source
from fas_jax.experiment.out_of_fold import FRAMES, folds_read
from fas_jax.experiment.run import INPUTS, TASKS, Seconds, join_run, only_job, read_inputs, run_folder, task_folder
from fas_jax.experiment.selection import fit_selected
from fas_jax.experiment.stages import Opened, check, expected, open_checked, record_selection, reopen
from fas_jax.methods.base import Failed, Method, identity
from fas_jax.methods.registry import below, in_order, score_inputs
from fas_jax.runtime import devices

DONE = "done.json"
_PARTS = ("detectors", "models", "out-of-fold")
"""What a stack's fitting reads of the methods below it."""


@dataclass(frozen=True)
class ArrayTask:
    """A part of an experiment that one job fits."""

    number: int
    """Counted from 0."""
    method: str
    plan: str
    """The plan's name, such as `OCI_to_M seed 0`."""
    after: tuple[int, ...]
    """Tasks whose scores it reads, which must be done before."""

    @property
    def name(self) -> str:
        """For people."""
        return f"task {self.number} ({self.method}, {self.plan})"

    def folder(self, run: Path) -> Path:
        """Its own, in the folder of the run."""
        return task_folder(run, self.method) / plain_name(self.plan)


def tasks_of_run(methods: Mapping[str, Method], plans: Sequence[str]) -> list[ArrayTask]:
    """All tasks, methods first, each behind those whose scores it reads.

    Methods that join a run later come behind the others, whose numbers stay, unless the configuration puts them first.
    """
    order, count = in_order(methods), len(plans)
    found = []
    for place, method in enumerate(order):
        for number, plan in enumerate(plans):
            after = tuple(order.index(item.name) * count + number for item in score_inputs(methods[method]))
            found.append(ArrayTask(place * count + number, method, plan, tuple(sorted(after))))
    return found


def list_tasks(experiment: Experiment) -> tuple[list[ArrayTask], dict[int, str]]:
    """The tasks of an experiment, also of one that has no run yet, and how those that are done ended.

    Returns:
        The tasks; and by number `done`, or why a fitting gave no detector.

    Raises:
        UserError: As `stages.check`, or the run was made with other settings.
    """
    check(experiment)
    experiment, folder = join_run(experiment), run_folder(experiment)
    opened = (folder / INPUTS).exists()
    plans = read_inputs(folder)["plans"] if opened else [each.name for each in expected(experiment)[0]]
    tasks = tasks_of_run(experiment.methods, plans)
    known = {each.number: outcome(experiment, each, folder) for each in tasks} if opened else {}
    return tasks, {number: found for number, found in known.items() if found}


def outcome(experiment: Experiment, task: ArrayTask, folder: Path) -> str:
    """How a task ended: `done`, why its fitting gave no detector, or empty where it is still to be done."""
    note = task.folder(folder) / DONE
    if not note.exists():
        return ""
    known = read_json(note)
    if known["key"] != _key(experiment, task, read_inputs(folder)):
        return ""
    return known["failed"] or "done"


def run_task(experiment: Experiment, number: int) -> str:
    """Fits one task; an interrupted one goes on, and one that is done is left as it is.

    The first task of a run prepares the inputs, and others wait for it.

    Returns:
        Why the fitting gave no detector; empty where it gave one.

    Raises:
        UserError: There is no such task, a task whose scores it reads is not done, or another job is at work on it.
        TerminatedError: After SIGTERM or SIGUSR1, when everything is saved.
    """
    opened = _open(experiment)
    experiment, folder = opened.experiment, opened.folder
    tasks = tasks_of_run(experiment.methods, [each.name for each in opened.plans])
    if not 0 <= number < len(tasks):
        raise UserError(f"there is no task {number}: this experiment has the tasks 0 to {len(tasks) - 1}")
    task = tasks[number]
    place = task.folder(folder)
    with devices.job_locked(place, f"{task.name} is being fitted by another job"):
        known = outcome(experiment, task, folder)
        if known:
            return "" if known == "done" else known
        if missing := [each for each in task.after if not outcome(experiment, tasks[each], folder)]:
            raise UserError(f"{task.name} reads scores of tasks that are not done: {numbers(missing)}; run these first")
        only = {task.method, *below(experiment.methods, task.method)}
        with devices.first_alone(f"scores for {task.name}"):
            for each in tasks:
                if each.method in only - {task.method} and each.plan == task.plan:
                    link_tree(each.folder(folder), place, _PARTS)
                    link_tree(cross_source_folder(each.folder(folder)), cross_source_folder(place), _PARTS)
        plan = [each for each in opened.plans if each.name == task.plan]
        with Seconds(place).stage("train"):
            fitted = fit_selected(experiment, plan, opened.corpus, place, only)
            fit_cross_source(experiment, plan, opened.corpus, place, only)
        detector = fitted.detectors[task.method][0]
        reason = detector.reason if isinstance(detector, Failed) else ""
        if devices.is_first():
            write_json(place / DONE, {"key": _key(experiment, task, read_inputs(folder)), "failed": reason})
        devices.wait_for_all(task.name)
    return reason


def numbers(tasks: Sequence[int]) -> str:
    """Task numbers as `--array` of Slurm takes them: 0-3,7."""
    runs: list[list[int]] = []
    for each in sorted(tasks):
        if runs and runs[-1][1] == each - 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def link_tree(source: Path, target: Path, parts: Sequence[str]) -> None:
    """Makes the files in some folders of `source` appear in `target`, without a copy where the disk allows it."""
    for part in parts:
        for path in sorted((source / part).rglob("*")):
            if path.is_file():
                link_file(path, target / path.relative_to(source))


def link_file(source: Path, target: Path) -> None:
    """Makes a finished file appear under another name, in place of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


@contextmanager
def _opening(experiment: Experiment) -> Iterator[None]:
    """Lets one task at a time open the run; others wait, and so they do for hours while the first one prepares."""
    with devices.job_locked(run_folder(experiment) / TASKS):
        yield


def _open(experiment: Experiment) -> Opened:
    experiment.check()
    with _opening(experiment):
        joined, folder = join_run(experiment), run_folder(experiment)
        if not (folder / INPUTS).exists() or joined.methods.keys() - read_inputs(folder)["detectors"].keys():
            check(experiment)
            with only_job(experiment):
                # All methods of the run: each is some task's, whichever this one's command names.
                opened = open_checked(joined)
                record_selection(opened)
                _claim(opened.experiment, folder)
            return opened
        _claim(joined, folder)
    return reopen(joined, folder)


def _claim(experiment: Experiment, folder: Path) -> None:
    """Keeps the run from letting a method go that a task is still to train."""
    for name in experiment.methods:
        task_folder(folder, name).mkdir(parents=True, exist_ok=True)


def _key(experiment: Experiment, task: ArrayTask, inputs: Mapping[str, object]) -> str:
    """Of all that decides what a task leaves."""
    data = inputs["detectors"][task.method][task.plan]  # type: ignore[index]
    read = folds_read(experiment.methods)[task.method]
    folds = {**key(experiment.folds), **({} if read == {FRAMES} else {"read": sorted(read)})} if read else {}
    how = [experiment.evaluation.selection, experiment.evaluation.threshold_from]
    return fingerprint([identity(experiment.methods[task.method]), data, folds, how])
