"""Runs that are more than the memory holds, trained side by side in chunks; what is finished stays on disk."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.parameters import load_about, load_tree, save_tree
from fas_jax.base.settings import Training
from fas_jax.models.architecture import Architecture
from fas_jax.runtime import devices
from fas_jax.training import snapshots, streaming
from fas_jax.training.checkpoints import Checkpoints, describe_differences, known_settings
from fas_jax.training.events import EventFiles
from fas_jax.training.fitting import Clips, Run, chunk_size, fit

# Raised when the same settings, data and architecture train to other parameters.
VERSION = 2


def train_in_chunks(
    name: str,
    architecture: Architecture,
    runs: Sequence[Run],
    clips: Clips,
    settings: Training,
    *,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    snapshots_of: Sequence[int] = (),
    all_may_fail: bool = False,
) -> list[dict[str, Any]]:
    """What `fit` found of every chunk of runs, in order: `params`, `best_epoch`, `failed`, `history`.

    Finished chunks are read from `folder`/models and not trained again; an unfinished one goes on from its checkpoint
    in `folder`/checkpoints. With `settings.events`, learning curves go to `folder`/events.

    Args:
        name: Of the files.
        architecture: Of all runs.
        runs: At least one.
        clips: What the runs' indices point into.
        settings: Optimiser, batch and early stopping.
        folder: For checkpoints and what is finished; None keeps nothing.
        identity: What decides the result besides runs and architecture, JSON-able, so that models of other settings or
            data are refused.
        snapshots_of: Runs whose parameters are kept at every validation, if `settings.snapshots`.
        all_may_fail: See `fit`.

    Raises:
        UserError: `folder` holds models of other settings or data, or as `fit` does.
    """
    if folder is None:
        return [dict(vars(fit(architecture, runs, clips, settings, title=name, all_may_fail=all_may_fail)))]
    chunks: list[dict[str, Any]] = []
    start = 0
    while start < len(runs):
        path = _path(folder, name, start)
        unfinished = folder / "checkpoints" / path.stem
        end = start + _chunk(architecture, runs, start, clips, settings, path, unfinished)
        about = {
            "model": name,
            "architecture": repr(architecture),
            "loop": VERSION,
            **(identity or {}),
            "runs": [_describe(run) for run in runs[start:end]],
        }
        if path.exists():
            tree, known = load_tree(path)
            if differences := describe_differences(known, about):
                raise UserError(
                    f"{path} was trained with other settings ({'; '.join(differences)}); "
                    "choose another --name, or remove the run's folder"
                )
        else:
            kept = [run for run in snapshots_of if start <= run < end] if settings.snapshots else []
            with _events(settings, folder / "events", name, path.stem, runs[start:end]) as watch:
                found = fit(
                    architecture,
                    runs[start:end],
                    streaming.of_runs(clips, np.arange(start, end)),
                    settings,
                    Checkpoints(unfinished, about),
                    title=f"{name}, runs {start + 1} to {end} of {len(runs)}",
                    observe=snapshots.keeper(folder, name, kept, start, runs) if kept else None,
                    watch=watch,
                    all_may_fail=all_may_fail,
                )
            tree = dict(vars(found))
            if devices.is_first():
                save_tree(path, tree, about)
                shutil.rmtree(unfinished)
            devices.wait_for_all(str(path))
        chunks.append(tree)
        start = end
    return chunks


def _path(folder: Path, name: str, start: int) -> Path:
    return folder / "models" / f"{name}-{start:04d}.safetensors"


def _events(
    settings: Training, folder: Path, name: str, program: str, runs: Sequence[Run]
) -> AbstractContextManager[Any]:
    if not settings.events or not devices.is_first():
        return nullcontext()
    about = {"method": name, "devices": devices.describe()}
    return EventFiles(folder, program, [run.name for run in runs], about)


def _chunk(
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
    size = chunk_size(architecture, left, clips, settings)
    if size < left:
        # Chunks of one size, so that they are one program.
        chunks = -(-left // size)
        size = -(-left // chunks)
        print(
            f"{path.stem}: {left} runs are more than the memory holds; "
            f"they are trained in {chunks} chunks of up to {size}",
            flush=True,
        )
    return size


def _describe(run: Run) -> dict[str, Any]:
    own = {
        name: getattr(run, name)
        for name in ("learning_rate", "weight_decay", "class_weights", "balance")
        if getattr(run, name) is not None
    }
    if run.start is not None:
        own["start"] = repr(run.start)
    clips = run.clips or fingerprint([run.train.tolist(), run.validation.tolist()])
    return {"name": run.name, "seed": run.seed, "clips": clips, **own}
