"""The folder of a run: what it was configured with, what it read, and how long its stages took."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fas_jax.base.attributes import Attributes, write_attributes
from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import plain_name, read_json, write_json
from fas_jax.base.locks import is_lock
from fas_jax.experiment.configuration import Experiment, experiment_from_dict, experiment_to_dict
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.detectors import DetectorStore
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import identity
from fas_jax.runtime import devices
from fas_jax.training.checkpoints import describe_differences

FORMAT = 2
IN_USE = "wait until it has ended, or choose another --name"
"""What to do where another process is at work in a run's folder."""
CONFIG, INPUTS, TIMINGS, ATTRIBUTES = "config.json", "inputs.json", "timings.json", "attributes.json"
SHIFTED_STORES = "shifted_stores"
LEFT = "left.json"
"""In a run's folder: the methods that left it before their training had ended, whose models it still holds."""
TASKS = "tasks"
"""In a run's folder: what the tasks of a job array have made until `collecting.collect` puts it together."""


def run_folder(experiment: Experiment) -> Path:
    """Where the run is, or will be.

    Raises:
        UserError: Its name would lead to another place.
    """
    if not experiment.name or Path(experiment.name).name != experiment.name or experiment.name in (".", ".."):
        raise UserError(f"name must be a plain folder name, not {experiment.name!r}")
    return Path(experiment.runs) / experiment.name


@contextmanager
def only_job(experiment: Experiment) -> Iterator[None]:
    """Keeps other jobs out of the run's folder while the block runs; all processes of this job must come to it.

    Raises:
        UserError: Another job is at work there.
    """
    with devices.job_locked(run_folder(experiment), IN_USE):
        yield


def task_folder(run: Path, method: str) -> Path:
    """Where the tasks of a job array that train a method keep what they make; the first of them makes it."""
    return run / TASKS / plain_name(method)


def open_run(experiment: Experiment) -> tuple[Path, Experiment]:
    """Makes the run's folder, or goes on in it if it was made with the same settings.

    Methods that the run does not know yet join it. Of those that it knows and the experiment does not name, those that
    are trained stay in it; the others leave it, and whoever names them later goes on where their training stopped.

    Returns:
        The folder, and the experiment with all methods of the run.

    Raises:
        UserError: A setting that decides results differs from the run's, an older version made the folder, it holds
            something else, or a job array trains methods that the experiment does not name.
    """
    folder, joined = run_folder(experiment), join_run(experiment)
    kept, left = divide_further(experiment, joined)
    if waiting := [name for name in left if task_folder(folder, name).exists()]:
        raise UserError(
            f"the tasks of a job array train {', '.join(waiting)} in {folder}; put them together first (fas-jax "
            "collect), name these methods, too, or choose another --name"
        )
    if kept:
        print(f"{folder} holds further methods, which stay in its report: {', '.join(kept)}", flush=True)
    if left:
        print(
            f"{folder} also holds {', '.join(left)}, not asked for and not trained to the end: not in its report; a "
            "command that names them goes on with their training",
            flush=True,
        )
    methods = {name: method for name, method in joined.methods.items() if name not in left}
    joined = dataclasses.replace(joined, methods=methods)
    if gone := [name for name in dict.fromkeys([*read_left(folder), *left]) if name not in methods]:
        write_json(folder / LEFT, gone)
    else:
        (folder / LEFT).unlink(missing_ok=True)
    write_json(folder / CONFIG, {"format": FORMAT, **experiment_to_dict(joined)})
    return folder, joined


def read_left(folder: Path) -> list[str]:
    """The methods that left a run before their training had ended, and have not joined it again."""
    found: list[str] = read_json(folder / LEFT) if (folder / LEFT).exists() else []
    return found


def divide_further(experiment: Experiment, joined: Experiment) -> tuple[list[str], list[str]]:
    """The methods of a run that an experiment does not name: those whose detectors are all there, and the others.

    Args:
        experiment: What was asked for.
        joined: The same, as `join_run` gives it.
    """
    folder = run_folder(experiment)
    further = [name for name in joined.methods if name not in experiment.methods]
    plans = read_inputs(folder)["plans"] if (folder / INPUTS).exists() else []
    trained = [
        name
        for name in further
        if plans and all(DetectorStore(folder, name, joined.methods[name], {}).path(each).exists() for each in plans)
    ]
    return trained, [name for name in further if name not in trained]


