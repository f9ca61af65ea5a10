"""Puts the tasks of a job array together into a run, as if one command had fitted all of it."""

import re
from collections.abc import Sequence
from pathlib import Path

from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name, read_json, write_json
from fas_jax.base.locks import locked
from fas_jax.base.parameters import load_about
from fas_jax.experiment.fitting import (
    cross_source_folder,
    fit_cross_source,
    within_sources,
)
from fas_jax.experiment.out_of_fold import join_out_of_fold
from fas_jax.experiment.planning import Plan, cross_source_plans
from fas_jax.experiment.results import report
from fas_jax.experiment.run import IN_USE, TIMINGS, Seconds, read_inputs, read_run
from fas_jax.experiment.selection import CHOICES, fit_selected
from fas_jax.experiment.stages import Opened, reopen
from fas_jax.experiment.tasks import ArrayTask, link_file, link_tree, numbers, outcome, tasks_of_run
from fas_jax.methods.registry import in_order, read_by_others
from fas_jax.reporting.learning import MODELS
from fas_jax.runtime import devices

_PROGRAM = re.compile(r"(?P<name>.+)-(?P<start>\d{4})")
"""Name of a program that trains runs side by side, with the number of its first run."""


def collect(folder: Path) -> Path:
    """Takes what the tasks of a run have fitted into the run, and writes its report and bundles.

    Models, detectors, scores, tables and bundles have the bytes that `stages.train` and `results.report` give, if heads
    are trained one by one there too (`training.runs_per_program = 1`); side by side, they differ by rounding.

    Returns:
        The run's folder.

    Raises:
        UserError: Tasks are not done, all of a method have failed, or another job is at work in the run.
    """
    devices.check()
    folder = Path(folder)
    experiment, inputs = read_run(folder), read_inputs(folder)
    tasks = tasks_of_run(experiment.methods, inputs["plans"])
    found = {each.number: outcome(experiment, each, folder) for each in tasks}
    if missing := [each for each in tasks if not found[each.number]]:
        listed = "; ".join(f"{each.number} {each.method}, {each.plan}" for each in missing)
        raise UserError(
            f"{len(missing)} of {len(tasks)} tasks of {folder} are not done: {listed}. Run fas-jax train with the "
            f"run's settings and --task, for {numbers([each.number for each in missing])}"
        )
    failed = [each for each in tasks if found[each.number] != "done"]
    for name in experiment.methods:
        if all(each in failed for each in tasks if each.method == name):
            raise UserError(f"all tasks of {name} have failed: {found[failed[0].number]}")
    for each in failed:
        print(f"{each.name} failed: {found[each.number]}; nothing that depends on it is scored", flush=True)
    with locked(folder, IN_USE):
        # The settings as they are in the folder, wherever it was moved to.
        opened = reopen(experiment, folder)
        for name in in_order(experiment.methods):
            own = [each for each in tasks if each.method == name]
            _gather(opened, own, [[tasks[number].folder(folder) for number in each.after] for each in own])
        _join_times(folder, tasks)
        # Finds everything there, and notes what was chosen.
        fit_selected(opened.experiment, opened.plans, opened.corpus, folder)
        fit_cross_source(opened.experiment, opened.plans, opened.corpus, folder)
        return report(folder)


def _gather(opened: Opened, tasks: Sequence[ArrayTask], below: Sequence[Sequence[Path]]) -> None:
    """Takes over what the tasks of one method, one for each plan, have left.

    Args:
        opened: The run.
        tasks: Of one method.
        below: For each task, the folders of those whose scores it reads.
    """
    folder, name = opened.folder, tasks[0].method
    places = [each.folder(folder) for each in tasks]
    read = name in read_by_others(opened.experiment.methods)
    for inner in (False, True):

        def side(place: Path, inner: bool = inner) -> Path:
            return cross_source_folder(place) if inner else place

        target, own = side(folder), [side(place) for place in places]
        if not any((place / "detectors").exists() for place in own):
            continue
        for place in own:
            link_tree(place, target, [f"detectors/{plain_name(name)}"])
        _gather_programs(own, [[side(lower) for lower in each] for each in below], target)
        if read:
            experiment = within_sources(opened.experiment) if inner else opened.experiment
            parts = [(place, _plans_of(opened, plan, inner)) for place, plan in zip(own, opened.plans, strict=True)]
            parts = [(place, plans) for place, plans in parts if plans]
            every = [each for _, plans in parts for each in plans]
            join_out_of_fold(experiment, every, opened.corpus, target, name, parts)
    _gather_choices(folder, name, places)


def _plans_of(opened: Opened, plan: Plan, inner: bool) -> list[Plan]:
    return [each for _, each in cross_source_plans([plan], opened.corpus.videos)] if inner else [plan]


def _gather_programs(places: Sequence[Path], below: Sequence[Sequence[Path]], target: Path) -> None:
    """Models, curves and snapshots; where runs are counted, those of a task follow those of the task before.

    A method may train any number of networks under names of its own: all models of a task are the method's, but for
    those that the tasks below it have, too.
    """
    before: dict[str, int] = {}
    for place, lower in zip(places, below, strict=True):
        seen: dict[str, int] = {}
        for path in sorted((place / MODELS).glob("*.safetensors")):
            if any((each / MODELS / path.name).exists() for each in lower):
                continue
            about = load_about(path)
            counted = _PROGRAM.fullmatch(path.stem)
            stem = path.stem
            if counted:
                program = counted["name"]
                start = int(counted["start"]) + before.get(program, 0)
                stem = f"{program}-{start:04d}"
                seen[program] = seen.get(program, 0) + len(about["runs"])
                for snapshot in (place / "snapshots" / plain_name(program)).glob(f"{counted['start']}-*.safetensors"):
                    renamed = f"{start:04d}-{snapshot.stem.partition('-')[2]}.safetensors"
                    link_file(snapshot, target / "snapshots" / plain_name(program) / renamed)
            link_file(path, target / MODELS / f"{stem}.safetensors")
            _gather_curves(path.stem if counted else about["model"], stem if counted else about["model"], place, target)
        for program, count in seen.items():
            before[program] = before.get(program, 0) + count


def _gather_curves(program: str, renamed: str, place: Path, target: Path) -> None:
    for inner in ("", "programs"):
        source = place / "events" / inner / plain_name(program)
        for path in sorted(source.rglob("*")):
            if path.is_file():
                link_file(path, target / "events" / inner / plain_name(renamed) / path.relative_to(source))


def _gather_choices(folder: Path, name: str, places: Sequence[Path]) -> None:
    rows = [row for place in places if (place / CHOICES).exists() for row in read_json(place / CHOICES)]
    if rows:
        known = read_json(folder / CHOICES) if (folder / CHOICES).exists() else []
        write_json(folder / CHOICES, [*(row for row in known if row["method"] != name), *rows])


def _join_times(folder: Path, tasks: Sequence[ArrayTask]) -> None:
    spent = [read_json(place / TIMINGS) for each in tasks if ((place := each.folder(folder)) / TIMINGS).exists()]
    seconds = Seconds(folder)
    seconds.known["train"] = round(sum(each.get("train", 0) for each in spent), 2)
    write_json(folder / TIMINGS, seconds.known)
