"""Which videos a dataset consists of: official names by rule, and balanced choices from them.

Nothing is rendered here. Rules and counts: the datasets' own descriptions (OULU-NPU, Boulkenafet et al. 2017;
CASIA-FASD, Zhang et al. 2012; Replay-Attack, Chingovska et al. 2012; MSU-MFSD, Wen et al. 2015).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fas_jax.base.errors import UserError, unknown_name
from fas_jax.base.settings import Synthesis
from fas_jax.synthetic.seeds import generator

LETTERS = {"oulu_npu": "O", "casia_fasd": "C", "replay_attack": "I", "msu_mfsd": "M"}

# A frame's short side is not scaled below this: moiré and print dots need pixels.
SHORTEST_SIDE = 240
# Share of a subject's videos that is bona fide where only some of the official videos are rendered.
BONA_FIDE_SHARE = 0.4
# Frames per video where official lengths are asked for. The same range for both classes: lengths that tell the
# label, as in the real Replay-Attack, would make a rendered dataset trivial.
OFFICIAL_FRAMES = {
    "oulu_npu": (130, 170),
    "casia_fasd": (90, 250),
    "replay_attack": (220, 380),
    "msu_mfsd": (250, 350),
}

_OULU = {"train": range(1, 21), "dev": range(21, 36), "test": range(36, 56)}
_CASIA = {"train": range(1, 21), "test": range(1, 31)}
_REPLAY = {
    "train": (1, 2, 4, 6, 7, 8, 12, 16, 18, 25, 27, 103, 105, 108, 110),
    "dev": (3, 5, 10, 15, 17, 22, 29, 30, 101, 111, 113, 114, 116, 118, 119),
    "test": (9, 11, 13, 14, 19, 20, 21, 23, 24, 26, 28, 31, 102, 104, 106, 107, 109, 112, 115, 117),
}
_MSU = {
    "train": (2, 3, 5, 6, 7, 8, 9, 11, 12, 21, 22, 34, 53, 54, 55),
    "test": (1, 13, 14, 23, 24, 26, 28, 29, 30, 32, 33, 35, 36, 37, 39, 42, 48, 49, 50, 51),
}
SUBJECTS: dict[str, dict[str, tuple[int, ...]]] = {
    "oulu_npu": {split: tuple(ids) for split, ids in _OULU.items()},
    "casia_fasd": {split: tuple(ids) for split, ids in _CASIA.items()},
    "replay_attack": _REPLAY,
    "msu_mfsd": _MSU,
}
# Clients whose Android bona fide videos are stored upside down, with a rotation tag.
MSU_UPSIDE_DOWN = (3, 5, 6, 7, 8, 9)


@dataclass(frozen=True)
class PlannedVideo:
    """One video of a dataset, before it is rendered."""

    layout: str
    """A key of `LETTERS`, or the name of a random domain (`fas_jax.synthetic.shifts`)."""
    path: str
    """Official path, relative to the dataset's root."""
    subject: int
    """Official number, unique within its split."""
    split: str
    """train, dev or test."""
    pai: str
    """Coarse PAI species, or `bonafide`."""
    fine: str
    """The dataset's own PAI species, or `bonafide`."""
    device: str
    """Capture device."""
    session: str
    """Session or lighting."""
    support: str
    """How an attack instrument is held: `hand` or `fixed`; empty for bona fide."""
    width: int
    """Official pixels; the rendered size follows from the settings (`frame_size`)."""
    height: int
    fps: int

    @property
    def bona_fide(self) -> bool:
        return self.pai == "bonafide"


def official_videos(layout: str) -> tuple[PlannedVideo, ...]:
    """The full official list of a layout, enrolment left out, in a fixed order."""
    if layout not in LETTERS:
        raise unknown_name("layout", layout, LETTERS)
    return tuple(_RULES[layout]())


def planned_videos(layout: str, settings: Synthesis) -> tuple[PlannedVideo, ...]:
    """The videos to render: the first subjects of every split, and of each a balanced choice of videos.

    Raises `UserError` where the settings leave a split without a subject or a subject without both classes.
    """
    _check(layout, settings)
    chosen = _chosen_subjects(layout, settings.subjects)
    by_subject: dict[tuple[str, int], list[PlannedVideo]] = {}
    for video in official_videos(layout):
        if video.subject in chosen[video.split]:
            by_subject.setdefault((video.split, video.subject), []).append(video)
    if settings.videos_per_subject == 0:
        return tuple(video for videos in by_subject.values() for video in videos)
    turns = {key: turn for turn, key in enumerate(by_subject)}
    return tuple(
        video
        for key, videos in by_subject.items()
        for video in _choose(layout, videos, turns[key], settings.videos_per_subject, settings.seed)
    )


