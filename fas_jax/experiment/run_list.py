"""Lists the runs of a folder from their small files. Imports no JAX."""

import contextlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json
from fas_jax.base.locks import is_lock
from fas_jax.base.owners import is_alive

CONFIG, INPUTS, RESULTS, PROVENANCE = "config.json", "inputs.json", "results.json", "provenance.json"
State = Literal["begun", "trained", "evaluated"]


@dataclass(frozen=True)
class RunEntry:
    """One run's folder."""

    folder: Path
    state: State
    """`begun`: it has settings; `trained`: also detectors, perhaps not of all methods; `evaluated`: also results."""
    busy: bool
    """Whether a process is using it."""
    changed: float
    """Time at which its settings, inputs or results were last written, in seconds since the epoch."""
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    hter: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """By protocol, the model with the lowest HTER on the target, and that HTER; empty before it is evaluated. Models
    whose epochs were chosen on the target are left out."""
    problem: str = ""
    """Why its files cannot be read."""


def run_folders(runs: Path) -> list[Path]:
    """The folders of all runs in a folder, by name; none where there is no such folder."""
    return sorted(path.parent for path in Path(runs).glob(f"*/{CONFIG}"))


def list_runs(runs: Path) -> list[RunEntry]:
    """The runs in a folder, by name."""
    return [_entry(folder) for folder in run_folders(runs)]


def _entry(folder: Path) -> RunEntry:
    there = {name for name in (CONFIG, INPUTS, RESULTS) if (folder / name).exists()}
    state: State = "evaluated" if RESULTS in there else "trained" if INPUTS in there else "begun"
    changed = max((folder / name).stat().st_mtime for name in there)
    try:
        config = read_json(folder / CONFIG)
        found = read_json(folder / RESULTS) if RESULTS in there else {}
        methods, seeds = tuple(map(str, config.get("methods", {}))), tuple(map(int, config.get("seeds", ())))
        provenance = read_json(folder / PROVENANCE) if found and (folder / PROVENANCE).exists() else {}
        best = _best(found, provenance.get("on_target") or ())
    except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
        return RunEntry(folder, state, is_busy(folder), changed, (), (), problem=f"unreadable: {error}")
    return RunEntry(folder, state, is_busy(folder), changed, methods, seeds, best)


def _best(results: Mapping[str, Any], on_target: Collection[str]) -> dict[str, tuple[str, float]]:
    best: dict[str, tuple[str, float]] = {}
    for each in results.get("summaries", ()):
        if each["model"] in on_target:
            continue
        hter = each["mean"]["hter"]
        if hter is not None and (each["protocol"] not in best or hter < best[each["protocol"]][1]):
            best[each["protocol"]] = (each["model"], hter)
    return best


def is_busy(folder: Path) -> bool:
    """Whether a process is at work in a run's folder."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if is_lock(path) and is_alive(path.name, time.time() - path.stat().st_mtime):
                return True
    return False
