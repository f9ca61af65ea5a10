"""Who is trained on, who sets the threshold, and who is tested, as data; see `assignment`. Imports no JAX."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.record import BONA_FIDE
from fas_jax.base.video_table import VideoTable

SYNTHETIC = "synth-"
"""Begins the name of every dataset of rendered videos."""
# The order in which the paper's Table I writes the sources of each target.
_PAPER_ORDER = {"M": "OCI", "C": "OMI", "I": "OCM", "O": "ICM"}


@dataclass(frozen=True)
class Preset:
    """Which official splits take which part."""

    name: str
    summary: str
    """One sentence for reports."""
    train: tuple[str, ...]
    """Official splits of the sources that are trained on."""
    validation: tuple[str, ...]
    """Official splits of the sources that choose the model and set the threshold; empty: a share of the
    subjects of `train` is cut out, within each source dataset."""
    test: tuple[str, ...]
    """Official splits of the target that give the final figures."""
    on_target: bool = False
    """Whether the target's own test videos choose the model and set the threshold, as in the published work; the
    figures are then no estimate of an unknown target's."""
    left_out: int = 0
    """Videos of each class of the target that are not tested."""
    caveats: tuple[str, ...] = ()
    """What every report of it has to say: how it differs from what was published under this name."""


_CROPS = "the published work crops faces by MTCNN; here frames are as the run's preparation says"
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="strict",
            summary="Sources: all official training and development videos, a validation part cut out by "
            "subject within each dataset. Target: the official test set.",
            train=("train", "dev"),
            validation=(),
            test=("test",),
        ),
        Preset(
            name="dle2023",
            summary="Sources: training sets to train on, test sets for early stopping and the threshold (as "
            "the scripts of Muhammad et al. 2023 do). Target: the official test set.",
            train=("train",),
            validation=("test",),
            test=("test",),
        ),
        Preset(
            name="ssdg-honest",
            summary="Sources: training and test sets together (without development sets), a validation part cut out "
            "by subject within each dataset. Target: training and test set together.",
            train=("train", "test"),
            validation=(),
            test=("train", "test"),
        ),
        Preset(
            name="ssdg2020",
            summary="Sources: training and test sets together. Target: training and test set together, which also "
            "choose the model and set the threshold (as Jia et al., CVPR 2020, do).",
            train=("train", "test"),
            validation=("train", "test"),
            test=("train", "test"),
            on_target=True,
            caveats=(
                _CROPS,
                "it trains on frame 6 and scores the mean of frames 6 and 6 + n/2 of a video; here the run's frames",
                "its threshold lies on a grid of 1e-4; here it is exact",
            ),
        ),
        Preset(
            name="flip2023",
            summary="As ssdg2020, without ten videos of each class of the target (as Srivatsan et al., ICCV 2023, do).",
            train=("train", "test"),
            validation=("train", "test"),
            test=("train", "test"),
            on_target=True,
            left_out=10,
            caveats=(
                "the published work also trains on CelebA-Spoof (40,000 + 40,000 images), which is not used here",
                _CROPS,
                "it scores two frames a video; here the run's own frames",
                "which ten videos of a class are left out is drawn here, not taken from its lists",
            ),
        ),
        Preset(
            name="safas2023",
            summary="Sources: all videos. Target: all videos, which also choose the model and set the threshold (as "
            "Sun et al., CVPR 2023, do).",
            train=("train", "dev", "test"),
            validation=("train", "dev", "test"),
            test=("train", "dev", "test"),
            on_target=True,
            caveats=(
                "the published work scores one random frame and crop, and keeps the best of many evaluations by AUC "
                "minus HTER; here the run's own frames, once",
            ),
        ),
        Preset(
            name="official",
            summary="Within one dataset: its own training, development and test videos (intra-), folds of all its "
            "subjects (kfold-), or one PAI species to test on and the others to train on (loso-); where there is no "
            "development set, a validation part is cut out of the training videos by subject.",
            train=("train",),
            validation=("dev",),
            test=("test",),
        ),
        Preset(
            name="deploy",
            summary="All videos of all datasets, a validation part cut out by subject within each dataset. Nothing is "
            "tested.",
            train=("train", "dev", "test"),
            validation=(),
            test=(),
        ),
    )
}
OFFICIAL, DEPLOY = "official", "deploy"
# A protocol's name implies these; they cannot be chosen for protocols across datasets.
_OF_NAMES = {
    OFFICIAL: "protocols within one dataset, such as intra-NAME",
    DEPLOY: "the protocol 'deploy', which has no target",
}


@dataclass(frozen=True)
class Choice:
    """Some videos of one dataset."""

    dataset: str
    """As in the protocol's name; `Protocol.find_datasets` says which dataset at hand it is."""
    splits: tuple[str, ...]
    sessions: tuple[str, ...] = ()
    """Empty: all, as for the others."""
    devices: tuple[str, ...] = ()
    species: tuple[str, ...] = ()
    """Fine PAI species of the attacks; bona fide videos are taken in any case."""
    pai: tuple[str, ...] = ()
    """Coarse PAI species of the attacks; bona fide videos are taken in any case."""
    subjects: tuple[str, ...] = ()

    def holds(self, videos: VideoTable) -> Bool[np.ndarray, " n"]:
        """A mask of the videos that it picks."""
        found = videos.split.isin(self.splits) & (videos.dataset == self.dataset)
        if self.sessions:
            found &= videos.session.isin(self.sessions)
        if self.devices:
            found &= videos.device.isin(self.devices)
        if self.species:
            found &= (videos.label == BONA_FIDE) | videos.pai_fine.isin(self.species)
        if self.pai:
            found &= (videos.label == BONA_FIDE) | videos.pai.isin(self.pai)
        if self.subjects:
            found &= videos.subject.isin(self.subjects)
        return found


