"""Random domains: cameras, light and instruments at a known distance from one reference.

A domain shifts one factor or all of them. A factor has some parameters, and each parameter a unit: the change that
counts as 1, chosen so that the four datasets of `domains` differ by about 1 to 2. The shift of a factor is a random
direction in the space of its parameters, scaled to a given size, which is the root mean square of the parameters'
changes in units. What a parameter's range cuts off makes the shift smaller; `RandomDomain.size` is what is left.

Every domain is a pure function of the seed and its number. Its subjects, rooms and clothes are its own.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.camera import CameraModel
from fas_jax.synthetic.domains import Conditions, Domain, Range, varied
from fas_jax.synthetic.encoding import Encoding
from fas_jax.synthetic.plan import SHORTEST_SIDE, PlannedVideo
from fas_jax.synthetic.room import Relighting
from fas_jax.synthetic.seeds import generator

MANIFEST = "manifest.csv"
ALL = "all"
_FPS = 10


@dataclass(frozen=True)
class Parameter:
    """One number of a domain: its reference, what counts as a change of 1, and its range."""

    centre: float
    unit: float
    """Added for a change of 1; of a `ratio` its logarithm."""
    low: float
    high: float
    ratio: bool = False
    """Whether changes multiply."""

    def at(self, change: float) -> float:
        """The value after a change in units, within the range."""
        value = self.centre * np.exp(self.unit * change) if self.ratio else self.centre + self.unit * change
        return float(np.clip(value, self.low, self.high))

    def change(self, value: float) -> float:
        """The change in units that leads to a value."""
        difference = np.log(value / self.centre) if self.ratio else value - self.centre
        return float(difference / self.unit)


FACTORS: Mapping[str, Mapping[str, Parameter]] = {
    "camera": {
        "blur": Parameter(0.5, 0.25, 0.25, 2.0, ratio=True),
        "sharpening": Parameter(0.4, 0.2, 0.0, 1.5),
        "shot_noise": Parameter(3e-4, 0.6, 1e-5, 1e-2, ratio=True),
        "read_noise": Parameter(4e-3, 0.4, 5e-4, 0.05, ratio=True),
        "saturation": Parameter(1.0, 0.12, 0.3, 1.7),
        "contrast": Parameter(0.5, 0.15, 0.0, 1.0),
        "balance": Parameter(0.75, 0.1, 0.2, 1.0),
        "side": Parameter(288.0, 0.2, SHORTEST_SIDE, 480.0, ratio=True),
        "bits": Parameter(0.6, 0.4, 0.05, 4.0, ratio=True),
    },
    "light": {
        "level": Parameter(1.0, 0.5, 0.1, 8.0, ratio=True),
        "hardness": Parameter(1.0, 0.25, 0.3, 3.0, ratio=True),
        "warmth": Parameter(0.0, 0.6, -2.5, 2.5),
        "sideways": Parameter(0.0, 0.3, -1.5, 1.5),
    },
    "instrument": {
        "print_period": Parameter(2.1, 0.12, 1.3, 4.0, ratio=True),
        "print_dots": Parameter(0.45, 0.15, 0.0, 1.0),
        "screen_pitch": Parameter(1.0, 0.15, 0.4, 2.5, ratio=True),
        "screen_grid": Parameter(0.55, 0.18, 0.0, 1.0),
        "cover": Parameter(0.98, 0.05, 0.7, 1.25),
        "handheld": Parameter(1.0, 0.3, 0.2, 4.0, ratio=True),
    },
}
"""By factor and name. `side` is a frame's short side in pixels, `bits` those of a pixel of the encoded file, `level` to
`sideways` are those of `Relighting`, and the rest those of `CameraModel` and `Domain`."""
KINDS = (*FACTORS, ALL)
"""What is shifted in the targets, in turns."""


@dataclass(frozen=True)
class RandomDomain:
    """One domain."""

    name: str
    """Such as camera-03: what is shifted, and the number."""
    kind: str
    """One of `KINDS`."""
    values: Mapping[str, float]
    """Of all parameters, by factor and name, as in `camera.blur`."""

    @property
    def size(self) -> float:
        """How far it lies from the reference: root mean square, in units, over the parameters of what is shifted."""
        changes = [
            parameter.change(self.values[f"{factor}.{name}"])
            for factor in _shifted(self.kind)
            for name, parameter in FACTORS[factor].items()
        ]
        return float(np.sqrt(np.mean(np.square(changes))))


def source_domain(seed: int, number: int, size: float) -> RandomDomain:
    """A source: every factor shifted by `size`."""
    return _draw(f"source-{number}", ALL, generator("random source", seed, number), size)


def target_domain(seed: int, number: int, sizes: Range) -> RandomDomain:
    """A target, whose size is drawn uniformly from `sizes`; what is shifted goes by turns (`KINDS`)."""
    rng = generator("random target", seed, number)
    kind = KINDS[number % len(KINDS)]
    return _draw(f"{kind}-{number:02d}", kind, rng, float(rng.uniform(*sizes)))


def domain_conditions(domain: RandomDomain, seed: int, video: PlannedVideo) -> Conditions:
    """How a video of the domain is recorded. A weaker light makes the camera amplify, which raises its noise."""
    value = {name.partition(".")[2]: each for name, each in domain.values.items()}
    camera = CameraModel(
        blur=value["blur"],
        vignette=0.15,
        distortion=0.0,
        shot_noise=value["shot_noise"] / value["level"],
        read_noise=value["read_noise"] / value["level"],
        sharpening=value["sharpening"],
        saturation=value["saturation"],
        lift=0.15,
        target=0.46,
        balance=value["balance"],
        contrast=value["contrast"],
    )
    recorded = Domain(
        face_share=(0.36, 0.5),
        cover=_around(value["cover"]),
        rooms=8,
        room_blur=(0.003, 0.015),
        print_period=_around(value["print_period"]),
        print_dots=_around(value["print_dots"], most=1.0),
        screen_pitch=_around(value["screen_pitch"]),
        screen_grid=_around(value["screen_grid"], most=1.0),
        handheld=value["handheld"],
    )
    relighting = Relighting(**{name: value[name] for name in FACTORS["light"]})
    return Conditions(recorded, camera, varied(Encoding("libx264", value["bits"]), seed, video), relighting)


def domain_videos(domain: RandomDomain, settings: Synthesis, split: str) -> tuple[PlannedVideo, ...]:
    """The videos to render: half of each subject's are bona fide, the others prints and replays by turns.

    Raises:
        UserError: The settings leave a class without videos, or do not say how many frames a video has.
    """
    if settings.subjects < 2 or settings.videos_per_subject < 2 or settings.frames < 1:
        raise UserError(
            "a random domain needs at least 2 subjects, 2 videos of each (one bona fide, one attack) and 1 frame a "
            f"video, not subjects={settings.subjects}, videos_per_subject={settings.videos_per_subject}, "
            f"frames={settings.frames}"
        )
    short = round(domain.values["camera.side"] / 2) * 2
    videos = []
    for subject in range(settings.subjects):
        for take in range(settings.videos_per_subject):
            bona_fide = take < settings.videos_per_subject // 2
            turn = subject + take
            pai = "bonafide" if bona_fide else ("print", "replay")[turn % 2]
            videos.append(
                PlannedVideo(
                    layout=domain.name,
                    path=f"{subject:02d}/{pai}-{take}.mp4",
                    subject=subject,
                    split=split,
                    pai=pai,
                    fine=pai,
                    device="camera",
                    session="",
                    support="" if bona_fide else ("hand", "fixed")[turn // 2 % 2],
                    width=round(short * 2 / 3) * 2,
                    height=short,
                    fps=_FPS,
                )
            )
    return tuple(videos)


def manifest(domain: RandomDomain, videos: Iterable[PlannedVideo]) -> str:
    """The text of a manifest that lists the domain's videos."""
    return manifest_text(domain.name, ((each, str(each.subject), each.pai, each.device) for each in videos))


