"""The ensemble: three recurrent base models and the meta-learner stacked on them (paper, section 3.4).

The meta-learner is trained on out-of-fold predictions (Wolpert 1992): those of base models that have not seen the
subject. One validation part, seen by no model, stops all of them.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fas_jax.base.settings import Experiment, Models, Training
from fas_jax.methods.stacked_inputs import StackedInputs, add_scores
from fas_jax.models.architecture import Params
from fas_jax.models.recurrent import Initialisation, Kind, RecurrentClassifier
from fas_jax.training.chunks import is_trained, train_in_waves
from fas_jax.training.fitting import Clips, Observer, Run, predict
from fas_jax.training.stopping import describe_failures

BASE_MODELS: tuple[Kind, ...] = ("lstm", "bilstm", "gru")
META = "meta"


@dataclass(frozen=True)
class Task:
    """One protocol with one seed: what an ensemble is trained for."""

    name: str
    seed: int
    train: Int[np.ndarray, " n"]
    """Rows of the features, as are the others."""
    fold: Int[np.ndarray, " n"]
    """The subject-disjoint fold of each row of `train`."""
    validation: Int[np.ndarray, " m"]


@dataclass(frozen=True)
class Ensemble:
    """Trained models, for each of several tasks."""

    architectures: dict[str, RecurrentClassifier]
    """By model: lstm, bilstm, gru, meta."""
    params: dict[str, Params]
    """By model; each leaf has a leading axis of tasks."""
    combine: Literal["concat", "sum"]

    def select(self, task: int) -> "Ensemble":
        """The ensemble of one task alone."""
        params = jax.tree.map(lambda leaf: leaf[task : task + 1], self.params)
        return dataclasses.replace(self, params=params)


def build_architectures(models: Models, features: int, combine: str) -> dict[str, RecurrentClassifier]:
    """The four models' shapes for features of a given width."""

    def initialisation(name: str) -> Initialisation:
        if models.initialisation != "paper":
            return models.initialisation
        # The authors' code sets He for all but the base LSTM, which keeps its layer's defaults.
        return "orthogonal" if name == "lstm" else "he"

    shapes: dict[str, RecurrentClassifier] = {
        kind: RecurrentClassifier(kind, features, getattr(models, kind), initialisation(kind)) for kind in BASE_MODELS
    }
    return {**shapes, META: RecurrentClassifier("lstm", _joint_width(combine), models.meta, initialisation(META))}


def train_ensemble(
    tasks: Sequence[Task],
    clips: Clips,
    experiment: Experiment,
    folder: Path,
    data: str,
    observe: Callable[[str, int], Observer] | None = None,
) -> Ensemble:
    """Trains the base models, their out-of-fold siblings, and the meta-learner of every task.

    Finished models are kept in `folder` and not trained again; an interrupted training goes on.

    Args:
        tasks: What to train for.
        clips: Features of all clips that any task trains or validates on, and of no other.
        experiment: Settings.
        folder: For checkpoints and finished models.
        data: Fingerprint of the features, so that models of other data are refused.
        observe: Gives, for a model and the position of a program's first run, who is shown that program's looks (see
            `fit`). Of a base model's runs, every `folds + 1`th is the one that is kept.

    Raises:
        UserError: `folder` holds models of other settings or data, or a task's clips lack a class.
    """
    combine, folds = experiment.stacking.combine, experiment.stacking.folds
    architectures = build_architectures(experiment.models, clips.features.shape[-1], combine)
    # Of each task the model that is kept, trained on all of `train`, then one for each fold left out.
    runs = [run for task in tasks for run in _base_runs(task, folds)]
    rows = [rows for task in tasks for rows in (task.validation, *_folds(task, folds))]
    params: dict[str, Params] = {}
    settings = dataclasses.replace(
        experiment.training,
        max_epochs=experiment.stacking.max_epochs,
        learning_rate=experiment.stacking.learning_rate,
    )
    meta_runs = [Run(task.name, task.seed, task.train, task.validation) for task in tasks]
    # Meta-learners that are finished are read, and need no inputs.
    there = is_trained(META, len(meta_runs), folder)
    shape = (len(tasks), *clips.mask.shape, architectures[META].features)
    with nullcontext() if there else StackedInputs.scratch(shape, folder) as stacked:
        for kind in BASE_MODELS:
            trained = _train(kind, architectures[kind], runs, clips, experiment.training, folder, data, observe)
            if stacked:
                _stack(stacked, kind, architectures[kind], trained, clips, rows, experiment)
            params[kind] = jax.tree.map(lambda leaf: leaf[:: folds + 1], trained)
        meta_clips = clips._replace(features=stacked) if stacked else clips
        params[META] = _train(META, architectures[META], meta_runs, meta_clips, settings, folder, data, observe)
    return Ensemble(architectures, params, combine)


