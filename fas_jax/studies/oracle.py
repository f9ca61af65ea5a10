"""What choosing the epoch on the target would have claimed; never a part of what chooses.

A trained run is asked afterwards: the parameters that every validation saw score validation and test videos. Where the
run kept none (`training.snapshots`), it is trained a second time from its stored inputs, in a folder of its own; that
training ends with the same parameters, bit for bit, which is checked.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json
from fas_jax.base.locks import locked
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.epochs import Reached, holds_snapshots, judge_epochs, same_params
from fas_jax.experiment.fitting import Fitted
from fas_jax.experiment.ledger import record_readings, stored_cache
from fas_jax.experiment.planning import Plan, plan
from fas_jax.experiment.results import stored_detectors
from fas_jax.experiment.run import IN_USE, open_inputs, read_inputs, read_run
from fas_jax.experiment.selection import ORACLE, fit_selected
from fas_jax.methods.base import Detector, Failed
from fas_jax.methods.registry import read_by_others
from fas_jax.reporting.extra_tables import BridgeColumn, ExtraTable, write_extra_table
from fas_jax.reporting.grid import UNDEFINED, Grid
from fas_jax.reporting.naming import model_name, protocol_name

_TEXT = (
    "HTER in %. Honest: epoch and threshold from the sources. Best epoch on the target: the lowest HTER of all epochs "
    "that were validated, each with its own {rule} threshold from validation. Best epoch and threshold on the target: "
    "the lowest EER of all these epochs, with the threshold chosen there, too - as many published figures are. The gap "
    "is what the two choices hide. Means over seeds; for the size of the noise see the intervals of the cross-dataset "
    "table."
)


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
    if experiment.evaluation.selection == ORACLE:
        raise UserError(
            f"{folder} has chosen its epochs on the target already (evaluation.selection = {ORACLE}), so that nothing "
            "honest stands beside that choice; ask a run with another selection"
        )
    corpus = open_inputs(folder, cache)
    plans = plan(experiment, corpus.videos)
    fitted = stored_detectors(experiment, folder, inputs)
    methods = [name for name, method in experiment.methods.items() if method.epochs]
    if not methods:
        raise UserError(f"no method of {folder} is fitted in epochs, so that none could be chosen on the target")
    if not any(len(each.assignment.test) for each in plans):
        raise UserError(f"no protocol of {folder} tests on a target; add leave-one-out to evaluation.protocols")
    record_readings(experiment, plans, "oracle", cache or stored_cache(inputs))
    if all(holds_snapshots(folder, name, plans, fitted) for name in methods):
        found = judge_epochs(experiment, plans, corpus, fitted, folder, methods)
    else:
        again = folder / "oracle"
        _train_again(experiment, plans, corpus, fitted, again)
        found = judge_epochs(experiment, plans, corpus, fitted, again, methods)
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
    bridge: dict[str, dict[str, str]] = {}
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
            bridge.setdefault(protocol, {})[method] = cells[2]
    header = ["protocol", "model", "honest", "best epoch on the target", "best epoch and threshold there", "gap"]
    column = BridgeColumn("oracle EER of the best epoch (both on the target)", bridge, on_target=True)
    return ExtraTable("Epoch chosen on the target", _TEXT.format(rule=rule), Grid(header, rows), column)


def _train_again(experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, fitted: Fitted, folder: Path) -> None:
    """Trains a second time, now with snapshots; an interrupted training goes on.

    Raises:
        UserError: It ended with other parameters than the first.
    """
    read = read_by_others(experiment.methods)
    needed = {name: method for name, method in experiment.methods.items() if method.epochs or name in read}
    training = dataclasses.replace(experiment.training, snapshots=True, events=False)
    own = dataclasses.replace(experiment, methods=needed, training=training)
    again = fit_selected(own, plans, corpus, folder)
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
    return same_params(one.params, other.params)
