"""Tests what scores really use: shortcuts, controls, and the published protocol beside ours."""

from functools import partial
from pathlib import Path

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.outputs import check_output
from fas_jax.base.settings import Features, Training, from_dict
from fas_jax.datasets.prepared import Prepared
from fas_jax.evaluation.evaluate import evaluate
from fas_jax.experiment.ledger import record_study
from fas_jax.features.stage import load_backbone
from fas_jax.features.store import FeatureStore
from fas_jax.protocols.assignment import assign
from fas_jax.protocols.presets import leave_one_out
from fas_jax.reporting.extra_tables import write_extra_table
from fas_jax.reporting.materials import materials_of
from fas_jax.reporting.naming import protocol_title
from fas_jax.runtime import cli
from fas_jax.studies.audit import frames, planted, sequence, verdict
from fas_jax.studies.audit.controls import left_out, run_controls
from fas_jax.studies.audit.sequence import Outcome, Part, Split
from fas_jax.studies.audit.shortcuts import find_shortcuts
from fas_jax.studies.one_method import check_reads, has_features, method_of, open_stores, quick


def _same_features(stores: list[FeatureStore], weights: str) -> Features:
    """How the stores' features were made, to make masked ones alike."""
    made = {
        fingerprint({**store.provenance["settings"], "hash": store.provenance["weights_sha256"]}) for store in stores
    }
    settings = from_dict(Features, {**stores[0].provenance["settings"], "weights": weights}, where="the stores")
    if len(made) > 1:
        raise UserError("--background needs stores that were all made with the same settings")
    _, _, origin = load_backbone(settings)
    if origin["weights_sha256"] != stores[0].provenance["weights_sha256"]:
        raise UserError(
            f"--weights {weights}: the stores were made with other weights, {stores[0].provenance['weights']}"
        )
    return settings


