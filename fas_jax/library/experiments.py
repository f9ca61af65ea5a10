"""Preparing, training and evaluating from Python. Scripts need no `if __name__ == "__main__"` for worker processes."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import read_json
from fas_jax.base.rendition import Rendition, default_renditions
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.preparation import counts
from fas_jax.datasets.prepared import Prepared
from fas_jax.datasets.sources import prepare_source
from fas_jax.experiment import configuration, results, stages
from fas_jax.experiment.configuration import Experiment, experiment_from_dict, experiment_to_dict
from fas_jax.experiment.run import INPUTS, TIMINGS, read_run
from fas_jax.library.bundles import Bundle, load_bundle
from fas_jax.library.evaluations import Evaluation
from fas_jax.library.shown import Printed, Shown
from fas_jax.reporting.grid import Grid
from fas_jax.runtime import devices


def load_experiment(
    named: str | os.PathLike[str] | Mapping[str, Any] = "quickstart", changes: Mapping[str, Any] | None = None
) -> Experiment:
    """An experiment's settings from a configuration, with changes.

    Args:
        named: A TOML file; the name of one of the package's own configurations, such as `quickstart` or `paper`; or the
            tables of a TOML file as a dictionary.
        changes: Values by dotted names of settings, such as `{"evaluation.targets": ["M"], "methods.gru.hidden": 64}`.
            A whole table replaces the configuration's, as in `{"methods": {"gru": {"kind": "gru"}}}`.

    Raises:
        UserError: No such configuration, an unknown setting, or a value of another type.
    """
    where = "the dictionary" if isinstance(named, Mapping) else str(named)
    found = (
        experiment_from_dict(named, where) if isinstance(named, Mapping) else configuration.load_experiment(Path(named))
    )
    if not changes:
        return found
    table = experiment_to_dict(found)
    for name, value in changes.items():
        *sections, last = name.split(".")
        place = table
        for section in sections:
            if not isinstance(place.get(section), dict):
                raise unknown_name("table", section, [each for each, own in place.items() if isinstance(own, dict)])
            place = place[section]
        place[last] = value
    return experiment_from_dict(table, f"{where} with changes")


@dataclass(frozen=True, repr=False)
class Dataset(Printed):
    """A prepared dataset: the kept frames of its videos on disk. Made by `prepare`."""

    prepared: Prepared
    """The dataset of `fas_jax.datasets`; TensorFlow Datasets can read its folder."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.prepared.directory

    @property
    def clips(self) -> dict[str, int]:
        """The number of clips in each split."""
        return dict(self.prepared.splits)

    def _shown(self) -> Shown:
        prepared = self.prepared
        lacking = Counter(name for name, _, _ in prepared.not_made())
        total = sum(prepared.splits.values())
        notes = [f"Rendition {name}: {total - lacking[name]} of {total} clips." for name in prepared.renditions]
        notes.append(f"{len(prepared.failures)} videos failed. The folder is {prepared.directory}.")
        whole = "the complete official set" if prepared.complete else "not the complete official set"
        whole = whole if prepared.layout in LAYOUTS else "videos of your own"
        caveats = ("rendered videos: they say nothing about real faces",) if prepared.synthetic else ()
        grid = Grid(["split", "class or PAI species", "found", "official"], counts(prepared))
        return Shown(f"Dataset {prepared.dataset}: {total} clips ({whole})", grid, notes, caveats)


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    settings: Preparation | None = None,
    renditions: Mapping[str, Rendition] | None = None,
    layout: str = "",
) -> list[Dataset]:
    """Decodes the videos of a dataset once, in worker processes, and stores the frames that detectors see.

    If you call it again, it reuses finished work and continues interrupted work.

    Args:
        source: A dataset's folder in its official layout, or a manifest (CSV or Parquet) of videos of your own.
        out: Folder of the prepared dataset. If a manifest holds several datasets, each gets a subfolder.
        settings: Settings of preparation.
        renditions: Renditions by name; if none are given, `whole`, the paper's.
        layout: oulu_npu, casia_fasd, replay_attack or msu_mfsd; detected if empty.

    Returns:
        One dataset, or several from a manifest.

    Raises:
        UserError: A dataset that cannot be read, more failures than the settings allow, or a folder that holds
            something else.
    """
    found = prepare_source(
        Path(source), Path(out), settings or Preparation(), renditions or default_renditions(), layout
    )
    return [Dataset(each) for each in found]


def train(experiment: Experiment) -> "Run":
    """Prepares and extracts what is missing, and fits all methods; reads no target's features.

    Results go into the experiment's `cache` and `runs`. If you call it again, it continues interrupted work.

    Args:
        experiment: An experiment, such as `load_experiment` returns.

    Raises:
        UserError: Invalid settings or data, before any work; or another process is using the run.
    """
    devices.check()
    return Run(stages.train(experiment).folder)


def open_run(folder: str | os.PathLike[str]) -> "Run":
    """Opens a run that was trained by `train` or by a command.

    Raises:
        UserError: The folder holds no run.
    """
    read_run(Path(folder))
    return Run(Path(folder))


@dataclass(frozen=True, repr=False)
class Run(Printed):
    """A run's folder: its settings, detectors, scores, reports and bundles. Made by `train` and `open_run`."""

    folder: Path

    @property
    def experiment(self) -> Experiment:
        """The settings, with all methods of the run."""
        return read_run(self.folder)

    @property
    def bundles(self) -> list[str]:
        """Names of its bundles, one for each protocol and seed; empty before `evaluate`."""
        return sorted(path.parent.name for path in self.folder.glob("bundles/*/bundle.json"))

    def evaluate(self, cache: str | os.PathLike[str] | None = None) -> Evaluation:
        """Scores validation and test videos, unless that is done, and writes the report and the bundles.

        This reads the targets, which the cache's ledger records.

        Args:
            cache: Folder of the cache with the run's inputs, if it was moved.

        Raises:
            UserError: The run is not trained, or its inputs are missing.
        """
        return Evaluation(results.evaluate_run(self.folder, None if cache is None else Path(cache)), self.folder)

    def bundle(self, name: str = "") -> Bundle:
        """One of its bundles.

        Args:
            name: A name in `bundles`; may be empty if the run has only one.

        Raises:
            UserError: No bundle has this name, or the name is empty and the run has several.
        """
        known = self.bundles
        if not known:
            raise UserError(f"{self.folder} has no bundles yet; evaluate the run first")
        if not name and len(known) > 1:
            raise UserError(f"{self.folder} has several bundles; name one of {', '.join(known)}")
        if name and name not in known:
            raise unknown_name("bundle", name, known)
        return load_bundle(self.folder / "bundles" / (name or known[0]))

    def _shown(self) -> Shown:
        experiment = self.experiment
        rows = [
            [name, method.kind, ", ".join(i.name for i in method.inputs())]
            for name, method in experiment.methods.items()
        ]
        spent = read_json(self.folder / TIMINGS) if (self.folder / TIMINGS).exists() else {}
        state = "trained" if (self.folder / INPUTS).exists() else "not trained yet"
        notes = [
            f"{state}; seeds {', '.join(map(str, experiment.seeds))}; bundles: {', '.join(self.bundles) or 'none'}"
        ]
        if spent:
            notes.append("seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items()))
        return Shown(f"Run {self.folder}", Grid(["method", "kind", "reads"], rows), notes)
