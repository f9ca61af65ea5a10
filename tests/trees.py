"""Tiny video files, and tiny trees of them in the four official layouts, written by PyAV (not by our own code)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from fas_jax.base.record import ClipInfo, RenditionInfo, Source
from fas_jax.base.rendition import Rendition
from fas_jax.pixels.renditions import rendition_makers
from fas_jax.pixels.video import decode_file

FRAME = (48, 64, 3)


def moving_frames(count: int, seed: int = 0, shape: Sequence[int] = FRAME) -> list[np.ndarray]:
    """Smooth frames that all differ: a colour gradient whose phase moves."""
    height, width, _ = shape
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 3)
    y, x = np.mgrid[0:height, 0:width]
    ramp = (x / width + y / height)[..., None]
    return [(127 + 100 * np.sin(3 * ramp + phase + 2 * np.pi * i / 45)).astype(np.uint8) for i in range(count)]


def noisy_frames(count: int) -> list[np.ndarray]:
    """Frames that need many bytes."""
    rng = np.random.default_rng(0)
    return [
        np.clip(frame.astype(int) + rng.integers(-20, 21, frame.shape), 0, 255).astype(np.uint8)
        for frame in moving_frames(count, shape=(96, 128, 3))
    ]


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    codec: str = "libx264",
    fps: int = 25,
    pixels: str = "",
    rotation: int = 0,
    **options: str,
) -> Path:
    """Encodes RGB frames on one thread."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels or {"mjpeg": "yuvj420p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.thread_count = 1
        stream.options = options
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


def hole(path: Path, frame: int) -> None:
    """Fills the middle of one frame's data with zeros."""
    with av.open(str(path)) as container:
        packet = [each for each in container.demux(video=0) if each.size][frame]
        at, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[at + size // 2 : at + size - 20] = bytes(size - 20 - size // 2)
    path.write_bytes(content)


def read_video(path: Path) -> list[np.ndarray]:
    """All frames of a file, by PyAV."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def oulu_npu(root: Path, frames: int = 40) -> Path:
    """One user in each split, one phone and session, all five species."""
    for folder, user in (("Train", 1), ("Dev", 21), ("Test", 36)):
        session = 3 if folder == "Test" else 1
        names = [f"1_{session}_{user:02d}_{kind}" for kind in range(1, 6)]
        for number, name in enumerate(names):
            write_video(root / f"{folder}_files/{name}.avi", moving_frames(frames, 10 * user + number))
            (root / f"{folder}_files/{name}.txt").write_text("0,10,10,20,10\n")
        labels = ["+1", "-1", "-1", *(["-2", "-2"] if folder == "Test" else ["-1", "-1"])]
        lines = [f"{label},{name}" for label, name in zip(labels, names, strict=True)]
        path = root / f"Protocols/Protocol_1/{folder}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
    return root


def casia_fasd(root: Path, frames: int = 40) -> Path:
    """One subject in each split, two of the three qualities."""
    for folder in ("train_release", "test_release"):
        for number, name in enumerate(("1", "3", "5", "7", "HR_1", "HR_2", "HR_3", "HR_4")):
            write_video(root / f"{folder}/1/{name}.avi", moving_frames(frames, number), codec="mpeg4")
    return root


def replay_attack(root: Path, frames: int = 40) -> Path:
    """One client in each set, one light, one support, all species; and an enrolment video."""
    for folder, client in (("train", 1), ("devel", 3), ("test", 9)):
        session = f"client{client:03d}_session01"
        real = f"{folder}/real/{session}_webcam_authenticate_adverse_1.mov"
        attacks = [
            f"{folder}/attack/fixed/attack_{instrument}_{session}_{'mobile' if instrument == 'mobile' else 'highdef'}"
            f"_{medium}_adverse.mov"
            for instrument in ("print", "mobile", "highdef")
            for medium in ("photo", "video")
            if (instrument, medium) != ("print", "video")
        ]
        for number, path in enumerate([real, *attacks]):
            write_video(root / path, moving_frames(frames, number), codec="mjpeg")
        protocols = root / "protocols"
        protocols.mkdir(exist_ok=True)
        (protocols / f"real-{folder}.txt").write_text(real + "\n")
        (protocols / f"attack-grandtest-allsupports-{folder}.txt").write_text("\n".join(attacks) + "\n")
    enrolment = "enroll/train/client001_session01_webcam_authenticate_adverse_1.mov"
    write_video(root / enrolment, moving_frames(frames), codec="mjpeg")
    return root


def msu_mfsd(root: Path, frames: int = 40, clients: Sequence[Sequence[int]] = ((2,), (1,))) -> Path:
    """Some clients in each set, both cameras, all species."""
    for name, ids in zip(("train", "test"), clients, strict=True):
        for client in ids:
            for camera, suffix in (("android", "mp4"), ("laptop", "mov")):
                start = f"client{client:03d}_{camera}_SD"
                paths = [f"real/real_{start}_scene01.{suffix}"] + [
                    f"attack/attack_{start}_{kind}_scene01.{suffix}"
                    for kind in ("ipad_video", "iphone_video", "printed_photo")
                ]
                for number, path in enumerate(paths):
                    write_video(root / "scene01" / path, moving_frames(frames, 10 * client + number))
        (root / f"{name}_sub_list.txt").write_bytes("\r\n".join(f"{client:02d}" for client in ids).encode())
    return root


MAKERS = {
    "oulu_npu": oulu_npu,
    "casia_fasd": casia_fasd,
    "replay_attack": replay_attack,
    "msu_mfsd": msu_mfsd,
}


def decoded(
    path: Path,
    rendition: Rendition = Rendition(),  # noqa: B008 - frozen
    source: Source = Source(),  # noqa: B008 - frozen
    upside_down: bool | None = None,
) -> tuple[ClipInfo, RenditionInfo, np.ndarray]:
    """What the decoder makes of one video in one rendition: the facts, the rendition's, and its frames."""
    makers = rendition_makers(path.parent, source, {"whole": rendition})
    info, frames = decode_file(path, makers, upside_down)
    return info, info.renditions["whole"], frames["whole"]


def write_audio(path: Path) -> None:
    """An .avi file with a second of silence and no picture."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
