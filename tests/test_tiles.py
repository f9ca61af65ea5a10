"""Tiles: squares of native pixels from a window that slides over the face or the frame."""

import dataclasses
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Features, Preparation
from fas_jax.datasets.loading import FrameClips
from fas_jax.datasets.manifest import read_manifest
from fas_jax.datasets.preparation import prepare_listing
from fas_jax.experiment import stages
from fas_jax.experiment.configuration import experiment_from_dict
from fas_jax.features.extraction import extract
from fas_jax.pixels.renditions import check_renditions, rendition_key, rendition_makers
from fas_jax.pixels.tiles import cut_tiles, tile_corners
from fas_jax.pixels.video import DecodeError, decode_images
from tests.made_up import HeldFrames
from tests.trees import decoded, write_video

TILES = Rendition(segment=4, max_frames=2, size=16, tiles=6, crop="annotation", margin=0.25)
BOX = (30.0, 21.0, 20.0, 24.0)
HEIGHT, WIDTH = 97, 131


def board(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A checkerboard of single pixels, which any resampling or half a pixel's shift would turn grey, RGB."""
    rng = np.random.default_rng(number)
    found = 200 * (np.indices((height, width)).sum(0) % 2)[..., None] + rng.integers(0, 50, (height, width, 3))
    return found.astype(np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "a.avi", map(board, range(8)), codec="ffv1")


def decoded_frame(path: Path, index: int) -> np.ndarray:
    """A frame as the file's decoder gives it, RGB, read without this package."""
    video = cv2.VideoCapture(str(path))
    for _ in range(index + 1):
        done, image = video.read()
        assert done
    return image[..., ::-1]


def test_single_pixels_come_from_the_decoded_frame_to_the_networks_input(film: Path) -> None:
    """From the video through decoding, storing and reading to the arrays that a network gets."""
    root = film.parent
    (root / "m.csv").write_text("video,label,subject,split\na.avi,bonafide,s,test\n")
    (listing,) = read_manifest(root / "m.csv")
    settings = {"face": dataclasses.replace(TILES, crop="whole", tiles=9, size=32)}
    prepared = prepare_listing(listing, root / "out", Preparation(workers=1), settings)
    (shard,) = [each for each in prepared.shards if each.clips]
    ((_, info),) = prepared.clips(shard)
    indices = info.renditions["face"].frame_indices
    assert indices == (3,) * 8 + (7,) * 8
    tiles = FrameClips(prepared, [shard], "face").frames(0, range(16))
    corners = tile_corners(info.height, info.width, None, settings["face"])
    for index, tile, (top, left) in zip(indices, tiles, corners * 2, strict=True):
        frame = decoded_frame(film, index)
        np.testing.assert_array_equal(tile, frame[top : top + 32, left : left + 32])
        assert np.abs(np.diff(tile[..., 0].astype(int))).min() > 100  # every pixel differs from its neighbour
    # A loader that takes some of the tiles changes nothing either, and features of tiles are nothing.
    kept = np.arange(16)[None] % 3 == 1
    stored = HeldFrames.of(np.stack(tiles)[None], np.ones((1, 16), bool)).only(kept)
    np.testing.assert_array_equal(stored[np.array([0])][0, :5], np.stack(tiles)[1::3])
    assert stored.mask.tolist() == [[True] * 5 + [False] * 11]
    store = extract(prepared, "face", root / "features", Features(backbone="densenet201", weights="nowhere.pth"))
    assert store.load().features.shape == (1, 16, 1)


def test_tiles_lie_on_the_face_with_its_margin(film: Path) -> None:
    source = Source(box=BOX)
    info, made, tiles = decoded(film, TILES, source)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    # 24 pixels and a margin of 6 on both sides, about (40, 33): from 22 to 58 and from 15 to 51, in 3x3 places of
    # which six are wanted.
    corners = tile_corners(HEIGHT, WIDTH, BOX, TILES)
    assert corners == [(top, left) for top in (16, 34) for left in (22, 32, 42)]
    assert made.frame_indices == (3,) * 6 + (7,) * 6
    assert made.boxes == BOX * 12
    np.testing.assert_array_equal(tiles[6], decoded_frame(film, 7)[16:32, 22:38])
    # The corners are found again from what is stored.
    assert tile_corners(info.height, info.width, tuple(made.boxes[:4]), TILES) == corners  # type: ignore[arg-type]
    again = decoded(film, TILES, source)[2]
    np.testing.assert_array_equal(again, tiles)


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 20),
    st.integers(1, 12),
    st.integers(0, 25),
    st.none() | st.tuples(*[st.floats(-60, 150)] * 2, *[st.floats(1, 200)] * 2),
)
def test_tiles_are_whole_few_different_and_spread(
    frame: tuple[int, int], size: int, most: int, step: int, box: tuple[float, float, float, float] | None
) -> None:
    height, width = frame
    settings = Rendition(size=size, tiles=most, tile_step=step, margin=0.2)
    found = tile_corners(height, width, box, settings)
    if min(frame) < size:
        assert found == []
        return
    assert 1 <= len(found) <= most
    assert len(set(found)) == len(found)
    assert found == sorted(found)
    for top, left in found:
        assert 0 <= top <= height - size
        assert 0 <= left <= width - size
    assert tile_corners(height, width, box, settings) == found
    if box is None:
        whole = tile_corners(height, width, box, dataclasses.replace(settings, tiles=10**6))
        steps = [np.diff(sorted({corner[axis] for corner in whole})) for axis in (0, 1)]
        assert all(each.max(initial=0) <= (step or size) for each in steps)
        # Without a cap, every pixel lies in a tile where the window slides no further than its side.
        seen = np.zeros(frame, bool)
        for top, left in whole:
            seen[top : top + size, left : left + size] = True
        assert seen.all() or (step or size) > size


