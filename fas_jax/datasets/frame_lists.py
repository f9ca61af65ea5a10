"""Frame and crop lists of other projects, converted to a manifest. Imports no TFDS.

The SSDG kind is JSON: a list of objects with `photo_path` and `photo_label` (1 bona fide, 0 attack). The FLIP kind is
text: one image path a line, the label in the file's own name (`casia_real_train.txt`, `casia_fake_train.txt`).
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from fas_jax.base.errors import UserError
from fas_jax.base.outputs import write_new

_FLIP_NAME = re.compile(r"(?:.*_)?(real|fake)_(?:train|test|shot)")
# Frames of several videos in one folder: a file's name without its suffix, and in it what names the video.
_FRAMES_OF_A_VIDEO = (
    re.compile(r"(.+)_frame\d+"),  # SSDG's datasets in FLIP: 17_HR_1_frame0
    re.compile(r"(\d\d\.\d\d\.\d\d_\d{3}_\d\d_\d{3}_\d_\d\d)_\d\d"),  # WMCA: 31.01.18_035_01_000_0_01_00
    re.compile(r"([123]_\d{3}_\d_\d_\d)_\d\d"),  # CASIA-CeFA: 3_499_1_1_1_00
    re.compile(r"(Training_.+)_(?:color|depth|ir)_\d+"),  # CASIA-SURF: Training_real_part_..._real.rssdk_color_91
)
# Pictures that are no frames of a video.
_PICTURES = (
    re.compile(r"\d+_(?:live|spoof)_\d+"),  # CelebA-Spoof: 160_live_753159
    re.compile(r"(?:Val|Testing)_\d{4}_\d{6}-(?:color|depth|ir)"),  # CASIA-SURF: Val_0007_007243-color
)
# A folder of such a name holds a class, and not the frames of one video.
_CLASSES = frozenset(
    ("real", "fake", "live", "spoof", "attack", "attacks", "bonafide", "genuine", "train", "dev", "test")
)
# What means something else in a manifest's pattern.
_MARKS = frozenset("*?[]{},")


def convert_lists(
    lists: Mapping[str, Sequence[Path]], out: Path, subject: str, prefix: str = "", strip: str = "", video: str = ""
) -> int:
    """Writes a manifest of the videos that frame lists name, one row a video, and returns their number.

    SSDG's frames lie in a folder for each video. FLIP's lie together in a folder for each class, and their names tell
    the video; CelebA-Spoof's pictures, and those of CASIA-SURF's validation and test set, are a clip each. Just the
    listed frames are taken, and no rendition skips any of them again (`frames` is `chosen`).

    Args:
        lists: Files by the split (train, dev, test) that their videos take.
        out: The manifest; it has to lie above the frames.
        subject: Regular expression searched in a video's path; its first group (or the whole match) is the subject.
            The lists do not tell subjects, and without them nothing proves that a person is on one side only.
        prefix: Folder put before every listed path, to make it relative to the manifest.
        strip: Leading folder taken off every listed path before that, such as one of the author's machine.
        video: Regular expression searched in a frame's path; the video's path ends where its first group (or the whole
            match) ends. Without it, frames whose names are not those of SSDG or FLIP belong to the video of their
            folder.

    Raises:
        UserError: A list that is not of these kinds, a path without a subject or whose video cannot be told, frames
            that are not there, or a video with two labels or in two splits.
    """
    subjects, ends = _pattern("subject", subject), _pattern("video", video)
    frames: dict[tuple[str, str], list[str]] = {}
    labels: dict[str, tuple[str, str]] = {}
    for split, files in lists.items():
        for file in files:
            listed = [(_placed(Path(file), path, strip, prefix), label) for path, label in _read(Path(file))]
            _check_there(Path(file), Path(out).resolve().parent, [path for path, _ in listed])
            for path, label in listed:
                own = path[: _found("video", ends, path).end(ends.groups and 1)] if video else _video_of(file, path)
                if labels.setdefault(own, (label, split)) != (label, split):
                    elsewhere = " in ".join(labels[own])
                    raise UserError(f"{file}: {own} is {label} in {split}, and {elsewhere} in another list")
                known = frames.setdefault((split, own), [])
                if path not in known:
                    known.append(path)
    if not frames:
        raise UserError("the lists name no frame")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "label", "subject", "split", "frames"])
    for (split, own), names in frames.items():
        who = _found("subject", subjects, own)[subjects.groups and 1]
        writer.writerow([_glob_of(names), labels[own][0], who, split, "chosen"])
    write_new(out, text.getvalue())
    return len(frames)


def _pattern(name: str, expression: str) -> "re.Pattern[str]":
    try:
        return re.compile(expression)
    except re.error as error:
        raise UserError(f"{name} {expression!r} is not a regular expression: {error}") from error


def _found(name: str, pattern: "re.Pattern[str]", path: str) -> "re.Match[str]":
    match = pattern.search(path)
    # The first group may be one that takes no part in the match.
    if match is None or match[pattern.groups and 1] is None:
        raise UserError(f"{name} {pattern.pattern!r} finds nothing in {path!r}; give an expression that does")
    return match


def _read(file: Path) -> list[tuple[str, str]]:
    """Image paths and labels."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"list {file} cannot be read: {error}") from error
    if file.suffix.lower() == ".json":
        return _read_ssdg(file, text)
    match = _FLIP_NAME.fullmatch(file.stem)
    if match is None:
        raise UserError(f"list {file} is neither JSON nor named like casia_real_train.txt or casia_fake_test.txt")
    label = "bonafide" if match[1] == "real" else "attack"
    return [(line.strip(), label) for line in text.splitlines() if line.strip()]


