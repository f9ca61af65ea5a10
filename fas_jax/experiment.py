"""The stages of an experiment, from videos to the cross-dataset table.

Each stage keeps what it makes on disk, under a name that says what it was made from, and does nothing where that
is there already; so every stage can be called again, and goes on where it was interrupted.
"""

import dataclasses
import importlib.metadata
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fas_jax import __version__, crossdataset
from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint, read_json, write_json
from fas_jax.base.settings import Experiment, from_dict, to_dict
from fas_jax.crossdataset import Trained, Trial
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.deployment.bundle import write_bundle
from fas_jax.evaluation.evaluate import Results, evaluate
from fas_jax.features.corpus import Corpus
from fas_jax.features.extraction import extract, load_backbone
from fas_jax.features.store import FeatureStore
from fas_jax.pixels.renditions import check_renditions, preparation_key
from fas_jax.protocols.assignment import describe
from fas_jax.protocols.names import choose_protocols, used_preset
from fas_jax.protocols.presets import Protocol
from fas_jax.reporting.learning import read_histories
from fas_jax.reporting.page import Extras, read_extra_tables, write_extra_table
from fas_jax.reporting.report import write_report
from fas_jax.reporting.thumbnails import read_thumbnails
from fas_jax.runtime import devices
from fas_jax.studies import oracle
from fas_jax.studies.search import space
from fas_jax.studies.search.crossvalidation import search_protocol
from fas_jax.studies.search.report import write_search
from fas_jax.synthetic import VERSION as RENDERER_VERSION
from fas_jax.synthetic import render_dataset
from fas_jax.training import streaming
from fas_jax.training.checkpoints import describe_differences
from fas_jax.training.chunks import FREE

_CONFIG, _TIMINGS = "config.json", "timings.json"
# Settings that say how the work is done and not what comes out, so that a run may go on with others.
_FREE = (
    *(("synthesis", name) for name in ("workers",)),
    *(("preparation", name) for name in ("workers", "timeout", "allow_failures", "allow_partial")),
    *(("training", name) for name in FREE),
)


@dataclass(frozen=True)
class Run:
    """An experiment's folder, and what its stages have made so far."""

    experiment: Experiment
    folder: Path
    corpus: Corpus
    trials: tuple[Trial, ...]
    trained: Trained
    prepared: tuple[Prepared, ...] = ()
    """Frames of the worst-scored videos come from here."""


def open_run(experiment: Experiment) -> Path:
    """Makes the run's folder, or goes on in it if it was made with the same settings."""
    if not experiment.name or Path(experiment.name).name != experiment.name:
        raise UserError(f"name must be a plain folder name, not {experiment.name!r}")
    folder = Path(experiment.runs) / experiment.name
    settings = to_dict(experiment)
    if (folder / _CONFIG).exists():
        known = read_json(folder / _CONFIG)
        if differences := describe_differences(_binding(known), _binding(settings)):
            raise UserError(
                f"{folder} was made with other settings ({'; '.join(differences)}); choose another --name, or remove it"
            )
    else:
        write_json(folder / _CONFIG, settings)
    return folder


def trained_run(folder: Path) -> Run:
    """A run that `train` has finished, from its folder."""
    folder = Path(folder)
    experiment = from_dict(Experiment, read_json(folder / _CONFIG), where=str(folder / _CONFIG))
    made_as = Path(experiment.runs) / experiment.name
    if made_as.resolve() != folder.resolve():
        raise UserError(f"{folder} was made as {made_as}; run this in the folder from which that is right")
    if not list((folder / "models").glob("meta-*.safetensors")):
        raise UserError(f"{folder} has no trained meta-learner yet; run scripts/train.py with its settings first")
    return train(experiment)


def run(experiment: Experiment) -> Path:
    """All stages; returns the run's folder with the report, which the first of several processes writes."""
    run = train(experiment)
    return report(run) if devices.is_first() else run.folder


def check(experiment: Experiment) -> tuple[Protocol, ...]:
    """Tells now what would otherwise fail after hours of decoding: missing weights, folders, targets.

    Returns:
        The experiment's protocols.
    """
    check_renditions(experiment.renditions)
    if "whole" not in experiment.renditions:
        raise UserError("the models read the rendition 'whole'; give a table [renditions.whole]")
    synthetic = experiment.data.synthesize
    layouts = LAYOUTS if synthetic else _given_folders(experiment)
    letters = [LAYOUTS[layout].letter for layout in layouts]
    own = [] if synthetic else [listing.dataset for listing in _manifests(experiment)]
    protocols = choose_protocols(experiment.evaluation, [*letters, *own])
    load_backbone(experiment.features)
    return protocols


