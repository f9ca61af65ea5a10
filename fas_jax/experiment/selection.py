"""Which epoch a detector keeps, by the names of the literature on domain generalisation (`evaluation.selection`).

- `training-domain`: the epoch that the validation videos of its own sources choose, while it is trained.
- `leave-one-source-out`: every source is left out once. Each epoch of the detectors that have not seen it scores its
  videos, and the epoch with the lowest mean HTER over the sources is kept of the training on all of them; ties are
  broken by AUC, then by the earlier epoch. The thresholds of these figures come from the sources that are left.
- `oracle`: the target's own test videos choose. No deployed system can do that, and every report says so.

The last two choose among the epochs that training reaches: when it stops, `patience` decides as ever.
"""

import dataclasses
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json, write_json
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.scores import SHIFTED
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.epochs import Reached, judge_epochs, snapshot_detectors
from fas_jax.experiment.fitting import Fitted, cross_source_folder, fit_methods, within_sources
from fas_jax.experiment.planning import LEFT_OUT, ORACLE, TRAINING_DOMAIN, Plan, cross_source_plans
from fas_jax.methods.base import Detector, Failed, Method
from fas_jax.methods.registry import below
from fas_jax.protocols.cuts import CLASS_NAMES
from fas_jax.protocols.presets import Protocol, find_preset
from fas_jax.protocols.subjects import number_people
from fas_jax.reporting.extra_tables import write_extra_table
from fas_jax.reporting.selected import Selected, selection_table
from fas_jax.runtime import devices

FEW_SUBJECTS = 5
"""A source with fewer subjects says little; reports warn of it."""
CHOICES = "selection.json"


class Quality(NamedTuple):
    """What an epoch is worth on videos that its detector has not seen; NaN where that is undefined."""

    hter: float
    auc: float


def check_selection(experiment: Experiment, protocols: Sequence[Protocol]) -> None:
    """Raises `UserError` where a preset or a method contradicts other settings of `evaluation`."""
    selection = experiment.evaluation.selection
    on_frames = [
        name for name, each in experiment.methods.items() if any(item.kind == "frames" for item in each.inputs())
    ]
    if experiment.evaluation.threshold_from == SHIFTED and on_frames:
        raise UserError(
            f"{', '.join(on_frames)} reads frames, and evaluation.threshold_from = {SHIFTED} stores only features of "
            "shifted frames; take another way to set the threshold"
        )
    for each in protocols:
        if experiment.evaluation.threshold_from == SHIFTED and find_preset(each.preset).on_target:
            raise UserError(
                f"preset {each.preset} validates on the target, so that evaluation.threshold_from = {SHIFTED} would "
                "set the threshold on shifted videos of the target; take another preset"
            )
        if selection != TRAINING_DOMAIN and find_preset(each.preset).on_target:
            raise UserError(
                f"preset {each.preset} chooses epochs on the target, whatever evaluation.selection says; leave that at "
                f"{TRAINING_DOMAIN}, or take another preset than {each.preset} for {selection}"
            )


def best_epoch(epochs: Sequence[int], judged: Mapping[str, Mapping[int, Quality]]) -> int | None:
    """The epoch of the lowest mean HTER over all judges; of equals the highest mean AUC, then the earliest epoch.

    Args:
        epochs: To choose among, rising.
        judged: By judge (a source that is left out, or the target), the quality of epochs. A training that ended
            before an epoch counts with its last one.

    Returns:
        None where no epoch has a figure by every judge, or there is none.
    """
    ranked = []
    for epoch in epochs if judged else ():
        hter, auc = np.mean([_until(qualities, epoch) for qualities in judged.values()], axis=0)
        if np.isfinite(hter):
            # Equal shares have means that may differ in their last bits.
            ranked.append((round(float(hter), 12), round(-float(auc), 12), epoch))
    return min(ranked)[2] if ranked else None


def _until(qualities: Mapping[int, Quality], epoch: int) -> Quality:
    """Of the last epoch that was judged until then."""
    before = [each for each in qualities if each <= epoch]
    return qualities[max(before)] if before else Quality(np.nan, np.nan)


