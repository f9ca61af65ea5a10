"""Draws error against cost: HTER and time a video for 1 to 15 frames a clip."""

from functools import partial
from pathlib import Path

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import write_json, write_text
from fas_jax.base.outputs import check_output, output_folder
from fas_jax.base.settings import Features
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.experiment.ledger import record_study
from fas_jax.features.store import FeatureStore
from fas_jax.protocols.assignment import assign
from fas_jax.protocols.presets import leave_one_out
from fas_jax.reporting.grid import markdown, to_csv
from fas_jax.reporting.materials import materials_of
from fas_jax.reporting.naming import protocol_title
from fas_jax.reporting.page import simple_page
from fas_jax.runtime import cli
from fas_jax.studies import frames_curve as cost
from fas_jax.studies.one_method import check_reads, has_features, method_of, open_stores, quick


def main(
    stores: tuple[Path, ...],
    out: Path = Path("frames"),
    target: str = "M",
    preset: str = "strict",
    counts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15),
    kind: str = "gru",
    settings: tuple[str, ...] = (),
    beside: tuple[str, ...] = ("mean-feature",),
    seeds: int = 3,
    prepared: tuple[Path, ...] = (),
    time_features: bool = True,
    frame_size: int = 224,
    batch_size: int = 32,
    open_sealed: tuple[str, ...] = (),
) -> None:
    """Writes frames.html, .csv and .json from feature stores with many frames a clip.

    Prepare with fas-jax prepare --max-frames 15 first, then extract. Beware the length trap: where the number of
    kept frames differs between classes, more frames let a recurrent model read the length; the audit shows it.

    Args:
        stores: Folders of the feature stores, one a dataset.
        out: Folder for the page.
        target: Dataset that is left out.
        preset: Protocol preset.
        counts: Frames a clip.
        kind: Kind of the method; one that reads frames needs --prepared.
        settings: Of the method, as NAME=VALUE. Without any, a head is a small one that is fitted in a minute, and
            another kind has its defaults.
        beside: Kinds of the methods that stand beside it, with their default settings.
        seeds: Fittings for each count.
        prepared: Folders of the prepared datasets, for methods that read frames.
        time_features: Whether to measure here, now, how long the networks take for a frame: the feature stage, and
            those that are trained on frames (with random weights: they take as long).
        frame_size: Side of the frames that the feature stage is measured on.
        batch_size: Frames in a step there.
        open_sealed: Sealed datasets that may be read as targets.
    """
    check_output(out)
    opened = [FeatureStore.open(path) for path in stores]
    record_study("frames_curve", stores, (target,), open_sealed)
    clips, rendition = open_stores(opened, prepared)
    lengths = clips.features(rendition)[1].sum(1)
    if lengths.max() < max(counts):
        raise UserError(
            f"the longest clip of the stores has {lengths.max()} frames, and counts asks for {max(counts)}; prepare "
            f"and extract with a larger max_frames in [renditions.{rendition}], or give smaller --counts"
        )
    (protocol,) = leave_one_out(preset, (target,), clips.videos.dataset.present())
    assignment = assign(protocol, clips.videos, 0.2, 0)
    given = {kind: settings or quick(kind)}
    methods = {name: method_of(name, given.get(name, ()), rendition) for name in (kind, *beside)}
    for method in methods.values():
        check_reads(method, clips, has_features(opened))
        cost.check_counts(method, counts)
    results = evaluate(cost.curve(clips, rendition, assignment, counts, range(seeds), methods))
    seconds = dict.fromkeys(methods, np.nan)
    if time_features:
        backbone = Features(backbone=opened[0].provenance["backbone"], weights="random")
        seconds = cost.seconds_of(methods, clips, backbone, frame_size, batch_size)
    table, figure = cost.report(results, counts, seconds)
    title = f"Error against cost, {protocol_title(protocol)} ({preset})"
    said = [f"Clips have {lengths.min()} to {lengths.max()} frames."]
    caveats = materials_of(opened).caveats()
    with output_folder(out) as place:
        grid = table.grid
        about = {"header": grid.header, "rows": grid.rows, "text": table.text, "caveats": caveats}
        write_json(place / "frames.json", about)
        write_text(place / "frames.csv", to_csv(grid))
        write_text(place / "frames.html", simple_page(title, said, [table], {"Figure": figure}, caveats))
    print("\n\n".join([*caveats, markdown(table.grid)]))


command = partial(cli.main, main)
