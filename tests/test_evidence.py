"""Whole films are decoded to their last frame whatever their containers count; cut and damaged ones are refused."""

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.pixels import video
from fas_jax.pixels.content import DecodeError
from fas_jax.pixels.evidence import Film, Orientation, examine
from fas_jax.pixels.renditions import rendition_makers
from tests.trees import decoded, hole, moving_frames, noisy_frames, read_video, write_video

ALL = Rendition(max_frames=0, size=48)
# Clips of 70 frames, some of them cut without loss; how the case's README counts them.
SHOWN = {
    **dict.fromkeys(["vfr-webcam/cfr.webm", "vfr-webcam/recorder-finished.webm", "vfr-webcam/recorder-live.webm"], 70),
    **{f"vfr-webcam/dim.{suffix}": 70 for suffix in ("flv", "mkv", "mp4", "ts", "wmv")},
    **dict.fromkeys(["vfr-webcam/dim-mjpeg.avi"], 70),
    **{f"vfr-webcam/dropped.{suffix}": 70 for suffix in ("avi", "mkv", "webm")},
    **{f"longer-audio/a.{suffix}": 70 for suffix in ("avi", "flv", "mkv", "mov", "mp4", "ts", "webm")},
    **{"lossless-cut/cut-1s.mp4": 110, "lossless-cut/cut-3s.mp4": 50, "lossless-cut/cut-3s.mov": 50},
    **{"lossless-cut/whole.mp4": 140, "base-real.mp4": 70},
}