def fit_selected(
    experiment: Experiment,
    plans: Sequence[Plan],
    corpus: Corpus,
    folder: Path,
    only: Collection[str] | None = None,
) -> Fitted:
    """As `fitting.fit_methods`, with the epochs that `evaluation.selection` chooses.

    It leaves a table of them for the run's report. Under `oracle` it reads the test videos of the plans, which the
    caller notes in the ledger first; otherwise it opens no target. With `only`, see `fitting.fit_methods`.
    """
    selection = experiment.evaluation.selection
    chosen = [name for name, method in experiment.methods.items() if method.epochs]
    if selection == TRAINING_DOMAIN or not chosen:
        return fit_methods(experiment, plans, corpus, folder, only=only)
    kept = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, snapshots=True))
    if selection == ORACLE:
        judges = _Judges(kept, plans, corpus, [*enumerate(plans)], None, folder)
    else:
        judges = _fit_judges(kept, plans, corpus, folder, only)
    selector = _Selector(kept, plans, corpus, folder, judges)
    found = fit_methods(kept, plans, corpus, folder, selector.choose, only)
    devices.wait_for_all("epochs chosen")
    if devices.is_first():
        write_extra_table(folder, "0-selection", selection_table(selection, selector.known(), judges.cost))
        if not experiment.training.snapshots:
            for place in (folder, judges.folder):
                shutil.rmtree(place / "snapshots", ignore_errors=True)
    return found


def needed(methods: Mapping[str, Method]) -> dict[str, Method]:
    """Those that have epochs, and those whose scores these read."""
    names = {each for name, method in methods.items() if method.epochs for each in (name, *below(methods, name))}
    return {name: method for name, method in methods.items() if name in names}


@dataclass(frozen=True)
class _Judges:
    """Detectors whose epochs are judged on videos that they have not seen."""

    experiment: Experiment
    plans: Sequence[Plan]
    corpus: Corpus
    of_plans: Sequence[tuple[int, Plan]]
    """Number of a plan of the run, and the plan whose test videos judge it."""
    fitted: Fitted | None
    """Their detectors; None where they are those of the run."""
    folder: Path
    """With their snapshots."""
    cost: int = 0
    """Further fittings."""

    def judge(self, name: str, run: Fitted) -> dict[int, dict[str, dict[int, Quality]]]:
        """By number of the run's plan and judge, the quality of every epoch of a method."""
        own = [each for _, each in self.of_plans]
        reached: dict[str, list[Reached]] = {}
        if own:
            for each in judge_epochs(self.experiment, own, self.corpus, self.fitted or run, self.folder, [name]):
                reached.setdefault(each.plan, []).append(each)
        found: dict[int, dict[str, dict[int, Quality]]] = {}
        for place, (number, plan) in enumerate(self.of_plans):
            if len(plan.assignment.test):
                qualities = {each.epoch: Quality(each.hter, each.auc) for each in reached.get(plan.name, ())}
                if not qualities and not isinstance((self.fitted or run).detectors[name][place], Failed):
                    raise _lost(self.folder, name, plan)
                found.setdefault(number, {})[plan.protocol.target] = qualities
        return found

    def notes(self, number: int) -> list[str]:
        """What has to be known of those who judge a plan."""
        videos = self.corpus.videos
        own = [plan for of, plan in self.of_plans if of == number and len(plan.assignment.test)]
        if not own:
            lacking = "no target" if self.fitted is None else "one source"
            return [f"It has {lacking}, so that {TRAINING_DOMAIN} chose."]
        people = number_people(videos, self.experiment.evaluation.shared_subjects)
        return [note for plan in own for note in _weak(plan.protocol.target, videos, people, plan.assignment.test)]


def _weak(dataset: str, videos: VideoTable, people: np.ndarray, rows: np.ndarray) -> list[str]:
    """Why a dataset is a bad judge."""
    held = set(videos.label[rows].tolist())
    lacking = [name for label, name in CLASS_NAMES.items() if label not in held]
    if lacking:
        return [f"{dataset} holds no {lacking[0]} video, so that it has no error rate and takes no part in the choice."]
    subjects = len(np.unique(people[rows]))
    if subjects < FEW_SUBJECTS:
        return [f"{dataset} has only {subjects} subjects: what it says of an epoch is close to chance."]
    return []


