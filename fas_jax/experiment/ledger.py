"""Who has read which target: the cache that runs share keeps a line for every reading.

A target that is looked at again and again is no longer unseen: each figure that somebody acts on chooses on it. The
ledger counts such readings for reports, and keeps seals, which a run must name to break.
"""

import datetime
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.locks import locked
from fas_jax.base.versions import VERSION
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.planning import ORACLE, Plan
from fas_jax.methods.base import identity
from fas_jax.protocols.presets import Protocol, find_preset

LEDGER = "targets.jsonl"
Purpose: TypeAlias = Literal["test", "selection", "oracle", "target-unlabelled", "study"]


@dataclass(frozen=True)
class Reading:
    """One dataset that was opened as a target."""

    target: str
    protocols: tuple[str, ...]
    """Under which it was read."""
    purpose: Purpose
    """`test`: final figures; `selection`: a preset or a setting that chooses on the target; `oracle`: what that would
    have claimed; `target-unlabelled`: its videos without labels moved a threshold; `study`: an audit, or another
    question put to stored features."""
    run: str
    """Name of the run, or of the study."""
    settings: str
    """Hash of all settings that decide the run's results."""
    version: str
    """Of this package."""
    date: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Before:
    """How often a target had been read before a reading."""

    target: str
    readings: int
    settings: int
    """How many different settings those readings had."""


class Ledger:
    """The readings and seals of one cache."""

    def __init__(self, cache: Path) -> None:
        """Opens nothing yet.

        Args:
            cache: Folder that runs share; made if needed at the first line.
        """
        self.path = Path(cache) / LEDGER

    def before(self, target: str) -> Before:
        """How often the target has been read until now."""
        found = [each for each in self._lines("reading") if each.get("target") == target]
        return Before(target, len(found), len({each.get("settings") for each in found}))

    def record(self, readings: Iterable[Reading]) -> None:
        """Appends readings; called before the target is opened, so that an interrupted one counts."""
        for each in readings:
            self._append({"kind": "reading", **asdict(each)})

    def sealed(self) -> set[str]:
        """The datasets that a run on this cache has sealed."""
        return {str(each.get("dataset")) for each in self._lines("seal")}

    def seal(self, datasets: Iterable[str]) -> None:
        """Seals datasets for all runs on this cache."""
        for name in sorted(set(datasets) - self.sealed()):
            self._append({"kind": "seal", "dataset": name, "date": _now()})

    def _lines(self, kind: str) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = []
        # What follows the last line's end is what a killed process left of its line.
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                raise UserError(f"{self.path}, line {number}: not a line of a ledger; restore the file") from None
        return [each for each in found if each.get("kind") == kind]

    def _append(self, line: dict[str, Any]) -> None:
        with locked(self.path.parent, name=".targets"), self.path.open("a+b") as file:
            file.seek(0)
            # What a killed process left of its line would make the next one unreadable.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def check_seals(experiment: Experiment, protocols: Sequence[Protocol]) -> None:
    """Seals what the experiment asks to seal, and refuses to read a sealed target that it does not name.

    Raises:
        UserError: A protocol's target is sealed and `evaluation.open_sealed` does not name it.
    """
    ledger = Ledger(Path(experiment.cache))
    ledger.seal(experiment.evaluation.sealed)
    targets = [each.target for each in protocols if each.target]
    _refuse_sealed(ledger, targets, experiment.evaluation.open_sealed, "--evaluation.open-sealed")


def record_study(name: str, stores: Sequence[Path], targets: Iterable[str], open_sealed: Collection[str]) -> None:
    """Notes that a study reads targets of stored features, in the ledgers of the caches that hold these.

    Args:
        name: Of the study.
        stores: Folders of feature stores.
        targets: Datasets that it tests on.
        open_sealed: Sealed datasets that it may read.

    Raises:
        UserError: A target is sealed and not named.
    """
    for cache in dict.fromkeys(cache_of(path) for path in stores):
        _refuse_sealed(Ledger(cache), targets, open_sealed, "--open-sealed")
        Ledger(cache).record(Reading(each, (), "study", name, "", VERSION, _now()) for each in targets)


def cache_of(store: Path) -> Path:
    """The cache that a feature store lies in."""
    return Path(store).resolve().parents[1]


def stored_cache(inputs: Mapping[str, Any]) -> Path:
    """The cache that a run's inputs lie in, by what `read_inputs` gives."""
    return cache_of(Path(next(row["path"] for rows in inputs["stores"].values() for row in rows)))


def record_readings(experiment: Experiment, plans: Sequence[Plan], purpose: Purpose, cache: Path) -> list[Before]:
    """Notes that the targets of these plans are read now; gives how often each had been read before.

    Raises:
        UserError: A target is sealed and `evaluation.open_sealed` does not name it.
    """
    ledger, date = Ledger(cache), _now()
    protocols: dict[str, list[str]] = {}
    for each in plans:
        if each.protocol.target:
            protocols.setdefault(each.protocol.target, []).append(each.protocol.name)
    methods = {name: identity(method) for name, method in experiment.methods.items()}
    settings = fingerprint([key(replace(experiment, methods={})), methods])
    _refuse_sealed(ledger, protocols, experiment.evaluation.open_sealed, "--evaluation.open-sealed")
    found = [ledger.before(target) for target in protocols]
    ledger.record(
        Reading(target, tuple(dict.fromkeys(names)), purpose, experiment.name, settings, VERSION, date)
        for target, names in protocols.items()
    )
    return found


def selects_on_target(experiment: Experiment, plans: Sequence[Plan]) -> list[Plan]:
    """The plans whose preset, or whose `evaluation.selection`, chooses on the target."""
    oracle = experiment.evaluation.selection == ORACLE
    return [each for each in plans if each.protocol.target and (oracle or find_preset(each.protocol.preset).on_target)]


def _refuse_sealed(ledger: Ledger, targets: Iterable[str], opened: Collection[str], option: str) -> None:
    if refused := sorted(set(targets) & ledger.sealed() - set(opened)):
        names = " ".join(refused)
        raise UserError(
            f"{names.replace(' ', ', ')}: sealed in {ledger.path}. Nothing reads a sealed target without naming it: "
            f"when the time has come, add {option} {names}"
        )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
