"""A dataset's official layout on disk, and the videos that a folder in it holds. Imports no TFDS."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fas_jax.datasets.record import ATTACK, BONA_FIDE, SPLITS, Video
from fas_jax.errors import UserError
from fas_jax.files import fingerprint, read_json

VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".m4v", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".3gp", ".flv")
# Written into every rendered tree; its dataset is `synth-O` and so on, which no later stage can lose.
MARKER = "SYNTHETIC.json"
BONA_FIDE_NAME = "bonafide"

Counts = Mapping[str, Mapping[str, int]]
"""Videos by split and fine PAI species (`bonafide` among them)."""


@dataclass(frozen=True)
class Identity:
    """What a layout's rules say of one video; the fields are those of `Video`."""

    split: str
    subject: str
    pai: str
    pai_fine: str
    device: str = ""
    session: str = ""


@dataclass(frozen=True)
class Tree:
    """The files below a folder, by relative path with forward slashes, in sorted order."""

    root: Path
    sizes: Mapping[str, int]
    """Bytes of each file."""
    links: tuple[str, ...]
    """Links to folders: they are not followed, because they may lead out of the root."""

    def find(self, path: str) -> str | None:
        """The file at `path`, upper and lower case alike (a copy made on Windows may differ)."""
        return next((name for name in self.sizes if name.lower() == path.lower()), None)

    def lines(self, path: str) -> list[str]:
        """The lines of a list file without line ends, blank lines left out."""
        try:
            text = (self.root / path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise UserError(f"{self.root / path} is not a readable list: {error}") from error
        return [line.strip() for line in text.splitlines() if line.strip()]


@dataclass(frozen=True)
class Rules:
    """How the videos of one tree are told."""

    describe: Callable[[str], Identity | None]
    """From a lower-case relative path; None for a file that the official rules do not name."""
    listed: frozenset[str] | None = None
    """Lower-case paths without suffix that the tree's own protocol files name; None where it has none."""
    left_out: Callable[[str], bool] = lambda path: False
    """Lower-case paths that the official set holds for another purpose, such as enrolment."""


@dataclass(frozen=True)
class Layout:
    """An official layout."""

    name: str
    """Also the name of its TFDS builder and package."""
    letter: str
    title: str
    homepage: str
    citation: str
    signs: tuple[str, ...]
    """Lower-case folders or files at the top, any of which tells the layout."""
    official: Counts
    rules: Callable[[Tree], Rules]


@dataclass(frozen=True)
class Listing:
    """The videos of a folder, before any of them is opened."""

    layout: Layout
    root: Path
    dataset: str
    """`O`, `C`, `I` or `M`, with `synth-` before it where the videos are rendered."""
    videos: tuple[Video, ...]
    """By split (train, dev, test), then by path."""
    sizes: Mapping[str, int]
    """Bytes of each of the videos."""
    unknown: tuple[str, ...]
    """Video files that the official rules and lists do not name; they are not used."""
    missing: tuple[str, ...]
    """Videos that the tree's own protocol files name and that are not there (lower case, without suffix)."""

    @property
    def synthetic(self) -> bool:
        return self.dataset != self.layout.letter

    @property
    def counts(self) -> Counts:
        return count_videos(self.videos)

    @property
    def complete(self) -> bool:
        """Whether every video of the official set is there. Names are unique, so that counts suffice."""
        return not self.missing and self.counts == self.layout.official

    @property
    def fingerprint(self) -> str:
        """Of the videos' paths and sizes; equal trees agree wherever they lie."""
        return fingerprint([[video.path, self.sizes[video.path]] for video in self.videos])


def split_suffix(path: str) -> tuple[str, str]:
    """A path without its last suffix, and the suffix with its dot."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix), suffix


def count_videos(videos: tuple[Video, ...]) -> dict[str, dict[str, int]]:
    """Videos by split and fine PAI species."""
    counts: dict[str, dict[str, int]] = {}
    for (split, pai), number in sorted(Counter((video.split, video.pai_fine) for video in videos).items()):
        counts.setdefault(split, {})[pai] = number
    return counts


def walk(root: Path) -> Tree:
    """All files below `root`; links to folders are noted and not followed."""

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error

    sizes: dict[str, int] = {}
    links: list[str] = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        base = Path(folder)
        links += [(base / name).relative_to(root).as_posix() for name in folders if (base / name).is_symlink()]
        for name in files:
            path = base / name
            # lstat for a dangling link: it stays in the list, and fails as a video with a reason.
            size = path.stat().st_size if path.exists() else path.lstat().st_size
            sizes[path.relative_to(root).as_posix()] = size
    return Tree(root, dict(sorted(sizes.items())), tuple(sorted(links)))


def list_videos(layout: Layout, root: Path) -> Listing:
    """The videos that the official rules name, and what else lies there.

    Raises:
        UserError: a list file is missing or contradicts itself, a video is there twice, or one of the classes
            is absent.
    """
    tree = walk(root)
    rules = layout.rules(tree)
    dataset = _dataset(layout, root)
    found: dict[str, Video] = {}
    unknown: list[str] = [f"{link}/ (a link to a folder, not followed)" for link in tree.links]
    for path in tree.sizes:
        key, suffix = split_suffix(path.lower())
        if suffix not in VIDEO_SUFFIXES or rules.left_out(path.lower()):
            continue
        identity = rules.describe(path.lower())
        if identity is None or (rules.listed is not None and key not in rules.listed):
            unknown.append(path.encode("utf-8", "replace").decode())
        elif key in found:
            raise UserError(f"{root} holds the same video twice: {found[key].path} and {path}; remove one")
        else:
            label = BONA_FIDE if identity.pai == BONA_FIDE_NAME else ATTACK
            found[key] = Video(path=path, dataset=dataset, label=label, **vars(identity))
    videos = tuple(sorted(found.values(), key=lambda video: (SPLITS.index(video.split), video.path)))
    _check_classes(layout, root, videos, unknown)
    return Listing(
        layout=layout,
        root=root,
        dataset=dataset,
        videos=videos,
        sizes={video.path: tree.sizes[video.path] for video in videos},
        unknown=tuple(unknown),
        missing=tuple(sorted((rules.listed or frozenset()) - found.keys())),
    )


def _dataset(layout: Layout, root: Path) -> str:
    marker = root / MARKER
    if not marker.exists():
        return layout.letter
    content = read_json(marker)
    name = content.get("dataset") if isinstance(content, dict) else None
    if name != f"synth-{layout.letter}":
        raise UserError(
            f"{marker} names the dataset {name!r}, but the folder has the layout {layout.name}, which would be "
            f"'synth-{layout.letter}'; render it again"
        )
    return str(name)


def _check_classes(layout: Layout, root: Path, videos: tuple[Video, ...], unknown: list[str]) -> None:
    labels = {video.label for video in videos}
    absent = [name for label, name in ((BONA_FIDE, "bona fide"), (ATTACK, "attack")) if label not in labels]
    if absent:
        others = f"; not named by it: {', '.join(unknown[:5])}" if unknown else ""
        raise UserError(f"{root} holds no {' and no '.join(absent)} video of the layout {layout.name}{others}")
