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
from fas_jax.base.settings import Preparation
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
from fas_jax.experiment.out_of_fold import SOURCE, folds_read
from fas_jax.experiment.planning import LEFT_OUT, Plan, cross_source_plans, joining_datasets, plan
from fas_jax.experiment.rendered import render_domains, rendered_listings
from fas_jax.experiment.results import report
from fas_jax.experiment.run import (
    Seconds,
    only_job,
    open_inputs,
    open_run,
    write_inputs,
    write_run_attributes,
)
from fas_jax.experiment.selection import check_selection, fit_selected
from fas_jax.features.extraction import extract, load_backbone
from fas_jax.features.shifted import extract_shifted
from fas_jax.models.backbones import nothing
from fas_jax.pixels.renditions import check_renditions, preparation_key
from fas_jax.protocols.assignment import assign_all
from fas_jax.protocols.origins import find_origins
from fas_jax.protocols.presets import SYNTHETIC, Protocol
from fas_jax.runtime import devices
from fas_jax.runtime.workers import check_workers
from fas_jax.synthetic import VERSION as RENDERER_VERSION
from fas_jax.synthetic import Workers, render_dataset
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
    record_selection(opened)
    with opened.seconds.stage("train"):
        fitted = fit_selected(opened.experiment, opened.plans, opened.corpus, opened.folder)
        fit_cross_source(opened.experiment, opened.plans, opened.corpus, opened.folder)
    return Run(**vars(opened), fitted=fitted)


def record_selection(opened: Opened) -> None:
    """Notes in the ledger which targets choose epochs, where the settings say so."""
    chosen = selects_on_target(opened.experiment, opened.plans)
    if chosen and devices.is_first():
        record_readings(opened.experiment, chosen, "selection", Path(opened.experiment.cache))


def reopen(experiment: Experiment, folder: Path) -> Opened:
    """A run in a folder that `open_checked` has opened before, with the inputs that it noted then; reads no video.

    Raises:
        UserError: The inputs are not there any more.
    """
    corpus = open_inputs(folder)
    agreed = dataclasses.replace(experiment, training=streaming.agreed(experiment.training))
    return Opened(agreed, folder, Seconds(folder), corpus, plan(experiment, corpus.videos))


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
    methods = experiment.methods.values()
    items = [item for method in methods for item in (*method.inputs(), *method.training_inputs())]
    return list(dict.fromkeys(item.name for item in items if not item.of_method))


def check(experiment: Experiment) -> tuple[Protocol, ...]:
    """Refuses now what would fail after hours of decoding: settings, renditions, protocols, weights, the machine.

    Returns:
        The experiment's protocols.
    """
    experiment.check()
    check_workers()
    _check_inputs(experiment)
    assigned, videos = expected(experiment)
    protocols = tuple({each.protocol.name: each.protocol for each in assigned}.values())
    check_selection(experiment, protocols)
    by_source = any(SOURCE in each for each in folds_read(experiment.methods).values())
    if by_source or LEFT_OUT in (experiment.evaluation.selection, experiment.evaluation.threshold_from):
        # Refuses sources without which a class is lacking.
        cross_source_plans(assigned, videos)
    check_seals(experiment, protocols)
    load_backbone(experiment.features)
    return protocols


def expected(experiment: Experiment) -> tuple[list[Plan], VideoTable]:
    """Who will train, validate and be tested if every video can be read, and all videos; decodes and renders nothing.

    Raises:
        UserError: As `check`.
    """
    listings = _listings(experiment)
    joining = joining_datasets(experiment, [each.dataset for each in listings])
    if joining and not any(each.rendered_part(1, 1) for each in experiment.methods.values()):
        raise UserError(
            f"no method trains on [rendered.NAME] tables ({', '.join(sorted(experiment.rendered))}); take them out, "
            "add a method that reads frames, such as finetune, or set its rendered_share above 0"
        )
    listings = [each for each in listings if each.dataset not in joining]
    videos = VideoTable.of(video for listing in listings for video in listing.videos)
    assigned = assign_all(experiment.evaluation, experiment.seeds, videos, find_origins(listings))
    return [Plan(each.protocol, seed, each) for seed, each in assigned], videos


