"""The scores of a run: one row for each video and model, with all that an evaluation needs to know about the video.

Every figure of a report is computed from this table alone, so that it can be traced to its rows, and so that scores of
any other system can be evaluated. Imports no JAX.
"""

import csv
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from fas_jax.base.attributes import PREFIX, Attributes
from fas_jax.base.csv_files import read_csv_file
from fas_jax.base.errors import UserError
from fas_jax.base.files import atomic_path
from fas_jax.base.record import ATTACK, BONA_FIDE, Video
from fas_jax.base.text_column import TextColumn
from fas_jax.base.video_table import VideoTable
from fas_jax.evaluation.score_files import OPTIONAL_NUMBERS, check_roles, column_names, parsed

VALIDATION, TEST = "validation", "test"
CROSS_SOURCE = "leave-one-source-out"
SHIFTED = "shifted-validation"
ROLES = (VALIDATION, CROSS_SOURCE, SHIFTED, TEST)

_NUMBERS = {"seed": np.int64, "label": np.int64, "score": np.float64, "logit": np.float64}
_ROW_KEY = ("protocol", "seed", "role", "model", "dataset", "video")
_MOST_ERRORS = 10


@no_type_check  # construction takes texts and numbers of any kind, and converts and checks them itself
@dataclass(frozen=True)
class ScoreTable:
    """Columns of equal length [n]. Construction checks them and raises `UserError`."""

    protocol: TextColumn
    """Name of the protocol, such as OCI_to_M."""
    seed: Int[np.ndarray, " n"]
    role: TextColumn
    """`validation` (sets the threshold), `leave-one-source-out` (source videos, each scored by a detector that has not
    seen its dataset), `shifted-validation` (validation videos, their frames shifted) or `test`."""
    model: TextColumn
    video: TextColumn
    """Path within the dataset."""
    dataset: TextColumn
    subject: TextColumn
    """Unique within the dataset; empty where not known."""
    label: Int[np.ndarray, " n"]
    """1 bona fide, 0 attack."""
    pai: TextColumn
    """Coarse PAI species, `bonafide`, or empty where not known."""
    pai_fine: TextColumn
    device: TextColumn
    session: TextColumn
    split: TextColumn
    """Official split that the video comes from."""
    score: Float[np.ndarray, " n"]
    """Higher means bona fide; NaN means that there is no decision."""
    reason: TextColumn
    """Why there is no decision; empty where there is one."""
    logit: Any = None
    """float64 [n]: log(score / (1 - score)) as the model has it, which tells scores apart that are rounded to 0 or 1;
    infinite where the model is certain, NaN where it gives none or there is no decision. None becomes NaN for all."""
    attributes: Mapping[str, TextColumn] = field(default_factory=dict)
    """Columns `attr.NAME` of a manifest by NAME, for breakdowns; empty where a video has no value."""

    def __post_init__(self) -> None:
        if self.logit is None:
            object.__setattr__(self, "logit", np.full(len(self.score), np.nan))
        attributes = {name: TextColumn.of(column) for name, column in self.attributes.items()}
        object.__setattr__(self, "attributes", attributes)
        for name in COLUMNS:
            column = getattr(self, name)
            kind = _NUMBERS.get(name)
            if kind or isinstance(column, np.ndarray):
                column = np.asarray(column, kind).view()
                column.flags.writeable = False
                if column.ndim != 1:
                    raise UserError(f"scores: column {name} must have one axis, not shape {column.shape}")
            if not kind:
                column = TextColumn.of(column)
            object.__setattr__(self, name, column)
        if {len(each) for each in attributes.values()} | {len(getattr(self, name)) for name in COLUMNS} != {len(self)}:
            raise UserError("scores: the columns differ in length")
        problems = list(self._problems())
        if problems:
            more = f" (and {len(problems) - _MOST_ERRORS} more)" if len(problems) > _MOST_ERRORS else ""
            raise UserError("scores: " + "; ".join(problems[:_MOST_ERRORS]) + more)

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def from_videos(
        cls,
        protocol: str,
        seed: int,
        role: str,
        model: str,
        videos: Sequence[Video],
        scores: Float[np.ndarray, " n"],
        reasons: Sequence[str] | None = None,
    ) -> "ScoreTable":
        """The rows of one model. Without a decision, `scores` [n] is NaN and `reasons` [n] says why."""
        count = len(videos)
        if len(scores) != count or (reasons is not None and len(reasons) != count):
            raise ValueError(f"{count} videos, {len(scores)} scores and {reasons and len(reasons)} reasons")
        own = {"protocol": protocol, "role": role, "model": model}
        columns: dict[str, Any] = {name: TextColumn.constant(value, count) for name, value in own.items()}
        table = VideoTable.of(videos)
        for name in ("dataset", "subject", "pai", "pai_fine", "device", "session", "split"):
            columns[name] = getattr(table, name)
        return cls(
            seed=np.broadcast_to(np.int64(seed), count),
            label=table.label.astype(np.int64),
            video=TextColumn.of(table.path),
            score=np.asarray(scores, np.float64),
            reason=_reasons(reasons, count),
            **columns,
        )

    def scored_by(
        self,
        model: str,
        scores: Float[np.ndarray, " n"],
        reasons: Sequence[str] | None = None,
        logits: Float[np.ndarray, " n"] | None = None,
    ) -> "ScoreTable":
        """The same videos with the scores of another model; the columns that describe them are shared, not copied."""
        return dataclasses.replace(
            self,
            model=TextColumn.constant(model, len(self)),
            score=np.asarray(scores, np.float64),
            reason=_reasons(reasons, len(self)),
            logit=logits,
        )

    @classmethod
    def empty(cls) -> "ScoreTable":
        """A table without rows."""
        return cls._of(dict.fromkeys(COLUMNS, ()))

    @classmethod
    def _of(cls, columns: Mapping[str, Sequence[Any]], attributes: Mapping[str, Any] | None = None) -> "ScoreTable":
        found: dict[str, Any] = {name: TextColumn.of(columns[name]) for name in COLUMNS if name not in _NUMBERS}
        found |= {name: np.array(columns[name], kind) for name, kind in _NUMBERS.items()}
        return cls(**found, attributes=attributes or {})

    @classmethod
    def concatenate(cls, tables: Iterable["ScoreTable"]) -> "ScoreTable":
        """All rows, in order; a row that occurs twice is an error."""
        tables = list(tables) or [cls.empty()]
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            join: Any = np.concatenate if name in _NUMBERS else TextColumn.concatenate
            columns[name] = join([getattr(each, name) for each in tables])
        names = dict.fromkeys(name for each in tables for name in each.attributes)
        attributes = {name: TextColumn.concatenate([each.attribute(name) for each in tables]) for name in names}
        return cls(**columns, attributes=attributes)

    def rows(self, which: Bool[np.ndarray, " n"] | Int64[np.ndarray, " m"]) -> "ScoreTable":
        """The rows that a mask or indices, each of them once, pick."""
        # Not checked again: an evaluation picks thousands of times from a table that was.
        found = object.__new__(ScoreTable)
        for name in COLUMNS:
            column = getattr(self, name)[which]
            if isinstance(column, np.ndarray):
                column.flags.writeable = False
            object.__setattr__(found, name, column)
        object.__setattr__(found, "attributes", {name: column[which] for name, column in self.attributes.items()})
        return found

    def select(self, **values: Any) -> "ScoreTable":
        """The rows whose columns equal the given values: `table.select(role='test', model='gru', seed=0)`."""
        mask = np.ones(len(self), bool)
        for name, value in values.items():
            mask &= getattr(self, name) == value
        return self.rows(mask)

    def attribute(self, name: str) -> TextColumn:
        """The values of an attribute; empty texts where the table does not have it."""
        return self.attributes[name] if name in self.attributes else TextColumn.constant("", len(self))

    def with_attributes(self, known: Mapping[str, Attributes]) -> "ScoreTable":
        """The same rows with these attributes of their videos, by dataset, and no others."""
        videos = list(zip(self.dataset.tolist(), self.video.tolist(), strict=True))
        found = {}
        for name in dict.fromkeys(name for own in known.values() for name in own):
            values = {dataset: own[name] for dataset, own in known.items() if name in own}
            found[name] = TextColumn.of([values.get(dataset, {}).get(video, "") for dataset, video in videos])
        return dataclasses.replace(self, attributes=found)

    def distinct(self, column: str) -> list[Any]:
        """The values of a column in the order of their first row."""
        return list(dict.fromkeys(getattr(self, column).tolist()))

    @property
    def answered(self) -> Bool[np.ndarray, " n"]:
        """Where there is a decision."""
        return ~np.isnan(self.score)

    def write_csv(self, path: Path) -> None:
        """Writes all columns, atomically; `read_csv` gives scores and logits back bit for bit."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        for name in OPTIONAL_NUMBERS:
            at = COLUMNS.index(name)
            columns[at] = ["" if np.isnan(value) else repr(value) for value in columns[at]]
        columns += [column.tolist() for column in self.attributes.values()]
        # File names need not be valid UTF-8; such bytes are kept as they are.
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            # RFC 4180's line ends; only with these does the writer quote a lone carriage return in a name.
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow((*COLUMNS, *(PREFIX + name for name in self.attributes)))
            writer.writerows(zip(*columns, strict=True))

    @classmethod
    def read_csv(cls, path: Path) -> "ScoreTable":
        """Reads `video`, `label` and `score`, and the other columns, such as `logit`, where there are any.

        `label` is 1 or 0, true or false, bonafide or attack. An empty score or `nan` means no decision. The
        names `video_key`, `is_bonafide` and `attack_type` are accepted as well. Blanks around cells do not count,
        except in a file with all columns, as `write_csv` writes it. One `UserError` reports all faulty lines.
        """
        # File names need not be valid UTF-8.
        file = read_csv_file(path, errors="surrogateescape")
        names = column_names(path, file.header, COLUMNS)
        attributes: dict[str, list[str]] = {name: [] for name in names if name.startswith(PREFIX)}
        if not file.rows:
            raise UserError(f"{path} holds no scores")
        check_roles(path, names, file, VALIDATION, TEST)
        problems: list[str] = []
        columns: dict[str, Any] = {name: [] for name in COLUMNS}
        # Before there were logits, `write_csv` wrote all other columns.
        known = (COLUMNS, tuple(name for name in COLUMNS if name != "logit"))
        exact = tuple(name for name in file.header if name not in attributes) in known
        for number, cells in file.rows:
            try:
                if len(cells) != len(names):
                    raise ValueError(f"{len(cells)} cells, but {len(names)} columns")
                stripped = cells if exact else map(str.strip, cells)
                found = dict(zip(names, stripped, strict=True))
                row = parsed(found, file, path, COLUMNS)
            except ValueError as error:
                problems.append(f"line {number}: {error}")
            else:
                for name, value in row.items():
                    columns[name].append(value)
                for name, values in attributes.items():
                    values.append(found[name])
        if problems:
            more = f" (and {len(problems) - _MOST_ERRORS} more)" if len(problems) > _MOST_ERRORS else ""
            raise UserError(f"{path}: " + "; ".join(problems[:_MOST_ERRORS]) + more)
        try:
            return cls._of(columns, {name.removeprefix(PREFIX): values for name, values in attributes.items()})
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def _problems(self) -> Iterator[str]:
        checks = (
            (~self.role.isin(ROLES), f"the role must be one of {', '.join(ROLES)}"),
            (~np.isin(self.label, (BONA_FIDE, ATTACK)), "the label must be 1 (bona fide) or 0 (attack)"),
            (np.isinf(self.score), "the score is infinite"),
            (np.isnan(self.score) & (self.reason == ""), "there is no score, and no reason why"),
            (~np.isnan(self.score) & (self.reason != ""), "there is a score, and a reason why there is none"),
            (np.isnan(self.score) & ~np.isnan(self.logit), "there is a logit, but no score"),
            ((self.label == ATTACK) & (self.pai == "bonafide"), "an attack cannot be of species 'bonafide'"),
            (
                (self.label == BONA_FIDE) & ~self.pai.isin(("", "bonafide")),
                "a bona fide video has a PAI species",
            ),
            (self.video == "", "the video has no name"),
        )
        for wrong, message in checks:
            for index in np.flatnonzero(wrong):
                yield f"row {index + 1} ({self.dataset[index]} {self.video[index]}): {message}"
        _, first = self._same(*_ROW_KEY)
        for index in np.flatnonzero(first < np.arange(len(self))):
            yield "twice: " + ", ".join(f"{name} {getattr(self, name)[index]}" for name in _ROW_KEY)
        # What is known of a video does not depend on who scores it.
        videos, first = self._same("dataset", "video")
        facts, _ = self._same("label", "subject", "pai")
        for index in np.flatnonzero(facts != facts[first]):
            yield f"{self.dataset[index]} {self.video[index]}: label, subject or PAI species differ between its rows"
        for name, column in self.attributes.items():
            given = column != ""
            pairs = np.unique(np.stack([videos[given], column.codes[given].astype(np.int64)]), axis=1)
            if pairs.shape[1] > len(np.unique(pairs[0])):
                yield f"attribute {name} has several values for one video"

    def _same(self, *names: str) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """A number for each row, equal where all these columns are, and the first row that has it."""
        # In arrays: a million rows as strings and tuples would take more memory than the rest of an evaluation.
        codes, first = np.zeros(len(self), np.int64), np.zeros(len(self), np.int64)
        for name in names:
            column = getattr(self, name)
            own = column.codes if isinstance(column, TextColumn) else np.unique(column, return_inverse=True)[1]
            joint = codes * (int(own.max(initial=0)) + 1) + own
            _, first, codes = np.unique(joint, return_index=True, return_inverse=True)
        return codes, first[codes]


COLUMNS = tuple(each.name for each in dataclasses.fields(ScoreTable) if each.name != "attributes")
"""Of numbers and texts that every table has."""


def _reasons(reasons: Sequence[str] | None, count: int) -> TextColumn:
    return TextColumn.constant("", count) if reasons is None else TextColumn.of(reasons)