def find_videos(experiment: Experiment) -> dict[str, Path]:
    """Folders of the datasets by layout; renders them first if the experiment says so."""
    if experiment.data.synthesize:
        named = [name for name in (*LAYOUTS, "manifests") if getattr(experiment.data, name)]
        if named:
            raise UserError(f"[data] asks for rendered videos and names folders as well ({', '.join(named)}); choose")
        settings = to_dict(experiment.synthesis) | {"workers": 0, "version": RENDERER_VERSION}
        place = Path(experiment.cache) / "synthetic" / fingerprint(settings)[:16]
        for layout in LAYOUTS:
            render_dataset(layout, place / layout, experiment.synthesis)
        return {layout: place / layout for layout in LAYOUTS}
    return _given_folders(experiment)


def _given_folders(experiment: Experiment) -> dict[str, Path]:
    given = {name: Path(getattr(experiment.data, name)) for name in LAYOUTS if getattr(experiment.data, name)}
    count = len(given) + len(experiment.data.manifests)
    if not count or (count < 2 and not experiment.evaluation.protocols):
        raise UserError(
            "a cross-dataset table needs at least two datasets: give their folders in [data] (or --data.oulu-npu and "
            "so on) or their manifests, or ask for rendered ones by --data.synthesize"
        )
    for name, root in given.items():
        if not root.is_dir():
            raise UserError(f"data.{name}: dataset folder {root} does not exist")
    return given


def prepare(experiment: Experiment, roots: dict[str, Path]) -> list[Prepared]:
    """Decodes every dataset once."""
    prepared = []
    settings = preparation_key(experiment.preparation, experiment.renditions)
    for layout, root in roots.items():
        key = fingerprint([str(root.resolve()), settings])[:16]
        out = Path(experiment.cache) / "prepared" / f"{layout}-{key}"
        prepared.append(prepare_dataset(root, out, experiment.preparation, experiment.renditions, layout))
    for listing in _manifests(experiment):
        key = fingerprint([str(listing.root), settings])[:16]
        out = Path(experiment.cache) / "prepared" / f"manifest-{listing.dataset}-{key}"
        prepared.append(prepare_listing(listing, out, experiment.preparation, experiment.renditions))
    return prepared


def _manifests(experiment: Experiment) -> list[Listing]:
    listings = [listing for name in experiment.data.manifests for listing in read_manifest(Path(name))]
    names = [listing.dataset for listing in listings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"data.manifests: dataset {', '.join(twice)} is in several manifests; put it into one")
    return listings


def train(experiment: Experiment) -> Run:
    """Everything up to the trained models; reads no target's features.

    Several processes (`devices.join`) share extraction and training; the first one does the rest.
    """
    check(experiment)
    folder, seconds, prepared, stores = _extract(experiment)
    corpus = Corpus.of(stores)
    trials = crossdataset.plan(experiment, corpus.videos)
    with seconds.stage("train"):
        agreed = dataclasses.replace(experiment, training=streaming.agreed(experiment.training))
        trained = crossdataset.train(agreed, trials, corpus, folder)
    return Run(experiment, folder, corpus, trials, trained, prepared)


def search(experiment: Experiment) -> list[Path]:
    """Random search on the sources of each protocol; returns a folder each. Reads no target's features."""
    space.check(experiment.search)
    protocols = space.chosen(experiment.search, check(experiment))
    folder, seconds, _, stores = _extract(experiment)
    corpus = Corpus.of(stores)
    trials = crossdataset.plan(experiment, corpus.videos)
    agreed = dataclasses.replace(experiment, training=streaming.agreed(experiment.training))
    folders = []
    with seconds.stage("search"):
        for protocol in protocols:
            place = folder / "search" / protocol.name
            own = [trial for trial in trials if trial.protocol.name == protocol.name]
            found = search_protocol(agreed, own, corpus, place)
            if devices.is_first():
                write_search(place, experiment, found)
            folders.append(place)
    return folders


def _extract(
    experiment: Experiment,
) -> tuple[Path, "_Seconds", tuple[Prepared, ...], tuple[FeatureStore, ...]]:
    """The run's folder, its clock, and the datasets' frames and features."""
    with devices.first_alone("run"):
        folder = open_run(experiment)
    seconds = _Seconds(folder / _TIMINGS)
    # Rendering and decoding have worker processes of their own; of several machines they use one.
    with seconds.stage("videos"), devices.first_alone("videos"):
        roots = find_videos(experiment)
    with seconds.stage("prepare"), devices.first_alone("prepare"):
        prepared = prepare(experiment, roots)
    with seconds.stage("features"):
        place = Path(experiment.cache) / "features"
        stores = tuple(extract(each, "whole", place, experiment.features, progress=True) for each in prepared)
    return folder, seconds, tuple(prepared), stores