def frame_size(video: PlannedVideo, scale: float) -> tuple[int, int]:
    """Width and height to render, in pixels, both even as the encoders need."""
    short = min(video.width, video.height)
    scale = min(1.0, max(scale, SHORTEST_SIDE / short))
    return round(video.width * scale / 2) * 2, round(video.height * scale / 2) * 2


def frame_count(video: PlannedVideo, settings: Synthesis) -> int:
    """Frames to render: drawn from one distribution for both classes."""
    if settings.frames:
        low, high = max(1, round(settings.frames * 0.75)), round(settings.frames * 1.25)
    else:
        low, high = OFFICIAL_FRAMES[video.layout]
    rng = generator("frames", settings.seed, video.layout, video.path)
    return int(rng.integers(low, high + 1))


def _check(layout: str, settings: Synthesis) -> None:
    if layout not in LETTERS:
        raise unknown_name("layout", layout, LETTERS)
    splits = SUBJECTS[layout]
    total = sum(map(len, splits.values()))
    per_subject = len(official_videos(layout)) // total
    if settings.subjects and not len(splits) <= settings.subjects <= total:
        raise UserError(
            f"subjects={settings.subjects}: {layout} has {len(splits)} splits and {total} subjects; "
            f"ask for {len(splits)} to {total}, or 0 for all"
        )
    if settings.videos_per_subject and not 2 <= settings.videos_per_subject <= per_subject:
        raise UserError(
            f"videos_per_subject={settings.videos_per_subject}: {layout} has {per_subject} videos a subject; ask for "
            f"2 (one bona fide, one attack) to {per_subject}, or 0 for all"
        )
    if settings.frames < 0:
        raise UserError(f"frames={settings.frames} must not be negative; 0 takes the official lengths")
    if not 0 < settings.scale <= 1:
        raise UserError(f"scale={settings.scale} must be above 0 and at most 1")
    if settings.workers < 0:
        raise UserError(f"workers={settings.workers} must not be negative; 0 is one for each core")


def _chosen_subjects(layout: str, number: int) -> dict[str, set[int]]:
    """The first subjects of each split, in proportion to the official splits (largest remainders)."""
    splits = SUBJECTS[layout]
    total = sum(map(len, splits.values()))
    if number == 0:
        number = total
    exact = {split: number * len(ids) / total for split, ids in splits.items()}
    quota = {split: max(1, int(share)) for split, share in exact.items()}
    while sum(quota.values()) < number:
        quota[max(exact, key=lambda split: exact[split] - quota[split])] += 1
    while sum(quota.values()) > number:
        quota[max(quota, key=lambda split: quota[split])] -= 1
    return {split: set(ids[: quota[split]]) for split, ids in splits.items()}


def _choose(layout: str, videos: list[PlannedVideo], turn: int, number: int, seed: int) -> Iterator[PlannedVideo]:
    """Spreads `number` videos over classes, fine PAI species, devices and sessions, in turns over the subjects.

    Each species' videos are shuffled once a dataset and dealt out in turns, so that over the subjects no
    device or session goes with a class.
    """
    species: dict[str, list[int]] = {}
    for index, video in enumerate(videos):
        species.setdefault(video.fine, []).append(index)
    for name, indices in species.items():
        generator("choice", seed, layout, name).shuffle(indices)
    attacks = [name for name in species if name != "bonafide"]
    bona_fide = min(len(species["bonafide"]), max(1, round(number * BONA_FIDE_SHARE)))
    bona_fide = max(bona_fide, number - sum(len(species[name]) for name in attacks))
    wanted = dict.fromkeys(species, 0)
    wanted["bonafide"] = bona_fide
    offset = turn * (number - bona_fide)
    while sum(wanted.values()) < number:
        name = attacks[offset % len(attacks)]
        offset += 1
        if wanted[name] < len(species[name]):
            wanted[name] += 1
    chosen = set[int]()
    for name, indices in species.items():
        start = turn * max(1, wanted[name]) % len(indices)
        chosen.update(np.roll(indices, -start)[: wanted[name]].tolist())
    for index in sorted(chosen):
        yield videos[index]


