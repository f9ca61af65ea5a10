"""What the page's server judges: sessions over the latest frames of a camera or a file, few and bounded.

A session has a verdict only on frames that were all taken. What is refused, whatever the reason, empties the session.
"""

import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fas_jax.base.errors import UserError
from fas_jax.deployment.bundle import Bundle
from fas_jax.deployment.given_frames import Frames
from fas_jax.deployment.verdict import NO_DECISION, Verdict
from fas_jax.deployment.vetoes import gated
from fas_jax.pixels.content import DecodeError, jpeg_size
from fas_jax.pixels.gate.checks import CheckedClip, Latest
from fas_jax.pixels.gate.settings import Gate
from fas_jax.pixels.pictures import decode_picture

Drawn = Callable[[Verdict, Mapping[str, Frames]], bytes]
"""From a decision and, by rendition, the frames that it was reached from to a PNG picture of what decided."""
_WINDOW = 10
"""Latest frames of a session that are judged together, at most."""
_RATE = 30
"""Frames per second of the videos whose segments a rendition counts in frames."""


class RefusedError(Exception):
    """A request that is not served."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Limits:
    """What a page may ask of its server."""

    bytes: int = 1 << 20
    """Of a frame."""
    pixels: int = 1920 * 1088
    """Of a frame."""
    frames: int = 5000
    """Of a session."""
    sessions: int = 4
    """At a time."""
    idle: float = 30.0
    """Seconds without a request after which a session ends."""
    gap: float = 10.0
    """Largest difference between the times of two frames that are judged together, in seconds."""


class Judge:
    """What all sessions share."""

    def __init__(self, bundle: Bundle, name: str = "", drawn: Drawn | None = None, gate: Gate | None = None) -> None:
        """Checks that the detector can judge single frames.

        Args:
            bundle: Who judges; with three answers if it has a band.
            name: The detector; the bundle's default if empty.
            drawn: Draws what decided; there is no overlay without it.
            gate: Limits of the checks before a verdict; none are made without it.

        Raises:
            UserError: There is no such detector, or it needs more than frames from now and then.
        """
        self.bundle, self.name, self.drawn = bundle, name or bundle.default, drawn
        self.decision, self.gate = bundle.decision(self.name), gate
        renditions = bundle.renditions_for(self.name)
        if bursts := [each for each, own in renditions.items() if own.burst > 1]:
            raise UserError(
                f"detector {self.name} reads bursts of frames at a camera's full rate (rendition {bursts[0]}), which "
                "the page does not send; name another one by --detector"
            )
        limits = [each.most_kept for each in renditions.values() if each.most_kept]
        self.window = min([_WINDOW, *limits])
        self.interval = min(max(min((e.seconds or e.segment / _RATE for e in renditions.values()), default=1), 0.25), 1)
        """Seconds between frames, as in the videos of the training as far as a browser keeps up."""
        # Refuses a detector that reads facts of files.
        self([np.zeros((64, 64, 3), np.uint8)])
        if all(each.size for each in renditions.values()):
            # Compiles, so that the first person need not wait.
            blank = {name: np.zeros((1, each.size, each.size, 3), np.uint8) for name, each in renditions.items()}
            bundle.score(blank, name=self.name)

    def __call__(
        self, frames: list[UInt8[np.ndarray, "h w 3"]], found: CheckedClip | None = None
    ) -> tuple[Verdict, dict[str, Frames]]:
        """The verdict on RGB frames of one size, and what the detector read of them, by rendition.

        Args:
            frames: The latest ones.
            found: What the gate says of them, if there is one; frames that it refuses are not scored.
        """
        if found is not None and not found.passed:
            return gated(self.bundle.verdict("array", self.name, math.nan, "it is not scored"), found), {}
        read: dict[str, Frames] = {}
        verdict = self.bundle.judge_frames(
            frames,
            channels="RGB",
            name=self.name,
            chosen=True,
            seen=lambda _, made: read.update(made),
            uncertain=self.decision.band is not None,
        )
        return gated(verdict, found), read

    def zones(self) -> tuple[float, float]:
        """Where attacks end and where bona fide begins on the axis of scores; the same number for two answers."""
        threshold, band = self.decision
        if band is None:
            return threshold, threshold
        return min(band.bona_fide_from, band.attack_to), max(band.bona_fide_from, band.attack_to, threshold)


class Session:
    """One camera, or one file, while it is shown."""

    def __init__(self, judge: Judge, limits: Limits) -> None:
        """Before the first frame."""
        self._judge, self._limits = judge, limits
        self._frames: deque[UInt8[np.ndarray, "h w 3"]] = deque(maxlen=judge.window)
        self._gate = None if judge.gate is None else Latest(judge.gate)
        self._last, self._taken = -math.inf, 0
        self._found: tuple[Verdict, dict[str, Frames]] | None = None
        self.busy = False
        """Whether a request is being served."""
        self.used = time.monotonic()
        """When the last one was."""

    def take(self, content: bytes, seconds: float) -> dict[str, Any]:
        """Judges the latest frames together with a further one.

        Args:
            content: A JPEG picture.
            seconds: Its time.

        Returns:
            What the page shows, JSON-able.

        Raises:
            RefusedError: The frame is not taken, and the frames before it do not count any more.
        """
        self._found = None
        try:
            self._frames.append(self._checked(content, seconds))
            self._last = seconds
            if self._gate:
                self._gate.add(self._frames[-1])
            self._found = self._judge(list(self._frames), self._gate.found if self._gate else None)
        except Exception:
            self._frames.clear()
            if self._gate:
                self._gate.clear()
            raise
        return self._told(self._found[0])

    def overlay(self) -> bytes:
        """A PNG picture of what decided the latest verdict.

        Raises:
            RefusedError: There is no decision, or no way to draw it.
        """
        if self._judge.drawn is None:
            raise RefusedError(404, "this detector's decisions cannot be drawn over frames")
        if self._found is None or self._found[0].decision == NO_DECISION:
            raise RefusedError(404, "there is no decision to explain")
        verdict, read = self._found
        return self._judge.drawn(verdict, read)

    def _checked(self, content: bytes, seconds: float) -> UInt8[np.ndarray, "h w 3"]:
        limits, self._taken = self._limits, self._taken + 1
        if self._taken > limits.frames:
            raise RefusedError(429, f"a session has at most {limits.frames} frames; start again")
        if not math.isfinite(seconds):
            raise RefusedError(400, "the time of the frame is not a number")
        if self._frames and not 0 <= seconds - self._last <= limits.gap:
            raise RefusedError(400, f"the frame's time is {seconds - self._last:.3g} s after that of the frame before")
        frame = frame_of(content, limits)
        if self._frames and frame.shape != self._frames[-1].shape:
            raise RefusedError(400, "the size of frames has changed")
        return frame

    def _told(self, verdict: Verdict) -> dict[str, Any]:
        low, high = verdict.interval.low, verdict.interval.high
        return {
            "decision": verdict.decision,
            "reason": verdict.reason,
            "advice": list(verdict.gate.advice) if verdict.gate else [],
            "score": number(verdict.score),
            "interval": None if math.isnan(low) else [number(low), number(high)],
            "frames": len(self._frames),
            "seconds": verdict.seconds,
        }


class Sessions:
    """All sessions of a server, by names that cannot be guessed."""

    def __init__(self, judge: Judge, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """None yet."""
        self.judge, self.limits, self._clock = judge, limits, clock
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        self.expire()
        return len(self._sessions)

    def open(self) -> str:
        """The name of a new session. Raises `RefusedError` if there are too many."""
        if len(self) >= self.limits.sessions:
            raise RefusedError(
                429, f"{self.limits.sessions} sessions are open; stop one, or wait {self.limits.idle:g} s"
            )
        name = secrets.token_urlsafe(16)
        self._sessions[name] = Session(self.judge, self.limits)
        self._sessions[name].used = self._clock()
        return name

    def find(self, name: str) -> Session:
        """The session of a name. Raises `RefusedError` if there is none, or it serves another request."""
        self.expire()
        session = self._sessions.get(name)
        if session is None:
            raise RefusedError(404, "there is no such session; it may have ended because nothing was sent")
        if session.busy:
            raise RefusedError(409, "the session is still busy with another request")
        session.used = self._clock()
        return session

    def done(self, session: Session) -> None:
        """Notes that a session's request has been served, which may have taken long."""
        session.busy, session.used = False, self._clock()

    def close(self, name: str) -> None:
        """Forgets a session, if there is one."""
        self._sessions.pop(name, None)

    def expire(self) -> None:
        """Forgets sessions that have not been used for long."""
        now = self._clock()
        for name, each in list(self._sessions.items()):
            if not each.busy and now - each.used > self.limits.idle:
                del self._sessions[name]


def frame_of(content: bytes, limits: Limits) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of a JPEG picture; its header is checked before anything is decoded.

    Raises:
        RefusedError: It is too large, damaged, or something else.
    """
    if len(content) > limits.bytes:
        raise RefusedError(413, f"a frame has at most {limits.bytes} bytes, not {len(content)}")
    try:
        width, height = jpeg_size(content)
        if width * height > limits.pixels:
            raise RefusedError(413, f"a frame has at most {limits.pixels} pixels, not {width}x{height}")
        picture = decode_picture(content, "jpeg")
    except DecodeError as error:
        raise RefusedError(400, f"the frame cannot be read: {error}") from error
    if picture.damage:
        raise RefusedError(400, f"the frame is damaged: {picture.damage}")
    return np.ascontiguousarray(picture.image[..., ::-1])


def number(value: float) -> float | None:
    """A number for JSON; None in place of what is not finite."""
    return float(value) if math.isfinite(value) else None