def report(run: Run) -> Path:
    """Scores validation and test videos, and writes the report and the bundles; returns the folder."""
    seconds = _Seconds(run.folder / _TIMINGS)
    with seconds.stage("evaluate"):
        scores = crossdataset.score(run.experiment, run.trials, run.corpus, run.trained)
        results = evaluate(scores, run.experiment.evaluation.threshold)
        _write_bundles(run, results)
    write_report(run.folder, results, scores, provenance(run, seconds.known), find_extras(run, results))
    return run.folder


def find_extras(run: Run, results: Results) -> Extras:
    """Learning curves, frames of the worst-scored videos, and the tables that other commands left in the run."""
    wanted = {(each.dataset, each.video) for each in results.worst}
    return Extras(read_histories(run.folder), read_thumbnails(run.prepared, wanted), read_extra_tables(run.folder))


def watch_target(run: Run) -> Path:
    """Trains a second time to see what an epoch chosen on the target would have claimed; for the next report."""
    looks = oracle.watch(run.experiment, run.trials, run.corpus, run.folder / "oracle", run.trained)
    histories = read_histories(run.folder)
    names = [f"{trial.protocol.name} seed {trial.seed}" for trial in run.trials]
    chosen = {(each.model, names.index(each.run)): each.best_epoch for each in histories}
    write_json(run.folder / "oracle.json", [dataclasses.asdict(look) for look in looks])
    write_extra_table(run.folder, "1-oracle", oracle.table(looks, run.trials, chosen))
    return run.folder


def provenance(run: Run, seconds: dict[str, float]) -> dict[str, Any]:
    """What the figures were made from and with, JSON-able."""
    first = run.corpus.stores[0].provenance
    return {
        "name": run.experiment.name,
        "preset": used_preset(run.experiment.evaluation),
        "experiment": to_dict(run.experiment),
        "datasets": [
            {
                "dataset": store.provenance["dataset"],
                "synthetic": store.provenance["synthetic"],
                "complete": store.provenance["complete"],
                "clips": sum(unit.clips for unit in store.units),
                "failures": [
                    {"video": failure.video.path, "split": failure.video.split, "reason": failure.reason}
                    for failure in store.failures
                ],
                "prepared": store.provenance["prepared"],
                "features": store.fingerprint,
            }
            for store in run.corpus.stores
        ],
        "assignments": [{"seed": trial.seed, **describe(trial.assignment, run.corpus.videos)} for trial in run.trials],
        "backbone": first["backbone"],
        "weights": first["weights"],
        "weights_sha256": first["weights_sha256"],
        "devices": devices.describe(),
        "versions": versions(),
        "seconds": seconds,
    }


def versions() -> dict[str, str]:
    """Of everything whose change could change a figure."""
    packages = (
        "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets",
        "opencv-python-headless", "numpy", "scipy",
    )  # fmt: skip
    own = {"python": platform.python_version(), "fas-jax": __version__}
    return own | {name: importlib.metadata.version(name) for name in packages}


def _write_bundles(run: Run, results: Results) -> None:
    """One bundle for each trial: the models of one protocol and seed with their thresholds."""
    _, params, origin = load_backbone(run.experiment.features)
    for number, trial in enumerate(run.trials):
        figures = [each for each in results.figures if (each.protocol, each.seed) == (trial.protocol.name, trial.seed)]
        seed = f"-seed{trial.seed}" if len(run.experiment.seeds) > 1 else ""
        # A model whose training failed has no threshold, and cannot be asked for.
        thresholds = {
            each.model: each.values["threshold"]
            for each in figures
            if each.model in run.trained.ensemble.params and math.isfinite(each.values["threshold"])
        }
        about = {
            "protocol": trial.protocol.name,
            "seed": trial.seed,
            "sources": sorted(run.corpus.videos.dataset[trial.assignment.train].present()),
            "thresholds": thresholds,
            "backbone": origin["backbone"],
            "weights": origin["weights"],
        }
        ensemble = run.trained.ensemble.select(number)
        write_bundle(run.folder / "bundles" / f"{trial.protocol.name}{seed}", run.experiment, ensemble, params, about)


def _binding(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that may differ between two parts of a run."""
    tables = {name: dict(value) if isinstance(value, dict) else value for name, value in settings.items()}
    # What was searched is no part of what is trained.
    tables.pop("search", None)
    for table, name in _FREE:
        tables.get(table, {}).pop(name, None)
    return tables


class _Seconds:
    """Time spent in every stage, kept over interruptions; a stage that found its work done adds next to nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[str, float] = read_json(path) if path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if devices.is_first():
            print(f"[{name}]", flush=True)
        start = time.monotonic()
        try:
            yield
        finally:
            self.known[name] = round(self.known.get(name, 0) + time.monotonic() - start, 2)
            if devices.is_first():
                write_json(self._path, self.known)
