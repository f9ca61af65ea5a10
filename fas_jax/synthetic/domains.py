"""The recording conditions of the four domains: cameras, light, distances, instruments and codecs.

The numbers are chosen in the spirit of the four datasets; none is measured on them.
"""

from dataclasses import dataclass

import numpy as np

from fas_jax.synthetic.camera import CameraModel
from fas_jax.synthetic.encoding import Encoding
from fas_jax.synthetic.plan import PlannedVideo
from fas_jax.synthetic.room import Relighting
from fas_jax.synthetic.seeds import generator

Range = tuple[float, float]


@dataclass(frozen=True)
class Cameras:
    """The cameras of a dataset; each device has its own draw from these ranges."""

    blur: Range
    shot_noise: Range
    read_noise: Range
    sharpening: Range
    saturation: Range
    contrast: Range
    distortion: Range


@dataclass(frozen=True)
class Domain:
    """What a dataset's cameras see; ranges are drawn from once a video."""

    face_share: Range
    """Width of the face as a share of the frame's short side."""
    cover: Range
    """Size of an instrument as a share of the frame's."""
    rooms: int
    """Number of different rooms."""
    room_blur: Range
    """Defocus of the room as a share of the frame's short side."""
    print_period: Range
    """Period of the print screen in camera pixels."""
    print_dots: Range
    """How far the dots of a print stand out."""
    screen_pitch: Range
    """Screen pixels for each camera pixel."""
    screen_grid: Range
    """Depth of the screen's pixel grid."""
    handheld: float
    """Factor on the shake of instruments held by hand."""


_CAMERAS = {
    "oulu_npu": Cameras(
        blur=(0.35, 0.6), shot_noise=(0.0001, 0.0004), read_noise=(0.001, 0.004), sharpening=(0.2, 0.7),
        saturation=(1.0, 1.2), contrast=(0.5, 0.8), distortion=(-0.02, 0.01),
    ),
    "casia_fasd": Cameras(
        blur=(0.45, 0.9), shot_noise=(0.0002, 0.0008), read_noise=(0.002, 0.008), sharpening=(0.0, 0.5),
        saturation=(0.85, 1.1), contrast=(0.3, 0.7), distortion=(-0.04, 0.0),
    ),
    "replay_attack": Cameras(
        blur=(0.4, 0.7), shot_noise=(0.0002, 0.0007), read_noise=(0.002, 0.006), sharpening=(0.2, 0.7),
        saturation=(0.8, 1.05), contrast=(0.3, 0.7), distortion=(-0.05, -0.02),
    ),
    "msu_mfsd": Cameras(
        blur=(0.35, 0.75), shot_noise=(0.0001, 0.0006), read_noise=(0.002, 0.006), sharpening=(0.1, 0.6),
        saturation=(0.9, 1.15), contrast=(0.4, 0.8), distortion=(-0.04, 0.0),
    ),
}  # fmt: skip

DOMAINS = {
    "oulu_npu": Domain(
        face_share=(0.42, 0.58), cover=(0.86, 1.12), rooms=9, room_blur=(0.002, 0.015), print_period=(1.7, 2.4),
        print_dots=(0.25, 0.7), screen_pitch=(0.75, 1.3), screen_grid=(0.25, 0.8), handheld=0.7,
    ),
    "casia_fasd": Domain(
        face_share=(0.36, 0.5), cover=(0.84, 1.1), rooms=10, room_blur=(0.003, 0.02), print_period=(1.8, 2.7),
        print_dots=(0.2, 0.6), screen_pitch=(0.6, 1.2), screen_grid=(0.3, 0.9), handheld=1.2,
    ),
    "replay_attack": Domain(
        face_share=(0.3, 0.44), cover=(0.86, 1.1), rooms=8, room_blur=(0.003, 0.012), print_period=(1.7, 2.5),
        print_dots=(0.2, 0.7), screen_pitch=(0.65, 1.35), screen_grid=(0.3, 0.9), handheld=1.0,
    ),
    "msu_mfsd": Domain(
        face_share=(0.36, 0.5), cover=(0.88, 1.14), rooms=8, room_blur=(0.003, 0.015), print_period=(1.7, 2.5),
        print_dots=(0.25, 0.75), screen_pitch=(0.7, 1.3), screen_grid=(0.25, 0.8), handheld=0.8,
    ),
}  # fmt: skip

