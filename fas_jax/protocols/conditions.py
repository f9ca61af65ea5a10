"""Validation on devices or sessions that training has not seen, on top of the cut by subject. Imports no JAX."""

import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, BONA_FIDE
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.cuts import draw

Condition: TypeAlias = Literal["device", "session"]


def hold_out_condition(
    videos: VideoTable,
    rows: Int[np.ndarray, " n"],
    apart: Bool[np.ndarray, " n"],
    by: Condition,
    fraction: float,
    seed: int,
) -> Bool[np.ndarray, " n"]:
    """Which of the rows were recorded under the conditions that are held out of each dataset.

    Validation takes those of them that are held out by subject, too, and training those that are neither; the others
    take no part. Both hold both classes of every dataset.

    Args:
        videos: Of all datasets.
        rows: To cut.
        apart: Those that are held out by subject, from `cuts.hold_out`.
        by: What tells the conditions of a dataset apart.
        fraction: Share of a dataset's conditions, rounded, at least one, and leaving at least one.
        seed: Of the draw.

    Raises:
        UserError: A dataset does not name the condition of every video, has only one, or cannot be cut so.
    """
    conditions = np.asarray(getattr(videos, by)[rows])
    datasets = np.asarray(videos.dataset[rows])
    held = np.zeros(len(rows), bool)
    for dataset in sorted(set(datasets.tolist())):
        mine = datasets == dataset
        if not apart[mine].any():
            continue  # A dataset that cannot be cut by subject, where that was accepted, validates nothing.
        values = conditions[mine]
        if unnamed := int(np.sum(values == "")):
            raise UserError(
                f"evaluation.validation_by = {by}: {unnamed} of {len(values)} videos of {dataset} for training name no "
                f"{by}; add that column to its manifest, or cut by subject"
            )
        chosen = _choose(dataset, values, videos.label[rows][mine], apart[mine], by, fraction, seed)
        held[mine] = np.isin(values, chosen)
    return held


def _choose(
    dataset: str,
    values: np.ndarray,
    labels: np.ndarray,
    apart: Bool[np.ndarray, " m"],
    by: Condition,
    fraction: float,
    seed: int,
) -> list[str]:
    """The conditions of one dataset to hold out."""
    order = sorted(set(values.tolist()), key=lambda value: draw(seed, dataset, f"{by}\0{value}"))
    if len(order) < 2:
        raise UserError(
            f"evaluation.validation_by = {by}: all videos of {dataset} for training have the {by} {order[0]!r}, so "
            "that none can be held out; cut by subject"
        )
    wanted = min(max(1, round(fraction * len(order))), len(order) - 1)

    def complete(chosen: Sequence[str]) -> bool:
        inside = np.isin(values, chosen)
        sides = labels[apart & inside], labels[~apart & ~inside]
        return all({*side.tolist()} == {ATTACK, BONA_FIDE} for side in sides)

    # One condition, or else two: bona fide videos and attacks may have been recorded under different ones.
    starts = itertools.chain(*(itertools.combinations(order, size) for size in (1, 2)))
    chosen = next((list(start) for start in starts if complete(start)), None)
    if chosen is None:
        raise UserError(
            f"evaluation.validation_by = {by}: the {len(order)} {by}s of {dataset} cannot be cut so that bona fide "
            "videos and attacks are on both sides, with no subject and no such condition on both; cut by subject"
        )
    for value in order:
        if len(chosen) < wanted and value not in chosen and complete([*chosen, value]):
            chosen.append(value)
    return chosen