def _read_ssdg(file: Path, text: str) -> list[tuple[str, str]]:
    try:
        found = [(str(row["photo_path"]), row["photo_label"]) for row in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"list {file} is not a list of objects with photo_path and photo_label: {error}") from error
    for _, label in found:
        if label not in (0, 1):
            raise UserError(f"list {file}: photo_label must be 1 (bona fide) or 0 (attack), not {label!r}")
    return [(path, "bonafide" if label == 1 else "attack") for path, label in found]


def _placed(file: Path, listed: str, strip: str, prefix: str) -> str:
    """A listed path, relative to the manifest."""
    parts, leading = _parts(listed), _parts(strip)
    if parts[: len(leading)] != leading:
        raise UserError(f"list {file} names {listed}, which does not begin with {strip} (strip)")
    if len(parts) == len(leading):
        raise UserError(f"list {file} names an empty path {listed!r}")
    placed = PurePosixPath(prefix, *parts[len(leading) :]).as_posix()
    if marks := sorted(_MARKS & set(placed)):
        raise UserError(f"list {file} names {placed}, but {marks[0]!r} has another meaning in manifests; rename it")
    return placed


def _parts(path: str) -> list[str]:
    # Such lists often hold absolute paths of their author's machine, or go up from the code's folder.
    return [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..", ".")]


def _check_there(file: Path, root: Path, paths: Sequence[str]) -> None:
    """Raises `UserError` unless all frames are there; it says how the first one would be found."""
    lacking = [path for path in dict.fromkeys(paths) if not (root / path).is_file()]
    if not lacking:
        return
    parts = PurePosixPath(lacking[0]).parts
    start = next((at for at in range(1, len(parts)) if root.joinpath(*parts[at:]).is_file()), None)
    if start is None:
        advice = "write the manifest above the frames, and give the folders between by prefix"
    else:
        advice = f"{'/'.join(parts[start:])} is there, without {'/'.join(parts[:start])} before it: see strip"
    raise UserError(f"list {file}: {len(lacking)} frames are not below {root}, such as {lacking[0]}; {advice}")


def _video_of(file: Path, path: str) -> str:
    pure = PurePosixPath(path)
    for pattern in _FRAMES_OF_A_VIDEO:
        if match := pattern.fullmatch(pure.stem):
            return pure.with_name(match[1]).as_posix()
    if any(pattern.fullmatch(pure.stem) for pattern in _PICTURES):
        return pure.with_suffix("").as_posix()
    if pure.parent.name.lower() in _CLASSES or pure.parent == PurePosixPath("."):
        raise UserError(
            f"list {file}: {path} lies in a folder of many videos, and its name does not tell its own; give a regular "
            "expression as video, whose first group ends where the video's name ends in such a path"
        )
    return pure.parent.as_posix()


def _glob_of(names: Sequence[str]) -> str:
    """One name, or a pattern with the listed frames and no others."""
    if len(names) == 1:
        return names[0]
    places = {(PurePosixPath(name).parent.as_posix(), PurePosixPath(name).suffix) for name in names}
    if len(places) > 1:
        raise UserError(f"frames {names[0]} and others lie in several folders or have several suffixes; unite them")
    ((folder, suffix),) = places
    return f"{folder}/{{{','.join(PurePosixPath(name).stem for name in names)}}}{suffix}"
