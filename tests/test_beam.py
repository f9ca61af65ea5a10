"""The builders on Apache Beam's local runner, which is for tests: it keeps the data in memory."""

from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.builder import from_record
from fas_jax.datasets.casia_fasd.casia_fasd_dataset_builder import Builder
from fas_jax.datasets.preparation import prepare_dataset
from tests.trees import casia_fasd

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = Preparation(videos_per_shard=3, workers=1, allow_partial=True)
RENDITIONS = {"whole": Rendition(size=32)}


def test_beam_stores_the_same(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    from apache_beam.options.pipeline_options import PipelineOptions

    root = casia_fasd(tmp_path / "root", frames=5)
    builder = Builder(data_dir=tmp_path / "tfds", settings=SMALL, renditions=RENDITIONS, beam=True)
    options = PipelineOptions(["--runner=DirectRunner"])
    config = tfds.download.DownloadConfig(manual_dir=root, beam_options=options)
    builder.download_and_prepare(download_config=config)
    prepared = prepare_dataset(root, tmp_path / "out", SMALL, RENDITIONS)
    for split in prepared.splits:
        theirs = {clip[0].path: clip for clip in map(from_record, builder.as_data_source(split))}
        ours = {clip[0].path: clip for clip in map(from_record, prepared.builder().as_data_source(split))}
        assert theirs == ours
