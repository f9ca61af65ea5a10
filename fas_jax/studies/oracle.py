"""What choosing the epoch on the target would have claimed; never a part of what chooses.

A trained run is asked afterwards: the parameters that every validation saw score validation and test videos. Where the
run kept none (`training.snapshots`), it is trained a second time from its stored inputs, in a folder of its own; that
training ends with the same parameters, bit for bit, which is checked.
"""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.locks import locked
from fas_jax.evaluation import metrics
from fas_jax.evaluation.scores import TEST, VALIDATION
from fas_jax.evaluation.thresholds import threshold_by
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.experiment.fitting import Fitted, fit_methods
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import Plan, plan
from fas_jax.experiment.results import stored_detectors
from fas_jax.experiment.run import IN_USE, open_inputs, read_inputs, read_run
from fas_jax.experiment.scoring import keep_frames, score_clips
from fas_jax.methods.base import Desk, Detector, Failed
from fas_jax.methods.data import Rows, Scores
from fas_jax.methods.registry import in_order, read_by_others
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import model_name, protocol_name
from fas_jax.training.snapshots import read_snapshots

_TEXT = (
    "HTER in %. Honest: epoch and threshold from the sources. Best epoch on the target: the lowest HTER of all epochs "
    "that were validated, each with its own {rule} threshold from validation. Best epoch and threshold on the target: "
    "the lowest EER of all these epochs, with the threshold chosen there, too - as many published figures are. The gap "
    "is what the two choices hide. Means over seeds; for the size of the noise see the intervals of the cross-dataset "
    "table."
)


@dataclass(frozen=True)
class Reached:
    """What a method, stopped at one epoch, reaches under one protocol and seed; NaN where it is undefined."""

    method: str
    plan: str
    epoch: int
    chosen: bool
    """Whether it has the parameters that validation chose."""
    hter: float
    """On the target, at the threshold from validation."""
    target_eer: float
    """On the target, at the target's own threshold."""
    auc: float


def watch_target(folder: Path, cache: Path | None = None) -> ExtraTable:
    """Scores the target after every epoch that was validated, of all methods that have epochs.

    Writes `oracle.json` into the run's folder, and the table for the run's next report.

    Args:
        folder: Of a trained run.
        cache: Where the cache with the run's inputs is now, if it was moved.

    Raises:
        UserError: The run is not trained, its inputs are not there, no protocol has a target or no method epochs, or a
            second training gave other parameters than the first, or another process is at work in the run's folder.
    """
    folder = Path(folder)
    experiment, inputs = read_run(folder), read_inputs(folder)
    with locked(folder, IN_USE):
        return _watch(folder, experiment, inputs, cache)


def _watch(folder: Path, experiment: Experiment, inputs: dict[str, Any], cache: Path | None) -> ExtraTable:
    corpus = open_inputs(folder, cache)
    plans = plan(experiment, corpus.videos)
    fitted = stored_detectors(experiment, folder, inputs)
    methods = [name for name, method in experiment.methods.items() if method.epochs]
    if not methods:
        raise UserError(f"no method of {folder} is fitted in epochs, so that none could be chosen on the target")
    if not any(len(each.assignment.test) for each in plans):
        raise UserError(f"no protocol of {folder} tests on a target; add leave-one-out to evaluation.protocols")
    record_readings(experiment, plans, "oracle", cache or stored_cache(inputs))
    if all(_kept(folder, name, plans, fitted) for name in methods):
        found = _reached(experiment, plans, corpus, fitted, folder, methods)
    else:
        again = folder / "oracle"
        _train_again(experiment, plans, corpus, fitted, again)
        found = _reached(experiment, plans, corpus, fitted, again, methods)
        shutil.rmtree(again)
    rows = [dataclasses.asdict(each) for each in found]
    # JSON has no NaN.
    write_json(
        folder / "oracle.json",
        [{name: None if value != value else value for name, value in row.items()} for row in rows],
    )
    table = oracle_table(found, plans, experiment.evaluation.threshold)
    write_extra_table(folder, "1-oracle", table)
    return table


def oracle_table(found: Sequence[Reached], plans: Sequence[Plan], rule: str) -> ExtraTable:
    """Honest figures first, then what the two choices on the target would have claimed."""
    rows = []
    for protocol in dict.fromkeys(each.protocol.name for each in plans):
        names = [each.name for each in plans if each.protocol.name == protocol]
        for method in dict.fromkeys(each.method for each in found if each.plan in names):
            figures = []
            for name in names:
                own = [each for each in found if (each.method, each.plan) == (method, name)]
                if own:
                    chosen = next(each for each in own if each.chosen)
                    best = np.min([(each.hter, each.target_eer) for each in own], axis=0)
                    figures.append((chosen.hter, *best))
            honest, epoch, both = np.mean(figures, axis=0)
            values = (honest, epoch, both, honest - both)
            cells = [UNDEFINED if np.isnan(value) else f"{100 * value:.2f}" for value in values]
            rows.append([protocol_name(protocol), model_name(method), *cells])
    header = ["protocol", "model", "honest", "best epoch on the target", "best epoch and threshold there", "gap"]
    return ExtraTable("Epoch chosen on the target", _TEXT.format(rule=rule), Grid(header, rows))


