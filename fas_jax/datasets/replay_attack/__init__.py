"""Idiap Replay-Attack (I): 50 clients, 1200 videos, and 100 of enrolment that are no part of the task."""

import re

from fas_jax.datasets.layout import BONA_FIDE_NAME, Identity, Layout, Rules, Tree, split_suffix

_LIGHT = "(controlled|adverse)"
_REAL = re.compile(rf"(train|devel|test)/real/client(\d{{3}})_session\d\d_webcam_authenticate_{_LIGHT}_[12]\.mov")
_ATTACK = re.compile(
    r"(train|devel|test)/attack/(?:fixed|hand)/attack_(print|mobile|highdef)_client(\d{3})_session\d\d_"
    rf"(?:highdef|mobile)_(photo|video)_{_LIGHT}\.mov"
)
_LIST = re.compile(r"protocols/(?:real|attack-grandtest-allsupports)-(?:train|devel|test)\.txt")
_CLIENTS = {
    "train": (1, 2, 4, 6, 7, 8, 12, 16, 18, 25, 27, 103, 105, 108, 110),
    "devel": (3, 5, 10, 15, 17, 22, 29, 30, 101, 111, 113, 114, 116, 118, 119),
    "test": (9, 11, 13, 14, 19, 20, 21, 23, 24, 26, 28, 31, 102, 104, 106, 107, 109, 112, 115, 117),
}
# Instrument, what it was recorded with, and medium, as names tell them.
_ATTACKS = (
    "print_{}_highdef_photo",
    "mobile_{}_mobile_photo",
    "mobile_{}_mobile_video",
    "highdef_{}_highdef_photo",
    "highdef_{}_highdef_video",
)
_SPLITS = {"train": "train", "devel": "dev", "test": "test"}
_SPECIES = ("mobile-photo", "mobile-video", "highdef-photo", "highdef-video")


def describe(path: str) -> Identity | None:
    """`devel/real/...` and `devel/attack/{fixed,hand}/...`; the session is the lighting."""
    if match := _REAL.fullmatch(path):
        split, client, light = match.groups()
        return Identity(_SPLITS[split], client, BONA_FIDE_NAME, BONA_FIDE_NAME, "webcam", light)
    if match := _ATTACK.fullmatch(path):
        split, instrument, client, medium, light = match.groups()
        if instrument == "print":
            return Identity(_SPLITS[split], client, "print", "print", "webcam", light) if medium == "photo" else None
        return Identity(_SPLITS[split], client, "replay", f"{instrument}-{medium}", "webcam", light)
    return None


def rules(tree: Tree) -> Rules:
    """Names tell everything; where protocol files are there, only what they list is used.

    A line's first word is a path, with or without its suffix.
    """
    lists = [path for path in tree.paths if _LIST.fullmatch(path.lower())]
    listed = {line.split()[0].lower().removeprefix("./") for path in lists for line in tree.lines(path)}
    stems = frozenset(split_suffix(path)[0] for path in listed)
    return Rules(describe, stems if lists else None, left_out=lambda path: path.startswith("enroll/"))


def _official(clients: int) -> dict[str, int]:
    # Each client: bona fide 2 lights x 2 takes; of each attack species 2 lights x 2 supports.
    return dict.fromkeys((BONA_FIDE_NAME, "print", *_SPECIES), clients * 4)


def names() -> frozenset[str]:
    """All 1200, without those of enrolment."""
    found = set()
    for split, clients in _CLIENTS.items():
        for client in (f"client{number:03d}_session01" for number in clients):
            for light in ("controlled", "adverse"):
                found |= {f"{split}/real/{client}_webcam_authenticate_{light}_{take}" for take in (1, 2)}
                found |= {
                    f"{split}/attack/{support}/attack_{attack.format(client)}_{light}"
                    for support in ("fixed", "hand")
                    for attack in _ATTACKS
                }
    return frozenset(found)


LAYOUT = Layout(
    name="replay_attack",
    letter="I",
    title="Idiap Replay-Attack",
    homepage="https://www.idiap.ch/en/scientific-research/data/replayattack",
    citation="Chingovska, Anjos, Marcel: On the effectiveness of local binary patterns in face anti-spoofing. "
    "BIOSIG 2012.",
    signs=("train/real", "train/attack", "devel/real", "devel/attack", "test/real", "test/attack"),
    official={"train": _official(15), "dev": _official(15), "test": _official(20)},
    names=names,
    rules=rules,
    annotation=lambda path: (f"face-locations/{path}.face", "boxes"),
)
