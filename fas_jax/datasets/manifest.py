"""Manifests of your own videos: a CSV or Parquet file, one row a video. Imports no TFDS.

Columns: `video` (a file, a folder of frame images, or a glob of them such as `a/*.png` or `a/{0006,0150}.png`; relative
to the manifest), `label` (bonafide, attack), `subject`, `split` (train, dev, test); and, where wanted, `dataset` (else
the manifest's own name), `pai`, `device`, `session`, `fps`, `frames`, and `x`, `y`, `w`, `h`, the face's box in all
frames. `frames` is `all` (or empty) where the video has all its frames, of which renditions skip most, and `chosen`
where they were chosen from a longer video already and none is skipped again. Any `attr.NAME` is an attribute to break
errors down by, which no method reads.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fas_jax.base.attributes import PREFIX, attribute_of
from fas_jax.base.csv_files import read_csv_file
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import inside
from fas_jax.base.record import ATTACK, BONA_FIDE, COARSE_PAI, SPLITS, Source, Video
from fas_jax.datasets.frame_order import in_order_of_frames
from fas_jax.datasets.layout import BONA_FIDE_NAME, Layout, Listing, Rules

NEEDED = ("video", "label", "subject", "split")
NUMBERS = ("fps", "x", "y", "w", "h")
OPTIONAL = ("dataset", "pai", "device", "session", "frames", *NUMBERS)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Names that mean the official sets, or rendered ones, wherever figures are reported.
RESERVED = ("O", "C", "I", "M")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_NAMES = (
    f"must be a name of letters, digits, dots and hyphens, and none of {', '.join(RESERVED)} and synth-..., which mean "
    "the official and the rendered sets"
)
_LABELS = {"bonafide": BONA_FIDE, "bona fide": BONA_FIDE, "attack": ATTACK}
_FRAMES = {"": False, "all": False, "chosen": True}
_MOST_ERRORS = 50


class _RowError(Exception):
    """What is wrong with one row."""


@dataclass(frozen=True)
class _Row:
    where: str
    video: Video
    source: Source
    attributes: Mapping[str, str]


def read_manifest(path: Path) -> tuple[Listing, ...]:
    """The videos of a manifest, one listing for each of its datasets, in the order of their names.

    Raises:
        UserError: the file cannot be read, or rows are wrong: all of them are named with their line numbers.
    """
    path = Path(path)
    root = path.resolve().parent
    problems: list[str] = []
    rows: list[_Row] = []
    for where, cells in _read(path):
        if not cells.get("dataset") and not _can_name(path.stem):
            raise UserError(
                f"{path}: {where} names no dataset, and the name of the file cannot name it: dataset {path.stem!r} "
                f"{_NAMES}. Rename the file, or name the dataset in a column dataset"
            )
        try:
            rows.append(_row(where, cells, root, path.stem))
        except _RowError as error:
            problems.append(f"{where}: {error}")
    problems += _contradictions(rows)
    if problems:
        more = f"\n  and {len(problems) - _MOST_ERRORS} more" if len(problems) > _MOST_ERRORS else ""
        raise UserError(f"{path} has {len(problems)} errors:\n  " + "\n  ".join(problems[:_MOST_ERRORS]) + more)
    if not rows:
        raise UserError(f"{path} lists no video")
    names = sorted({row.video.dataset for row in rows})
    return tuple(_listing(path, root, name, [row for row in rows if row.video.dataset == name]) for name in names)


def _read(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Rows with where they stand; every cell is text without blanks around it."""
    if path.suffix.lower() == ".parquet":
        yield from _read_parquet(path)
        return
    file = read_csv_file(path, "CSV manifest")
    columns = [name.strip() for name in file.header]
    _check_columns(path, columns)
    for number, cells in file.rows:
        row = dict.fromkeys(columns, "") | dict(zip(columns, map(str.strip, cells), strict=False))
        extra = cells[len(columns) :]
        for name in NUMBERS:
            if "," in row.get(name, ""):
                with contextlib.suppress(ValueError):  # of which `_number` says what it is
                    row[name] = repr(file.number(row[name]))
        yield f"line {number}", row | ({"": str(extra)} if extra else {})


