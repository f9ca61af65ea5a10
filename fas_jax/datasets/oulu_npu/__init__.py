"""OULU-NPU (O): 55 subjects, 4950 videos, 6 phones, 3 sessions."""

import re

from fas_jax.base.errors import UserError
from fas_jax.datasets.layout import BONA_FIDE_NAME, Identity, Layout, Rules, Tree

_PATH = re.compile(r"(train|dev|test)_files/([1-6])_([1-3])_(\d\d)_([1-5])\.avi")
_LIST = re.compile(r"protocols/protocol_[1-4]/(train|dev|test)(?:_[1-6])?\.txt")
_LINE = re.compile(r"([+-][12]),\s*([1-6]_[1-3]_\d\d_([1-5]))")
_USERS = {"train": range(1, 21), "dev": range(21, 36), "test": range(36, 56)}
# The last number of a name: bona fide, print by printer 1 and 2, replay on display 1 and 2.
_SPECIES = {
    "1": (BONA_FIDE_NAME, BONA_FIDE_NAME),
    "2": ("print", "print-1"),
    "3": ("print", "print-2"),
    "4": ("replay", "replay-1"),
    "5": ("replay", "replay-2"),
}


def describe(path: str) -> Identity | None:
    """`Train_files/P_S_UU_F.avi`: phone, session, user, species. A user in another split's folder is unknown."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    split, phone, session, user, kind = match.groups()
    if int(user) not in _USERS[split]:
        return None
    pai, fine = _SPECIES[kind]
    return Identity(split, user, pai, fine, device=f"phone-{phone}", session=session)


def rules(tree: Tree) -> Rules:
    """Names tell everything; where protocol files are there, only what they list is used."""
    listed: set[str] = set()
    lists = [path for path in tree.paths if _LIST.fullmatch(path.lower())]
    for path in lists:
        split = _LIST.fullmatch(path.lower())[1]  # type: ignore[index]
        for line in tree.lines(path):
            match = _LINE.fullmatch(line)
            # In test lists -1 is print and -2 replay; elsewhere every attack is -1.
            if match is None or (match[1] == "+1") != (match[3] == "1"):
                raise UserError(f"{tree.root / path}: {line!r} is not a line such as '+1,1_1_01_1' or '-1,1_1_01_2'")
            listed.add(f"{split}_files/{match[2]}")
    return Rules(describe, frozenset(listed) if lists else None)


def names() -> frozenset[str]:
    """All 4950."""
    return frozenset(
        f"{split}_files/{phone}_{session}_{user:02d}_{kind}"
        for split, users in _USERS.items()
        for user in users
        for phone in range(1, 7)
        for session in range(1, 4)
        for kind in _SPECIES
    )


LAYOUT = Layout(
    name="oulu_npu",
    letter="O",
    title="OULU-NPU",
    homepage="https://sites.google.com/site/oulunpudatabase/",
    citation="Boulkenafet, Komulainen, Li, Feng, Hadid: OULU-NPU: a mobile face presentation attack database with "
    "real-world variations. FG 2017.",
    signs=("train_files", "dev_files", "test_files"),
    # Each user: 6 phones x 3 sessions of each species.
    official={split: {fine: len(users) * 18 for _, fine in _SPECIES.values()} for split, users in _USERS.items()},
    names=names,
    rules=rules,
    annotation=lambda path: (f"{path}.txt", "eyes"),
)
