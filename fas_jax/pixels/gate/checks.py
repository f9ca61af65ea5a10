"""The gate's checks, of single frames and over a clip: each has a value, a limit, and a sentence for the person.

The gate only vetoes. A frame passes if it passes every check; a clip passes if a share of its frames does.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from fas_jax.pixels.detection import Face
from fas_jax.pixels.gate import measures
from fas_jax.pixels.gate.orientation import TURNS, Turn, faces_in, turned
from fas_jax.pixels.gate.settings import Gate

Picture = UInt8[np.ndarray, "h w 3"]

ADVICE = {
    "resolution": "Use a camera, or a setting of it, with a higher resolution.",
    "compression": "Use a better quality of recording, or a faster connection: the picture is compressed too much.",
    "orientation": "Turn the camera upright.",
    "face": "Come into view of the camera, so that it sees your whole face.",
    "one face": "Stay alone in view of the camera.",
    "size": "Come closer to the camera.",
    "distance": "Come closer to the camera, until your face fills more of the picture.",
    "nearness": "Move away from the camera, until your whole face is in the picture.",
    "position": "Move to the middle of the picture: a part of your face is cut off.",
    "roll": "Hold your head, or the camera, upright.",
    "yaw": "Look straight into the camera.",
    "pitch up": "Look straight ahead: lower your chin, or raise the camera.",
    "pitch down": "Look straight ahead: lift your chin, or lower the camera.",
    "sharpness": "Clean the lens, or let the camera focus on your face: the picture is blurred.",
    "motion blur": "Hold still, and hold the camera still.",
    "darkness": "Turn on a light, or go where it is brighter: your face is too dark.",
    "brightness": "Go out of the bright light: your face is overexposed.",
    "backlight": "Turn so that the light is in front of you and not behind you.",
}
"""By check, in the order of the checks: what the person in front of the camera should do if it fails."""
SURE = 0.9999
"""From this score of an upright face on, the further turns of a frame are not searched."""
SURER = 4.0
"""A frame counts as turned only if 1 minus the score is so many times smaller in that turn: a head that is tilted by
45 degrees is seen about as surely in both."""


class Check(NamedTuple):
    """One check of one frame."""

    name: str
    """Of `ADVICE`."""
    value: float
    limit: float
    passed: bool


def check_frame(frame: Picture, settings: Gate | None = None) -> tuple[Check, ...]:
    """The checks of a frame that can be made of it: without an upright face, those of a face are left out.

    Args:
        frame: RGB, upright as the camera says.
        settings: The limits; the defaults if none are given.
    """
    settings = settings or Gate()
    picture = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    height, width = grey.shape
    found = [
        _at_least("resolution", min(height, width), settings.resolution),
        _at_most("compression", measures.blockiness(grey), settings.blockiness),
    ]
    faces = [face for face in faces_in(picture) if face.score >= settings.face_score]
    if settings.orientation:
        turn = _upright(picture, faces, settings)
        found.append(_at_most("orientation", turn, 0))
        if turn:
            return _defined(found)
    found.append(_at_least("face", len(faces), 1))
    if faces:
        return _defined([*found, *_of_face(faces, grey, settings)])
    middle = grey[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return _defined([*found, *_exposure(middle, settings)])


def _of_face(faces: Sequence[Face], grey: UInt8[np.ndarray, "h w"], settings: Gate) -> list[Check]:
    height, width = grey.shape
    face = faces[0]
    x, y, own_width, own_height = face.box
    beside = sum(each.box[2] >= settings.other_face * own_width for each in faces)
    share = own_width / min(height, width)
    part = measures.face_grey(grey, face.box)
    if not part.size:
        return [_at_least("position", measures.border(face.box, width, height), settings.border)]
    small, pitch = measures.reduced(part), measures.pitch(face)
    return [
        _at_most("one face", beside, 1),
        _at_least("size", own_width, settings.face_pixels),
        _at_least("distance", share, settings.face_share),
        _at_most("nearness", share, settings.face_share_most),
        _at_least("position", measures.border(face.box, width, height), settings.border),
        _at_most("roll", abs(measures.roll(face)), settings.roll),
        _at_most("yaw", measures.yaw(face), settings.yaw),
        _at_least("pitch up", pitch, settings.pitch_up),
        _at_most("pitch down", pitch, settings.pitch_down),
        _at_least("sharpness", measures.sharpness(small), settings.sharpness),
        _at_most("motion blur", measures.motion_blur(small), settings.motion_blur),
        *_exposure(part, settings),
        _at_most("backlight", measures.backlight(grey, face.box), settings.backlight),
    ]


def _exposure(part: UInt8[np.ndarray, "h w"], settings: Gate) -> list[Check]:
    return [
        _at_least("darkness", measures.light_parts(part), settings.dark),
        _at_most("brightness", measures.white_share(part), settings.bright),
    ]


def _upright(picture: Picture, faces: Sequence[Face], settings: Gate) -> int:
    """Degrees clockwise by which the picture has to be turned; 0 as well where no turn shows a face."""
    upright = max((face.score for face in faces), default=0.0)
    if upright >= SURE:
        return 0
    found = [Turn(0, 1 - (1 - upright) / SURER)] if faces else []
    for degrees in TURNS:
        if degrees:
            score = max((face.score for face in faces_in(turned(picture, degrees))), default=0.0)
            found += [Turn(degrees, score)] if score >= settings.face_score else []
    return max(found, key=lambda each: each.score, default=Turn(0, 0.0)).degrees


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, float(value), float(limit), bool(value >= limit))


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, float(value), float(limit), bool(value <= limit))


def _defined(checks: Sequence[Check]) -> tuple[Check, ...]:
    return tuple(each for each in checks if not math.isnan(each.value))


@dataclass(frozen=True)
class ClipCheck:
    """One check over the frames of a clip."""

    name: str
    value: float
    """The (lower) median over the frames that fail it, or over all if none does."""
    limit: float
    frames: int
    """Frames in which it could be made."""
    failed: int
    """Frames that fail it."""

    @property
    def advice(self) -> str:
        """What the person in front of the camera should do; empty where no frame fails."""
        return ADVICE[self.name] if self.failed else ""


@dataclass(frozen=True)
class CheckedClip:
    """What the gate says of a clip."""

    frames: int
    """Checked frames."""
    passed_frames: int
    """Those that pass every check."""
    share: float
    """Least share that has to pass."""
    checks: tuple[ClipCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether a detector may be asked; never without a frame."""
        return self.frames > 0 and self.passed_frames >= self.share * self.frames

    @property
    def advice(self) -> tuple[str, ...]:
        """What the person should do, the most frequent fault first; empty where the clip passes."""
        if self.passed:
            return ()
        failing = sorted((each for each in self.checks if each.failed), key=lambda each: -each.failed)
        return tuple(each.advice for each in failing) or ("Record a video: there is no frame to check.",)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; values that are not finite are null."""
        return {
            "passed": self.passed,
            "frames": self.frames,
            "passed_frames": self.passed_frames,
            "checks": [
                {
                    "name": each.name,
                    "value": each.value if math.isfinite(each.value) else None,
                    "limit": each.limit,
                    "frames": each.frames,
                    "failed": each.failed,
                    **({"advice": each.advice} if each.failed else {}),
                }
                for each in self.checks
            ],
        }


class Latest:
    """The gate over the latest frames of a video that still runs."""

    def __init__(self, settings: Gate | None = None) -> None:
        """Before the first frame.

        Args:
            settings: The limits, and the number of frames; the defaults if none are given.
        """
        self._settings = settings or Gate()
        self._checked: deque[tuple[Check, ...]] = deque(maxlen=self._settings.frames)

    def add(self, frame: Picture) -> None:
        """Checks the next frame, RGB and upright as the camera says, in native pixels."""
        self._checked.append(check_frame(frame, self._settings))

    def clear(self) -> None:
        """Forgets all frames."""
        self._checked.clear()

    @property
    def found(self) -> CheckedClip:
        """What the gate says of the latest frames; without a frame it does not pass."""
        checks = []
        for name in ADVICE:
            own = [each for made in self._checked for each in made if each.name == name]
            if not own:
                continue
            failed = [each for each in own if not each.passed]
            values = sorted(each.value for each in failed or own)
            checks.append(ClipCheck(name, values[(len(values) - 1) // 2], own[0].limit, len(own), len(failed)))
        passed = sum(all(each.passed for each in made) for made in self._checked)
        return CheckedClip(len(self._checked), passed, self._settings.share, tuple(checks))


def check_clip(frames: Sequence[Picture], settings: Gate | None = None) -> CheckedClip:
    """The gate's checks over the last frames of a clip, as many as the settings say.

    Args:
        frames: RGB, upright as the camera says, in native pixels.
        settings: The limits, and the number of frames; the defaults if none are given.
    """
    settings = settings or Gate()
    latest = Latest(settings)
    for frame in frames[-settings.frames :]:
        latest.add(frame)
    return latest.found
