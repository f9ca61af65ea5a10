"""Heat maps of tiles, and the figures that commands leave for a report."""

from pathlib import Path

import numpy as np

from fas_jax.base.logits import sigmoid
from fas_jax.base.record import RenditionInfo, Video
from fas_jax.base.rendition import Rendition
from fas_jax.base.video_table import VideoTable
from fas_jax.experiment.corpus import ClipFeatures, CorpusClips
from fas_jax.methods.patches import Patches
from fas_jax.pixels.tiles import cut_tiles, tile_corners
from fas_jax.reporting.extra_figures import read_extra_figures, write_extra_figure
from fas_jax.reporting.tile_maps import tile_figure
from fas_jax.studies.tile_maps import maps_of
from tests.made_up import HeldFrames, make_detector
from tests.stores import clip_info

RENDITION = Rendition(size=32, tiles=4, crop="annotation", margin=0.0)
BOX = (40.0, 30.0, 60.0, 70.0)


def test_maps_show_the_tiles_where_they_were_cut_with_their_scores(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    tiles = cut_tiles(frame, BOX, RENDITION)
    corners = tile_corners(240, 320, BOX, RENDITION)
    assert len(tiles) == 4
    found = RenditionInfo((3,) * 4 + (9,) * 4, (), BOX * 8)
    tiny = RenditionInfo((3,) * 4 + (9,) * 4, (), (1.0, 1.0, 9.0, 9.0) * 8)  # a face that no network reads
    infos = [clip_info(0, width=320, height=240) for _ in range(2)]
    infos = [
        type(each)(**{name: getattr(each, name) for name in each.__slots__ if name != "renditions"}, renditions=made)
        for each, made in zip(infos, ({"tiles": found}, {"tiles": tiny}), strict=True)
    ]
    images = np.stack([np.concatenate([0 * tiles, tiles])] * 2)
    mask = np.ones((2, 8), bool)
    opened = ClipFeatures(np.zeros((2, 8, 1), np.float32), mask, infos)
    videos = VideoTable.of(Video(f"a/{n}.avi", "X", "s", "test", 0, "print", "print", "", "") for n in range(2))
    clips = CorpusClips(videos, np.arange(2), lambda _: opened, {}, lambda _: HeldFrames.of(images, mask))
    method = Patches(network="tiny", high_network="tiny", score_frames=8)
    detector = make_detector(method)
    (drawn,) = maps_of(detector, clips, [0, 1], RENDITION)  # type: ignore[arg-type]
    assert drawn.title == "print: 0.avi"
    assert list(drawn.corners) == corners
    logits = detector.tile_logits(clips.read(np.arange(1), method.inputs()))  # type: ignore[attr-defined]
    np.testing.assert_allclose(drawn.scores, sigmoid(logits["low"][0, 4:]))
    picture, top, left = drawn.picture()
    for row, column in corners:
        part = picture[row - top : row - top + 32, column - left : column - left + 32]
        # Later tiles lie over earlier ones and have the same pixels there.
        np.testing.assert_array_equal(part, frame[row : row + 32, column : column + 32, ::-1])
    path = write_extra_figure(tmp_path, "tiles", "Tiles", "what they are", tile_figure([drawn] * 4))
    (kept,) = read_extra_figures(tmp_path)
    assert (kept.title, kept.text) == ("Tiles", "what they are")
    assert kept.picture.startswith("data:image/png;base64,iVBOR")
    assert path.read_bytes()[:4] == b"\x89PNG"
