"""The protocols that the literature uses, by name, as data. Imports no JAX.

Across datasets: `leave-one-out` (all targets), `limited-source` (M&I to C, M&I to O), `single-source` (every ordered
pair), or one alone, such as `OCI_to_M`; names of more than one letter are joined by `+`, as in `A+B_to_C`. What of each
dataset is used the preset says.

Within a dataset, as its authors defined it: `intra-O-1` to `intra-O-4` (3 and 4 with six folds each, `intra-O-3_1` and
so on, whose mean and standard deviation are reported), `intra-I` (grandtest) and its subsets by instrument (smalltest,
24 videos to try software with, is none), `intra-M`, `intra-C` and its subsets by quality and instrument. `intra-O`,
`intra-I-all` and `intra-C-all` stand for all of them.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import Evaluation
from fas_jax.protocols.presets import OFFICIAL, Choice, Protocol, base_name, leave_one_out, make_protocol

LIMITED_SOURCE = ((("M", "I"), "C"), (("M", "I"), "O"))
FOLDS = range(1, 7)
_FOLD = re.compile(r"(.+-[34])_([1-6])")

_TRAIN, _DEV, _TEST = ("train",), ("dev",), ("test",)
_FIRST, _SECOND = ("print-1", "replay-1"), ("print-2", "replay-2")
_REPLAY = {
    "": (),
    "-print": ("print",),
    "-mobile": ("mobile-photo", "mobile-video"),
    "-highdef": ("highdef-photo", "highdef-video"),
    "-photo": ("print", "mobile-photo", "highdef-photo"),
    "-video": ("mobile-video", "highdef-video"),
    "-digitalphoto": ("mobile-photo", "highdef-photo"),
}


def _within(name: str, train: Choice, dev: Choice | None, test: Choice) -> Protocol:
    return Protocol(
        name=f"intra-{name}",
        display=f"within {name}",
        preset=OFFICIAL,
        sources=(train.dataset,),
        target=train.dataset,
        train=(train,),
        validation=(dev,) if dev else (),
        test=(test,),
    )


def _oulu() -> Iterable[Protocol]:
    def three(name: str, learn: Mapping[str, tuple[str, ...]], test: Mapping[str, tuple[str, ...]]) -> Protocol:
        return _within(name, Choice("O", _TRAIN, **learn), Choice("O", _DEV, **learn), Choice("O", _TEST, **test))

    known, new = {"sessions": ("1", "2")}, {"sessions": ("3",)}
    yield three("O-1", known, new)
    yield three("O-2", {"species": _FIRST}, {"species": _SECOND})
    phones = {fold: tuple(f"phone-{phone}" for phone in FOLDS if phone != fold) for fold in FOLDS}
    for fold in FOLDS:
        yield three(f"O-3_{fold}", {"devices": phones[fold]}, {"devices": (f"phone-{fold}",)})
    for fold in FOLDS:
        yield three(
            f"O-4_{fold}",
            {**known, "species": _FIRST, "devices": phones[fold]},
            {**new, "species": _SECOND, "devices": (f"phone-{fold}",)},
        )


def _replay_attack() -> Iterable[Protocol]:
    for name, species in _REPLAY.items():
        parts = [Choice("I", split, species=species) for split in (_TRAIN, _DEV, _TEST)]
        yield _within(f"I{name}", parts[0], parts[1], parts[2])


def _casia_fasd() -> Iterable[Protocol]:
    subsets: dict[str, dict[str, tuple[str, ...]]] = {"": {}}
    subsets |= {f"-{quality}": {"sessions": (quality,)} for quality in ("odd", "even", "HR")}
    subsets |= {f"-{kind}": {"species": (kind,)} for kind in ("warped", "cut", "replay")}
    for name, subset in subsets.items():
        yield _within(f"C{name}", Choice("C", _TRAIN, **subset), None, Choice("C", _TEST, **subset))


WITHIN: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *_oulu(),
        *_replay_attack(),
        _within("M", Choice("M", _TRAIN), None, Choice("M", _TEST)),
        *_casia_fasd(),
    )
}
"""The protocols within one dataset, by name."""


def fold_group(protocol: str) -> str | None:
    """`intra-O-3` for `intra-O-3_2`; None for a protocol that is no fold of another."""
    match = _FOLD.fullmatch(protocol)
    return match[1] if match and protocol in WITHIN else None


def choose_protocols(settings: Evaluation, available: Collection[str]) -> tuple[Protocol, ...]:
    """The protocols that an experiment asks for: by name, or one for each of its targets.

    Args:
        settings: of which `protocols`, `preset` and `targets` count.
        available: datasets at hand, with or without `synth-`.

    Raises:
        UserError: an unknown name, a dataset that is not at hand, a protocol named twice, or protocols within and
            across datasets together, which need a table each.
    """
    if not settings.protocols:
        return leave_one_out(settings.preset, settings.targets, available)
    protocols = [each for name in settings.protocols for each in named(name, settings.preset, available)]
    names = [protocol.name for protocol in protocols]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"evaluation.protocols names {', '.join(twice)} twice")
    if len({protocol.preset == OFFICIAL for protocol in protocols}) > 1:
        raise UserError(
            "evaluation.protocols names protocols within a dataset and across datasets; run them apart, for each needs "
            "a table of its own"
        )
    return tuple(protocols)


def used_preset(settings: Evaluation) -> str:
    """The preset that a run's reports have to name: protocols within a dataset have their own."""
    return OFFICIAL if any(name.startswith("intra-") for name in settings.protocols) else settings.preset


