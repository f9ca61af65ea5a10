"""The record of a clip as TFDS features, and what the layouts' TFDS builders share; the only TFDS import."""

import dataclasses
import functools
import os
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from fas_jax.base.errors import UserError
from fas_jax.base.files import fingerprint
from fas_jax.base.record import ClipInfo, RenditionInfo, Source, Video, clip_info
from fas_jax.base.rendition import Rendition, default_renditions
from fas_jax.base.settings import Preparation
from fas_jax.datasets.layout import BONA_FIDE_NAME, Layout, Listing, check_whole, list_videos
from fas_jax.pixels.decoding import decode_video
from fas_jax.pixels.renditions import preparation_key

RECORD_VERSION = "2.1.0"
FILE_FORMAT = "array_record"


def clip_features(renditions: Iterable[str]) -> Any:
    """The features of a stored clip: `video` (identity), `info` (what decoding found), `frames` (PNG or PPM bytes).

    `info/renditions` and `frames` have an entry for each of the renditions; the frames of one that could not be made of
    a clip are an empty sequence, and its `reason` says why.
    """
    renditions = tuple(renditions)
    return tfds.features.FeaturesDict(
        {
            "video": {
                **_fields(Video),
                "label": tfds.features.ClassLabel(names=["attack", BONA_FIDE_NAME]),
            },
            "info": {**_fields(ClipInfo), "renditions": {name: _fields(RenditionInfo) for name in renditions}},
            "frames": {
                name: tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)) for name in renditions
            },
        }
    )


def to_record(video: Video, info: ClipInfo, frames: Mapping[str, list[bytes]]) -> dict[str, Any]:
    """A clip as the example that `clip_features` describes."""
    return {"video": dataclasses.asdict(video), "info": dataclasses.asdict(info), "frames": dict(frames)}


def from_record(record: Mapping[str, Any]) -> tuple[Video, ClipInfo, dict[str, list[bytes]]]:
    """A clip from an example that TFDS has read back."""
    frames = {name: [bytes(frame) for frame in each] for name, each in record["frames"].items()}
    return Video(**_plain(record["video"])), clip_info(_plain(record["info"])), frames


class RecordCodec:
    """Clips with these renditions to the bytes of a record and back; the same bytes for equal clips."""

    def __init__(self, renditions: Iterable[str]) -> None:
        self._features = clip_features(renditions)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())

    def encode(self, video: Video, info: ClipInfo, frames: Mapping[str, list[bytes]]) -> bytes:
        example = self._features.encode_example(to_record(video, info, frames))
        # TFDS's own `serialize_example` leaves the order of the fields to chance.
        return bytes(self._serializer.get_tf_example(example).SerializeToString(deterministic=True))

    def decode(self, content: bytes) -> tuple[Video, ClipInfo, dict[str, list[bytes]]]:
        return from_record(self._features.deserialize_example_np(content))


class LayoutBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of the layouts' builders.

    `prepare_dataset` writes the same records by itself, because TFDS's own writer works in one process, starts
    from zero after a kill, and crashes above 1 GB a split without TensorFlow. Below that size the builder's
    `download_and_prepare` works too; the builder's configuration is named after the settings, so that each set of
    settings has a folder of its own.

    Where one machine is not enough, Apache Beam decodes on an engine that exists already: with the dataset on a file
    system that all workers see at the same path, and this package installed on them,

        options = PipelineOptions(["--runner=FlinkRunner", "--flink_master=HOST:8081", "--environment_type=LOOPBACK"])
        config = tfds.download.DownloadConfig(manual_dir=ROOT, beam_options=options)
        Builder(data_dir=OUT, renditions=renditions, beam=True).download_and_prepare(download_config=config)

    (Spark and Dataflow alike, by their own options). An undecodable video ends that build: see first to it that
    `prepare_dataset` or a partial copy has none. Beam's local runner keeps all data in memory and is for tests.
    """

    LAYOUT: ClassVar[Layout]
    VERSION = tfds.core.Version(RECORD_VERSION)
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        RECORD_VERSION: "Mirrored videos, damaged frames.",
        "2.0.0": "Renditions by name, each with its own frame indices, colour, boxes and reason.",
        "1.1.0": "Face crops, rotation, boxes.",
        "1.0.0": "First version.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The dataset needs a signed licence. Put your own copy, in its official layout, into the manual folder."
    )

    def __init__(
        self,
        *,
        settings: Preparation | None = None,
        renditions: Mapping[str, Rendition] | None = None,
        beam: bool = False,
        **options: Any,
    ) -> None:
        """With `beam` the videos are decoded by Apache Beam, on the runner that the download configuration names."""
        self._settings = settings or Preparation()
        self._renditions = dict(renditions or default_renditions())
        self._beam = beam
        key = fingerprint(preparation_key(self._settings, self._renditions))[:16]
        config = tfds.core.BuilderConfig(name=key, version=self.VERSION, description="Named after its settings' key.")
        super().__init__(config=config, file_format=options.pop("file_format", FILE_FORMAT), **options)

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=clip_features(self._renditions), **metadata(self.LAYOUT))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        listing = list_videos(self.LAYOUT, Path(dl_manager.manual_dir))
        check_whole(listing, self._settings.allow_partial)
        splits = dict.fromkeys(video.split for video in listing.videos)
        return {split: self._generate_examples(listing, split) for split in splits}

    def _generate_examples(self, listing: Listing, split: str) -> Any:
        """One example a video; an undecodable video raises `DecodeError`, and ends the whole build."""
        calls = [(video, listing.sources.get(video.path, Source())) for video in listing.videos if video.split == split]
        decode = functools.partial(_example, os.fspath(listing.root), self._settings, self._renditions)
        if not self._beam:
            return map(decode, calls)
        try:
            import apache_beam
        except ImportError:
            raise UserError("beam=True needs Apache Beam; install fas-jax[beam]") from None
        # Without the reshuffle one worker would decode all.
        return apache_beam.Create(calls) | apache_beam.Reshuffle() | apache_beam.Map(decode)


def _example(
    root: str, settings: Preparation, renditions: Mapping[str, Rendition], call: tuple[Video, Source]
) -> tuple[str, dict[str, Any]]:
    video, source = call
    clip = decode_video(Path(root), video.path, source, settings, renditions)
    return video.path, to_record(video, clip.info, clip.frames)


def metadata(layout: Layout) -> dict[str, str]:
    """What TFDS's documentation shows of a dataset."""
    return {
        "description": f"The kept frames of the videos of {layout.title}.",
        "homepage": layout.homepage,
        "citation": layout.citation,
    }


def shard_name(layout: str, split: str, index: int, count: int) -> str:
    """The file name by which TFDS finds a shard."""
    return f"{layout}-{split}.{FILE_FORMAT}-{index:05d}-of-{count:05d}"


def write_tfds_metadata(
    directory: Path, layout: Layout, renditions: Iterable[str], splits: Mapping[str, list[tuple[int, int]]]
) -> None:
    """Makes a folder of shards a TFDS dataset.

    Args:
        directory: Where the shards lie.
        layout: Whose dataset it is.
        renditions: Their names.
        splits: For each split the number of clips and of bytes of each shard, in order.
    """
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=clip_features(renditions),
        split_infos=[
            tfds.core.SplitInfo(
                name=split, shard_lengths=[clips for clips, _ in shards], num_bytes=sum(size for _, size in shards)
            )
            for split, shards in splits.items()
        ],
        version=RECORD_VERSION,
        check_data=False,  # the check needs TensorFlow
        **metadata(layout),
    )


def open_builder(directory: Path) -> Any:
    """The TFDS builder of a prepared folder, for `as_data_source`."""
    return tfds.builder_from_directory(directory)


def _fields(kind: type) -> dict[str, Any]:
    """TFDS features for the flat fields of a dataclass."""
    plain = {str: tfds.features.Text(), int: np.int64, float: np.float32, bool: np.bool_}
    features = {}
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is Mapping:
            continue
        items = typing.get_args(hint)
        features[name] = tfds.features.Sequence(plain[items[0]]) if items else plain[hint]
    return features


def _plain(value: Any) -> Any:
    """TFDS gives dictionaries of bytes, numpy scalars, and lists or arrays of these."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic | np.ndarray) else value
