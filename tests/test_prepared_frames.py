"""The frames behind a corpus's features: those of the same clips, and of no other preparation."""

import dataclasses

import numpy as np
import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.datasets.preparation import prepare_dataset
from fas_jax.experiment.prepared_frames import stored_frames
from fas_jax.features.store import FeatureStore
from tests.trees import decoded, msu_mfsd


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared dataset, its folder of videos, and a store that says to be made of it."""
    root = msu_mfsd(tmp_path_factory.mktemp("msu"), frames=24)
    settings = Preparation(videos_per_shard=3, workers=1, allow_partial=True)
    rendition = Rendition(segment=10, size=32)
    prepared = prepare_dataset(root, tmp_path_factory.mktemp("prepared"), settings, {"whole": rendition})
    provenance = {"prepared": prepared.fingerprint, "rendition": "whole"}
    return prepared, root, rendition, FeatureStore(prepared.directory, {}, provenance, (), (), "")


def test_clips_of_several_datasets_are_found_by_their_numbers_in_the_corpus(made):
    prepared, root, rendition, store = made
    videos = [video for shard in prepared.shards for video, _ in prepared.clips(shard)]
    count = len(videos)
    # The corpus has this dataset twice; none of the clips is of the first one's beginning.
    wanted = np.array([3, 5, count, count + 7])
    mask = np.ones((4, 3), bool)
    found = stored_frames([store] * 2, [prepared.directory] * 2, [0, count, 2 * count], wanted, mask)
    assert len(found.parts) == 2
    for row, number in enumerate(wanted.tolist()):
        _, _, frames = decoded(root / videos[number % count].path, rendition)
        np.testing.assert_array_equal(found[np.array([row])][0], frames)


def test_a_dataset_of_none_of_the_clips_is_not_opened(made, tmp_path):
    prepared, _, _, store = made
    folders = [tmp_path / "not there", prepared.directory]
    found = stored_frames([store] * 2, folders, [0, 5, 21], np.array([6]), np.ones((1, 3), bool))
    assert len(found.parts) == 1
    with pytest.raises(UserError, match="not there is not a finished prepared dataset"):
        stored_frames([store] * 2, folders, [0, 5, 21], np.array([2, 6]), np.ones((2, 3), bool))


def test_frames_of_another_preparation_are_refused(made):
    prepared, _, _, store = made
    other = dataclasses.replace(store, provenance={**store.provenance, "prepared": "of before"})
    with pytest.raises(UserError, match=r"holds other frames than the features in .* were made of"):
        stored_frames([other], [prepared.directory], [0, 16], np.arange(16), np.ones((16, 3), bool))
