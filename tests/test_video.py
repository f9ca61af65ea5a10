import shutil
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.record import ClipInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.pictures import pack_frame, unpack_frame
from fas_jax.pixels.renditions import colour, rendition_makers
from fas_jax.pixels.selection import kept_indices, spread
from fas_jax.pixels.video import decode_images
from tests.trees import decoded, moving_frames, read_video, write_audio, write_video

ALL = Rendition(max_frames=0)


@given(st.integers(1, 500), st.integers(1, 60))
def test_last_position_is_equation_1(count: int, segment: int) -> None:
    expected, k = [], 1
    while True:  # one-based, literally: frame min(30 k, V) of segment k
        expected.append(min(segment * k, count) - 1)
        if segment * k >= count:
            break
        k += 1
    assert kept_indices(count, segment, "last", 0) == expected


@given(st.integers(1, 300), st.integers(1, 40), st.sampled_from(["first", "middle", "last"]), st.integers(0, 9))
def test_each_segment_gives_one_frame_of_its_own(count: int, segment: int, position: str, most: int) -> None:
    kept = kept_indices(count, segment, position, most)
    assert kept == sorted(set(kept))
    assert all(0 <= index < count for index in kept)
    segments = -(-count // segment)
    assert len(kept) == (segments if most == 0 else min(segments, most))
    assert len({index // segment for index in kept}) == len(kept)


def test_position_within_a_segment() -> None:
    assert kept_indices(75, 30, "first", 0) == [0, 30, 60]
    assert kept_indices(75, 30, "middle", 0) == [14, 44, 74]
    assert kept_indices(75, 30, "last", 0) == [29, 59, 74]
    assert kept_indices(60, 30, "last", 0) == [29, 59]
    assert kept_indices(375, 30, "last", 7) == [29, 89, 149, 209, 269, 329, 374]  # 13 kept, every second


@given(st.integers(2, 100), st.integers(2, 30))
def test_spread_is_even(count: int, most: int) -> None:
    chosen = spread(range(count), most)
    if count <= most:
        assert chosen == list(range(count))
        return
    assert len(chosen) == most
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    assert max(abs(c - k * (count - 1) / (most - 1)) for k, c in enumerate(chosen)) <= 0.5
    assert chosen == sorted(set(chosen))


def test_spread_to_one_takes_the_middle() -> None:
    assert spread([1, 2, 3], 1) == [2]
    assert spread([], 3) == []


@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("count", [1, 29, 30, 31, 44, 46, 75])
@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_decoded_frames_are_those_of_another_decoder(tmp_path: Path, position: str, count: int, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", moving_frames(count))
    settings = Rendition(position=position, max_frames=0, size=48)  # type: ignore[arg-type]
    info, made, frames = decoded(path, settings)
    assert info.frame_count == info.announced_frames == count
    assert list(made.frame_indices) == kept_indices(count, 30, position, 0)
    others = read_video(path)
    for index, frame in zip(made.frame_indices, frames, strict=True):
        expected = cv2.resize(others[index], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(frame - expected).max() <= 3
        # A neighbour must not fit as well, or the test would not see an index that is off by one.
        for neighbour in (index - 1, index + 1):
            if 0 <= neighbour < count:
                other = cv2.resize(others[neighbour], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
                assert np.abs(frame - other).mean() > 3


@pytest.mark.parametrize(
    ("name", "count", "codec"), [("bobio_test.mov", 375, "MJPG"), ("bobio_test_h264.mov", 100, "h264")]
)
def test_real_videos_agree_with_another_decoder(shared: Path, name: str, count: int, codec: str) -> None:
    path = shared / "data/videos" / name
    info, made, frames = decoded(path)
    assert (info.frame_count, info.fps, info.width, info.height, info.codec) == (count, 25.0, 320, 240, codec)
    assert info.file_bytes == path.stat().st_size
    assert list(made.frame_indices) == kept_indices(count, 30, "last", 7)
    others = read_video(path)
    for index, frame in zip(made.frame_indices, frames, strict=True):
        expected = cv2.resize(others[index], (224, 224), interpolation=cv2.INTER_AREA).astype(int)
        difference = np.abs(frame - expected)
        # The two convert YUV to RGB with other chroma filters.
        assert difference.mean() < 1.5
        assert np.percentile(difference, 99) <= 8
    pixels = frames.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(made.colour, [*pixels.mean(0), *pixels.std(0)], rtol=1e-6)


def test_grayscale_colour_has_no_spread() -> None:
    assert colour(np.full((2, 4, 4, 3), 7, np.uint8)) == (7.0, 7.0, 7.0, 0.0, 0.0, 0.0)


def test_rotation_tag_is_applied(tmp_path: Path) -> None:
    """A real container's display matrix: OpenCV must turn the pixels, and the size with them."""
    path = write_video(tmp_path / "a.mov", moving_frames(5))
    content = bytearray(path.read_bytes())
    # The track header's matrix: identity -> 90 degrees clockwise (16.16 fixed point; ISO 14496-12, 8.3.2).
    identity = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
    turned = bytes.fromhex("00000000 00010000 00000000 FFFF0000 00000000 00000000 00300000 00000000 40000000")
    at = content.index(identity, content.index(b"tkhd"))
    content[at : at + len(turned)] = turned
    path.write_bytes(content)
    info, _, frames = decoded(path, Rendition(size=48))
    assert (info.width, info.height) == (48, 64)
    upright = np.rot90(read_video(path)[4], -1)
    expected = cv2.resize(upright, (48, 48), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frames[0] - expected).max() <= 3


@pytest.mark.parametrize(("codec", "pixels", "suffix"), [("libx264", "gray", "mp4"), ("libx264", "yuv420p10le", "mkv")])
def test_gray_and_10_bit_video_is_data(tmp_path: Path, codec: str, pixels: str, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", moving_frames(10), codec=codec, pixels=pixels)
    info, _, frames = decoded(path, ALL)
    assert frames.shape == (1, 224, 224, 3)
    assert info.frame_count == 10
    expected = cv2.resize(read_video(path)[9], (224, 224), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(frames[0] - expected).mean() < 3


def test_names_in_other_scripts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "видео %03d [1:2] 影片.avi", moving_frames(3))
    assert decoded(path, ALL)[0].frame_count == 3


def _truncated(path: Path) -> None:
    whole = write_video(path.with_name("whole.avi"), moving_frames(200), codec="mjpeg")
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _text(path: Path) -> None:
    path.write_text("not a video\n" * 1000)


def _empty(path: Path) -> None:
    path.touch()


def _playlist(path: Path) -> None:
    write_video(path.with_name("secret.mp4"), moving_frames(40))
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")


def _headless(path: Path) -> None:
    """An MP4 whose index at the end is cut off."""
    whole = write_video(path.with_name("whole.mp4"), moving_frames(200))
    path.write_bytes(whole.read_bytes()[:-500])


def _time_jumps_back(path: Path) -> None:
    one = write_video(path.with_suffix(".ts"), moving_frames(75))
    path.write_bytes(one.read_bytes() * 2)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_empty, "empty file"),
        (_text, "not a video"),
        (write_audio, "not a video"),
        (_playlist, "not a video"),
        (_headless, "not a video"),
        (_truncated, "truncated: .* of 200 announced"),
        (_time_jumps_back, "time runs backwards"),
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
    ids=["empty", "text", "audio", "playlist", "headless", "truncated", "time", "missing", "folder"],
)
def test_bad_file_ends_with_a_reason(tmp_path: Path, make: object, reason: str) -> None:
    path = tmp_path / "bad.avi"
    make(path)  # type: ignore[operator]
    with pytest.raises(DecodeError, match=reason):
        decoded(path, ALL)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi"])
def test_wrong_suffix_is_data(tmp_path: Path, suffix: str) -> None:
    source = write_video(tmp_path / f"a.{suffix}", moving_frames(31))
    _, made, _ = decoded(Path(shutil.copy(source, tmp_path / "b.mov")), ALL)
    assert made.frame_indices == (29, 30)


def test_unannounced_length_keeps_the_true_last_frame(tmp_path: Path) -> None:
    """A raw stream announces no count: the last frame is still that of equation 1."""
    path = write_video(tmp_path / "a.h264", moving_frames(44))
    info, made, frames = decoded(path, Rendition(size=48, max_frames=0))
    assert info.announced_frames == 0
    assert made.frame_indices == (29, 43)
    expected = cv2.resize(read_video(path)[43], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frames[1] - expected).max() <= 3


def test_header_that_announces_too_few_does_not_shorten_the_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_frames(44), codec="mjpeg")
    content = bytearray(path.read_bytes())
    at = content.index((44).to_bytes(4, "little"), content.index(b"strh"))
    content[at : at + 4] = (20).to_bytes(4, "little")
    path.write_bytes(content)
    info, made, _ = decoded(path, ALL)
    assert info.frame_count == 44
    assert made.frame_indices == (29, 43)


def decode_image(path: Path) -> tuple[ClipInfo, np.ndarray]:
    info, frames = decode_images([path], rendition_makers(path.parent, Source(), {"whole": Rendition(size=32)}))
    (frame,) = frames["whole"]
    return info, frame


def test_images_are_clips_of_one_frame(tmp_path: Path) -> None:
    picture = moving_frames(1)[0]
    for suffix, codec in ((".png", "png"), (".jpg", "jpeg")):
        path = tmp_path / f"face{suffix}"
        cv2.imwrite(str(path), picture[..., ::-1])
        info, frames = decode_image(path)
        assert (info.frame_count, info.width, info.height, info.codec) == (1, 64, 48, codec)
        expected = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(frames - expected).max() <= (0 if codec == "png" else 12)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DecodeError, match="not a PNG or JPEG"):
        decode_image(tmp_path / "text.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "face.png").read_bytes()[:100])
    with pytest.raises(DecodeError):
        decode_image(tmp_path / "cut.png")


@pytest.mark.parametrize("records", ["png", "raw"])
def test_stored_frames_are_lossless(records: Literal["png", "raw"]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    stored = pack_frame(frame, records)
    np.testing.assert_array_equal(unpack_frame(stored), frame)
    assert records == "png" or len(stored) < frame.nbytes + 20
    for damaged in (b"no picture", stored[: len(stored) // 2]):
        with pytest.raises(ValueError, match="damaged"):
            unpack_frame(damaged)
