"""The stages of an experiment, from videos to the cross-dataset table.

Each stage keeps what it makes on disk, under a name that says what it was made from, and does nothing where that
exists already; so every stage can be called again, and goes on where it was interrupted.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import fingerprint
from fas_jax.base.video_table import VideoTable
from fas_jax.datasets.layout import Listing
from fas_jax.datasets.layouts import LAYOUTS, scan
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.datasets.prepared import Prepared
from fas_jax.evaluation.scores import SHIFTED
from fas_jax.experiment.configuration import Experiment
from fas_jax.experiment.corpus import Corpus
from fas_jax.experiment.fitting import Fitted, fit_cross_source
from fas_jax.experiment.inputs import describe_inputs, keep_backbone
from fas_jax.experiment.ledger import check_seals, record_readings, selects_on_target
from fas_jax.experiment.planning import LEFT_OUT, Plan, cross_source_plans, plan
from fas_jax.experiment.results import report
from fas_jax.experiment.run import Seconds, only_job, open_run, write_inputs, write_run_attributes
from fas_jax.experiment.selection import check_selection, fit_selected
from fas_jax.features.extraction import extract, load_backbone
from fas_jax.features.shifted import extract_shifted
from fas_jax.pixels.renditions import check_renditions, preparation_key
from fas_jax.protocols.assignment import assign_all
from fas_jax.protocols.origins import find_origins
from fas_jax.protocols.presets import SYNTHETIC, Protocol
from fas_jax.runtime import devices
from fas_jax.runtime.workers import check_workers
from fas_jax.synthetic import VERSION as RENDERER_VERSION
from fas_jax.synthetic import render_dataset
from fas_jax.synthetic.listing import planned_listing
from fas_jax.training import streaming


@dataclass(frozen=True)
class Opened:
    """A run whose inputs are there, and nothing else yet."""

    experiment: Experiment
    """With all methods of the run."""
    folder: Path
    seconds: Seconds
    corpus: Corpus
    plans: tuple[Plan, ...]


@dataclass(frozen=True)
class Run(Opened):
    """A run whose methods are fitted."""

    fitted: Fitted


def run(experiment: Experiment) -> Path:
    """All stages; returns the run's folder with the report, which the first of several processes writes.

    Raises:
        UserError: As `check`, or another job is at work in the run's folder.
    """
    check(experiment)
    with only_job(experiment):
        trained = _train(experiment)
        if devices.is_first():
            report(trained.folder)
    return trained.folder


def train(experiment: Experiment) -> Run:
    """Everything up to the fitted detectors; reads no target's features.

    Several processes (`devices.join`) share extraction and training; the first one does the rest.

    Raises:
        UserError: As `run`.
    """
    check(experiment)
    with only_job(experiment):
        return _train(experiment)


def _train(experiment: Experiment) -> Run:
    opened = open_checked(experiment)
    chosen = selects_on_target(opened.experiment, opened.plans)
    if chosen and devices.is_first():
        record_readings(opened.experiment, chosen, "selection", Path(opened.experiment.cache))
    with opened.seconds.stage("train"):
        fitted = fit_selected(opened.experiment, opened.plans, opened.corpus, opened.folder)
        fit_cross_source(opened.experiment, opened.plans, opened.corpus, opened.folder)
    return Run(**vars(opened), fitted=fitted)


def open_checked(experiment: Experiment) -> Opened:
    """Makes the inputs of an experiment that `check` has accepted, as far as they are not there yet, and says who
    trains, validates and is tested; to be called in a block of `only_job`.
    """
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
            name: [extract(each, name, place, experiment.features, progress=True) for each in prepared]
            for name in renditions_read(experiment)
        }
    corpus = Corpus.of(stores, [each.directory for each in prepared])
    plans = plan(experiment, corpus.videos)
    shifted = None
    if experiment.evaluation.threshold_from == SHIFTED:
        with seconds.stage("shifted features"), devices.first_alone("shifted features"):
            shifted = shifted_corpus(experiment, prepared, corpus, plans)
    with devices.first_alone("inputs"):
        write_run_attributes(folder, {each.dataset: each.attributes for each in prepared})
        write_inputs(folder, corpus, describe_inputs(experiment, prepared, corpus, plans), shifted)
        keep_backbone(folder, experiment.features)
    agreed = dataclasses.replace(experiment, training=streaming.agreed(experiment.training))
    return Opened(agreed, folder, seconds, corpus, plans)


def shifted_corpus(
    experiment: Experiment, prepared: Sequence[Prepared], corpus: Corpus, plans: Sequence[Plan]
) -> Corpus:
    """The validation videos of these plans with their frames shifted, and no others, from stores of their own."""
    numbers = np.unique(np.concatenate([each.assignment.validation for each in plans]))
    videos = corpus.videos[numbers]
    place = Path(experiment.cache) / "features"
    wanted = {name: set(videos[videos.dataset == name].path) for name in videos.dataset.present()}
    own = [each for each in prepared if each.dataset in wanted]
    return Corpus.of(
        {
            name: [extract_shifted(each, name, wanted[each.dataset], place, experiment.features) for each in own]
            for name in renditions_read(experiment)
        }
    )


def renditions_read(experiment: Experiment) -> list[str]:
    """The renditions that some method reads, in the order of their first reader."""
    items = [item for method in experiment.methods.values() for item in method.inputs()]
    return list(dict.fromkeys(item.name for item in items if item.kind != "scores"))


def check(experiment: Experiment) -> tuple[Protocol, ...]:
    """Refuses now what would fail after hours of decoding: settings, renditions, protocols, weights, the machine.

    Returns:
        The experiment's protocols.
    """
    experiment.check()
    check_workers()
    _check_inputs(experiment)
    listings = _listings(experiment)
    videos = VideoTable.of(video for listing in listings for video in listing.videos)
    assigned = assign_all(experiment.evaluation, experiment.seeds, videos, find_origins(listings))
    protocols = tuple({assignment.protocol.name: assignment.protocol for _, assignment in assigned}.values())
    check_selection(experiment, protocols)
    if LEFT_OUT in (experiment.evaluation.selection, experiment.evaluation.threshold_from):
        # Refuses sources without which a class is lacking.
        cross_source_plans([Plan(each.protocol, seed, each) for seed, each in assigned], videos)
    check_seals(experiment, protocols)
    load_backbone(experiment.features)
    return protocols


def _check_inputs(experiment: Experiment) -> None:
    """Raises `UserError` where a method reads a rendition that is not there, or its detector cannot be had."""
    for name in renditions_read(experiment):
        if name not in experiment.renditions:
            raise unknown_name("rendition", name, experiment.renditions)
    for name, method in experiment.methods.items():
        for item in method.inputs():
            native = item.kind != "scores" and not experiment.renditions[item.name].size
            if item.kind == "features" and method.measures and not native:
                raise UserError(
                    f"methods.{name} reads measures of native pixels, which rendition {item.name} does not keep; give "
                    "it one with size = 0"
                )
            if item.kind == "frames" and native:
                raise UserError(
                    f"methods.{name} reads frames of one size, and rendition {item.name} keeps native pixels; give it "
                    "one with a size"
                )
    check_renditions(experiment.renditions)


def find_videos(experiment: Experiment) -> dict[str, Path]:
    """Folders of the datasets by layout, with `synth-` before it where they are rendered, which this does first."""
    roots = _given_folders(experiment)
    for name, root in _rendered_folders(experiment).items():
        roots[name] = render_dataset(name.removeprefix(SYNTHETIC), root, experiment.synthesis)
    return roots


def _listings(experiment: Experiment) -> list[Listing]:
    """Every dataset at hand, those included that are still to be rendered."""
    given = [scan(root, layout) for layout, root in _given_folders(experiment).items()]
    rendered = [
        planned_listing(LAYOUTS[name.removeprefix(SYNTHETIC)], root, experiment.synthesis)
        for name, root in _rendered_folders(experiment).items()
    ]
    return [*given, *_manifests(experiment), *rendered]


def _rendered_folders(experiment: Experiment) -> dict[str, Path]:
    if not experiment.data.synthesize:
        return {}
    settings = {**key(experiment.synthesis), "version": RENDERER_VERSION}
    place = Path(experiment.cache) / "synthetic" / fingerprint(settings)[:16]
    return {SYNTHETIC + layout: place / layout for layout in LAYOUTS}


def _given_folders(experiment: Experiment) -> dict[str, Path]:
    given = {name: Path(getattr(experiment.data, name)) for name in LAYOUTS if getattr(experiment.data, name)}
    count = len(given) + len(experiment.data.manifests) + len(_rendered_folders(experiment))
    if not count or (count < 2 and not experiment.evaluation.protocols):
        raise UserError(
            "a cross-dataset table needs at least two datasets: give their folders in [data] (or --data.oulu-npu and "
            "so on) or their manifests, ask for rendered ones by --data.synthesize, or name a protocol within one "
            "dataset, such as --evaluation.protocols intra-O-1"
        )
    for name, root in given.items():
        if not root.is_dir():
            raise UserError(f"data.{name}: dataset folder {root} does not exist")
    return given


def prepare(experiment: Experiment, roots: dict[str, Path]) -> list[Prepared]:
    """Decodes every dataset once, in all renditions."""
    made = experiment.preparation, experiment.renditions
    layouts = [(name.removeprefix(SYNTHETIC), root) for name, root in roots.items()]
    listings = [(layout, str(root.resolve()), scan(root, layout)) for layout, root in layouts]
    listings += [(f"manifest-{each.dataset}", str(each.root), each) for each in _manifests(experiment)]
    place, settings = Path(experiment.cache) / "prepared", preparation_key(*made)
    folders = [(place / f"{name}-{fingerprint([root, settings])[:16]}", listing) for name, root, listing in listings]
    if not devices.is_first():
        # What the first has just prepared; videos that failed by chance are not tried again by each process.
        return [Prepared.open(folder) for folder, _ in folders]
    return [prepare_listing(listing, folder, *made) for folder, listing in folders]


def _manifests(experiment: Experiment) -> list[Listing]:
    listings = [listing for name in experiment.data.manifests for listing in read_manifest(Path(name))]
    names = [listing.dataset for listing in listings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"data.manifests: dataset {', '.join(twice)} is in several manifests; put it into one")
    return listings