_ENCODINGS = {
    ("oulu_npu", ""): Encoding("libx264", 0.5),
    ("casia_fasd", ""): Encoding("mpeg4", 0.6),
    ("casia_fasd", "high"): Encoding("libx264", 0.5),
    ("replay_attack", ""): Encoding("mjpeg", 1.6),
    ("msu_mfsd", "laptop"): Encoding("mpeg4", 0.6),
    ("msu_mfsd", "android"): Encoding("libx264", 0.5),
}


@dataclass(frozen=True)
class Conditions:
    """Under which a video is recorded."""

    domain: Domain
    camera: CameraModel
    encoding: Encoding
    relighting: Relighting | None = None
    """None takes the lamps as `draw_light` draws them."""


def official_conditions(seed: int, video: PlannedVideo) -> Conditions:
    """Those of the dataset whose layout a video has."""
    return Conditions(DOMAINS[video.layout], device_camera(seed, video), video_encoding(seed, video))


def device_camera(seed: int, video: PlannedVideo) -> CameraModel:
    """The domain's camera that recorded a video: the same for all videos of a device."""
    return _camera(generator("device", seed, video.layout, video.device), _CAMERAS[video.layout])


def attacker_camera(rng: np.random.Generator) -> CameraModel:
    """The camera that recorded what an attack shows: whatever the attacker had."""
    return CameraModel(
        blur=float(rng.uniform(0.35, 0.8)),
        vignette=float(rng.uniform(0, 0.2)),
        distortion=0.0,
        shot_noise=float(rng.uniform(0.0001, 0.0004)),
        read_noise=float(rng.uniform(0.001, 0.004)),
        sharpening=float(rng.uniform(0, 0.6)),
        saturation=float(rng.uniform(0.95, 1.2)),
        lift=float(rng.uniform(0.05, 0.25)),
        target=float(rng.uniform(0.42, 0.5)),
        balance=float(rng.uniform(0.6, 0.9)),
        contrast=float(rng.uniform(0.4, 0.8)),
    )


def video_encoding(seed: int, video: PlannedVideo) -> Encoding:
    """Codec of the device, and this video's own bit rate, which does not depend on its class."""
    encoding = _ENCODINGS.get((video.layout, video.device)) or _ENCODINGS[video.layout, ""]
    return varied(encoding, seed, video)


def varied(encoding: Encoding, seed: int, video: PlannedVideo) -> Encoding:
    """A device's encoding with a video's own bit rate."""
    factor = float(np.exp(generator("bits", seed, video.layout, video.path).normal(0, 0.35)))
    return Encoding(encoding.codec, encoding.bits_per_pixel * factor)


def _camera(rng: np.random.Generator, cameras: Cameras) -> CameraModel:
    return CameraModel(
        blur=float(rng.uniform(*cameras.blur)),
        vignette=float(rng.uniform(0.05, 0.3)),
        distortion=float(rng.uniform(*cameras.distortion)),
        shot_noise=float(rng.uniform(*cameras.shot_noise)),
        read_noise=float(rng.uniform(*cameras.read_noise)),
        sharpening=float(rng.uniform(*cameras.sharpening)),
        saturation=float(rng.uniform(*cameras.saturation)),
        lift=float(rng.uniform(0.0, 0.3)),
        target=float(rng.uniform(0.42, 0.5)),
        balance=float(rng.uniform(0.6, 0.9)),
        contrast=float(rng.uniform(*cameras.contrast)),
    )