def _check_inputs(experiment: Experiment) -> None:
    """Raises `UserError` where a method reads a rendition that is not there, or its detector cannot be had."""
    for name in renditions_read(experiment):
        if name not in experiment.renditions:
            raise unknown_name("rendition", name, experiment.renditions)
    for name, method in experiment.methods.items():
        for item in method.inputs():
            native = not item.of_method and not experiment.renditions[item.name].size
            if item.kind == "features" and method.measures and not native:
                raise UserError(
                    f"methods.{name} reads measures of native pixels, which rendition {item.name} does not keep; give "
                    "it one with size = 0"
                )
            if item.kind == "features" and experiment.renditions[item.name].tiles:
                raise UserError(
                    f"methods.{name} reads features, and rendition {item.name} holds tiles, which have none; give it "
                    "one without tiles"
                )
            if item.kind == "frames" and native:
                raise UserError(
                    f"methods.{name} reads frames of one size, and rendition {item.name} keeps native pixels; give it "
                    "one with a size"
                )
        for item in method.training_inputs():
            own, other = (experiment.renditions[each.name] for each in (method.inputs()[0], item))
            if (own.size, own.burst) != (other.size, other.burst):
                raise UserError(
                    f"methods.{name} trains on renditions {method.inputs()[0].name} and {item.name} side by side, "
                    "which differ in size or burst; give them the same"
                )
    check_renditions(experiment.renditions)
    if experiment.features.backbone == nothing.NAME:
        kinds = {name: {item.kind for item in each.inputs()} for name, each in experiment.methods.items()}
        if on_features := [name for name, read in kinds.items() if "features" in read]:
            raise UserError(
                f"features.backbone is none, and {', '.join(on_features)} reads features; name a backbone and weights"
            )


def find_videos(experiment: Experiment) -> dict[str, Path]:
    """Folders of the datasets by layout, with `synth-` before it where they are rendered, which this does first."""
    roots = _given_folders(experiment)
    with Workers(experiment.synthesis.workers) as workers:
        for name, root in _rendered_folders(experiment).items():
            roots[name] = render_dataset(name.removeprefix(SYNTHETIC), root, experiment.synthesis, workers)
    render_domains(experiment)
    return roots


def list_videos(experiment: Experiment) -> list[Listing]:
    """The videos of every dataset, which are rendered first where they are to be."""
    roots = find_videos(experiment).items()
    return [*(scan(root, name.removeprefix(SYNTHETIC)) for name, root in roots), *_manifests(experiment)]


def _listings(experiment: Experiment) -> list[Listing]:
    """Every dataset at hand, those included that are still to be rendered."""
    given = [scan(root, layout) for layout, root in _given_folders(experiment).items()]
    rendered = [
        planned_listing(LAYOUTS[name.removeprefix(SYNTHETIC)], root, experiment.synthesis)
        for name, root in _rendered_folders(experiment).items()
    ]
    return [*given, *_manifests(experiment), *rendered, *rendered_listings(experiment)]


def _rendered_folders(experiment: Experiment) -> dict[str, Path]:
    if not experiment.data.synthesize:
        return {}
    settings = {**key(experiment.synthesis), "version": RENDERER_VERSION}
    place = Path(experiment.cache) / "synthetic" / fingerprint(settings)[:16]
    return {SYNTHETIC + layout: place / layout for layout in LAYOUTS}


def _given_folders(experiment: Experiment) -> dict[str, Path]:
    given = {name: Path(getattr(experiment.data, name)) for name in LAYOUTS if getattr(experiment.data, name)}
    count = len(given) + len(experiment.data.manifests) + len(_rendered_folders(experiment))
    count = count or len(experiment.rendered)
    if not count or (count < 2 and not experiment.evaluation.protocols):
        raise UserError(
            "a cross-dataset table needs at least two datasets: give their folders in [data] (or --data.oulu-npu and "
            "so on) or their manifests, ask for rendered ones by --data.synthesize, or name a protocol within one "
            "dataset, such as --evaluation.protocols intra-O-1 (intra-NAME for a table [rendered.NAME])"
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
    further = [*_manifests(experiment), *rendered_listings(experiment)]
    listings += [(f"manifest-{each.dataset}", str(each.root), each) for each in further]
    place, settings = Path(experiment.cache) / "prepared", preparation_key(*made)
    folders = [(place / f"{name}-{fingerprint([root, settings])[:16]}", listing) for name, root, listing in listings]
    if not devices.is_first():
        # What the first has just prepared; videos that failed by chance are not tried again by each process.
        return [Prepared.open(folder) for folder, _ in folders]
    return [
        prepare_listing(listing, folder, _tolerant(experiment, listing), experiment.renditions)
        for folder, listing in folders
    ]


def _tolerant(experiment: Experiment, listing: Listing) -> Preparation:
    """The settings; rendered domains may have faces that nobody finds, dark or small as some are."""
    if listing.dataset not in {SYNTHETIC + name for name in experiment.rendered}:
        return experiment.preparation
    return dataclasses.replace(experiment.preparation, allow_failures=len(listing.videos))


def _manifests(experiment: Experiment) -> list[Listing]:
    listings = [listing for name in experiment.data.manifests for listing in read_manifest(Path(name))]
    names = [listing.dataset for listing in listings]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"data.manifests: dataset {', '.join(twice)} is in several manifests; put it into one")
    return listings
