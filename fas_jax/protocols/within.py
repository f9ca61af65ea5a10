"""Protocols within any one dataset, made from its videos' splits, subjects and PAI species. Imports no JAX."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.record import ATTACK, SPLITS
from fas_jax.base.video_table import VideoTable
from fas_jax.protocols.cuts import CLASS_NAMES, subject_folds
from fas_jax.protocols.official import LETTERS, protocol_within
from fas_jax.protocols.presets import Choice, Protocol, base_name
from fas_jax.protocols.subjects import number_people

_TRAIN, _DEV, _TEST = ("train",), ("dev",), ("test",)
_KFOLD = re.compile(r"kfold-(.+)-(\d+)")


def made_within(name: str, datasets: Mapping[str, str], videos: VideoTable) -> tuple[tuple[Protocol, ...], ...]:
    """What a name can mean: nothing, one series of protocols, or several where names of datasets collide.

    The official datasets' `intra-` protocols are not made here. In `loso-A-B` a dataset named `A-B` goes before the
    species `B` of a dataset `A`.

    Args:
        name: intra-NAME, kfold-NAME-5, loso-NAME or loso-NAME-print.
        datasets: The dataset at hand for each NAME.
        videos: Of all datasets at hand.

    Raises:
        UserError: The name can be meant, but its dataset's videos do not suffice.
    """
    return tuple(_made(name, datasets, videos))


def fold_names(group: str) -> tuple[str, ...]:
    """`kfold-NAME-2_1` and `kfold-NAME-2_2` for `kfold-NAME-2`; empty for any other name."""
    match = _KFOLD.fullmatch(group)
    return tuple(f"{group}_{fold}" for fold in range(1, int(match[2]) + 1)) if match else ()


def suggested_names(datasets: Mapping[str, str]) -> list[str]:
    """Names to offer for one that is mistyped."""
    return [name for each in datasets for name in (f"intra-{each}", f"kfold-{each}-5", f"loso-{each}")]


def _made(name: str, datasets: Mapping[str, str], videos: VideoTable) -> Iterator[tuple[Protocol, ...]]:
    kind, _, rest = name.partition("-")
    for dataset, exact in datasets.items():
        if kind == "intra" and rest == dataset and base_name(dataset) not in LETTERS:
            yield (_intra(dataset, _of(videos, exact)),)
        elif kind == "kfold" and (match := _KFOLD.fullmatch(name)) and match[1] == dataset:
            yield _kfold(name, dataset, int(match[2]), _of(videos, exact))
        elif kind == "loso" and (rest == dataset or (rest not in datasets and rest.startswith(f"{dataset}-"))):
            found = _loso(dataset, _of(videos, exact))
            if rest == dataset:
                yield tuple(found.values())
            elif name in found:
                yield (found[name],)


def _of(videos: VideoTable, dataset: str) -> VideoTable:
    return videos[videos.dataset == dataset]


def _intra(dataset: str, videos: VideoTable) -> Protocol:
    name = f"intra-{dataset}"
    _need_splits(name, dataset, videos)
    validation = Choice(dataset, _DEV) if "dev" in videos.split.present() else None
    return protocol_within(name, f"within {dataset}", Choice(dataset, _TRAIN), validation, Choice(dataset, _TEST))


def _kfold(name: str, dataset: str, folds: int, videos: VideoTable) -> tuple[Protocol, ...]:
    people = number_people(videos)
    for label, title in CLASS_NAMES.items():
        count = len(np.unique(people[videos.label == label]))
        if count < folds:
            raise UserError(
                f"protocol {name!r} tests every fold on both classes, but only {count} subjects of dataset {dataset!r} "
                f"have {title} videos; ask for fewer folds"
            )
    # The folds are the protocol's own: seeds vary the cut of the validation part and the training, not who is tested.
    fold_of = subject_folds(videos, np.arange(len(videos)), folds, 0, f"the number of folds of {name}")
    parts = [tuple(sorted(videos.subject[fold_of == fold].present())) for fold in range(folds)]
    return tuple(
        protocol_within(
            f"{name}_{fold + 1}",
            f"within {dataset}, fold {fold + 1} of {folds}",
            Choice(dataset, SPLITS, subjects=tuple(sorted(who for part in parts if part is not own for who in part))),
            None,
            Choice(dataset, SPLITS, subjects=own),
        )
        for fold, own in enumerate(parts)
    )


def _loso(dataset: str, videos: VideoTable) -> dict[str, Protocol]:
    """By name, one protocol for each coarse PAI species of the test videos."""
    stem = f"loso-{dataset}"
    _need_splits(stem, dataset, videos)
    attacks = videos[videos.label == ATTACK]
    species = sorted(attacks.pai.present())
    if len(species) < 2:
        raise UserError(
            f"protocol {stem!r} leaves one PAI species out and trains on the others, but dataset {dataset!r} has only "
            f"{', '.join(species) or 'none'}"
        )
    found: dict[str, Protocol] = {}
    for tested in sorted(attacks.pai[attacks.split == "test"].present()):
        # A manifest's species may hold what a name of files cannot.
        name = f"{stem}-{re.sub(r'[^A-Za-z0-9.]+', '-', tested).strip('-')}"
        if name in found:
            raise UserError(f"dataset {dataset!r} has two PAI species that are both {name!r} in a protocol's name")
        others = tuple(each for each in species if each != tested)
        found[name] = protocol_within(
            name,
            f"within {dataset}, without {tested} in training",
            Choice(dataset, _TRAIN, pai=others),
            Choice(dataset, _DEV, pai=others) if "dev" in videos.split.present() else None,
            Choice(dataset, _TEST, pai=(tested,)),
        )
    return found


def _need_splits(name: str, dataset: str, videos: VideoTable) -> None:
    for split in ("train", "test"):
        if split not in videos.split.present():
            raise UserError(
                f"protocol {name!r}: dataset {dataset!r} has no videos of the split {split!r}; give it some, or divide "
                f"its subjects into folds, as kfold-{dataset}-5 does"
            )
