"""Frame and crop lists of other projects, converted to a manifest. Imports no TFDS.

The SSDG kind is JSON: a list of objects with `photo_path` and `photo_label` (1 bona fide, 0 attack). The FLIP kind is
text: one image path a line, the label in the file's own name (`casia_real_train.txt`, `casia_fake_train.txt`), and
frames named `..._frame0.png`.
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
_FLIP_FRAME = re.compile(r"(.+)_frame(\d+)(\.\w+)")


def convert_lists(lists: Mapping[str, Sequence[Path]], out: Path, subject: str, prefix: str = "") -> int:
    """Writes a manifest of the videos that frame lists name, one row a video, and returns their number.

    A video is the frames of one folder (SSDG) or of one name before `_frame` (FLIP); just the listed frames are taken.

    Args:
        lists: Files by the split (train, dev, test) that their videos take.
        out: The manifest; it has to lie above the frames.
        subject: Regular expression searched in a video's path; its first group (or the whole match) is the subject.
            The lists do not tell subjects, and without them nothing proves that a person is on one side only.
        prefix: Put before every listed path, to make it relative to the manifest.

    Raises:
        UserError: a list that is not of these kinds, a path without a subject, or a video with both labels.
    """
    try:
        pattern = re.compile(subject)
    except re.error as error:
        raise UserError(f"subject {subject!r} is not a regular expression: {error}") from error
    frames: dict[tuple[str, str], list[str]] = {}
    labels: dict[str, tuple[str, str]] = {}
    for split, files in lists.items():
        for file in files:
            for listed, label in _read(Path(file)):
                path = (PurePosixPath(prefix) / listed).as_posix()
                video = _video_of(path)
                if labels.setdefault(video, (label, split)) != (label, split):
                    elsewhere = " in ".join(labels[video])
                    raise UserError(f"{file}: {video} is {label} in {split}, and {elsewhere} in another list")
                known = frames.setdefault((split, video), [])
                if path not in known:
                    known.append(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "label", "subject", "split"])
    for (split, video), names in frames.items():
        match = pattern.search(video)
        if match is None:
            raise UserError(f"subject {subject!r} finds nothing in {video!r}; give an expression that does")
        who = match[1] if match.groups() else match[0]
        writer.writerow([_glob_of(names), labels[video][0], who, split])
    if not frames:
        raise UserError("the lists name no frame")
    write_new(out, text.getvalue())
    return len(frames)


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
    return [(_relative(file, line.strip()), label) for line in text.splitlines() if line.strip()]


def _read_ssdg(file: Path, text: str) -> list[tuple[str, str]]:
    try:
        rows = json.loads(text)
        found = [(_relative(file, row["photo_path"]), row["photo_label"]) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"list {file} is not a list of objects with photo_path and photo_label: {error}") from error
    if strange := {label for _, label in found} - {0, 1}:
        raise UserError(f"list {file}: photo_label must be 1 (bona fide) or 0 (attack), not {strange.pop()!r}")
    return [(path, "bonafide" if label == 1 else "attack") for path, label in found]


def _relative(file: Path, path: str) -> str:
    # Such lists often hold absolute paths of their author's machine, or go up from the code's folder.
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    if not parts:
        raise UserError(f"list {file} names an empty path {path!r}")
    return "/".join(parts)


def _video_of(path: str) -> str:
    match = _FLIP_FRAME.fullmatch(path)
    return match[1] if match else PurePosixPath(path).parent.as_posix()


def _glob_of(names: Sequence[str]) -> str:
    """One name, or a pattern with the listed frames and no others."""
    if len(names) == 1:
        return names[0]
    suffixes = {PurePosixPath(name).suffix for name in names}
    flip = _FLIP_FRAME.fullmatch(names[0])
    if len(suffixes) > 1:
        raise UserError(f"frames {names[0]} and others have several kinds of image; convert them to one")
    start = f"{flip[1]}_frame" if flip else f"{PurePosixPath(names[0]).parent.as_posix()}/"
    suffix = suffixes.pop()
    return f"{start}{{{','.join(name.removeprefix(start).removesuffix(suffix) for name in names)}}}{suffix}"
