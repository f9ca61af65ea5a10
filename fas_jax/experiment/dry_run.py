"""What a training would take, before it is begun: fittings, steps, hours at a measured rate, disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name, read_json
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.fitting import cross_source_folder
from fas_jax.experiment.out_of_fold import SOURCE, folds_read, out_of_fold_file
from fas_jax.experiment.planning import LEFT_OUT, Plan, cross_source_plans
from fas_jax.experiment.run import CONFIG, TASKS, divide_further, join_run, read_run, run_folder, task_folder
from fas_jax.experiment.selection import needed
from fas_jax.experiment.stages import check, expected, renditions_read
from fas_jax.methods.base import Method, identity
from fas_jax.methods.registry import in_order
from fas_jax.models import backbones
from fas_jax.runtime import devices
from fas_jax.training.events import RATE

# Share of a raw frame that a stored one takes as PNG, of real videos (docs/scaling.md).
_PNG = 0.5


def describe(experiment: Experiment) -> list[str]:
    """Lines for people; nothing is decoded, rendered or trained.

    Steps are the most that training can take: early stopping may end it before. Hours are these steps at the rate of
    an earlier training of the same method, on the same frames and features, on such devices; they leave out
    preparation, extraction, validation and scoring. What tasks of a job array have fitted counts as there, because
    `collecting.collect` takes it over.

    Raises:
        UserError: As `stages.check`.
    """
    check(experiment)
    further = divide_further(experiment, join_run(experiment))
    plans, videos = expected(experiment)
    lines = [f"{experiment.name}: {len(experiment.methods)} methods x {len(plans)} protocols and seeds"]
    for names, what in zip(further, ("stay in the report", "are not trained to the end, and leave it"), strict=True):
        if names:
            lines.append(f"of the run's further methods, these {what}: {', '.join(names)}")
    hours: list[float | None] = []
    models = 0
    for name in in_order(experiment.methods):
        method = experiment.methods[name]
        every = _fittings(experiment, name, plans, videos)
        if not every:
            lines.append(f"{name}: trained already")
            continue
        costs = [method.cost(len(each.assignment.train), _width(experiment, method)) for each in every]
        steps = sum(each.steps for each in costs if each)
        size = sum(each.bytes for each in costs if each)
        # The detector, the model with its curves beside it, and two checkpoints of the one that trains.
        models += 2 * size
        told = f"{name}: {len(every)} fittings"
        if any(costs):
            rate, where = find_rate(experiment, name)
            long = f"{steps / rate / 3600:.1f} h at {rate:.3g} steps/s" if rate else "hours unknown"
            told += f", at most {steps:,} steps, {long} ({where}), {2 * size / 1e6:,.1f} MB of models"
            hours.append(steps / rate / 3600 if rate else None)
        else:
            told += ", without steps"
        lines.append(told)
    known = [each for each in hours if each is not None]
    lines.append(
        f"training in all: {sum(known):.1f} h on one such machine"
        + ("" if len(known) == len(hours) else f", and {len(hours) - len(known)} methods of unknown rate")
    )
    records, features = _inputs(experiment, len(videos))
    unbounded = [name for name in renditions_read(experiment) if not experiment.renditions[name].most_frames]
    also = f" (not those of {', '.join(unbounded)}, which keeps all frames)" if unbounded else ""
    lines.append(
        f"disk: some {(records + features + models) / 1e9:.2f} GB: {records / 1e9:.2f} prepared frames of "
        f"{len(videos):,} videos{also}, {features / 1e9:.2f} features, {models / 1e9:.2f} models; rendered videos and "
        "checkpoints come on top, and what the cache holds already is not made again"
    )
    return lines


def find_rate(experiment: Experiment, name: str) -> tuple[float, str]:
    """Steps a second that an earlier training of a method has reached, and where; 0 and why where none is known.

    It has to be of the same settings, renditions, features and devices; the one that trained last counts. Where a
    method trains several networks, each of them counts for as many steps.
    """
    here = devices.describe()
    found: list[tuple[float, list[float], str]] = []
    for path in sorted(Path(experiment.runs).glob(f"*/{CONFIG}")):
        try:
            other = read_run(path.parent)
        except UserError:
            continue  # of another version
        for own in other.methods:
            if _settings(other, own) != _settings(experiment, name):
                continue
            for place in (path.parent, *(path.parent / TASKS).glob("*/*")):
                notes = {note: read_json(note) for note in (place / "events" / "programs").glob(f"*/{RATE}")}
                if mine := [
                    each for each, known in notes.items() if (known["method"], known["devices"]) == (own, here)
                ]:
                    rates = [float(notes[each]["steps_per_second"]) for each in mine]
                    found.append((max(each.stat().st_mtime for each in mine), rates, other.name))
    if not found:
        return 0.0, f"no run in {experiment.runs} has trained it so on {here['count']} x {here['device']}"
    _, rates, run = max(found)
    return 1 / float(np.mean(1 / np.array(rates))), f"as in run {run}, on {here['count']} x {here['device']}"


def _settings(experiment: Experiment, name: str) -> list[object]:
    method = experiment.methods[name]
    read = [key(experiment.renditions[item.name]) for item in method.inputs() if not item.of_method]
    return [identity(method), read, key(experiment.features)]


def _fittings(experiment: Experiment, name: str, plans: Sequence[Plan], videos: VideoTable) -> list[Plan]:
    """The plans for which a method is fitted, once for each fitting.

    Without the detectors and out-of-fold scores that the run's folder holds, or that of the task which fits the plan.
    What an unfinished fitting has saved is not looked at: its steps count in full.
    """
    run, evaluation = run_folder(experiment), experiment.evaluation
    places = [[run, task_folder(run, name) / plain_name(each.name)] for each in plans]
    found = _lacking(experiment, name, plans, places)
    if missing := [number for number, own in enumerate(places) if SOURCE in _missing(experiment, name, own)]:
        found += [each for number, each in cross_source_plans(plans, videos) if number in missing]
    if evaluation.threshold_from == LEFT_OUT or (
        evaluation.selection == LEFT_OUT and name in needed(experiment.methods)
    ):
        inner = cross_source_plans(plans, videos)
        beside = [[cross_source_folder(place) for place in places[number]] for number, _ in inner]
        found += _lacking(experiment, name, [each for _, each in inner], beside)
    return found


def _lacking(experiment: Experiment, name: str, plans: Sequence[Plan], places: Sequence[Sequence[Path]]) -> list[Plan]:
    """The plans whose detector is in none of their folders, and those of the folds whose scores are in none."""
    found = []
    for each, own in zip(plans, places, strict=True):
        stores = [DetectorStore(place, name, experiment.methods[name], {}) for place in own]
        whole = not any(store.path(each.name).exists() for store in stores)
        folds = experiment.folds.count if _missing(experiment, name, own) - {SOURCE} else 0
        found += [each] * (whole + folds)
    return found


def _missing(experiment: Experiment, name: str, places: Sequence[Path]) -> set[str]:
    """The kinds of a method's scores that others read and none of a plan's folders holds."""
    read = folds_read(experiment.methods)[name]
    return {kind for kind in read if not any(out_of_fold_file(place, name, kind).exists() for place in places)}


def _width(experiment: Experiment, method: Method) -> int:
    """Of the features that a method reads."""
    return backbones.get(experiment.features.backbone).dimension if method.inputs() else 0


def _inputs(experiment: Experiment, count: int) -> tuple[float, float]:
    """Bytes of the prepared frames and of the features of so many videos."""
    width = backbones.get(experiment.features.backbone).dimension
    number = np.dtype(experiment.features.store_dtype).itemsize
    records = features = 0.0
    for name in renditions_read(experiment):
        rendition = experiment.renditions[name]
        raw = rendition.size**2 * 3 * rendition.most_frames
        records += count * raw * (1 if experiment.preparation.records == "raw" else _PNG)
        features += count * rendition.most_frames * width * number
    return records, features
