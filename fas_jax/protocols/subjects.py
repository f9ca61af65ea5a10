"""Who is the same person: a subject's name within a dataset, and within datasets that share their people.

Imports no JAX.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from jaxtyping import Int32

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.presets import SYNTHETIC

SETTING = "evaluation.shared_subjects"


def fold_name(subject: str) -> str:
    """The canonical spelling of a subject's name: that of `S 1` and ` s  1` is the same."""
    return " ".join(subject.split()).casefold()


def number_people(videos: VideoTable, shared: Sequence[str] = ()) -> Int32[np.ndarray, " n"]:
    """A number for each video, the same where the subject is: names are compared with case and blanks folded.

    Args:
        videos: Of all datasets.
        shared: Which datasets share their subjects, as in `evaluation.shared_subjects`; no others do.
    """
    homes = home_datasets(shared, videos.dataset.present())
    groups = {home: code for code, home in enumerate(sorted({*homes.values()}))}
    home = np.array([groups.get(homes.get(name, ""), 0) for name in videos.dataset.texts], np.int64)
    known: dict[str, int] = {}
    subject = np.array([known.setdefault(fold_name(name), len(known)) for name in videos.subject.texts], np.int64)
    joint = home[videos.dataset.codes] * max(1, len(known)) + subject[videos.subject.codes]
    return np.unique(joint, return_inverse=True)[1].astype(np.int32)


def home_datasets(shared: Sequence[str], datasets: Collection[str]) -> dict[str, str]:
    """For each of the datasets, the first in alphabetical order of those with which it shares its subjects."""
    homes = {name: name for name in datasets}
    for names in map(_parse, shared):
        joined = {homes[name] for name in _exact(names, datasets)}
        if joined:
            homes = {name: min(joined) if home in joined else home for name, home in homes.items()}
    return homes


def check_shared(shared: Sequence[str], datasets: Collection[str]) -> None:
    """Raises `UserError` where an entry is not like `A=B`, or names a dataset that is not at hand."""
    for names in map(_parse, shared):
        for name in names:
            if not _exact((name,), datasets):
                raise unknown_name(f"dataset in {SETTING}", name, datasets)


def _parse(entry: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in entry.split("="))
    if len({*names}) < 2 or not all(names):
        raise UserError(f"{SETTING}: {entry!r} must name datasets that share their subjects, as in A=B")
    return names


def _exact(names: Iterable[str], datasets: Collection[str]) -> list[str]:
    """The datasets meant, of those at hand; a rendered one may be without its `synth-`."""
    exact = (name if name in datasets else SYNTHETIC + name for name in names)
    return [name for name in exact if name in datasets]
