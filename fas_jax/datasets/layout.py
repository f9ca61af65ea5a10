"""A dataset's official layout on disk, and the videos that a folder in it holds. Imports no TFDS."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fas_jax.base.attributes import Attributes
from fas_jax.base.errors import UserError
from fas_jax.base.files import read_json
from fas_jax.base.record import ATTACK, BONA_FIDE, SPLITS, Source, Video
from fas_jax.base.rendition import Rendition

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
    paths: tuple[str, ...]
    links: tuple[str, ...]
    """Links to folders: they are not followed, because they may lead out of the root."""

    def find(self, path: str) -> str | None:
        """The file at `path`, upper and lower case alike (a copy made on Windows may differ)."""
        return next((name for name in self.paths if name.lower() == path.lower()), None)

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
    upside_down: Callable[[str], bool] | None = None
    """Lower-case paths of videos whose pixels are stored upside down; None where the set has no such list."""


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
    names: Callable[[], frozenset[str]]
    """Lower-case paths without suffix of all official videos."""
    rules: Callable[[Tree], Rules]
    annotation: Callable[[str], tuple[str, str]]
    """From a lower-case path without suffix: where the video's face annotation lies (lower case), and its kind."""


@dataclass(frozen=True)
class Listing:
    """The videos of a folder, before any of them is opened."""

    layout: Layout
    root: Path
    dataset: str
    """`O`, `C`, `I` or `M`, with `synth-` before it where the videos are rendered."""
    videos: tuple[Video, ...]
    """By split (train, dev, test), then by path."""
    unknown: tuple[str, ...]
    """Video files that the official rules and lists do not name; they are not used."""
    missing: tuple[str, ...]
    """Videos that the tree's own protocol files name and that are not there (lower case, without suffix)."""
    absent: tuple[str, ...] = ()
    """Videos of the official set that are not there or not where they belong (lower case, without suffix). A rendered
    tree has none: which videos it holds is its plan's to say."""
    expected: Counts = field(default_factory=dict)
    """Videos that should be there: the official counts, or those of a rendered tree's plan where it tells them."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """What has to be known to read some of the videos, by path."""
    attributes: Attributes = field(default_factory=dict)
    """What errors are to be broken down by besides the fields of `Video`."""

    @property
    def synthetic(self) -> bool:
        return self.dataset != self.layout.letter

    @property
    def counts(self) -> Counts:
        return count_videos(self.videos)

    @property
    def complete(self) -> bool:
        """Whether every video of the official set is there; a manifest is its own official set."""
        whole = not self.layout.official or self.counts == self.layout.official
        return whole and not self.missing and not self.absent


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

    paths: list[str] = []
    links: list[str] = []
    for folder, folders, files in os.walk(root, onerror=refuse):
        base = Path(folder)
        links += [(base / name).relative_to(root).as_posix() for name in folders if (base / name).is_symlink()]
        # A dangling link stays in the list, and fails as a video with a reason.
        paths += [(base / name).relative_to(root).as_posix() for name in files]
    return Tree(root, tuple(sorted(paths)), tuple(sorted(links)))


def check_whole(listing: Listing, allow_partial: bool) -> None:
    """Raises `UserError`, which lists what is missing, unless every expected video is there or need not be."""
    gaps = shortfall(listing)
    if gaps and not allow_partial:
        raise UserError(
            f"{listing.root} is not a whole copy of {listing.layout.title}: {'; '.join(gaps)}. Complete it, or accept "
            "a partial copy by --allow-partial (--preparation.allow-partial of run.py); every report then says so"
        )


def shortfall(listing: Listing, most: int = 20) -> list[str]:
    """What lacks, in sentences that name at most `most` videos each; empty for a whole copy."""
    gaps = []
    found, expected = listing.counts, listing.expected
    for split in SPLITS:
        for pai in sorted({*found.get(split, {}), *expected.get(split, {})} if expected else ()):
            have, want = found.get(split, {}).get(pai, 0), expected.get(split, {}).get(pai, 0)
            if have != want:
                gaps.append(f"{split} {pai}: {have} of {want} videos")
    for names, what in ((listing.absent, "not there"), (listing.missing, "named by the folder's own lists, not there")):
        if names:
            gaps.append(f"{what} ({len(names)}): {_some(names, most)}")
    # A file with a missing video's name in another place, or that the lists leave out, is the likely answer.
    wanted = {PurePosixPath(name).name for name in (*listing.absent, *listing.missing)}
    stray = [path for path in listing.unknown if PurePosixPath(split_suffix(path.lower())[0]).name in wanted]
    others = [path for path in listing.unknown if path not in stray]
    if gaps and stray:
        gaps.append(f"of the same name, but in another place or not in the folder's lists: {_some(stray, most)}")
    if gaps and others:
        gaps.append(f"not known to the official set: {_some(others, most)}")
    return gaps


def left_single(listing: Listing, renditions: Mapping[str, Rendition]) -> list[str]:
    """Videos of several images of which skipping leaves one: they may be what an earlier skipping kept."""
    segment = max((each.segment for each in renditions.values() if not each.seconds), default=1)
    sources = listing.sources.items()
    return [path for path, source in sources if 1 < len(source.frames) <= segment and not source.chosen]


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def list_videos(layout: Layout, root: Path) -> Listing:
    """The videos that the official rules name, and what else lies there.

    Raises:
        UserError: a list file is missing or contradicts itself, a video is there twice, or one of the classes
            is absent.
    """
    return list_tree(layout, walk(root), *_dataset(layout, root))


def list_tree(layout: Layout, tree: Tree, dataset: str, expected: Counts) -> Listing:
    """As `list_videos`, for files that are known already.

    Args:
        layout: Whose rules tell the videos.
        tree: All files.
        dataset: The layout's letter, with `synth-` before it where the videos are rendered.
        expected: Videos that should be there.
    """
    root, rules = tree.root, layout.rules(tree)
    official = layout.names() if dataset == layout.letter else None
    found: dict[str, Video] = {}
    unknown: list[str] = [f"{link}/ (a link to a folder, not followed)" for link in tree.links]
    for path in tree.paths:
        key, suffix = split_suffix(path.lower())
        if suffix not in VIDEO_SUFFIXES or rules.left_out(path.lower()):
            continue
        identity = rules.describe(path.lower())
        if identity is None or any(names is not None and key not in names for names in (rules.listed, official)):
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
        unknown=tuple(unknown),
        missing=tuple(sorted((rules.listed or frozenset()) - found.keys())),
        absent=tuple(sorted((official or frozenset()) - found.keys())),
        expected=expected,
        sources=_sources(layout, tree, rules, found),
    )


def _sources(layout: Layout, tree: Tree, rules: Rules, found: Mapping[str, Video]) -> dict[str, Source]:
    actual = {path.lower(): path for path in tree.paths}
    sources = {}
    for key, video in found.items():
        path, kind = layout.annotation(key)
        upside_down = rules.upside_down(video.path.lower()) if rules.upside_down else None
        sources[video.path] = Source(upside_down=upside_down, annotation=actual.get(path, ""), annotation_kind=kind)
    return sources


def _dataset(layout: Layout, root: Path) -> tuple[str, Counts]:
    """The dataset's name, and the videos that it should hold."""
    marker = root / MARKER
    if not marker.exists():
        return layout.letter, layout.official
    content = read_json(marker)
    name = content.get("dataset") if isinstance(content, dict) else None
    if name != f"synth-{layout.letter}":
        raise UserError(
            f"{marker} names the dataset {name!r}, but the folder has the layout {layout.name}, which would be "
            f"'synth-{layout.letter}'; render it again"
        )
    counts = content.get("videos", {})
    if not isinstance(counts, dict) or not all(isinstance(row, dict) for row in counts.values()):
        raise UserError(f"{marker} does not tell the numbers of videos as it should; render it again")
    return str(name), counts


def _check_classes(layout: Layout, root: Path, videos: tuple[Video, ...], unknown: list[str]) -> None:
    labels = {video.label for video in videos}
    absent = [name for label, name in ((BONA_FIDE, "bona fide"), (ATTACK, "attack")) if label not in labels]
    if absent:
        others = f"; not named by it: {', '.join(unknown[:5])}" if unknown else ""
        raise UserError(f"{root} holds no {' and no '.join(absent)} video of the layout {layout.name}{others}")
