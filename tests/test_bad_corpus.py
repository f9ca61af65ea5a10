"""A corpus of files such as users bring: each ends as data or as a recorded reason, and none stops the others."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.pixels.decoding import Decoded, decode_videos
from fas_jax.pixels.pictures import unpack_frame
from tests.trees import moving_frames, write_audio, write_video

SETTINGS = Preparation(workers=2, timeout=60)
RENDITIONS = {"whole": Rendition(size=32)}


def variable_rate(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(moving_frames(40)):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = 40 * number + 13 * (number % 3), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def turned(path: Path) -> None:
    """Landscape pixels with a tag that turns them by 90 degrees."""
    write_video(path, moving_frames(3))
    content = path.read_bytes()
    one, minus, zero = (0x10000).to_bytes(4, "big"), (-0x10000).to_bytes(4, "big", signed=True), bytes(4)
    last = (0x40000000).to_bytes(4, "big")
    at = content.index(one + zero * 3 + one + zero * 3 + last, content.index(b"tkhd"))
    quarter = zero + one + zero + minus + zero * 4 + last
    path.write_bytes(content[:at] + quarter + content[at + 36 :])


def header_of(number: int) -> object:
    def make(path: Path) -> None:
        write_video(path, moving_frames(44), codec="mjpeg")
        content = bytearray(path.read_bytes())
        at = content.index((44).to_bytes(4, "little"), content.index(b"strh"))
        content[at : at + 4] = number.to_bytes(4, "little")
        path.write_bytes(content)

    return make


def truncated(path: Path) -> None:
    write_video(path, moving_frames(100), codec="mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def link_out(path: Path) -> None:
    target = write_video(path.parent.parent / "outside.avi", moving_frames(3))
    path.symlink_to(target)


def eight_k(path: Path) -> None:
    write_video(path, [np.full((4320, 7680, 3), 90, np.uint8)] * 2, codec="mjpeg")


# File, how it is made, and what it gets: (frames, width, height), or a reason.
CORPUS = {
    "good.mp4": (lambda path: write_video(path, moving_frames(40)), (40, 64, 48)),
    "zero.avi": (lambda path: path.touch(), "empty file"),
    "truncated.avi": (truncated, "truncated"),
    "text.avi": (lambda path: path.write_text("text\n" * 99), "not a video"),
    "audio.avi": (write_audio, "not a video"),
    "one.mp4": (lambda path: write_video(path, moving_frames(1)), (1, 64, 48)),
    "variable.mp4": (variable_rate, (40, 64, 48)),
    "8k.avi": (eight_k, (2, 7680, 4320)),
    "turned.mp4": (turned, (3, 48, 64)),
    "grey.avi": (lambda path: write_video(path, moving_frames(3), codec="ffv1", pixels="gray"), (3, 64, 48)),
    "ten-bit.mkv": (lambda path: write_video(path, moving_frames(3), codec="ffv1", pixels="yuv420p10le"), (3, 64, 48)),
    "says-fewer.avi": (header_of(20), (44, 64, 48)),
    "says-more.avi": (header_of(400), "truncated"),
    "link.avi": (link_out, "leads out"),
    "имя 影片 %d [1].mp4": (lambda path: write_video(path, moving_frames(3)), (3, 64, 48)),
    "dangling.avi": (lambda path: path.symlink_to("nowhere"), "cannot be read"),
    "pipe.avi": (lambda path: os.mkfifo(path), "not a plain file"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("all") / "root"
    root.mkdir()
    for name, (make, _) in CORPUS.items():
        make(root / name)  # type: ignore[operator]
    return dict(zip(CORPUS, decode_videos(root, CORPUS, SETTINGS, RENDITIONS), strict=True))


@pytest.mark.parametrize("name", CORPUS)
def test_each_is_data_or_a_reason(outcomes: dict[str, object], name: str) -> None:
    expected, outcome = CORPUS[name][1], outcomes[name]
    if isinstance(expected, str):
        assert not isinstance(outcome, Decoded)
        assert expected in outcome.reason  # type: ignore[attr-defined]
        return
    assert isinstance(outcome, Decoded), outcome
    info = outcome.info
    assert (info.frame_count, info.width, info.height) == expected
    assert all(unpack_frame(frame).shape == (32, 32, 3) for frame in outcome.frames["whole"])
    if name == "grey.avi":
        assert np.ptp(unpack_frame(outcome.frames["whole"][0]).astype(int), axis=2).max() <= 1
    if name == "turned.mp4":
        assert info.rotation in (90, 270)
