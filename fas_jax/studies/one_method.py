"""One method fitted on some clips and scored on all of them: what audits and curves are made of.

Imports no JAX until something is fitted.
"""

import tomllib
from collections.abc import Sequence

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Execution
from fas_jax.evaluation.scores import TEST, VALIDATION, ScoreTable
from fas_jax.experiment.corpus import Corpus, CorpusClips
from fas_jax.features.store import FeatureStore
from fas_jax.methods.base import Desk, Failed, Job, Method
from fas_jax.methods.data import WHOLE, Scores, Task
from fas_jax.methods.registry import BASELINES, method_from_dict
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


def method_of(kind: str, settings: Sequence[str], rendition: str) -> Method:
    """A method by its kind and settings as a command line has them, reading one rendition.

    Args:
        kind: Its name.
        settings: As `hidden=20`: a name, and a value as TOML writes it; a word needs no quotes.
        rendition: The name of one.

    Raises:
        UserError: An unknown kind or setting, or a value of another type.
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
    return method_from_dict(kind, table, "--settings")


def baselines(rendition: str) -> dict[str, Method]:
    """What every other method has to beat, by name."""
    return {
        name: method_from_dict(name, {**table, "rendition": rendition}, "the baselines")
        for name, table in BASELINES.items()
    }


def open_stores(stores: Sequence[FeatureStore]) -> tuple[CorpusClips, str]:
    """The clips of some datasets' stores with their features in memory, and the rendition that these are of.

    A clip of which the rendition could not be made is left out.

    Raises:
        UserError: The stores are of several renditions, or as `Corpus.of`.
    """
    names = sorted({store.provenance["rendition"] for store in stores})
    if len(names) != 1:
        raise UserError(f"the stores are of several renditions ({', '.join(names)}); give those of one")
    (rendition,) = names
    corpus = Corpus.of({rendition: stores})
    clips = corpus.open()
    clips = corpus.open(clips.numbers[clips.features(rendition)[1].any(1)])
    return clips.with_features(rendition, *clips.loaded(rendition)), rendition


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