def manifest_text(dataset: str, rows: Iterable[tuple[PlannedVideo, str, str, str]]) -> str:
    """The text of a manifest (`fas_jax.datasets.manifest`) of one dataset.

    Args:
        dataset: Its name.
        rows: Each video with the names of its subject, PAI species and device.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("dataset", "video", "label", "subject", "split", "pai", "device"))
    for video, subject, pai, device in rows:
        label = "bonafide" if video.bona_fide else "attack"
        writer.writerow((dataset, video.path, label, subject, video.split, pai, device))
    return text.getvalue()


def _shifted(kind: str) -> Sequence[str]:
    return tuple(FACTORS) if kind == ALL else (kind,)


def _draw(name: str, kind: str, rng: np.random.Generator, size: float) -> RandomDomain:
    values = {f"{factor}.{own}": each.centre for factor, known in FACTORS.items() for own, each in known.items()}
    for factor in _shifted(kind):
        direction = rng.standard_normal(len(FACTORS[factor]))
        direction *= size / np.sqrt(np.mean(direction**2))
        for (own, parameter), change in zip(FACTORS[factor].items(), direction.tolist(), strict=True):
            values[f"{factor}.{own}"] = parameter.at(change)
    return RandomDomain(name, kind, values)


def _around(value: float, most: float = np.inf) -> Range:
    """A domain's instruments differ a little among themselves."""
    return 0.9 * value, min(1.1 * value, most)