def _read_parquet(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet manifest: {error}") from error
    _check_columns(path, table.column_names)
    for number, cells in enumerate(table.to_pylist(), 1):
        yield f"row {number}", {name: _text(value) for name, value in cells.items()}


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    names = [_known_column(path, str(name)) for name in columns]
    if len(set(names)) < len(names):
        raise UserError(f"{path} has a column twice: {', '.join(names)}")
    if absent := [name for name in NEEDED if name not in names]:
        raise UserError(f"{path} has no column {', '.join(absent)}; needed are {', '.join(NEEDED)}")


def _known_column(path: Path, column: str) -> str:
    try:
        attribute = attribute_of(column)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if attribute is None and column not in (*NEEDED, *OPTIONAL):
        raise UserError(f"{path}: {unknown_name('column', column, (*NEEDED, *OPTIONAL))}")
    return column if attribute is None else PREFIX + attribute


def _row(where: str, cells: Mapping[str, str], root: Path, stem: str) -> _Row:
    if "" in cells:
        raise _RowError("more cells than columns (a comma in a name needs quotes)")
    for name in NEEDED:
        if not cells[name]:
            raise _RowError(f"{name} is empty")
    label = _LABELS.get(cells["label"].lower())
    if label is None:
        raise _RowError(f"label {cells['label']!r} is not bonafide or attack")
    if cells["split"] not in SPLITS:
        raise _RowError(f"split {cells['split']!r} is not train, dev or test")
    dataset = cells.get("dataset") or stem
    if not _can_name(dataset):
        raise _RowError(f"dataset {dataset!r} {_NAMES}")
    box = _box(cells)
    chosen = _FRAMES.get(cells.get("frames", "").lower())
    if chosen is None:
        raise _RowError(f"frames {cells['frames']!r} is not all or chosen")
    frames = _frames(root, cells["video"])
    # A lone image is a clip of one frame.
    path = PurePosixPath(cells["video"]).as_posix()
    pai = _pai(label, cells.get("pai", ""))
    video = Video(
        path=path,
        dataset=dataset,
        subject=cells["subject"],
        split=cells["split"],
        label=label,
        pai=pai.split("-")[0] if pai.split("-")[0] in COARSE_PAI else pai,
        pai_fine=pai,
        device=cells.get("device", ""),
        session=cells.get("session", ""),
    )
    source = Source(frames=frames, fps=_number(cells, "fps", least=0.0) or 0.0, box=box, chosen=chosen)
    attributes = {own: value for column, value in cells.items() if value and (own := attribute_of(column))}
    return _Row(where, video, source, attributes)


def _can_name(dataset: str) -> bool:
    return bool(_DATASET.fullmatch(dataset)) and dataset not in RESERVED and not dataset.startswith("synth-")


def _pai(label: int, pai: str) -> str:
    if label == BONA_FIDE:
        if pai not in ("", BONA_FIDE_NAME):
            raise _RowError(f"a bona fide video has no PAI species, and this one has {pai!r}")
        return BONA_FIDE_NAME
    if pai == BONA_FIDE_NAME:
        raise _RowError("an attack cannot have the PAI species bonafide")
    return pai or "unknown"


def _number(cells: Mapping[str, str], name: str, least: float = -math.inf) -> float | None:
    if not cells.get(name):
        return None
    try:
        value = float(cells[name])
    except ValueError:
        raise _RowError(f"{name} {cells[name]!r} is not a number") from None
    if not math.isfinite(value) or value < least:
        raise _RowError(f"{name} {cells[name]!r} is out of range")
    return value


def _box(cells: Mapping[str, str]) -> tuple[float, ...]:
    values = [_number(cells, name, least=1.0 if name in "wh" else -math.inf) for name in "xywh"]
    known = [value for value in values if value is not None]
    if len(known) not in (0, 4):
        raise _RowError("x, y, w and h must be given together")
    return tuple(known)


def _frames(root: Path, video: str) -> tuple[str, ...]:
    """Image files in order, relative to the root; empty for a video file."""
    pure = PurePosixPath(video)
    if pure.is_absolute() or ".." in pure.parts or "\\" in video or "\0" in video:
        raise _RowError(f"video {video!r} must be relative to the manifest, with forward slashes and without '..'")
    place = root / video
    if place.is_dir():
        names = [path.relative_to(root).as_posix() for path in place.iterdir() if _is_image(path.name)]
        what = "folder"
    elif place.exists():
        _inside(root, video)
        return (video,) if _is_image(video) else ()
    elif any(mark in video for mark in "*?[{"):
        found = {path for pattern in _alternatives(video) for path in root.glob(pattern) if path.is_file()}
        names = [path.relative_to(root).as_posix() for path in found]
        what = "pattern"
        if strange := sorted(name for name in names if not _is_image(name)):
            raise _RowError(f"pattern {video!r} finds {strange[0]}, which is no PNG or JPEG image")
    else:
        raise _RowError(f"video {video!r} does not exist")
    if not names:
        raise _RowError(f"{what} {video!r} holds no PNG or JPEG image")
    for name in names:
        _inside(root, name)
    try:
        return tuple(in_order_of_frames(names))
    except ValueError as error:
        raise _RowError(str(error)) from None


def _alternatives(pattern: str) -> list[str]:
    """`a/{b,c}.png` as `a/b.png` and `a/c.png`."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    return ["".join(each) for each in itertools.product(*choices)]


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _inside(root: Path, name: str) -> None:
    try:
        inside(root, name)
    except UserError:
        raise _RowError(f"{name!r} is a link that leads out of the manifest's folder") from None


def _contradictions(rows: list[_Row]) -> list[str]:
    """Videos listed twice, and subjects in two splits."""
    problems = []
    files: dict[str, str] = {}
    splits: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        for name in row.source.frames or (row.video.path,):
            earlier = files.setdefault(name, row.where)
            if earlier != row.where:
                problems.append(f"{row.where}: {name} is in {earlier} already")
                break
        split, earlier = splits.setdefault((row.video.dataset, row.video.subject), (row.video.split, row.where))
        if split != row.video.split:
            problems.append(
                f"{row.where}: subject {row.video.subject} is in {row.video.split}, and by {earlier} in {split}; "
                "a subject must be in one split only"
            )
    return problems


def manifest_layout(path: Path, dataset: str) -> Layout:
    """The layout of a dataset of which a manifest is all that is known."""
    return Layout(
        name="manifest",
        letter=dataset,
        title=f"{dataset}, listed in {path.name}",
        homepage="",
        citation="",
        signs=(),
        official={},
        names=frozenset,
        rules=lambda tree: Rules(lambda name: None),
        annotation=lambda name: ("", ""),
    )


def _listing(path: Path, root: Path, dataset: str, rows: list[_Row]) -> Listing:
    rows = sorted(rows, key=lambda row: (SPLITS.index(row.video.split), row.video.path))
    return Listing(
        layout=manifest_layout(path, dataset),
        root=root,
        dataset=dataset,
        videos=tuple(row.video for row in rows),
        unknown=(),
        missing=(),
        sources={row.video.path: row.source for row in rows},
        attributes={
            name: {row.video.path: row.attributes[name] for row in rows if name in row.attributes}
            for name in dict.fromkeys(name for row in rows for name in row.attributes)
        },
    )
