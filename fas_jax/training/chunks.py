"""Runs that are more than the memory holds, trained side by side in waves; what is finished stays on disk."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.parameters import load_about, load_tree, save_tree
from fas_jax.base.settings import Training, to_dict
from fas_jax.models.architecture import Architecture
from fas_jax.runtime import devices
from fas_jax.training import streaming
from fas_jax.training.checkpoints import Checkpoints, describe_differences, known_settings
from fas_jax.training.events import EventFiles
from fas_jax.training.fitting import Clips, Fit, Observer, Run, fit, wave_size

# Settings that say how the work is done and not what comes out, beyond the order of sums.
FREE = (
    "runs_per_program", "run_devices", "resident_mb", "part_mb", "mapping", "checkpoint_every", "events", "profile"
)  # fmt: skip


def train_in_waves(
    name: str,
    architecture: Architecture,
    runs: Sequence[Run],
    clips: Clips,
    settings: Training,
    folder: Path,
    data: str,
    observe: Callable[[str, int], Observer] | None = None,
    *,
    keep: Callable[[int, Fit], dict[str, Any]] | None = None,
    all_may_fail: bool = False,
) -> list[dict[str, Any]]:
    """What `fit` found of every wave, in order: `params`, `best_epoch`, `failed`, `history`.

    Finished waves are read from `folder`/models and not trained again; an unfinished one goes on from its checkpoint
    in `folder`/checkpoints. With `settings.events`, learning curves go to `folder`/events.

    Args:
        name: Of the files.
        architecture: Of all runs.
        runs: At least one.
        clips: What the runs' indices point into.
        settings: Optimiser, batch and early stopping.
        folder: For checkpoints and what is finished.
        data: Fingerprint of the features, so that models of other data are refused.
        observe: Gives, for `name` and the position of a wave's first run, who is shown that wave's looks.
        keep: Makes of the position of a wave's first run and of what `fit` found the arrays to keep instead.
        all_may_fail: See `fit`.

    Raises:
        UserError: `folder` holds models of other settings or data, or as `fit` does.
    """
    waves: list[dict[str, Any]] = []
    start = 0
    while start < len(runs):
        path = _path(folder, name, start)
        unfinished = folder / "checkpoints" / path.stem
        end = start + _wave(architecture, runs, start, clips, settings, path, unfinished)
        about = {
            "model": name,
            "architecture": repr(architecture),
            "training": binding(settings),
            "runs": [_describe(run) for run in runs[start:end]],
            "data": data,
        }
        if path.exists():
            tree, known = load_tree(path)
            if differences := describe_differences(known, about):
                raise UserError(
                    f"{path} was trained with other settings ({'; '.join(differences)}); "
                    "choose another --name, or remove the run's folder"
                )
        else:
            shown = observe(name, start) if observe else None
            with _events(settings, folder / "events", path.stem, runs[start:end]) as watch:
                found = fit(
                    architecture,
                    runs[start:end],
                    streaming.of_runs(clips, np.arange(start, end)),
                    settings,
                    Checkpoints(unfinished, about),
                    title=f"{name}, runs {start + 1} to {end} of {len(runs)}",
                    observe=shown,
                    watch=watch,
                    all_may_fail=all_may_fail,
                )
            tree = keep(start, found) if keep else dict(vars(found))
            if devices.is_first():
                save_tree(path, tree, about)
                shutil.rmtree(unfinished)
            devices.wait_for_all(str(path))
        waves.append(tree)
        start = end
    return waves


def is_trained(name: str, count: int, folder: Path) -> bool:
    """Whether all waves of so many runs are finished in `folder`."""
    done = 0
    while done < count and (path := _path(folder, name, done)).exists():
        done += len(load_about(path)["runs"])
    return done >= count


def _path(folder: Path, name: str, start: int) -> Path:
    return folder / "models" / f"{name}-{start:04d}.safetensors"


def _events(settings: Training, folder: Path, program: str, runs: Sequence[Run]) -> AbstractContextManager[Any]:
    if not settings.events or not devices.is_first():
        return nullcontext()
    return EventFiles(folder, program, [run.name for run in runs])


def _wave(
    architecture: Architecture,
    runs: Sequence[Run],
    start: int,
    clips: Clips,
    settings: Training,
    path: Path,
    unfinished: Path,
) -> int:
    """How many runs are trained side by side from `start` on: what was begun so, or what the memory holds."""
    left = len(runs) - start
    if path.exists():
        return min(left, len(load_about(path)["runs"]))
    if known := known_settings(unfinished):
        return min(left, len(known["runs"]))
    if settings.runs_per_program:
        return min(left, settings.runs_per_program)
    size = wave_size(architecture, left, clips, settings)
    if size < left:
        # Waves of one size, so that they are one program.
        waves = -(-left // size)
        size = -(-left // waves)
        print(
            f"{path.stem}: {left} runs are more than the memory holds; "
            f"they are trained in {waves} waves of up to {size}",
            flush=True,
        )
    return size


def binding(settings: Training) -> dict[str, Any]:
    """The settings that change what comes out, JSON-able."""
    return {name: value for name, value in to_dict(settings).items() if name not in FREE}


def _describe(run: Run) -> dict[str, Any]:
    own = {
        name: getattr(run, name)
        for name in ("learning_rate", "weight_decay", "class_weights", "balance")
        if getattr(run, name) is not None
    }
    if run.start is not None:
        own["start"] = repr(run.start)
    clips = fingerprint([run.train.tolist(), run.validation.tolist()])
    return {"name": run.name, "seed": run.seed, "clips": clips, **own}
