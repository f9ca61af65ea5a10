"""MSU-MFSD (M): 35 clients, 280 videos, two cameras."""

import re

from fas_jax.base.errors import UserError
from fas_jax.datasets.layout import BONA_FIDE_NAME, Identity, Layout, Rules, Tree

_CAMERA = "(?:android_sd{kind}_scene01\\.mp4|laptop_sd{kind}_scene01\\.mov)"
_REAL = re.compile("scene01/real/real_client(\\d{3})_" + _CAMERA.format(kind=""))
_ATTACK = re.compile(
    "scene01/attack/attack_client(\\d{3})_" + _CAMERA.format(kind="_(?:ipad_video|iphone_video|printed_photo)")
)
_CLIENTS = {
    "train": (2, 3, 5, 6, 7, 8, 9, 11, 12, 21, 22, 34, 53, 54, 55),
    "test": (1, 13, 14, 23, 24, 26, 28, 29, 30, 32, 33, 35, 36, 37, 39, 42, 48, 49, 50, 51),
}
# Their bona fide Android videos are stored upside down, with a rotation tag.
_UPSIDE_DOWN = ("003", "005", "006", "007", "008", "009")
_LISTS = {"train": "train_sub_list.txt", "test": "test_sub_list.txt"}
_SPECIES = {"ipad_video": ("replay", "ipad"), "iphone_video": ("replay", "iphone"), "printed_photo": ("print", "print")}


def rules(tree: Tree) -> Rules:
    """The two lists of clients tell the split. Their ids have two digits (the files' three) and CRLF line ends."""
    clients: dict[str, str] = {}
    for split, name in _LISTS.items():
        path = tree.find(name)
        if path is None:
            raise UserError(f"{tree.root} has no {name}, which tells the clients of the {split} set; copy it there")
        for line in tree.lines(path):
            if not line.isdecimal():
                raise UserError(f"{tree.root / path}: {line!r} is not a client's number")
            client = f"{int(line):03d}"
            if clients.setdefault(client, split) != split:
                raise UserError(f"{tree.root}: client {line} is in both {' and '.join(_LISTS.values())}")
            official = next((name for name, ids in _CLIENTS.items() if int(line) in ids), "")
            if official != split:
                where = f"in the {official} set" if official else "in neither set"
                raise UserError(f"{tree.root / path} names client {line}, who is officially {where}; restore the list")

    def describe(path: str) -> Identity | None:
        match = _REAL.fullmatch(path) or _ATTACK.fullmatch(path)
        if match is None or match[1] not in clients:
            return None
        kind = next((kind for kind in _SPECIES if kind in path), "")
        pai, fine = _SPECIES.get(kind, (BONA_FIDE_NAME, BONA_FIDE_NAME))
        device = "android" if "_android_" in path else "laptop"
        return Identity(clients[match[1]], match[1], pai, fine, device=device)

    return Rules(describe, upside_down=upside_down)


def upside_down(path: str) -> bool:
    """Whether the pixels of a video (lower-case path) are stored upside down."""
    match = _REAL.fullmatch(path)
    return match is not None and "_android_" in path and match[1] in _UPSIDE_DOWN


def names() -> frozenset[str]:
    """All 280."""
    kinds = ("real/real_{}_scene01", *(f"attack/attack_{{}}_{kind}_scene01" for kind in _SPECIES))
    return frozenset(
        "scene01/" + kind.format(f"client{client:03d}_{camera}_sd")
        for clients in _CLIENTS.values()
        for client in clients
        for camera in ("android", "laptop")
        for kind in kinds
    )


def _official(clients: int) -> dict[str, int]:
    # Each client: one video of each kind by each of the two cameras.
    return dict.fromkeys((BONA_FIDE_NAME, "print", "iphone", "ipad"), clients * 2)


LAYOUT = Layout(
    name="msu_mfsd",
    letter="M",
    title="MSU-MFSD",
    homepage="http://biometrics.cse.msu.edu/Publications/Databases/MSU_MFSD/",
    citation="Wen, Han, Jain: Face spoof detection with image distortion analysis. IEEE TIFS 10(4), 2015.",
    signs=("scene01", "train_sub_list.txt", "test_sub_list.txt"),
    official={"train": _official(15), "test": _official(20)},
    names=names,
    rules=rules,
    annotation=lambda path: (f"{path}.face", "corners"),
)
