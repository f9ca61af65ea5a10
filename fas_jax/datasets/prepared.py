"""A prepared dataset on disk: shards of clips that TFDS can read, and one file that says what they are."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fas_jax.base.attributes import Attributes
from fas_jax.base.declarations import key
from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.files import fingerprint, inside, read_json, sha256_file
from fas_jax.base.record import ClipInfo, Failure, Video, clip_info
from fas_jax.base.settings import Preparation, from_dict

SUMMARY = "preparation.json"
CLIPS, MADE = "clips", "made"


@dataclass(frozen=True)
class Shard:
    """One file of clips."""

    split: str
    name: str
    """File name in the prepared folder."""
    clips: int
    size: int
    """Bytes."""
    sha256: str
    clips_sha256: str
    """Of the JSON file that repeats the clips' rows without their frames."""


@dataclass(frozen=True)
class Prepared:
    """A whole prepared dataset. Made by `fas_jax.datasets.preparation.prepare_dataset`."""

    directory: Path
    dataset: str
    """`O`, `C`, `I` or `M`, with `synth-` before it where the videos are rendered."""
    layout: str
    synthetic: bool
    complete: bool
    """Whether the folder held every video of the official set."""
    settings: Preparation
    """As far as they decide the content; the others have their defaults."""
    renditions: dict[str, dict[str, Any]]
    """By name, the `fas_jax.pixels.renditions.rendition_key` of the settings that it was made with."""
    fingerprint: str
    """Of everything that is stored: equal fingerprints mean equal bits."""
    failures: tuple[Failure, ...]
    splits: dict[str, int]
    """Clips in each split, in the order train, dev, test."""
    shards: tuple[Shard, ...]
    """By split, then in order."""
    versions: dict[str, str]
    """Of the packages that made the shards, the decoder's own parts among them."""

    @classmethod
    def open(cls, directory: Path) -> "Prepared":
        """Reads what `prepare_dataset` wrote.

        Raises:
            UserError: the folder is not a finished prepared dataset, or a shard is missing or has another size
                than it was written with, or leads out of the folder. `verify` compares the content too.
        """
        directory = Path(directory)
        if not (directory / SUMMARY).exists():
            raise UserError(f"{directory} is not a finished prepared dataset (no {SUMMARY}); run fas-jax prepare")
        table = read_json(directory / SUMMARY)
        try:
            prepared = cls(
                directory=directory,
                renditions=table["renditions"],
                versions=table["versions"],
                dataset=table["dataset"],
                layout=table["layout"],
                synthetic=table["synthetic"],
                complete=table["complete"],
                settings=from_dict(Preparation, table["settings"], where=str(directory / SUMMARY)),
                fingerprint=table["fingerprint"],
                failures=tuple(Failure(Video(**row["video"]), row["reason"]) for row in table["failures"]),
                splits=dict(table["splits"]),
                shards=tuple(Shard(**row) for row in table["shards"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{directory / SUMMARY} was written by another version ({error}); prepare again") from error
        if prepared.fingerprint != content_fingerprint(prepared):
            raise UserError(f"{directory / SUMMARY} was changed after it was written; prepare again")
        for shard in prepared.shards:
            path = prepared.path(shard)
            size = path.stat().st_size if path.exists() else None
            if size != shard.size:
                found = "is missing" if size is None else f"has {size} bytes instead of {shard.size}"
                raise UserError(f"{path} {found}; delete {directory / SUMMARY} and run fas-jax prepare again")
        return prepared

    def path(self, shard: Shard) -> Path:
        """The file of a shard.

        Raises:
            UserError: Its name leads out of the prepared folder.
        """
        inside(self.directory, shard.name)
        return self.directory / shard.name

    def clips(self, shard: Shard) -> list[tuple[Video, ClipInfo]]:
        """The clips of a shard without their frames, in stored order; reads no record."""
        path = clips_path(self.directory, self.path(shard).name)
        if not path.exists() or sha256_file(path) != shard.clips_sha256:
            raise UserError(f"{path} is missing or damaged; delete {self.directory / SUMMARY} and prepare again")
        return [(Video(**row["video"]), clip_info(row["info"])) for row in read_json(path)["clips"]]

    @property
    def attributes(self) -> Attributes:
        """Those of the manifest when it was last prepared; no part of the content, and in no fingerprint."""
        path = attributes_path(self.directory)
        return read_json(path) if path.exists() else {}

    def rendition(self, name: str) -> dict[str, Any]:
        """The settings that a rendition was made with, as its key has them: `size` and so on.

        Raises:
            UserError: There is no such rendition.
        """
        if name not in self.renditions:
            raise UserError(f"{self.directory}: {unknown_name('rendition', name, self.renditions)}")
        return self.renditions[name]

    def not_made(self) -> Iterator[tuple[str, Video, str]]:
        """Renditions of clips that could not be made: the rendition's name, the video and the reason."""
        # A whole frame at a counted place is always there: where it is not, the video itself is a failure.
        if any(each["crop"] != "whole" or {"seconds", "burst"} & each.keys() for each in self.renditions.values()):
            for shard in self.shards:
                for video, info in self.clips(shard):
                    yield from ((name, video, each.reason) for name, each in info.renditions.items() if each.reason)

    def verify(self) -> None:
        """Compares every shard with its hash, which reads all of the data.

        Raises:
            UserError: a file is damaged.
        """
        for shard in self.shards:
            if sha256_file(self.path(shard)) != shard.sha256:
                raise UserError(f"{self.path(shard)} is damaged; delete {self.directory / SUMMARY} and prepare again")

    def builder(self) -> Any:
        """The TFDS builder, for `as_data_source(split)`; its examples are those of `builder.clip_features`."""
        from fas_jax.datasets.builder import open_builder

        return open_builder(self.directory)


def content_fingerprint(prepared: Prepared) -> str:
    """The fingerprint that belongs to what a `Prepared` says."""
    return fingerprint(
        {
            "dataset": prepared.dataset,
            "complete": prepared.complete,
            "settings": key(prepared.settings),
            "renditions": prepared.renditions,
            "failures": [dataclasses.asdict(failure) for failure in prepared.failures],
            "shards": [dataclasses.asdict(shard) for shard in prepared.shards],
        }
    )


def clips_path(directory: Path, shard_name: str) -> Path:
    """The JSON file beside a shard."""
    return directory / CLIPS / f"{shard_name}.json"


def attributes_path(directory: Path) -> Path:
    """The JSON file with the attributes of a prepared folder's videos, where there are any."""
    return directory / "attributes.json"


def made_path(directory: Path, shard_name: str) -> Path:
    """The JSON file that says what a shard was made of, and by which versions."""
    return directory / MADE / f"{shard_name}.json"