def test_a_cap_thins_both_directions() -> None:
    found = tile_corners(640, 640, None, Rendition(size=64, tiles=16))
    assert [sorted({corner[axis] for corner in found}) for axis in (0, 1)] == [[48, 208, 368, 528]] * 2
    assert tile_corners(640, 640, None, Rendition(size=64, tiles=1)) == [(288, 288)]
    # A face at the border, smaller than a tile, gets a tile of what is around it.
    assert tile_corners(100, 200, (-5.0, 90.0, 20.0, 20.0), Rendition(size=64, tiles=4)) == [(36, 0)]


def test_a_frame_smaller_than_a_tile_is_a_reason(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", (board(number, 30, 40) for number in range(4)), codec="ffv1")
    both = {"tiles": dataclasses.replace(TILES, size=32, crop="whole"), "whole": Rendition(size=8)}
    reason = "its frames of 40x30 pixels are smaller than a tile of 32x32"
    with pytest.raises(DecodeError, match=reason):
        decoded(path, both["tiles"])
    pictures = [tmp_path / f"{number}.png" for number in range(4)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(picture), board(number, 30, 40))
    info, frames = decode_images(pictures, rendition_makers(tmp_path, Source(), both), 25.0)
    assert (info.renditions["tiles"].reason, frames["tiles"].shape) == (reason, (0, 32, 32, 3))
    assert info.renditions["whole"].frame_indices


def test_tiles_of_8k_frames_leave_the_frame() -> None:
    image = np.zeros((4320, 7680, 3), np.uint8)
    settings = Rendition(size=64, tiles=16)
    tracemalloc.start()
    kept = [cut_tiles(image, None, settings) for _ in range(8)]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(each.base is None for each in kept)
    assert held < 8 * 16 * 64 * 64 * 3 + 1e5
    assert peak < 5e6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0, "tiles": 4}, "tiles have sides of `size` native pixels"),
        ({"size": 31, "tiles": 4}, "tiles have sides of `size` native pixels"),
        ({"preset": "ssdg", "tiles": 4}, "tiles keep native pixels, and preset 'ssdg' resizes them"),
        ({"burst": 4, "tiles": 4}, "tiles are cut from single frames, not from bursts"),
        ({"tiles": -1}, "tiles must be at least 0"),
    ],
)
def test_what_contradicts_tiles_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=f"renditions.mine: {said}"):
        check_renditions({"mine": Rendition(**settings)})  # type: ignore[arg-type]


def test_keys_of_renditions_without_tiles_are_what_they_were() -> None:
    assert "tiles" not in rendition_key(Rendition())
    assert rendition_key(Rendition(tile_step=4)) == rendition_key(Rendition())
    assert rendition_key(Rendition(tiles=3, tile_step=4))["tile_step"] == 4
    assert Rendition(tiles=3, max_frames=5).most_frames == 15


def test_features_of_tiles_are_refused() -> None:
    table = {
        "renditions": {"tiles": {"size": 64, "tiles": 4}},
        "methods": {"mean": {"kind": "mean-feature", "rendition": "tiles"}},
    }
    with pytest.raises(UserError, match=r"methods.mean reads features, and rendition tiles holds tiles"):
        stages.check(experiment_from_dict(table, "test"))
