"""A file is what its content says, whatever it is called and whether it is trained on or scored."""

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from fas_jax.base.record import Source
from fas_jax.base.rendition import Rendition
from fas_jax.base.settings import Preparation
from fas_jax.pixels.content import DecodeError, check_pixels, kind_of
from fas_jax.pixels.decoding import Decoded, Undecoded, decode_files, decode_video, decode_videos
from fas_jax.pixels.pictures import read_picture
from tests.trees import moving_frames, write_video

SETTINGS = Preparation(workers=1, timeout=60)
RENDITIONS = {"whole": Rendition(size=32, max_frames=0)}


def picture(seed: int = 0) -> np.ndarray:
    """A BGR picture that needs some bytes."""
    rng = np.random.default_rng(seed)
    (smooth,) = moving_frames(1, seed, (96, 128, 3))
    return np.clip(smooth.astype(int) + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture(), list(options))[1])


def animated_png() -> bytes:
    target = io.BytesIO()
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    frames[0].save(target, "PNG", save_all=True, append_images=frames[1:])
    return target.getvalue()


def box(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + bytes(200)


REFUSED: dict[str, Callable[[], bytes]] = {
    "WebP": lambda: encoded(".webp"),
    "BMP": lambda: encoded(".bmp"),
    "GIF": lambda: encoded(".gif"),
    "TIFF": lambda: encoded(".tiff"),
    "JPEG 2000": lambda: encoded(".jp2"),
    "AVIF": lambda: encoded(".avif"),
    "HEIC": lambda: box(b"heic", b"mif1", b"heic"),
    "animated PNG": animated_png,
}


def both_ways(*paths: Path, listed: bool = False) -> list[Decoded | Undecoded]:
    """What scoring, and then what preparation makes of files; `listed` as images, as a manifest does by the suffix."""
    names = [path.name for path in paths]
    sources = {name: Source(frames=(name,) if listed else ()) for name in names}
    scored = list(decode_files(paths, SETTINGS, RENDITIONS))
    return scored + list(decode_videos(paths[0].parent, names, SETTINGS, RENDITIONS, sources))


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("suffix", ["mp4", "jpg"])
def test_other_pictures_are_refused_by_name(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(REFUSED[name]())
    with pytest.raises(DecodeError, match=f"in the format {name}.*convert it to PNG"):
        kind_of(path)


def test_the_brand_of_pictures_in_general_is_named_by_what_codes_them(tmp_path: Path) -> None:
    for compatible, name in ((b"avif", "AVIF"), (b"heic", "HEIC")):
        (tmp_path / "a").write_bytes(box(b"mif1", b"miaf", compatible))
        with pytest.raises(DecodeError, match=name):
            kind_of(tmp_path / "a")
    (tmp_path / "a").write_bytes(box(b"isom", b"avc1"))
    assert kind_of(tmp_path / "a") == "film"


def test_a_tile_is_never_taken_for_the_picture(shared: Path) -> None:
    files = [shared / "cases/heic" / name for name in ("phone-grid.heic", "named.jpg", "single.heic")]
    for outcome in both_ways(*files, listed=True):
        assert isinstance(outcome, Undecoded)
        assert "HEIC" in outcome.reason
        assert not outcome.transient


def test_a_file_is_what_it_holds_whatever_it_is_called(tmp_path: Path) -> None:
    """Pictures are clips of one frame; a stream of JPEG pictures is a film, and so is a film that is called a.jpg."""
    files = {name: tmp_path / name for name in ("png.avi", "jpeg.mp4", "film.mjpeg", "stream.avi", "mp4.jpg")}
    files["png.avi"].write_bytes(encoded(".png"))
    files["jpeg.mp4"].write_bytes(encoded(".jpg"))
    stream = write_video(files["film.mjpeg"], moving_frames(40), codec="mjpeg").read_bytes()
    assert stream.startswith(b"\xff\xd8")
    files["stream.avi"].write_bytes(stream)
    write_video(tmp_path / "a.mp4", moving_frames(40)).rename(files["mp4.jpg"])
    expected = [(1, "png"), (1, "jpeg"), (40, "MJPG"), (40, "MJPG"), (40, "h264")]
    for listed in (False, True):
        outcomes = both_ways(*files.values(), listed=listed)
        found = [(each.info.frame_count, each.info.codec) if isinstance(each, Decoded) else each for each in outcomes]
        assert found == expected * 2


def test_a_photo_with_a_preview_is_a_picture(tmp_path: Path) -> None:
    """A preview behind the photo, as its header says, or within the header."""
    main, small = io.BytesIO(), io.BytesIO()
    photo, preview = Image.fromarray(picture()), Image.fromarray(picture(1)).resize((16, 16))
    photo.save(main, "MPO", save_all=True, append_images=[preview])
    preview.save(small, "JPEG")
    in_header = io.BytesIO()
    photo.save(in_header, "JPEG", comment=small.getvalue() * 2)
    for content in (main.getvalue(), in_header.getvalue()):
        (tmp_path / "a.jpg").write_bytes(content)
        assert kind_of(tmp_path / "a.jpg") == "jpeg"
        assert read_picture(tmp_path / "a.jpg").image.shape == (96, 128, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_photos_are_turned_and_mirrored_as_their_tags_say(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(picture()).save(path, exif=tags)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
    found = read_picture(path).image[..., ::-1]
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


def zeroed(content: bytes) -> bytes:
    start, end = len(content) // 2, len(content) * 3 // 4
    return content[:start] + bytes(end - start) + content[end:]


def damage(path: Path) -> str:
    try:
        return read_picture(path).damage
    except DecodeError as error:
        return str(error)


JPEGS = {
    "plain": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 7),
    "best": (cv2.IMWRITE_JPEG_QUALITY, 100),
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_damaged_jpeg_is_known(tmp_path: Path, options: tuple[int, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """libjpeg fills in what is missing, and only warns, or does not even that."""
    sound = encoded(".jpg", *options)
    half = len(sound) // 2
    path = tmp_path / "a.jpg"
    # What follows the end of a picture is no part of it, and some cameras fill up its data by a few bytes.
    for content in (sound, sound + bytes(500), sound[:-2] + bytes(2) + sound[-2:]):
        path.write_bytes(content)
        assert read_picture(path).damage == ""
        np.testing.assert_array_equal(read_picture(path).image, cv2.imdecode(np.frombuffer(sound, np.uint8), 1))
    for content in (zeroed(sound), sound[:half], sound[:half] + bytes(half), sound[:half] + b"\xff" * half):
        path.write_bytes(content)
        assert damage(path)
    assert "JPEG" not in capfd.readouterr().err


def test_standard_error_is_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg"))
    open_files = len(list(Path("/dev/fd").iterdir()))
    read_picture(tmp_path / "a.jpg")
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"
    assert len(list(Path("/dev/fd").iterdir())) == open_files


def test_a_damaged_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(zeroed(encoded(".jpg")))
    for outcome in both_ways(tmp_path / "a.jpg"):
        assert isinstance(outcome, Undecoded)
        assert "damaged: 1 of 1 frames; Corrupt JPEG data" in outcome.reason


def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    sound = encoded(".jpg")
    names = [f"{number:02d}.jpg" for number in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(sound)

    source = Source(frames=tuple(names))
    settings = {"whole": Rendition(size=32, segment=1, max_frames=0)}
    for name in ("07.jpg", "08.jpg"):
        (tmp_path / name).write_bytes(zeroed(sound))
    assert decode_video(tmp_path, "clip", source, SETTINGS, settings).info.damaged_frames == 2
    (tmp_path / "09.jpg").write_bytes(zeroed(sound))
    with pytest.raises(DecodeError, match=r"damaged: 3 of 40 frames; frame 07\.jpg: Corrupt JPEG data"):
        decode_video(tmp_path, "clip", source, SETTINGS, settings)


def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """OpenCV would end the process with signal 11."""
    film, picture = (tmp_path / os.fsdecode(b"caf\xe9" + suffix) for suffix in (b".mp4", b".png"))
    write_video(tmp_path / "a.mp4", moving_frames(3)).rename(film)
    picture.write_bytes(encoded(".png"))
    for outcome in both_ways(film, picture):
        assert isinstance(outcome, Undecoded)
        assert outcome.reason == "cannot be read: its path is not UTF-8; rename it"
        assert not outcome.transient


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("a.mp4")
    (outcome,) = decode_files([tmp_path / "a.mp4"], SETTINGS, RENDITIONS)
    assert isinstance(outcome, Undecoded)
    assert "cannot be read" in outcome.reason


def bomb(suffix: str, side: int) -> bytes:
    """A picture of some kilobytes whose header announces a square of this side."""
    content = bytearray(encoded(suffix))
    if suffix == ".png":
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    else:
        at = content.index(b"\xff\xc2" if b"\xff\xc2" in content else b"\xff\xc0")
        content[at + 5 : at + 9] = side.to_bytes(2, "big") * 2
    return bytes(content)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_announces_too_much_is_not_decoded(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below OpenCV's own limit: a JPEG of 30,000 x 30,000 takes half a minute and 3 GB, whatever its file holds."""
    path = tmp_path / f"a{suffix}"
    monkeypatch.setattr("fas_jax.pixels.pictures.cv2.imdecode", lambda *_: pytest.fail("it was decoded"))
    for side in (16_385, 30_000):
        path.write_bytes(bomb(suffix, side))
        with pytest.raises(DecodeError, match=f"announces {side}x{side} pixels; at most"):
            read_picture(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8)])
def test_a_picture_without_a_size_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError, match="gives no size"):
        check_pixels(content, "png")


def test_bytes_may_fill_the_place_before_a_marker(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(".jpg").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1))
    assert read_picture(path).image.shape == (96, 128, 3)