def _oulu() -> Iterator[PlannedVideo]:
    pai = {1: "bonafide", 2: "print", 3: "print", 4: "replay", 5: "replay"}
    fine = {1: "bonafide", 2: "print-1", 3: "print-2", 4: "replay-1", 5: "replay-2"}
    folders = {"train": "Train_files", "dev": "Dev_files", "test": "Test_files"}
    for split, ids in SUBJECTS["oulu_npu"].items():
        for user in ids:
            for phone in range(1, 7):
                for session in range(1, 4):
                    for kind in range(1, 6):
                        yield PlannedVideo(
                            layout="oulu_npu",
                            path=f"{folders[split]}/{phone}_{session}_{user:02d}_{kind}.avi",
                            subject=user,
                            split=split,
                            pai=pai[kind],
                            fine=fine[kind],
                            device=f"phone{phone}",
                            session=str(session),
                            support="" if kind == 1 else "fixed" if kind < 4 else "hand",
                            width=1080,
                            height=1920,
                            fps=30,
                        )


def _casia() -> Iterator[PlannedVideo]:
    pai = ("bonafide", "warped", "cut", "replay")
    sizes = {"odd": (640, 480), "even": (480, 640), "high": (720, 1280)}
    for split, ids in SUBJECTS["casia_fasd"].items():
        for subject in ids:
            for number, kind in enumerate(pai):
                names = {"odd": 2 * number + 1, "even": 2 * number + 2, "high": f"HR_{number + 1}"}
                for quality, name in names.items():
                    yield PlannedVideo(
                        layout="casia_fasd",
                        path=f"{split}_release/{subject}/{name}.avi",
                        subject=subject,
                        split=split,
                        pai=kind,
                        fine=kind,
                        device=quality,
                        session="",
                        support="" if number == 0 else "hand",
                        width=sizes[quality][0],
                        height=sizes[quality][1],
                        fps=25,
                    )


def _replay() -> Iterator[PlannedVideo]:
    folders = {"train": "train", "dev": "devel", "test": "test"}
    # (attack device, sample device, sample) as the file names have them.
    attacks = (
        ("print", "highdef", "photo"),
        ("mobile", "mobile", "photo"),
        ("mobile", "mobile", "video"),
        ("highdef", "highdef", "photo"),
        ("highdef", "highdef", "video"),
    )
    for split, ids in SUBJECTS["replay_attack"].items():
        for client in ids:
            for light in ("controlled", "adverse"):
                stem = f"client{client:03d}_session01"
                shared = {"device": "webcam", "session": light, "width": 320, "height": 240, "fps": 25}
                for take in (1, 2):
                    yield PlannedVideo(
                        layout="replay_attack",
                        path=f"{folders[split]}/real/{stem}_webcam_authenticate_{light}_{take}.mov",
                        subject=client,
                        split=split,
                        pai="bonafide",
                        fine="bonafide",
                        support="",
                        **shared,  # type: ignore[arg-type]
                    )
                for support in ("fixed", "hand"):
                    for device, sample, kind in attacks:
                        name = f"attack_{device}_{stem}_{sample}_{kind}_{light}.mov"
                        yield PlannedVideo(
                            layout="replay_attack",
                            path=f"{folders[split]}/attack/{support}/{name}",
                            subject=client,
                            split=split,
                            pai="print" if device == "print" else "replay",
                            fine="print" if device == "print" else f"{device}-{kind}",
                            support=support,
                            **shared,  # type: ignore[arg-type]
                        )


def _msu() -> Iterator[PlannedVideo]:
    attacks = {"ipad_video": "ipad", "iphone_video": "iphone", "printed_photo": "print"}
    cameras = {"android": ("mp4", 720), "laptop": ("mov", 640)}
    for split, ids in SUBJECTS["msu_mfsd"].items():
        for client in ids:
            for camera, (suffix, width) in cameras.items():
                shared = {"device": camera, "session": "scene01", "width": width, "height": 480, "fps": 30}
                yield PlannedVideo(
                    layout="msu_mfsd",
                    path=f"scene01/real/real_client{client:03d}_{camera}_SD_scene01.{suffix}",
                    subject=client,
                    split=split,
                    pai="bonafide",
                    fine="bonafide",
                    support="",
                    **shared,  # type: ignore[arg-type]
                )
                for name, fine in attacks.items():
                    yield PlannedVideo(
                        layout="msu_mfsd",
                        path=f"scene01/attack/attack_client{client:03d}_{camera}_SD_{name}_scene01.{suffix}",
                        subject=client,
                        split=split,
                        pai="print" if fine == "print" else "replay",
                        fine=fine,
                        support="fixed",
                        **shared,  # type: ignore[arg-type]
                    )


_RULES = {"oulu_npu": _oulu, "casia_fasd": _casia, "replay_attack": _replay, "msu_mfsd": _msu}
