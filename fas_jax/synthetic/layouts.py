"""Protocol files and face annotations in the official formats of the four datasets."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from fas_jax.synthetic.plan import PlannedVideo

REPLAY_SETS = {"train": "train", "dev": "devel", "test": "test"}


def protocol_files(layout: str, videos: Iterable[PlannedVideo]) -> dict[str, str]:
    """Path (relative to the root) and exact text of every protocol file, listing the given videos only."""
    videos = tuple(videos)
    makers = {"oulu_npu": _oulu, "casia_fasd": lambda _: {}, "replay_attack": _replay, "msu_mfsd": _msu}
    return makers[layout](videos)


def annotation(
    video: PlannedVideo, boxes: Float32[np.ndarray, "t 4"], eyes: Float32[np.ndarray, "t 2 2"]
) -> tuple[str, str] | None:
    """Path and text of a video's face annotation; None for CASIA-FASD, which ships none.

    `boxes` are x, y, width and height in pixels; `eyes` the subject's right eye, then the left, x and y.
    """
    stem = video.path.rsplit(".", 1)[0]
    whole_boxes, whole_eyes = np.rint(boxes).astype(int), np.rint(eyes).astype(int)
    rows = list(enumerate(zip(whole_boxes.tolist(), whole_eyes.tolist(), strict=True)))
    if video.layout == "oulu_npu":
        lines = [f"{index},{right[0]},{right[1]},{left[0]},{left[1]}" for index, (_, (right, left)) in rows]
        return f"{stem}.txt", "\n".join(lines) + "\n"
    if video.layout == "replay_attack":
        lines = [f"{index} {x} {y} {w} {h}" for index, ((x, y, w, h), _) in rows]
        return f"face-locations/{stem}.face", "\n".join(lines) + "\n"
    if video.layout == "msu_mfsd":
        lines = [
            f"{index}, {x}, {y}, {x + w}, {y + h}, {right[0]}, {right[1]}, {left[0]}, {left[1]}"
            for index, ((x, y, w, h), (right, left)) in rows
        ]
        return f"{stem}.face", "\n".join(lines) + "\n"
    return None


def _oulu(videos: tuple[PlannedVideo, ...]) -> dict[str, str]:
    names = {"train": "Train", "dev": "Dev", "test": "Test"}
    files: dict[str, list[str]] = {}
    for number, folds in ((1, (0,)), (2, (0,)), (3, range(1, 7)), (4, range(1, 7))):
        for fold in folds:
            for split, name in names.items():
                suffix = f"_{fold}" if fold else ""
                lines = files.setdefault(f"Protocols/Protocol_{number}/{name}{suffix}.txt", [])
                for video in videos:
                    if video.split == split and _in_oulu_protocol(video, number, fold):
                        lines.append(f"{_oulu_label(video)},{_stem(video)}")
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in files.items()}


def _in_oulu_protocol(video: PlannedVideo, number: int, fold: int) -> bool:
    phone, session, _, kind = map(int, _stem(video).split("_"))
    test = video.split == "test"
    by_session = (session == 3) == test
    by_kind = kind in ((1, 3, 5) if test else (1, 2, 4))
    by_phone = (phone == fold) == test
    return {1: by_session, 2: by_kind, 3: by_phone, 4: by_session and by_kind and by_phone}[number]


def _oulu_label(video: PlannedVideo) -> str:
    if video.bona_fide:
        return "+1"
    return "-2" if video.split == "test" and video.pai == "replay" else "-1"


def _replay(videos: tuple[PlannedVideo, ...]) -> dict[str, str]:
    clients = sorted({(video.subject, REPLAY_SETS[video.split]) for video in videos})
    files = {"protocols/clients.txt": [f"{client} {name}" for client, name in clients]}
    for split, name in REPLAY_SETS.items():
        mine = [video for video in videos if video.split == split]
        attacks = [video for video in mine if not video.bona_fide]
        files[f"protocols/real-{name}.txt"] = [video.path for video in mine if video.bona_fide]
        members = {
            "grandtest": lambda video: True,
            "print": lambda video: video.fine == "print",
            "mobile": lambda video: video.fine.startswith("mobile"),
            "highdef": lambda video: video.fine.startswith("highdef"),
            "photo": lambda video: not video.fine.endswith("video"),
            "video": lambda video: video.fine.endswith("video"),
            "digitalphoto": lambda video: video.fine.endswith("-photo"),
        }
        for protocol, member in members.items():
            lines = [video.path for video in attacks if member(video)]
            files[f"protocols/attack-{protocol}-allsupports-{name}.txt"] = lines
        files[f"protocols/attack-smalltest-allsupports-{name}.txt"] = _replay_small(attacks)
    return {path: "".join(f"{line}\n" for line in lines) for path, lines in files.items()}


def _replay_small(attacks: list[PlannedVideo]) -> list[str]:
    """Of each of the set's first four clients one fixed high-definition attack, another kind for each."""
    kinds = (("photo", "adverse"), ("photo", "controlled"), ("video", "adverse"), ("video", "controlled"))
    first = sorted({video.subject for video in attacks})[:4]
    wanted = dict(zip(first, kinds, strict=False))
    return [
        video.path
        for video in attacks
        if video.support == "fixed"
        and video.subject in wanted
        and (video.fine, video.session) == (f"highdef-{wanted[video.subject][0]}", wanted[video.subject][1])
    ]


def _msu(videos: tuple[PlannedVideo, ...]) -> dict[str, str]:
    files = {}
    for split in ("train", "test"):
        ids = dict.fromkeys(f"{video.subject:02d}" for video in videos if video.split == split)
        files[f"{split}_sub_list.txt"] = "\r\n".join(ids)
    return files


def _stem(video: PlannedVideo) -> str:
    return video.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
