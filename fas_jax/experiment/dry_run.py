"""What a training would take, before it is begun: fittings, steps, hours at a measured rate, disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.experiment.fitting import cross_source_folder
from fas_jax.experiment.out_of_fold import SOURCE, folds_read, out_of_fold_file
from fas_jax.experiment.planning import LEFT_OUT, Plan, cross_source_plans
from fas_jax.experiment.run import CONFIG, TASKS, divide_further, join_run, read_run, run_folder
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
    preparation, extraction, validation and scoring.

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
    """The plans for which a method is fitted, once for each fitting; without those that the run's folder holds."""
    readers, folder = folds_read(experiment.methods)[name], run_folder(experiment)
    whole, folds, by_source = _lacking(experiment, name, folder, plans, readers)
    found = [each for each in plans for _ in range(whole + folds)]
    if by_source:
        found += [each for _, each in cross_source_plans(plans, videos)]
    evaluation = experiment.evaluation
    if evaluation.threshold_from == LEFT_OUT or (
        evaluation.selection == LEFT_OUT and name in needed(experiment.methods)
    ):
        inner = [each for _, each in cross_source_plans(plans, videos)]
        whole, folds, _ = _lacking(experiment, name, cross_source_folder(folder), inner, readers)
        found += [each for each in inner for _ in range(whole + folds)]
    return found


def _lacking(
    experiment: Experiment, name: str, folder: Path, plans: Sequence[Plan], readers: frozenset[str]
) -> tuple[int, int, bool]:
    """What a folder lacks of a method: whole fittings of each plan, its folds, and fittings without each source."""
    store = DetectorStore(folder, name, experiment.methods[name], {})
    missing = {kind for kind in readers if not out_of_fold_file(folder, name, kind).exists()}
    whole = not all(store.path(each.name).exists() for each in plans)
    return int(whole), experiment.folds.count if missing - {SOURCE} else 0, SOURCE in missing


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