def predict_ensemble(
    ensemble: Ensemble, clips: Clips, rows: Sequence[Int[np.ndarray, " m"]], settings: Training | None = None
) -> dict[str, list[Float[np.ndarray, "m t"]]]:
    """P(bona fide) at every frame by every model.

    Args:
        ensemble: Of as many tasks as `rows` has entries.
        clips: What the rows point into.
        rows: The clips to score for each task.
        settings: Say which features are streamed, and how much at a time.
    """
    settings = settings or Training()
    found: dict[str, list[np.ndarray]] = {
        kind: predict(ensemble.architectures[kind], ensemble.params[kind], clips, rows, settings=settings)
        for kind in BASE_MODELS
    }
    stacked = stack_predictions(found, rows, clips.mask.shape, ensemble.combine)
    meta_clips = clips._replace(features=stacked)
    found[META] = predict(ensemble.architectures[META], ensemble.params[META], meta_clips, rows, settings=settings)
    return found


def stack_predictions(
    base: Mapping[str, Sequence[Float[np.ndarray, "m t"]]],
    rows: Sequence[Int[np.ndarray, " m"]],
    shape: tuple[int, ...],
    combine: str,
) -> Float[np.ndarray, "r n t d"]:
    """The meta-learner's inputs from the base models' P(bona fide), zero at clips that are not scored."""
    stacked = np.zeros((len(rows), *shape, _joint_width(combine)), np.float32)
    for kind in BASE_MODELS:
        for inputs, own, scores in zip(stacked, rows, base[kind], strict=True):
            add_scores(inputs, own, _column(kind, combine), scores)
    return stacked


def fuse(
    probabilities: Float[np.ndarray, "m t"], mask: Bool[np.ndarray, "m t"], fusion: str
) -> Float[np.ndarray, " m"]:
    """A video's score from its frames' P(bona fide): mean, last, median or minimum over the real frames."""
    real = np.where(mask, probabilities.astype(np.float64), np.nan)
    # A run that failed scores nothing; its NaN is not a frame that is missing.
    known = ~np.isnan(probabilities).any(axis=1, where=mask)
    if not known.all():
        found = np.full(len(real), np.nan)
        if known.any():
            found[known] = fuse(probabilities[known], mask[known], fusion)
        return found
    if fusion == "last":
        return real[np.arange(len(mask)), mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)]
    joined: dict[str, Any] = {"mean": np.nanmean, "median": np.nanmedian, "minimum": np.nanmin}
    return joined[fusion](real, axis=1)


def _base_runs(task: Task, folds: int) -> list[Run]:
    whole = Run(task.name, task.seed, task.train, task.validation)
    parts = [
        Run(f"{task.name} without fold {fold}", task.seed, task.train[task.fold != fold], task.validation)
        for fold in range(folds)
    ]
    return [whole, *parts]


def _folds(task: Task, folds: int) -> list[Int[np.ndarray, " n"]]:
    return [task.train[task.fold == fold] for fold in range(folds)]


def _stack(
    stacked: StackedInputs,
    kind: Kind,
    architecture: RecurrentClassifier,
    params: Params,
    clips: Clips,
    rows: Sequence[Int[np.ndarray, " m"]],
    experiment: Experiment,
) -> None:
    """Adds what a base model's runs make of the clips `rows[r]`; each clip of a task is scored by one run of it."""
    scores = predict(architecture, params, clips, rows, settings=experiment.training)
    column = _column(kind, experiment.stacking.combine)
    for number, (own, values) in enumerate(zip(rows, scores, strict=True)):
        stacked.add(number // (experiment.stacking.folds + 1), own, column, values)


def _joint_width(combine: str) -> int:
    """Of the meta-learner's inputs: a pair for each base model, or their sum."""
    return 2 * len(BASE_MODELS) if combine == "concat" else 2


def _column(kind: Kind, combine: str) -> int:
    """Where a base model's probabilities of attack and bona fide go: beside those of the other models, or to them."""
    return 2 * BASE_MODELS.index(kind) if combine == "concat" else 0


def _train(
    name: str,
    architecture: RecurrentClassifier,
    runs: Sequence[Run],
    clips: Clips,
    settings: Training,
    folder: Path,
    data: str,
    observe: Callable[[str, int], Observer] | None,
) -> Params:
    """Parameters of all runs; says which failed."""
    kept = train_in_waves(name, architecture, runs, clips, settings, folder, data, observe)
    if failures := describe_failures([run.name for run in runs], np.concatenate([each["failed"] for each in kept])):
        warnings.warn(f"{name}: {failures}; nothing that depends on these runs is scored", stacklevel=2)
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(each["params"] for each in kept))
