"""The worst-scored test videos of a run, for studies that draw what decides in them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from fas_jax.base.errors import unknown_name
from fas_jax.evaluation.scores import ScoreTable
from fas_jax.experiment.corpus import Corpus


class Plan(NamedTuple):
    """A protocol of a run with its first seed."""

    protocol: str
    seed: int
    name: str
    """Of the plan."""


def first_plan(inputs: Mapping[str, Any], protocol: str = "") -> Plan:
    """The first seed's plan of a protocol, or of the first one.

    Args:
        inputs: Of a trained run, from `experiment.run.read_inputs`.
        protocol: Its name; the first one if empty.

    Raises:
        UserError: The run has no such protocol.
    """
    pairs = zip(inputs["assignments"], inputs["plans"], strict=True)
    plans = {about["protocol"]: (about["seed"], plan) for about, plan in reversed(list(pairs))}
    protocol = protocol or inputs["assignments"][0]["protocol"]
    if protocol not in plans:
        raise unknown_name("protocol", protocol, plans)
    return Plan(protocol, *plans[protocol])


def worst_videos(table: ScoreTable, count: int) -> ScoreTable:
    """The attacks with the highest scores, then the bona fide videos with the lowest, half of each."""
    table = table.rows(table.answered)
    return table.rows(worst_rows(table, count))


def worst_rows(table: ScoreTable, count: int) -> Int[np.ndarray, " k"]:
    """The rows of `worst_videos` in a table in which every video has a score."""
    order = np.argsort(np.where(table.label == 1, table.score, -table.score), kind="stable")
    sides = [order[table.label[order] == label] for label in (0, 1)]
    return np.concatenate([side[: max(1, count // 2)] for side in sides])


def numbers_of(corpus: Corpus, table: ScoreTable) -> Int[np.ndarray, " n"]:
    """Where the videos of a table lie in the corpus, in the table's order."""
    every = zip(corpus.videos.dataset, corpus.videos.path, strict=True)
    places = {(str(dataset), str(path)): number for number, (dataset, path) in enumerate(every)}
    return np.array([places[str(dataset), str(path)] for dataset, path in zip(table.dataset, table.video, strict=True)])
