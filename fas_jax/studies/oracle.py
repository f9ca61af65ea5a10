"""What choosing the epoch on the target would have claimed; never a part of what chooses.

A finished run is trained a second time, in a folder of its own, with an observer that scores validation and test
videos at every look. The first training has read no target by then, and the second, which ends with the same
parameters, bit for bit (this is checked), tells nothing to anybody but the report.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fas_jax import crossdataset
from fas_jax.base.errors import UserError
from fas_jax.base.settings import Experiment
from fas_jax.crossdataset import Trained, Trial
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.features.corpus import Corpus, Pool
from fas_jax.methods.stacking import BASE_MODELS, META, fuse, predict_ensemble, stack_predictions
from fas_jax.models.architecture import Params
from fas_jax.reporting.grid import Grid
from fas_jax.reporting.naming import model_name, protocol_name
from fas_jax.reporting.page import ExtraTable
from fas_jax.training.fitting import Clips, Observer, predict

_TEXT = (
    "HTER in %. Honest: epoch and threshold from the sources. Best epoch on the target: the lowest HTER of all looks, "
    "each with its own threshold from validation. Best epoch and threshold on the target: the lowest EER of all "
    "looks, with the threshold chosen there, too - as many published figures are. The gap is what the two choices "
    "hide. Means over seeds; for the size of the noise see the intervals of the cross-dataset table."
)


@dataclass(frozen=True)
class Look:
    """What a model, stopped at this epoch, would reach."""

    model: str
    trial: int
    epoch: int
    hter: float
    """On the target, at the threshold from validation."""
    target_eer: float
    """On the target, at the target's own threshold."""
    auc: float


@dataclass(frozen=True)
class _Side:
    """The videos of one role: their clips, and each trial's rows of them."""

    pool: Pool
    clips: Clips
    rows: list[Int[np.ndarray, " m"]]


def watch(
    experiment: Experiment,
    trials: Sequence[Trial],
    corpus: Corpus,
    folder: Path,
    trained: Trained,
) -> tuple[Look, ...]:
    """Every look of every kept model, judged on the target.

    Args:
        experiment: Settings of the finished run.
        trials: Its protocols and seeds.
        corpus: All datasets.
        folder: For the second training; removed first, and again at the end.
        trained: What the first training left.

    Raises:
        UserError: the second training ended with other parameters than the first.
    """
    sides = {}
    for role in (VALIDATION, TEST):
        parts = [getattr(trial.assignment, role) for trial in trials]
        pool = corpus.open(np.concatenate(parts))
        rows = [pool.find(part) for part in parts]
        sides[role] = _Side(pool, pool.clips(experiment.training.resident_mb), rows)
    # The meta-learner's inputs do not change while it learns: the base models are finished by then.
    stacked = {
        role: side.clips._replace(features=_meta_inputs(experiment, trained, side)) for role, side in sides.items()
    }
    looks: list[Look] = []

    def observer(model: str, start: int) -> Observer:
        every = experiment.stacking.folds + 1 if model in BASE_MODELS else 1

        def observe(epoch: int, params: Params) -> None:
            count = len(jax.tree.leaves(params)[0])
            kept = [at for at in range(count) if (start + at) % every == 0]
            if not kept:
                return
            picked = [(start + at) // every for at in kept]
            own = jax.tree.map(lambda leaf: leaf[np.array(kept)], params)
            scores = {
                role: _scores(experiment, trained, model, own, sides[role], picked, stacked[role]) for role in sides
            }
            for number, trial in enumerate(picked):
                looks.append(_judge(model, trial, epoch, *(scores[role][number] for role in (VALIDATION, TEST))))

        return observe

    shutil.rmtree(folder, ignore_errors=True)
    again = crossdataset.train(experiment, trials, corpus, folder, observer)
    same = jax.tree.map(np.array_equal, again.ensemble.params, trained.ensemble.params)
    if not all(jax.tree.leaves(same)):
        raise UserError(f"{folder}: training a second time gave other parameters; were settings or devices changed?")
    shutil.rmtree(folder)
    return tuple(looks)


def table(looks: Sequence[Look], trials: Sequence[Trial], trained_epochs: dict[tuple[str, int], int]) -> ExtraTable:
    """Honest figures first, then what the two choices on the target would have claimed.

    Args:
        looks: Of `watch`.
        trials: Which the looks' numbers point into.
        trained_epochs: The epoch that validation chose, by model and trial.
    """
    rows = []
    for protocol in dict.fromkeys(trial.protocol.name for trial in trials):
        for model in (*BASE_MODELS, META):
            figures = []
            for number, trial in enumerate(trials):
                own = [look for look in looks if (look.model, look.trial) == (model, number)]
                if trial.protocol.name == protocol and own:
                    chosen = next(look for look in own if look.epoch == trained_epochs[model, number])
                    figures.append((chosen.hter, min(look.hter for look in own), min(look.target_eer for look in own)))
            honest, epoch, both = np.mean(figures, axis=0)
            cells = [f"{100 * value:.2f}" for value in (honest, epoch, both, honest - both)]
            rows.append([protocol_name(protocol), model_name(model), *cells])
    header = ["protocol", "model", "honest", "best epoch on the target", "best epoch and threshold there", "gap"]
    return ExtraTable("Epoch chosen on the target", _TEXT, Grid(header, rows))


def _meta_inputs(experiment: Experiment, trained: Trained, side: _Side) -> Float[Array, "r n t d"]:
    found = predict_ensemble(trained.ensemble, side.clips, side.rows, experiment.training)
    return jnp.asarray(stack_predictions(found, side.rows, side.clips.mask.shape, trained.ensemble.combine))


def _scores(
    experiment: Experiment,
    trained: Trained,
    model: str,
    params: Params,
    side: _Side,
    trials: Sequence[int],
    stacked: Clips,
) -> list[tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]]]:
    """Scores and labels of each trial's videos."""
    clips = side.clips
    if model == META:
        clips = stacked._replace(features=stacked.features[np.array(trials)])
    rows = [side.rows[trial] for trial in trials]
    frames = predict(trained.ensemble.architectures[model], params, clips, rows, settings=experiment.training)
    labels = np.asarray(side.clips.labels)
    return [
        (fuse(values, side.pool.mask[own], experiment.evaluation.fusion), labels[own])
        for values, own in zip(frames, rows, strict=True)
    ]


def _judge(
    model: str,
    trial: int,
    epoch: int,
    validation: tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]],
    test: tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"]],
) -> Look:
    tau = metrics.eer_threshold(*validation)
    return Look(
        model=model,
        trial=trial,
        epoch=epoch,
        hter=metrics.rates(*test, tau).hter,
        target_eer=metrics.rates(*test, metrics.eer_threshold(*test)).hter,
        auc=metrics.auc(*test),
    )
