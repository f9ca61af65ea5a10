"""Fits one method on some clips and scores all of them, for audits and curves."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.datasets.prepared import Prepared
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import Desk, Failed, Job, Method
from fas_jax.methods.data import WHOLE, Scores, Task
from fas_jax.methods.head_settings import HeadSettings
from fas_jax.methods.registry import BASELINES, find_kind, method_from_dict
from fas_jax.models.backbones import nothing
from fas_jax.protocols.assignment import Assignment

QUICK = (
    "hidden=20",
    "learning_rate=1e-3",
    "max_epochs=60",
    "validate_every=1",
    "patience=15",
    'monitor="loss"',
)
"""Settings of a small head that is fitted in a minute."""


def quick(kind: str) -> tuple[str, ...]:
    """Settings of a kind where none are given: a small head's, or the kind's own defaults where it is no head.

    Raises:
        UserError: An unknown kind.
    """
    return QUICK if issubclass(find_kind(kind), HeadSettings) else ()


def method_of(kind: str, settings: Sequence[str], rendition: str) -> Method:
    """A method by its kind and settings as a command line has them, reading one rendition.

    Args:
        kind: Its name.
        settings: As `hidden=20`: a name, and a value as TOML writes it; a word needs no quotes.
        rendition: The name of one.

    Raises:
        UserError: An unknown kind or setting, a value of another type, or settings that make no sense together.
    """
    table: dict[str, object] = {"kind": kind, "rendition": rendition}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign:
            raise UserError(f"--settings: {setting!r} is not NAME=VALUE")
        try:
            table[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[name] = value
    method = method_from_dict(kind, table, "--settings")
    method.check(kind)
    return method


def baselines(rendition: str) -> dict[str, Method]:
    """What every other method has to beat, by name."""
    return {
        name: method_from_dict(name, {**table, "rendition": rendition}, "the baselines")
        for name, table in BASELINES.items()
    }


def open_stores(stores: Sequence[FeatureStore], prepared: Sequence[Path] = ()) -> tuple[CorpusClips, str]:
    """The clips of some datasets' stores with their features in memory, and the rendition that these are of.

    A clip of which the rendition could not be made is left out.

    Args:
        stores: One a dataset.
        prepared: Folders of the prepared datasets that they were made of, in any order, for methods that read frames.

    Raises:
        UserError: The stores are of several renditions, one was made of no `prepared` dataset though there are any, or
            as `Corpus.of`.
    """
    names = sorted({store.provenance["rendition"] for store in stores})
    if len(names) != 1:
        raise UserError(f"the stores are of several renditions ({', '.join(names)}); give those of one")
    (rendition,) = names
    corpus = Corpus.of({rendition: stores}, _in_order_of(stores, prepared))
    clips = corpus.open()
    clips = corpus.open(clips.numbers[clips.features(rendition)[1].any(1)])
    return clips.with_features(rendition, *clips.loaded(rendition)), rendition


def has_features(stores: Sequence[FeatureStore]) -> bool:
    """Whether the stores hold features, and not the zeros of `features.backbone = "none"`."""
    return all(store.provenance["backbone"] != nothing.NAME for store in stores)


def check_reads(method: Method, clips: CorpusClips, features: bool) -> None:
    """Refuses, before any fitting, a method that lacks its inputs, or reads frames of which none can be left out.

    Args:
        method: Reads one rendition.
        clips: From `open_stores`.
        features: As `has_features`.

    Raises:
        UserError: The method's kind and what it lacks.
    """
    for item in method.inputs():
        if item.kind == "features" and not features:
            raise UserError(
                f"{method.kind} reads features, and the stores were made with features.backbone none; extract features "
                "with a backbone, or take a method that reads frames"
            )
        if item.kind != "frames":
            continue
        if clips.opened_frames is None:
            raise UserError(f"{method.kind} reads frames: give the folders of the prepared datasets by --prepared")
        if (burst := clips.frames(item.name).burst) > 1:
            raise UserError(
                f"{method.kind} would read bursts of {burst} frames, of which none can be left out or moved without "
                "breaking them; give stores of a rendition without bursts"
            )


def _in_order_of(stores: Sequence[FeatureStore], folders: Sequence[Path]) -> list[Path]:
    known = {Prepared.open(folder).fingerprint: Path(folder) for folder in folders}
    if folders and (lacking := [each for each in stores if each.provenance["prepared"] not in known]):
        raise UserError(
            f"--prepared names no dataset that the features in {lacking[0].path} were made of; give the folder of "
            f"{lacking[0].provenance['dataset']}, as it was when they were extracted"
        )
    return [known[store.provenance["prepared"]] for store in stores if folders]


def fit_and_score(method: Method, clips: CorpusClips, assignment: Assignment, seed: int, title: str) -> Scores:
    """Scores of all clips by the method, fitted on those that the assignment names.

    Args:
        method: One that reads no other method's scores.
        clips: What the assignment's indices are rows of.
        assignment: Who trains and validates.
        seed: Of weights and order.
        title: For the progress bar.
    """
    everyone = np.arange(len(clips))
    protocol = assignment.protocol.name
    task = Task(0, title, protocol, seed, WHOLE, assignment.train, assignment.validation, assignment.validation)
    desk = Desk(f"{title}, seed {seed}", Execution())
    (found,) = method.fit([Job(method, task)], clips, desk)
    if isinstance(found, Failed):
        return Scores.none(len(clips), f"its fitting failed: {found.reason}")
    (scores,) = method.score_all([found], clips, [everyone], [task.number], desk)
    return scores


def score_rows(clips: CorpusClips, assignment: Assignment, name: str, seed: int, scores: Scores) -> ScoreTable:
    """The scores of validation and test videos, for `evaluate`, out of those of all clips."""
    parts = []
    for role, rows in ((VALIDATION, assignment.validation), (TEST, assignment.test)):
        reasons = [scores.reason[row] for row in rows.tolist()] if scores.reason else None
        protocol = assignment.protocol.name
        parts.append(ScoreTable.from_videos(protocol, seed, role, name, clips.videos[rows], scores.clip[rows], reasons))
    return ScoreTable.concatenate(parts)