@pytest.mark.parametrize("name", SHOWN)
def test_good_films_as_people_have_them(shared: Path, name: str) -> None:
    info, made, frames = decoded(shared / "cases" / name, ALL)
    assert info.frame_count == SHOWN[name]
    assert info.damaged_frames == 0
    assert made.frame_indices[-1] == SHOWN[name] - 1
    assert len(frames) == -(-SHOWN[name] // 30)


@pytest.mark.parametrize("name", ["flipped-little.mp4", "flipped-third.mp4", "hole-of-zeros.mp4"])
def test_damaged_films_as_people_have_them(shared: Path, name: str) -> None:
    with pytest.raises(DecodeError, match=r"damaged: \d+ of \d+ frames"):
        decoded(shared / "cases/corrupt" / name, ALL)


def timed(path: Path, times: Sequence[int], codec: str = "libx264", seconds_of_sound: int = 0) -> Path:
    """A film whose frames are shown at these multiples of 1/25 s, perhaps with sound that goes on longer."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        sound = container.add_stream("mp2", rate=32000, layout="mono") if seconds_of_sound else None
        for time, frame in zip(times, moving_frames(len(times)), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound is not None:
            for number in range(seconds_of_sound * 32000 // 1152):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                silence.sample_rate, silence.pts = 32000, 1152 * number
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


SLOWER = [*range(20), *range(20, 100, 3)]  # in the dark every third frame is left out


CODECS = {
    "a.mkv": "libx264",
    "a.webm": "libvpx",
    "a.flv": "libx264",
    "a.ts": "libx264",
    "a.wmv": "wmv2",
    "a.avi": "mjpeg",
    "a.mp4": "libx264",
}


@pytest.mark.parametrize(("name", "codec"), CODECS.items())
def test_a_rate_that_varies_is_no_loss(tmp_path: Path, name: str, codec: str) -> None:
    path = timed(tmp_path / name, SLOWER, codec)
    info, made, frames = decoded(path, ALL)
    assert info.frame_count == len(SLOWER) == 47
    assert made.frame_indices == (29, 46)
    expected = cv2.resize(read_video(path)[46], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frames[1] - expected).mean() <= 3


@pytest.mark.parametrize("suffix", ["mkv", "ts", "avi", "mp4"])
def test_sound_that_goes_on_is_no_loss(tmp_path: Path, suffix: str) -> None:
    path = timed(tmp_path / f"a.{suffix}", range(40), "mpeg4", seconds_of_sound=4)
    assert decoded(path, ALL)[0].frame_count == 40


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.wmv", "wmv2")])
@pytest.mark.parametrize("times", [range(100), SLOWER])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, name: str, codec: str, times: Sequence[int]) -> None:
    content = timed(tmp_path / name, times, codec).read_bytes()
    cut = tmp_path / f"cut{name}"
    cut.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(DecodeError, match="truncated"):
        decoded(cut, ALL)


def edited(path: Path, first: int, count: int) -> None:
    """Has an mp4's edit list show `count` frames from `first` on."""
    content = bytearray(path.read_bytes())

    def ticks_a_second(box: bytes) -> int:
        at = content.index(box) + 16
        return int.from_bytes(content[at : at + 4], "big")

    at = content.index(b"elst") + 12
    begin = int.from_bytes(content[at + 4 : at + 8], "big") + first * ticks_a_second(b"mdhd") // 25
    content[at : at + 8] = (count * ticks_a_second(b"mvhd") // 25).to_bytes(4, "big") + begin.to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(("first", "count"), [(0, 100), (30, 70), (0, 40), (45, 30)])
def test_what_an_edit_list_hides_is_no_loss(tmp_path: Path, first: int, count: int) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(100), movflags="faststart", g="10")
    edited(path, first, count)
    info, _, frames = decoded(path, Rendition(size=48, segment=1, max_frames=0))
    assert (info.frame_count, info.announced_frames) == (count, 100)
    expected = moving_frames(100)[first]
    assert np.abs(frames[0] - cv2.resize(expected, (48, 48), interpolation=cv2.INTER_AREA).astype(int)).mean() < 6


def packets_of(path: Path) -> list[bytes]:
    """The packets of a transport stream."""
    content = path.read_bytes()
    return [content[at : at + 188] for at in range(0, len(content), 188)]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
@pytest.mark.parametrize("seconds", [1, 8])
def test_a_stream_may_begin_in_the_middle_of_a_group(tmp_path: Path, codec: str, seconds: int) -> None:
    group = 25 * seconds + 25
    options = {"g": str(group), "bf": "0", "sc_threshold": "0"}
    if codec == "libx265":
        options["x265-params"] = f"log-level=none:keyint={group}:scenecut=0"
    whole = write_video(tmp_path / "a.ts", moving_frames(group + 30), codec, **options)
    packets = packets_of(whole)
    cut = tmp_path / "b.ts"
    cut.write_bytes(b"".join([*packets[:3], *packets[len(packets) // (5 * seconds) :]]))
    info, _, frames = decoded(cut, ALL)
    assert info.frame_count == 30
    assert info.damaged_frames == 0
    expected = cv2.resize(read_video(whole)[-1], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frames[0] - expected).max() <= 4


def test_a_stream_that_lost_packets_is_refused(tmp_path: Path) -> None:
    """3 % of the packets: the decoder gives nearly all frames, of which most are made up."""
    packets = packets_of(write_video(tmp_path / "a.ts", noisy_frames(60)))
    draw = random.Random(0)
    path = tmp_path / "b.ts"
    path.write_bytes(b"".join(each for at, each in enumerate(packets) if at < 8 or draw.random() >= 0.03))
    assert len(read_video(path)) > 54
    with pytest.raises(DecodeError, match=r"damaged: \d+ of \d+ frames decode with errors"):
        decoded(path, ALL)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_damage_is_counted_and_refused_beyond_a_twentieth(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, noisy_frames(60), codec, bf="0")
    assert decoded(path, ALL)[0].damaged_frames == 0
    hole(path, 50)
    assert decoded(path, ALL)[0].damaged_frames == 1
    for frame in (10, 20, 30):
        hole(path, frame)
    with pytest.raises(DecodeError, match="damaged: 4 of 60 frames"):
        decoded(path, ALL)


def two_videos(path: Path) -> None:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, side in zip(streams, (32, 64), strict=True):
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        for stream, side in zip(streams, (32, 64), strict=True):
            for frame in moving_frames(20, shape=(side, side, 3)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())


def with_cover(path: Path) -> None:
    """A film and a picture that is marked as its cover."""
    with av.open(str(path), "w") as container:
        film, cover = container.add_stream("libx264", rate=25), container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")))
        container.mux(cover.encode())
        for frame in moving_frames(20):
            container.mux(film.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(film.encode())


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_several_video_streams_are_refused(tmp_path: Path, suffix: str) -> None:
    two_videos(tmp_path / f"a.{suffix}")
    with pytest.raises(DecodeError, match="2 video streams in one file"):
        decoded(tmp_path / f"a.{suffix}", ALL)


def test_a_cover_is_not_the_film(tmp_path: Path) -> None:
    with_cover(tmp_path / "a.mp4")
    info, _, _ = decoded(tmp_path / "a.mp4", ALL)
    assert (info.frame_count, info.width, info.height) == (20, 64, 48)


# A display matrix's a, b, c, d, and what it does to rows and columns of a picture.
MATRICES: dict[tuple[int, int, int, int], tuple[Callable[[np.ndarray], np.ndarray], int, bool]] = {
    (1, 0, 0, 1): (lambda image: image, 0, False),
    (0, 1, -1, 0): (lambda image: np.rot90(image, -1), 90, False),
    (-1, 0, 0, -1): (lambda image: np.rot90(image, 2), 180, False),
    (0, -1, 1, 0): (lambda image: np.rot90(image, 1), 270, False),
    (-1, 0, 0, 1): (lambda image: image[:, ::-1], 0, True),
    (1, 0, 0, -1): (lambda image: image[::-1], 180, True),
    (0, 1, 1, 0): (lambda image: image.transpose(1, 0, 2), 90, True),
    (0, -1, -1, 0): (lambda image: np.rot90(image, 2).transpose(1, 0, 2), 270, True),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_turns_and_mirrors(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(5))
    settings = Rendition(size=64, segment=1, max_frames=0)
    plain = decoded(path, settings)[2]
    content = bytearray(path.read_bytes())
    one = (0x10000).to_bytes(4, "big")
    at = content.index(one + bytes(12) + one + bytes(12) + b"\x40\0\0\0", content.index(b"tkhd"))
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[at + place : at + place + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    expected, rotation, mirrored = MATRICES[matrix]
    info, _, frames = decoded(path, settings)
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    assert (info.width, info.height) == ((48, 64) if matrix[1] else (64, 48))
    for turned, stored in zip(frames, plain, strict=True):
        # Both were resized to a square, which does not mind in which order.
        assert np.abs(turned.astype(int) - expected(stored)).max() <= 1
    # Where the dataset's list decides, the tag is ignored.
    info, _, frames = decoded(path, settings, upside_down=True)
    assert (info.rotation, info.mirrored) == (180, False)
    np.testing.assert_array_equal(frames, plain[:, ::-1, ::-1])


def test_a_matrix_that_is_no_right_angle_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_frames(5))
    content = bytearray(path.read_bytes())
    at = content.index((0x10000).to_bytes(4, "big") + bytes(12), content.index(b"tkhd"))
    content[at + 4 : at + 8] = (0x8000).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="display matrix"):
        decoded(path, ALL)


@pytest.mark.parametrize(("name", "down", "right"), [("hflip", 1, -1), ("vflip", -1, 1), ("turn180", -1, -1)])
def test_mirrored_films_as_people_have_them(shared: Path, name: str, down: int, right: int) -> None:
    plain = decoded(shared / "cases/mirrored/plain.mp4", ALL)[2]
    frames = decoded(shared / f"cases/mirrored/{name}.mp4", ALL)[2]
    for image, stored in zip(frames, plain, strict=True):
        assert np.abs(image.astype(int) - stored[::down, ::right]).max() <= 1


def test_the_environment_does_not_open_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of files is refused whatever FFmpeg's options are in the user's environment."""
    write_video(tmp_path / "secret.mp4", moving_frames(40))
    path = tmp_path / "a.avi"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).isOpened()
    with pytest.raises(DecodeError, match="not a video"):
        examine(path)
    # OpenCV, too, even if PyAV had taken it for a film.
    monkeypatch.setattr(video, "examine", lambda path: Film(40, 0, 0, 0, 0, Orientation()))
    with pytest.raises(DecodeError, match="not a video"):
        video.decode_file(path, rendition_makers(tmp_path, Source(), {"whole": ALL}))
