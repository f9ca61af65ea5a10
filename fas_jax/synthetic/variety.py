"""Rendered domains to train on: cameras, light, instruments and distances of all kinds, each with both classes.

Where `shifts` measures how far a domain lies from a reference, these domains are to differ as much as they can: every
parameter is drawn from its whole range, and traces of attacks (moiré, dots, a pixel grid) are faint in some of them, so
that a network has to find others. A domain is a pure function of seed and number, and its subjects are its own.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from fas_jax.base.rendered_settings import Rendered
from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.camera import CameraModel
from fas_jax.synthetic.domains import Conditions, Domain, varied
from fas_jax.synthetic.encoding import Encoding
from fas_jax.synthetic.plan import PlannedVideo
from fas_jax.synthetic.room import Relighting
from fas_jax.synthetic.seeds import generator
from fas_jax.synthetic.shifts import manifest_text

RANGES: Mapping[str, tuple[float, float]] = {
    "vignette": (0.0, 0.35),
    "distortion": (-0.06, 0.02),
    "sharpening": (0.0, 1.0),
    "saturation": (0.7, 1.35),
    "contrast": (0.1, 0.9),
    "balance": (0.45, 1.0),
    "lift": (0.0, 0.3),
    "target": (0.38, 0.54),
    "warmth": (-1.2, 1.2),
    "sideways": (-0.6, 0.6),
    "print_dots": (0.05, 0.85),
    "screen_grid": (0.1, 0.95),
    "cover": (0.8, 1.2),
    "room_blur": (0.002, 0.02),
}
"""By name, what a domain's parameter is drawn from; see `CameraModel`, `Domain` and `Relighting`."""
RATIOS: Mapping[str, tuple[float, float]] = {
    "blur": (0.25, 1.2),
    "shot_noise": (3e-5, 2e-3),
    "read_noise": (1e-3, 1.2e-2),
    "side": (256, 640),
    "bits": (0.15, 2.5),
    "level": (0.4, 2.5),
    "hardness": (0.6, 1.7),
    "face_share": (0.22, 0.6),
    "print_period": (1.5, 3.2),
    "screen_pitch": (0.5, 1.7),
    "handheld": (0.3, 2.5),
}
"""Alike, of parameters whose logarithm is drawn uniformly; `side` is a frame's short side in pixels, `bits` those of a
pixel of the encoded file."""
SPECIES = ("print", "replay", "warped", "replay-photo", "cut")
"""Fine PAI species of the attacks, by turns; the coarse one comes before the hyphen."""
_CODECS = ("libx264", "mpeg4")
_FPS = 10


def draw_variety(name: str, seed: int, number: int) -> dict[str, float]:
    """Every parameter of a domain."""
    rng = generator("variety", seed, name, number)
    plain = {each: float(rng.uniform(*span)) for each, span in RANGES.items()}
    return plain | {each: float(np.exp(rng.uniform(*np.log(span)))) for each, span in RATIOS.items()}


def variety_conditions(name: str, settings: Rendered, video: PlannedVideo) -> Conditions:
    """How a video is recorded, whose `device` is the number of its domain. Weaker light raises the camera's noise."""
    number = int(video.device)
    value = draw_variety(name, settings.seed, number)
    camera = CameraModel(
        blur=value["blur"],
        vignette=value["vignette"],
        distortion=value["distortion"],
        shot_noise=value["shot_noise"] / value["level"],
        read_noise=value["read_noise"] / value["level"],
        sharpening=value["sharpening"],
        saturation=value["saturation"],
        lift=value["lift"],
        target=value["target"],
        balance=value["balance"],
        contrast=value["contrast"],
    )
    domain = Domain(
        face_share=(0.8 * value["face_share"], 1.2 * value["face_share"]),
        cover=(0.92 * value["cover"], 1.08 * value["cover"]),
        rooms=8,
        room_blur=(0.5 * value["room_blur"], 1.5 * value["room_blur"]),
        print_period=(0.85 * value["print_period"], 1.15 * value["print_period"]),
        print_dots=(0.7 * value["print_dots"], min(1.0, 1.3 * value["print_dots"])),
        screen_pitch=(0.85 * value["screen_pitch"], 1.15 * value["screen_pitch"]),
        screen_grid=(0.7 * value["screen_grid"], min(1.0, 1.3 * value["screen_grid"])),
        handheld=value["handheld"],
    )
    relighting = Relighting(**{each: value[each] for each in ("level", "hardness", "warmth", "sideways")})
    encoding = varied(Encoding(_CODECS[number % len(_CODECS)], value["bits"]), settings.seed, video)
    return Conditions(domain, camera, encoding, relighting)


def variety_videos(name: str, settings: Rendered) -> tuple[PlannedVideo, ...]:
    """The videos of all domains, those to train on first: half of each subject's are bona fide."""
    videos = []
    for number, split in enumerate(_splits(settings)):
        short = round(draw_variety(name, settings.seed, number)["side"] / 2) * 2
        upright = bool(generator("upright", settings.seed, name, number).random() < 0.5)
        sides = (short, round(short * 2 / 3) * 2)
        for subject in range(settings.subjects):
            for take in range(settings.videos_per_subject):
                bona_fide = take < settings.videos_per_subject // 2
                turn = subject * (settings.videos_per_subject - settings.videos_per_subject // 2) + take
                fine = "bonafide" if bona_fide else SPECIES[turn % len(SPECIES)]
                videos.append(
                    PlannedVideo(
                        layout=f"{name}-{number:02d}",
                        path=f"{number:02d}/{subject:02d}/{fine}-{take}.mp4",
                        subject=subject,
                        split=split,
                        pai=fine.partition("-")[0],
                        fine=fine,
                        device=f"{number:02d}",
                        session="",
                        support="" if bona_fide else ("hand", "fixed")[(turn // len(SPECIES) + number) % 2],
                        width=min(sides) if upright else max(sides),
                        height=max(sides) if upright else min(sides),
                        fps=_FPS,
                    )
                )
    return tuple(videos)


def variety_manifest(name: str, videos: Iterable[PlannedVideo]) -> str:
    """The text of a manifest that lists these videos; the device is the domain, and no two domains share a subject."""
    return manifest_text(name, ((each, person_of(each), each.fine, device_of(each)) for each in videos))


def person_of(video: PlannedVideo) -> str:
    """The subject's name, unique within the table."""
    return f"{video.device}-{video.subject:02d}"


def device_of(video: PlannedVideo) -> str:
    """The name of the video's domain, which is its capture device."""
    return f"domain-{video.device}"


def synthesis_of(settings: Rendered) -> Synthesis:
    """What the renderer needs to know."""
    return Synthesis(frames=settings.frames, seed=settings.seed, faces=settings.faces, workers=settings.workers)


def _splits(settings: Rendered) -> list[str]:
    """The split of every domain."""
    counts = (("train", settings.domains), ("dev", settings.validation_domains), ("test", settings.test_domains))
    return [split for split, count in counts for _ in range(count)]