def main(
    stores: tuple[Path, ...] = (),
    out: Path = Path("audit"),
    target: str = "M",
    preset: str = "strict",
    kind: str = "gru",
    settings: tuple[str, ...] = (),
    seeds: int = 3,
    prepared: tuple[Path, ...] = (),
    background: bool = False,
    weights: str = "",
    published: bool = True,
    sequence_hidden: int = 64,
    sequence_seeds: int = 5,
    sequence_epochs: int = 120,
    videos: int = 300,
    frame_aucs: tuple[float, ...] = (0.5, 0.566, 0.704),
    run: Path | None = None,
    open_sealed: tuple[str, ...] = (),
) -> None:
    """Writes audit.html and audit.json: what the scores of a method under a protocol really use.

    Without --stores, the published protocol is compared with ours on made-up features alone, which carry a known
    amount of information.

    Args:
        stores: Folders of the feature stores, one a dataset, in any order.
        out: Folder for the page.
        target: Dataset that is left out.
        preset: Protocol preset.
        kind: Kind of the method whose controls are run; one that reads frames needs --prepared.
        settings: Of the method, as NAME=VALUE. Without any, a head is a small one that is fitted in a minute, and
            another kind has its defaults.
        seeds: Fittings of the method and of each control.
        prepared: Folders of the prepared datasets, for the edges of frames, --background, and methods on frames.
        background: Whether to run the method on frames without their middle. For a method that reads features, they
            are extracted, which needs the stores' weights.
        weights: As in features.weights, for --background with a method that reads features.
        published: Whether to run the published variant (preset dle2023-sequence) beside ours.
        sequence_hidden: Hidden units of its LSTM (the paper's: 1000), in both.
        sequence_seeds: Trainings of each.
        sequence_epochs: Most epochs of each (the paper's: 1500), looking every 30 with a patience of 90.
        videos: Made-up training videos, a quarter of them bona fide; half as many to develop and to test.
        frame_aucs: What one frame of the made-up videos tells, at best.
        run: Folder of a run whose next report shall show the audit.
        open_sealed: Sealed datasets that may be read as targets.
    """
    check_output(out)
    tables, said, caveats = [], [], []
    as_published = Training(learning_rate=1e-3, max_epochs=sequence_epochs, validate_every=30, patience=90)
    numbers = list(range(sequence_seeds))
    if stores:
        opened = [FeatureStore.open(path) for path in stores]
        record_study("audit_leakage", stores, (target,), open_sealed)
        clips, rendition = open_stores(opened, prepared)
        caveats = materials_of(opened).caveats()
        method, present = method_of(kind, settings or quick(kind), rendition), has_features(opened)
        check_reads(method, clips, present)
        skipped = left_out(method, present)
        (protocol,) = leave_one_out(preset, (target,), clips.videos.dataset.present())
        assignment = assign(protocol, clips.videos, 0.2, 0)
        edges, masked = None, None
        if background and not prepared:
            raise UserError("--background needs the frames: give the folders of the prepared datasets by --prepared")
        if background and rendition != "whole":
            raise UserError(f"--background needs stores of whole frames, in whose middle a face is, not of {rendition}")
        if prepared:
            on_frames = any(item.kind == "frames" for item in method.inputs())
            extraction = _same_features(opened, weights) if background and not on_frames else None
            edges, masked = frames.read_frames([Prepared.open(path) for path in prepared], clips, rendition, extraction)
            if background and on_frames:
                masked = clips.with_frames(rendition, frames.WithoutMiddle.of)
        found = find_shortcuts(clips.videos, clips.facts(rendition), edges, rendition)
        tables.append(verdict.shortcut_table(found))
        said += [
            f"{each.dataset}: {each.quantity} tells the label (AUC {each.auc:.3f})." for each in found if each.flagged
        ]
        said += [] if any(each.flagged for each in found) else ["No quantity was flagged in any dataset."]
        results = evaluate(run_controls(clips, rendition, assignment, range(seeds), method, masked, skipped))
        tables.append(verdict.control_table(results, rendition))
        said += [*verdict.statements(results, rendition), *skipped.values()]
        if published and not present:
            said.append("The published protocol reads features, which these stores lack: see made-up ones below.")
        if published and present:
            features, mask = clips.loaded(rendition)
            parts = (
                Part(features[rows], mask[rows], clips.labels[rows])
                for rows in (assignment.train, assignment.validation, assignment.test)
            )
            splits = [Split(*parts)] * sequence_seeds
            outcomes = _both(splits, numbers, sequence_hidden, as_published)
            named = f"The published protocol beside ours, {protocol_title(protocol)}"
            tables.append(verdict.sequence_table(named, {"features of the stores": outcomes}, {}))
    if published:
        by_condition: dict[str, list[Outcome]] = {}
        truth = {}
        for auc in frame_aucs:
            name = f"made-up features {auc:g}"
            splits = [_made_up(auc, seed, videos) for seed in numbers]
            by_condition[name] = _both(splits, numbers, sequence_hidden, as_published)
            truth[name] = f"{auc:.3f} a frame, {planted.video_auc(auc, 4):.3f} a video"
        named = "The published protocol beside ours, known information"
        tables.append(verdict.sequence_table(named, by_condition, truth))
    about = {"preset": preset, "target": target, "kind": kind, "settings": settings or quick(kind), "seeds": seeds}
    verdict.write_audit(
        out,
        f"Audit: {target} left out ({preset})" if stores else "Audit of the published protocol",
        said,
        tables,
        about,
        caveats,
    )
    for number, table in enumerate(tables if run else ()):
        assert run is not None
        write_extra_table(run, f"2-audit-{number}", table)
    print("\n".join([*caveats, *said]))
    print(f"The page is {out / 'audit.html'}.")


def _both(splits: list[Split], seeds: list[int], hidden: int, settings: Training) -> list[Outcome]:
    found = sequence.published(splits, seeds, hidden, settings) + sequence.ours(splits, seeds, hidden, settings)
    return [outcome for _, outcome in found]


def _made_up(auc: float, seed: int, videos: int) -> Split:
    generator = np.random.default_rng([seed, round(1000 * auc)])
    parts = []
    for count in (videos, videos // 2, videos // 2):
        labels = (np.arange(count) % 4 == 0).astype(np.int64)
        parts.append(Part(*planted.gaussian_features(labels, 4, 64, auc, generator), labels))
    return Split(*parts)


command = partial(cli.main, main)
