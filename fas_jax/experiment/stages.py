"""The stages of an experiment, from videos to the cross-dataset table.

Each stage keeps what it makes on disk, under a name that says what it was made from, and does nothing where that
exists already; so every stage can be called again, and goes on where it was interrupted.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import fingerprint
from fas_jax.base.settings import to_dict
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.layouts import LAYOUTS
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_dataset, prepare_listing
from fas_jax.datasets.prepared import Prepared, content_settings
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted, fit_methods
from fas_jax.experiment.inputs import describe_inputs, keep_backbone
from fas_jax.experiment.planning import Plan, plan
from fas_jax.experiment.results import report
from fas_jax.experiment.run import Seconds, open_run, write_inputs
from fas_jax.features.extraction import extract, load_backbone
from fas_jax.pixels.detection import check_detector
from fas_jax.protocols.names import choose_protocols
from fas_jax.protocols.presets import Protocol
from fas_jax.runtime import devices
from fas_jax.synthetic import VERSION as RENDERER_VERSION
from fas_jax.synthetic import render_dataset
from fas_jax.training import streaming


@dataclass(frozen=True)
class Run:
    """An experiment's folder, and what its stages have made so far."""

    experiment: Experiment
    """With all methods of the run."""
    folder: Path
    corpus: Corpus
    plans: tuple[Plan, ...]
    fitted: Fitted


@dataclass(frozen=True)
class Opened:
    """A run whose inputs are there, and nothing else yet."""

    experiment: Experiment
    folder: Path
    seconds: Seconds
    corpus: Corpus
    plans: tuple[Plan, ...]


def run(experiment: Experiment) -> Path:
    """All stages; returns the run's folder with the report, which the first of several processes writes."""
    trained = train(experiment)
    if devices.is_first():
        report(trained.folder)
    return trained.folder


def train(experiment: Experiment) -> Run:
    """Everything up to the fitted detectors; reads no target's features.

    Several processes (`devices.join`) share extraction and training; the first one does the rest.
    """
    opened = open_experiment(experiment)
    with opened.seconds.stage("train"):
        fitted = fit_methods(opened.experiment, opened.plans, opened.corpus, opened.folder)
    return Run(opened.experiment, opened.folder, opened.corpus, opened.plans, fitted)


def open_experiment(experiment: Experiment) -> Opened:
    """Makes every input of an experiment that is not there yet, and says who trains, validates and is tested."""
    check(experiment)
    with devices.first_alone("run"):
        folder, experiment = open_run(experiment)
    seconds = Seconds(folder)
    # Rendering and decoding have worker processes of their own; of several machines they use one.
    with seconds.stage("videos"), devices.first_alone("videos"):
        roots = find_videos(experiment)
    with seconds.stage("prepare"), devices.first_alone("prepare"):
        prepared = prepare(experiment, roots)
    with seconds.stage("features"):
        place = Path(experiment.cache) / "features"
        stores = {
            name: [extract(each, place, experiment.features, progress=True) for each in prepared]
            for name in renditions_read(experiment)
        }
    corpus = Corpus.of(stores)
    plans = plan(experiment, corpus.videos)
    with devices.first_alone("inputs"):
        write_inputs(folder, corpus, describe_inputs(experiment, prepared, corpus, plans))
        keep_backbone(folder, experiment.features)
    agreed = dataclasses.replace(experiment, training=streaming.agreed(experiment.training))
    return Opened(agreed, folder, seconds, corpus, plans)


def renditions_read(experiment: Experiment) -> list[str]:
    """The renditions that some method reads, in the order of their first reader."""
    items = [item for method in experiment.methods.values() for item in method.inputs()]
    return list(dict.fromkeys(item.name for item in items if item.kind != "scores"))


def check(experiment: Experiment) -> tuple[Protocol, ...]:
    """Refuses now what would otherwise fail after hours of decoding: missing weights, folders, renditions, targets.

    Returns:
        The experiment's protocols.
    """
    experiment.check()
    for name in renditions_read(experiment):
        if name not in {"whole"}:
            raise unknown_name("rendition", name, ["whole"])
    if experiment.preparation.faces == "detector":
        check_detector(experiment.preparation.face_model)
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
    for layout, root in roots.items():
        key = fingerprint([str(root.resolve()), content_settings(experiment.preparation)])[:16]
        out = Path(experiment.cache) / "prepared" / f"{layout}-{key}"
        prepared.append(prepare_dataset(root, out, experiment.preparation, layout))
    for listing in _manifests(experiment):
        key = fingerprint([str(listing.root), content_settings(experiment.preparation)])[:16]
        out = Path(experiment.cache) / "prepared" / f"manifest-{listing.dataset}-{key}"
        prepared.append(prepare_listing(listing, out, experiment.preparation))
    return prepared


def _manifests(experiment: Experiment) -> list[Listing]:
    listings = [listing for name in experiment.data.manifests for listing in read_manifest(Path(name))]
    names = [listing.dataset for listing in listings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"data.manifests: dataset {', '.join(twice)} is in several manifests; put it into one")
    return listings