@dataclass(frozen=True)
class Protocol:
    """Train on some datasets, test on another."""

    name: str
    """For files and options: OCI_to_M."""
    display: str
    """For people: O&C&I to M."""
    preset: str
    sources: tuple[str, ...]
    """Datasets; those that are rendered may be without their `synth-` where only rendered ones are at hand."""
    target: str
    """Alike; empty where nothing is tested."""
    train: tuple[Choice, ...] = ()
    """What is trained on; empty: the preset's splits of the sources."""
    validation: tuple[Choice, ...] = ()
    """Empty where `train` is given: cut out of it by subject."""
    test: tuple[Choice, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Sources and target, each once."""
        return tuple(dict.fromkeys((*self.sources, *((self.target,) if self.target else ()))))

    @property
    def rendered(self) -> tuple[str, ...]:
        """The datasets that the protocol names as rendered ones; real ones beside them are asked for, then."""
        return tuple(filter(is_synthetic, self.datasets))

    def find_datasets(self, at_hand: Collection[str]) -> dict[str, str]:
        """The dataset at hand that each of the protocol's names means.

        A name without a real dataset means the rendered one, unless the protocol names another rendered one by `synth-`
        and real ones are at hand.

        Raises:
            UserError: A dataset is not at hand, or rendered and real ones would be mixed without being asked for.
        """
        found = {}
        exact = self.rendered and not all(map(is_synthetic, at_hand))
        for name in self.datasets:
            rendered = SYNTHETIC + name
            found[name] = rendered if name not in at_hand and rendered in at_hand and not exact else name
            if found[name] not in at_hand:
                raise UserError(f"protocol {self.display}: there are no videos of dataset {name!r}")
        if not self.rendered:
            one_kind(found.values())
        return found


def leave_one_out(preset: str, targets: Iterable[str], available: Iterable[str]) -> tuple[Protocol, ...]:
    """One protocol for each target, trained on all the other available datasets.

    Args:
        preset: name in `PRESETS`.
        targets: datasets to leave out in turn, with or without `synth-`.
        available: datasets at hand.

    Raises:
        UserError: an unknown preset, a target that is not at hand or named twice, no source, or rendered and
            real datasets together.
    """
    _check_across(preset)
    at_hand = one_kind(available)
    protocols: list[Protocol] = []
    for target in map(base_name, targets):
        if target not in at_hand:
            raise UserError(
                f"target {target!r} is not among the datasets at hand "
                f"({', '.join(sorted(at_hand)) or 'none'}); give its folder in [data], or take it from "
                "evaluation.targets"
            )
        sources = sorted(at_hand - {target}, key=lambda name: _rank(name, target))
        if not sources:
            raise UserError(f"nothing is left to train on when {target!r} is left out; give more datasets in [data]")
        if target in (protocol.target for protocol in protocols):
            raise UserError(f"evaluation.targets names {target!r} twice")
        protocols.append(make_protocol(preset, sources, target))
    if not protocols:
        raise UserError("evaluation.targets is empty; name at least one dataset")
    return tuple(protocols)


def make_protocol(preset: str, sources: Iterable[str], target: str) -> Protocol:
    """The protocol that trains on `sources`, in this order, and tests on `target`."""
    _check_across(preset)
    sources = tuple(sources)
    if target in sources:
        raise UserError(f"dataset {target!r} is both a source and the target")
    if len(set(sources)) < len(sources) or not sources:
        raise UserError(f"the sources must be at least one dataset, each named once, not {list(sources)}")
    joint = "" if all(len(name) == 1 for name in sources) else "+"
    return Protocol(
        name=f"{joint.join(sources)}_to_{target}",
        display=f"{'&'.join(sources)} to {target}",
        preset=preset,
        sources=sources,
        target=target,
    )


def deploy(available: Iterable[str]) -> Protocol:
    """The protocol that trains on all videos of all datasets at hand and tests on none.

    Raises:
        UserError: No dataset, or rendered and real ones together.
    """
    sources = tuple(sorted(one_kind(available), key=lambda name: _rank(name, "")))
    if not sources:
        raise UserError("protocol 'deploy' needs at least one dataset; give its folder or its manifest in [data]")
    return Protocol(DEPLOY, f"{'&'.join(sources)}, to deploy", DEPLOY, sources, target="")


def base_name(dataset: str) -> str:
    """`O` for both `O` and `synth-O`."""
    return dataset.removeprefix(SYNTHETIC)


def is_synthetic(dataset: str) -> bool:
    """Whether the dataset's name says that its videos are rendered."""
    return dataset.startswith(SYNTHETIC)


def find_preset(name: str) -> Preset:
    """The preset of this name, or a `UserError` with the nearest one."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def one_kind(datasets: Iterable[str]) -> set[str]:
    """The datasets' base names; a `UserError` if some are rendered and others are not."""
    names = set(datasets)
    rendered = {name for name in names if is_synthetic(name)}
    if rendered and rendered != names:
        raise UserError(
            f"rendered datasets ({', '.join(sorted(rendered))}) and real ones "
            f"({', '.join(sorted(names - rendered))}) cannot be mixed in one protocol, unless its name says which are "
            "rendered, as in synth-O+synth-C_to_M"
        )
    return {base_name(name) for name in names}


def _check_across(preset: str) -> None:
    if find_preset(preset).name in _OF_NAMES:
        raise UserError(
            f"the preset {preset!r} is for {_OF_NAMES[preset]}; for others set evaluation.preset to strict, dle2023, "
            "ssdg-honest, ssdg2020, flip2023 or safas2023"
        )


def _rank(source: str, target: str) -> tuple[int, str]:
    order = _PAPER_ORDER.get(target, "OCIM")
    return (order.index(source) if source in order else len(order)), source
