"""CASIA-FASD (C): 50 subjects, 600 videos, three qualities."""

import re

from fas_jax.datasets.layout import BONA_FIDE_NAME, Identity, Layout, Rules, Tree

_PATH = re.compile(r"(train|test)_release/(\d\d?)/([1-8]|hr_[1-4])\.avi")
_SUBJECTS = {"train": 20, "test": 30}
_SPECIES = {
    **dict.fromkeys(("1", "2", "hr_1"), BONA_FIDE_NAME),
    **dict.fromkeys(("3", "4", "hr_2"), "warped"),
    **dict.fromkeys(("5", "6", "hr_3"), "cut"),
    **dict.fromkeys(("7", "8", "hr_4"), "replay"),
}


def describe(path: str) -> Identity | None:
    """`train_release/S/N.avi`. Test subjects are numbered from 1 again: their global number is 20 higher.

    The session is the quality, named by the video's number: `odd` (640x480), `even` (480x640) or `HR`; which of
    the first two is "low" and which "normal", sources disagree.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    split, subject, video = match.groups()
    if not 1 <= int(subject) <= _SUBJECTS[split]:
        return None
    number = int(subject) + (20 if split == "test" else 0)
    quality = "HR" if video.startswith("hr") else "odd" if int(video) % 2 else "even"
    return Identity(split, f"{number:02d}", _SPECIES[video], _SPECIES[video], session=quality)


def rules(tree: Tree) -> Rules:
    """The folders tell everything; the set has no protocol files."""
    return Rules(describe)


def names() -> frozenset[str]:
    """All 600."""
    return frozenset(
        f"{split}_release/{subject}/{video}"
        for split, subjects in _SUBJECTS.items()
        for subject in range(1, subjects + 1)
        for video in _SPECIES
    )


LAYOUT = Layout(
    name="casia_fasd",
    letter="C",
    title="CASIA-FASD",
    homepage="http://www.cbsr.ia.ac.cn/english/FASDB_Agreement/Agreement.pdf",
    citation="Zhang, Yan, Liu, Lei, Yi, Li: A face antispoofing database with diverse attacks. ICB 2012.",
    signs=("train_release", "test_release"),
    official={
        split: dict.fromkeys((BONA_FIDE_NAME, "warped", "cut", "replay"), subjects * 3)
        for split, subjects in _SUBJECTS.items()
    },
    names=names,
    rules=rules,
    # The set ships none; this is where Idiap's boxes for it go.
    annotation=lambda path: (f"face-locations/{path}.face", "boxes"),
)