def _train_again(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, fitted: Fitted, folder: Path) -> None:
    """Trains a second time, now with snapshots; an interrupted training goes on.

    Raises:
        UserError: It ended with other parameters than the first.
    """
    read = read_by_others(experiment.methods)
    needed = {name: method for name, method in experiment.methods.items() if method.epochs or name in read}
    training = dataclasses.replace(experiment.training, snapshots=True, events=False)
    own = dataclasses.replace(experiment, methods=needed, training=training)
    again = fit_methods(own, plans, corpus, folder)
    for name in needed:
        for each, first, second in zip(plans, fitted.detectors[name], again.detectors[name], strict=True):
            if not _equal(first, second):
                raise UserError(
                    f"{folder}: training {name} for {each.name} a second time gave other parameters than the run "
                    "holds; the number of devices or of the fittings side by side is another now, or methods joined "
                    "the run later. Train under another --name with --training.snapshots"
                )


def _equal(one: Detector | Failed, other: Detector | Failed) -> bool:
    if isinstance(one, Failed) or isinstance(other, Failed):
        return isinstance(one, Failed) and isinstance(other, Failed)
    return _same(one.params, other.params)


def _same(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves_with_path(other), strict=True)
    return all(path == again and np.array_equal(leaf, twin) for (path, leaf), (again, twin) in pairs)


def _snapshots(
    folder: Path, name: str, plans: Sequence[Plan], fitted: Fitted
) -> Iterator[tuple[int, dict[int, tuple[Detector, bool]]]]:
    """By epoch, detectors with the parameters after it, by plan, and whether they are those that validation chose."""
    numbers = {each.name: number for number, each in enumerate(plans)}
    for snapshot in read_snapshots(folder, name):
        found = {}
        for row, run in enumerate(snapshot.runs):
            number = numbers[run]
            final = fitted.detectors[name][number]
            if not isinstance(final, Failed):
                params = jax.tree.map(lambda leaf, row=row: leaf[row], snapshot.params)
                found[number] = final.method.rebuild(params, final.about), _same(params, final.params)
        yield snapshot.epoch, found


def _kept(folder: Path, name: str, plans: Sequence[Plan], fitted: Fitted) -> bool:
    """Whether the folder holds snapshots for all detectors of a method: the chosen epoch's are among them."""
    wanted = {number for number, each in enumerate(fitted.detectors[name]) if not isinstance(each, Failed)}
    for _, detectors in _snapshots(folder, name, plans, fitted):
        wanted -= {number for number, (_, chosen) in detectors.items() if chosen}
    return not wanted


@dataclass(frozen=True)
class _Side:
    """The videos of one role."""

    clips: CorpusClips
    """With the finished detectors' scores of frames beside their inputs: a stack reads those in every epoch."""
    rows: Sequence[Rows]
    """By plan."""

    @classmethod
    def open(cls, experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, fitted: Fitted, role: str) -> "_Side":
        parts = [getattr(each.assignment, role) for each in plans]
        clips = corpus.open(np.concatenate(parts))
        rows = [clips.find(part) for part in parts]
        scores = score_clips(experiment, clips, rows, fitted)
        read = read_by_others(experiment.methods)
        for name in in_order(experiment.methods):
            if name in read:
                kept = keep_frames(experiment.methods[name], clips, rows, scores[name])
                clips = clips.with_scores({name: kept})
        return cls(clips, rows)

    def answered(self, number: int, scores: Scores) -> "_Answers":
        """Those of a plan's videos for which there is a decision."""
        rows, known = self.rows[number], ~np.isnan(scores.clip)
        rows = rows[known]
        return _Answers(scores.clip[known], self.clips.labels[rows], np.asarray(self.clips.videos.dataset[rows]))


@dataclass(frozen=True)
class _Answers:
    scores: Float[np.ndarray, " m"]
    labels: Int[np.ndarray, " m"]
    datasets: Shaped[np.ndarray, " m"]


def _reached(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    fitted: Fitted,
    snapshots: Path,
    methods: Sequence[str],
) -> list[Reached]:
    """Every epoch of every method and plan with a target, judged there."""
    sides = {role: _Side.open(experiment, plans, corpus, fitted, role) for role in (VALIDATION, TEST)}
    found = []
    for name in methods:
        kind, desk = type(experiment.methods[name]), Desk(name, experiment.training)
        for epoch, detectors in _snapshots(snapshots, name, plans, fitted):
            own = {number: each for number, each in detectors.items() if len(plans[number].assignment.test)}
            scores: Mapping[str, list[Scores]] = {
                role: kind.score_all(
                    [detector for detector, _ in own.values()],
                    side.clips,
                    [side.rows[number] for number in own],
                    list(own),
                    desk,
                )
                for role, side in sides.items()
            }
            for place, (number, (_, chosen)) in enumerate(own.items()):
                validation, test = (side.answered(number, scores[role][place]) for role, side in sides.items())
                figures = _judge(validation, test, experiment.evaluation.threshold)
                found.append(Reached(name, plans[number].name, epoch, chosen, **figures))
    return found


def _judge(validation: _Answers, test: _Answers, rule: str) -> dict[str, float]:
    """As the report's figures: videos without a decision count in none."""
    figures = dict.fromkeys(("hter", "target_eer", "auc"), np.nan)
    try:
        figures["auc"] = metrics.auc(test.scores, test.labels)
        own = metrics.eer_threshold(test.scores, test.labels)
        figures["target_eer"] = metrics.rates(test.scores, test.labels, own).hter
        tau = threshold_by(rule, validation.scores, validation.labels, validation.datasets)
        figures["hter"] = metrics.rates(test.scores, test.labels, tau).hter
    except metrics.MetricError:
        pass  # undefined, and the table says so
    return figures
