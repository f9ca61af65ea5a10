"""A table of videos does what a list of them does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base import video_table
from fas_jax.base.record import Video
from fas_jax.base.text_column import PackedTextsBuilder
from fas_jax.base.video_table import VideoTable

PATHS = st.sampled_from(["", "a", "a/b", "aa", "ä", "z", "\U0001f600", "\udc80", "\uffff", "a\0"])
NAMES = st.sampled_from(["1", "2", "person"])
VIDEOS = st.lists(
    st.builds(Video, PATHS, st.sampled_from(["O", "I", "C"]), NAMES, NAMES, st.integers(0, 1), *[NAMES] * 4)
)


@given(VIDEOS, st.data())
def test_a_table_does_what_a_list_does(videos, data):
    table = VideoTable.of(iter(videos))
    assert VideoTable.of(table) is table
    assert list(table) == videos
    assert len(table) == len(videos)
    assert [table[i] for i in range(len(videos))] == [table[np.int32(i)] for i in range(len(videos))] == videos
    assert list(table[1:3]) == videos[1:3]
    places = st.integers(0, len(videos) - 1) if videos else st.nothing()
    rows = np.array(data.draw(st.lists(places)), int)
    assert list(table[rows]) == [videos[row] for row in rows]
    assert list(table[table.label == 1]) == [video for video in videos if video.label]
    # A part knows nothing of the rest.
    assert list(table[rows][table[rows].order]) == sorted(table[rows], key=lambda video: (video.dataset, video.path))


@given(VIDEOS)
def test_rows_are_ordered_and_numbered_by_key(videos):
    table = VideoTable.of(videos)
    keys = [(video.dataset, video.path) for video in videos]
    assert table.order.tolist() == sorted(range(len(videos)), key=keys.__getitem__)
    numbers = table.number.tolist()
    assert len(set(keys)) == len({*numbers}) == len({*zip(keys, numbers, strict=True)})


def test_blocks_of_any_size_give_the_same_videos(monkeypatch):
    videos = [Video(f"{i}", "O", "1", "train", 1, "bonafide", "bonafide", "", "") for i in range(10)]
    for block in (1, 3, 10, 11):
        monkeypatch.setattr(video_table, "_BLOCK", block)
        assert list(VideoTable.of(videos)) == videos


def test_texts_lie_end_to_end_and_parts_share_them():
    builder = PackedTextsBuilder()
    for text in ("", "ä", "abc", "\udc80"):
        builder.append(text)
    texts = builder.built()
    assert list(texts) == ["", "ä", "abc", "\udc80"]
    assert list(texts[np.array([2, 1])][::-1]) == ["ä", "abc"]
    with pytest.raises(IndexError):
        texts[4]