def join_run(experiment: Experiment) -> Experiment:
    """The experiment with all methods that its run has or will have; writes nothing.

    Raises:
        UserError: As `open_run`.
    """
    folder = run_folder(experiment)
    if (folder / CONFIG).exists():
        known = read_run(folder)
        differences = describe_differences(_binding(known), _binding(experiment))
        for name in known.methods.keys() & experiment.methods.keys():
            own, other = (identity(each.methods[name]) for each in (known, experiment))
            differences += describe_differences(own, other, f"methods.{name}")
        if differences:
            raise UserError(
                f"{folder} was made with other settings ({'; '.join(differences)}); choose another --name, or remove it"
            )
        return dataclasses.replace(experiment, methods={**known.methods, **experiment.methods})
    if folder.exists() and any(not is_lock(path) and path.name != TASKS for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no run; choose another --name, or remove it")
    return experiment


def read_run(folder: Path) -> Experiment:
    """The experiment of a run, from its folder.

    Raises:
        UserError: There is no run, or an older version made it.
    """
    path = Path(folder) / CONFIG
    if not path.exists():
        raise UserError(f"{folder} is no run (no {CONFIG}); fas-jax run and fas-jax train make runs")
    table = read_json(path)
    if table.pop("format", 1) != FORMAT:
        raise UserError(
            f"{folder} was made by an older version, whose models this one cannot read; train again under another "
            "--name, with one [methods.NAME] table for each method"
        )
    return experiment_from_dict(table, str(path))


def write_inputs(folder: Path, corpus: Corpus, about: dict[str, Any], shifted: Corpus | None = None) -> None:
    """Notes where the inputs of a run are, and what they were made from, for `open_inputs` and for reports."""

    def places(of: Corpus) -> dict[str, Any]:
        return {
            name: [{"path": str(store.path.resolve()), "fingerprint": store.fingerprint} for store in own]
            for name, own in of.stores.items()
        }

    further = {SHIFTED_STORES: places(shifted)} if shifted else {}
    write_json(folder / INPUTS, {"stores": places(corpus), **further, **about})


def write_run_attributes(folder: Path, attributes: Mapping[str, Attributes]) -> None:
    """Notes the attributes of the inputs' videos, by dataset, for the tables of scores."""
    write_attributes(Path(folder) / ATTRIBUTES, {name: own for name, own in attributes.items() if own})


def read_run_attributes(folder: Path) -> dict[str, Attributes]:
    """What `write_run_attributes` noted."""
    path = Path(folder) / ATTRIBUTES
    return read_json(path) if path.exists() else {}


def read_inputs(folder: Path) -> dict[str, Any]:
    """What `write_inputs` noted.

    Raises:
        UserError: The run has not been trained.
    """
    if not (Path(folder) / INPUTS).exists():
        raise UserError(f"{folder} has not been trained yet; run fas-jax train with its settings first")
    found: dict[str, Any] = read_json(Path(folder) / INPUTS)
    return found


def open_inputs(folder: Path, cache: Path | None = None, which: str = "stores") -> Corpus:
    """The stored inputs of a trained run.

    Args:
        folder: Of the run.
        cache: Where the cache is now, if it was moved.
        which: `stores`, or `SHIFTED_STORES` for the validation videos with their frames shifted.

    Raises:
        UserError: A store is not where it was, or holds something else now.
    """
    stores: dict[str, list[FeatureStore]] = {}
    inputs = read_inputs(folder)
    for rendition, rows in inputs[which].items():
        for row in rows:
            known = Path(row["path"])
            path = known if cache is None else cache / "features" / known.name
            if not path.exists():
                raise UserError(
                    f"the features that {folder} was trained on are not in {path}; name the cache that holds them by "
                    "--cache, or extract them again by fas-jax train with the run's settings"
                )
            store = FeatureStore.open(path)
            if store.fingerprint != row["fingerprint"]:
                raise UserError(f"{path} holds other features than {folder} was trained on")
            stores.setdefault(rendition, []).append(store)
    # The prepared frames are not the shifted ones.
    prepared = [Path(name) for name in inputs.get("prepared", ()) if which != SHIFTED_STORES]
    return Corpus.of(stores, [path if cache is None else cache / "prepared" / path.name for path in prepared])


class Seconds:
    """Time spent in every stage, kept over interruptions; a stage that found its work done adds next to nothing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / TIMINGS
        self.known: dict[str, float] = read_json(self._path) if self._path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures the block, and announces it."""
        if devices.is_first():
            print(f"[{name}]", flush=True)
        start = time.monotonic()
        try:
            yield
        finally:
            self.known[name] = round(self.known.get(name, 0) + time.monotonic() - start, 2)
            if devices.is_first():
                write_json(self._path, self.known)


def _binding(experiment: Experiment) -> dict[str, Any]:
    """What decides the results besides the methods."""
    return key(dataclasses.replace(experiment, methods={}))