def named(name: str, preset: str, available: Collection[str]) -> tuple[Protocol, ...]:
    """The protocols of one name; see the module's text."""
    at_hand = sorted({base_name(dataset) for dataset in available})
    if name == "leave-one-out":
        return leave_one_out(preset, at_hand, available)
    if name == "single-source":
        pairs = [(source, target) for source in at_hand for target in at_hand if source != target]
        return _across(preset, [((source,), target) for source, target in pairs], at_hand, name)
    if name == "limited-source":
        return _across(preset, LIMITED_SOURCE, at_hand, name)
    if "_to_" in name:
        sources, _, target = name.partition("_to_")
        letters = (sources,) if sources in at_hand else sources.split("+") if "+" in sources else list(sources)
        return _across(preset, [(tuple(letters), target)], at_hand, name)
    within = _family(name)
    if not within:
        families = {"leave-one-out", "limited-source", "single-source", "intra-O", "intra-O-3", "intra-O-4"}
        raise unknown_name("protocol", name, {*WITHIN, *families, "intra-I-all", "intra-C-all", "OCI_to_M"})
    _need(within[0].sources, at_hand, name)
    return within


def _family(name: str) -> tuple[Protocol, ...]:
    if name in WITHIN:
        return (WITHIN[name],)
    stem = name.removesuffix("-all")
    if name in ("intra-I-all", "intra-C-all", "intra-O"):
        return tuple(each for own, each in WITHIN.items() if own == stem or own.startswith(f"{stem}-"))
    return tuple(each for own, each in WITHIN.items() if fold_group(own) == name)


def _across(
    preset: str, pairs: Iterable[tuple[Sequence[str], str]], at_hand: Sequence[str], name: str
) -> tuple[Protocol, ...]:
    found = []
    for sources, target in pairs:
        _need((*sources, target), at_hand, name)
        found.append(make_protocol(preset, sources, target))
    if not found:
        raise UserError(f"protocol {name!r} needs at least two datasets; at hand: {', '.join(at_hand) or 'none'}")
    return tuple(found)


def _need(datasets: Iterable[str], at_hand: Sequence[str], name: str) -> None:
    for dataset in datasets:
        if dataset not in at_hand:
            raise UserError(
                f"protocol {name!r} needs dataset {dataset!r}, which is not at hand ({', '.join(at_hand) or 'none'}); "
                "give its folder or its manifest in [data]"
            )