def _fit_judges(
    experiment: Experiment, plans: Sequence[Plan], corpus: Corpus, folder: Path, only: Collection[str] | None
) -> _Judges:
    """Detectors that leave each source out once."""
    inner = cross_source_plans(plans, corpus.videos)
    methods = needed(experiment.methods)
    if devices.is_first():
        alone = len(plans) - len({number for number, _ in inner})
        print(
            f"epochs by {LEFT_OUT}: {len(inner)} further fittings of {', '.join(methods)} beside {len(plans)}"
            + (f"; {alone} with one source fall back to {TRAINING_DOMAIN}" if alone else ""),
            flush=True,
        )
    own = dataclasses.replace(within_sources(experiment), methods=methods)
    place = cross_source_folder(folder)
    fitted = fit_methods(own, [each for _, each in inner], corpus, place, only=only) if inner else Fitted({})
    return _Judges(own, plans, corpus, inner, fitted, place, len(inner))


@dataclass(frozen=True)
class _Selector:
    """Takes the epochs that the judges prefer, and remembers them in the run's folder."""

    experiment: Experiment
    plans: Sequence[Plan]
    corpus: Corpus
    folder: Path
    judges: _Judges

    def choose(self, name: str, fitted: Fitted) -> Sequence[Detector | Failed]:
        """A `fitting.Choose`: the method's detectors with the parameters of the epochs that are kept."""
        usual = list(fitted.detectors[name])
        if not self.experiment.methods[name].epochs:
            return usual
        epochs: list[dict[int, bool]] = [{} for _ in usual]
        for epoch, reached in snapshot_detectors(self.folder, name, self.plans, fitted):
            for number, (_, same) in reached.items():
                epochs[number][epoch] = same
        judged, wanted, rows = self.judges.judge(name, fitted), {}, []
        for number, (plan, detector) in enumerate(zip(self.plans, usual, strict=True)):
            if isinstance(detector, Failed):
                continue
            before = next((epoch for epoch, same in epochs[number].items() if same), None)
            if before is None:
                raise _lost(self.folder, name, plan)
            known = judged.get(number, {})
            notes = [*self.judges.notes(number), *_silent(known)]
            useful = {judge: own for judge, own in known.items() if any(np.isfinite(q.hter) for q in own.values())}
            best = best_epoch([*epochs[number]], useful)
            if best is None and known:
                notes.append(f"Nothing could judge its epochs, so that {TRAINING_DOMAIN} chose.")
            epoch = before if best is None else best
            wanted[number] = epoch
            values = {judge: _until(own, epoch).hter for judge, own in known.items()}
            rows.append(Selected(name, plan.protocol.name, plan.seed, epoch, before, values, tuple(notes)))
        found = [*usual]
        for epoch, detectors in snapshot_detectors(self.folder, name, self.plans, fitted):
            for number, (detector, _) in detectors.items():
                if wanted[number] == epoch:
                    found[number] = detector
        self._remember(name, rows)
        return found

    def _remember(self, name: str, rows: Sequence[Selected]) -> None:
        if devices.is_first():
            kept = [each for each in self.known() if each.method != name]
            write_json(self.folder / CHOICES, [each.to_json() for each in (*kept, *rows)])

    def known(self) -> list[Selected]:
        """What was chosen of the run's methods until now."""
        path = self.folder / CHOICES
        return [Selected.from_json(row) for row in read_json(path)] if path.exists() else []


def _lost(folder: Path, name: str, plan: Plan) -> UserError:
    return UserError(f"{folder} lacks snapshots of {name}, {plan.name}; remove the run's folder and train again")


def _silent(judged: Mapping[str, Mapping[int, Quality]]) -> list[str]:
    """Judges whose training failed."""
    return [
        f"The training without {judge} failed, so that {judge} takes no part in the choice."
        for judge, qualities in judged.items()
        if not qualities
    ]
