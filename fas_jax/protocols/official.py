"""The protocols within OULU-NPU, Replay-Attack, MSU-MFSD and CASIA-FASD as their authors defined them, as data.

Imports no JAX.
"""

from collections.abc import Iterator, Mapping

from fas_jax.protocols.presets import OFFICIAL, SYNTHETIC, Choice, Protocol

LETTERS = ("O", "C", "I", "M")
FOLDS = range(1, 7)
"""Of OULU-NPU's third and fourth protocol: one for each phone."""

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


def protocol_within(name: str, display: str, train: Choice, validation: Choice | None, test: Choice) -> Protocol:
    """A protocol whose parts are of one dataset; without a `validation` it is cut out of `train` by subject."""
    return Protocol(
        name=name,
        display=display,
        preset=OFFICIAL,
        sources=(train.dataset,),
        target=train.dataset,
        train=(train,),
        validation=(validation,) if validation else (),
        test=(test,),
    )


def _within(name: str, train: Choice, validation: Choice | None, test: Choice) -> Protocol:
    return protocol_within(f"intra-{name}", f"within {name}", train, validation, test)


def _oulu(dataset: str) -> Iterator[Protocol]:
    def three(name: str, learn: Mapping[str, tuple[str, ...]], test: Mapping[str, tuple[str, ...]]) -> Protocol:
        parts = [Choice(dataset, split, **learn) for split in (_TRAIN, _DEV)]
        return _within(f"{dataset}-{name}", parts[0], parts[1], Choice(dataset, _TEST, **test))

    known, new = {"sessions": ("1", "2")}, {"sessions": ("3",)}
    yield three("1", known, new)
    yield three("2", {"species": _FIRST}, {"species": _SECOND})
    phones = {fold: tuple(f"phone-{phone}" for phone in FOLDS if phone != fold) for fold in FOLDS}
    for fold in FOLDS:
        yield three(f"3_{fold}", {"devices": phones[fold]}, {"devices": (f"phone-{fold}",)})
    for fold in FOLDS:
        yield three(
            f"4_{fold}",
            {**known, "species": _FIRST, "devices": phones[fold]},
            {**new, "species": _SECOND, "devices": (f"phone-{fold}",)},
        )


def _replay_attack(dataset: str) -> Iterator[Protocol]:
    for name, species in _REPLAY.items():
        parts = [Choice(dataset, split, species=species) for split in (_TRAIN, _DEV, _TEST)]
        yield _within(f"{dataset}{name}", parts[0], parts[1], parts[2])


def _msu_mfsd(dataset: str) -> Iterator[Protocol]:
    yield _within(dataset, Choice(dataset, _TRAIN), None, Choice(dataset, _TEST))


def _casia_fasd(dataset: str) -> Iterator[Protocol]:
    subsets: dict[str, dict[str, tuple[str, ...]]] = {"": {}}
    subsets |= {f"-{quality}": {"sessions": (quality,)} for quality in ("odd", "even", "HR")}
    subsets |= {f"-{kind}": {"species": (kind,)} for kind in ("warped", "cut", "replay")}
    for name, subset in subsets.items():
        parts = [Choice(dataset, split, **subset) for split in (_TRAIN, _TEST)]
        yield _within(f"{dataset}{name}", parts[0], None, parts[1])


WITHIN: dict[str, Protocol] = {
    protocol.name: protocol
    for prefix in ("", SYNTHETIC)
    for protocol in (
        *_oulu(f"{prefix}O"),
        *_replay_attack(f"{prefix}I"),
        *_msu_mfsd(f"{prefix}M"),
        *_casia_fasd(f"{prefix}C"),
    )
}
"""By name; those of rendered stand-ins carry their `synth-`, as in `intra-synth-M`."""
